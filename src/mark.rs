//! The firewall mark that tells our own sockets from those of other programs.
//!
//! Every outgoing socket of snet carries it (SO_MARK, socket(7)), and the first rule of every
//! chain lets marked packets pass. The value is one bit in a masked field, so that other users of
//! marks keep theirs. The bit is chosen among those that the usual neighbours leave alone:
//!
//! | neighbour | bits it uses |
//! |---|---|
//! | docker, libvirt | none by default; swarm ingress: small values from 0x100 up |
//! | tailscale | 0x00ff_0000 |
//! | mwan3 (OpenWrt) | 0x0000_3f00 |
//! | kubernetes (kube-proxy) | 0x0000_c000 |
//! | wg-quick | the whole value 0xca6c, on the outer packets of the tunnel only |
//! | cilium | 0x0000_0f00 and the upper half on its own nodes |
//! | sqm, qos-scripts (OpenWrt) | 0x0000_00ff |
//! | calico | 0xffff_0000 by default, takes what it finds free |
//!
//! Bits 25 to 27 lie outside all of them but calico's default (a cluster node, not a desktop or a
//! home router). Setting SO_MARK sets the whole value, which is right: a fresh socket has no other
//! mark.

use std::fmt;

/// A masked firewall mark: a packet carries it if `mark & mask == value`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fwmark {
    value: u32,
    mask: u32,
}

impl Fwmark {
    /// The mark of this program's sockets.
    pub const SNET: Fwmark = Fwmark { value: 0x0800_0000, mask: 0x0800_0000 };

    /// Of captured datagrams of this machine: it leads them to the listener over `lo`. Never on a
    /// socket.
    pub const OWN_DATAGRAMS: Fwmark = Fwmark { value: 0x0400_0000, mask: 0x0400_0000 };

    /// Of captured datagrams of LAN hosts. Another bit, since the reverse-path check of those looks
    /// routes up with the mark (net.ipv4.conf.*.src_valid_mark).
    pub const LAN_DATAGRAMS: Fwmark = Fwmark { value: 0x0200_0000, mask: 0x0200_0000 };

    /// The bits to set on a socket (SO_MARK).
    pub const fn value(self) -> u32 {
        self.value
    }

    /// The bits that count in a comparison.
    pub const fn mask(self) -> u32 {
        self.mask
    }
}

/// As iptables writes it: `0x8000000/0x8000000`.
impl fmt::Display for Fwmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}/{:#x}", self.value, self.mask)
    }
}

impl fmt::Debug for Fwmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fwmark({self})")
    }
}
