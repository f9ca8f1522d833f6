//! Adds and deletes set entries over nfnetlink: one system call each way, no process.
//!
//! Only what the daemon does while it runs; sets are made by the tool. Layout: see [`netlink`];
//! netfilter/ipset/ip_set.h.

mod listing;

use super::{Attributes, Message, NLA_F_NET_BYTEORDER, NLM_F_ACK, NLMSG_ERROR, nfgenmsg};
use crate::family::Family;
use crate::firewall::entry::Entry;
use crate::firewall::netlink;
use crate::sync::lock;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockProtocol, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::time::Duration;

/// A change of one set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::firewall) enum Change {
    /// Adds it, or renews its time-out if it is there (`-exist`). No time-out: for ever.
    Add { set: String, family: Family, entry: Entry, timeout: Option<Duration> },
    /// Deletes it if it is there.
    Delete { set: String, family: Family, entry: Entry },
    /// Deletes all there is.
    Flush { set: String, family: Family },
}

impl Change {
    /// The family of the set.
    pub(in crate::firewall) fn family(&self) -> Family {
        match self {
            Change::Add { family, .. }
            | Change::Delete { family, .. }
            | Change::Flush { family, .. } => *family,
        }
    }
}

/// A netlink socket to the kernel's ipset. It stays in the network namespace it was opened in.
#[derive(Debug)]
pub(in crate::firewall) struct IpsetConnection {
    /// A request and its acknowledgements must not mix with another thread's.
    socket: Mutex<Socket>,
}

#[derive(Debug)]
struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

/// The kernel acknowledges before sendto(2) returns; this is for a kernel that does not.
const ACK_TIMEOUT: i64 = 1;

impl IpsetConnection {
    /// # Errors
    /// What the kernel says of the socket.
    pub(in crate::firewall) fn open() -> io::Result<Self> {
        let fd = netlink::open(SockProtocol::NetlinkNetFilter, 0)?;
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::seconds(ACK_TIMEOUT))?;
        Ok(IpsetConnection { socket: Mutex::new(Socket { fd, sequence: 0 }) })
    }

    /// How many entries each set has whose name begins so. Sets with time-outs count what is over
    /// too, until the kernel has collected it.
    ///
    /// # Errors
    /// What the kernel says.
    pub(in crate::firewall) fn counts(&self, prefix: &str) -> io::Result<HashMap<String, u32>> {
        let mut socket = lock(&self.socket);
        socket.sequence = socket.sequence.wrapping_add(1);
        let Socket { fd, sequence } = &*socket;
        netlink::send(fd, &listing::request(*sequence))?;
        let mut counts = HashMap::new();
        let mut buffer = vec![0; listing::BUFFER];
        loop {
            let length = netlink::receive(fd, &mut buffer, MsgFlags::empty())?;
            if listing::read(&buffer[..length], *sequence, &mut counts)? {
                counts.retain(|name, _| name.starts_with(prefix));
                return Ok(counts);
            }
        }
    }

    /// Whether the kernel has no ipset at all. `false` also where it cannot be told, for example
    /// without the rights.
    pub(in crate::firewall) fn is_absent() -> bool {
        is_absence(&Self::open().and_then(|connection| connection.counts("").map(drop)))
    }

    /// Whether a set holds this entry. A set that is not there, of a family without rules, holds
    /// none.
    ///
    /// # Errors
    /// What the kernel says.
    pub(in crate::firewall) fn holds(
        &self,
        set: &str,
        family: Family,
        entry: &Entry,
    ) -> io::Result<bool> {
        let mut socket = lock(&self.socket);
        let test = |sequence| {
            request(IPSET_CMD_TEST, NLM_F_ACK, sequence, inet(family), |all| {
                all.text(IPSET_ATTR_SETNAME, set);
                all.nest(IPSET_ATTR_DATA, |data| fill(data, entry, None));
            })
        };
        match socket.converse(test) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes all changes, in order; one that fails does not hinder the next ones.
    ///
    /// # Errors
    /// The first failure: NotFound if the set is gone, PermissionDenied without CAP_NET_ADMIN.
    pub(in crate::firewall) fn apply(&self, changes: &[Change]) -> io::Result<()> {
        let mut socket = lock(&self.socket);
        let results = changes.iter().map(|change| socket.request(change)).collect::<Vec<_>>();
        results.into_iter().collect()
    }
}

/// What nfnetlink says of a subsystem that no module brings (nfnetlink_rcv_msg), or a kernel that
/// has no nfnetlink.
fn is_absence(said: &io::Result<()>) -> bool {
    const ABSENT: [Errno; 2] = [Errno::EINVAL, Errno::EPROTONOSUPPORT];
    let number = said.as_ref().err().and_then(io::Error::raw_os_error);
    number.is_some_and(|number| ABSENT.contains(&Errno::from_raw(number)))
}

impl Socket {
    fn request(&mut self, change: &Change) -> io::Result<()> {
        self.converse(|sequence| encode(change, sequence))
    }

    fn converse(&mut self, message: impl FnOnce(u32) -> Vec<u8>) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        netlink::send(&self.fd, &message(self.sequence))?;
        let mut buffer = [0; 4096];
        loop {
            let length = netlink::receive(&self.fd, &mut buffer, MsgFlags::empty())?;
            // A late answer to an earlier request, one whose wait timed out, is passed over.
            if let Some(result) = acknowledgement(&buffer[..length], self.sequence) {
                return result;
            }
        }
    }
}

// linux/netfilter/nfnetlink.h
const NFNL_SUBSYS_IPSET: u16 = 6;

// linux/netfilter/ipset/ip_set.h
const IPSET_PROTOCOL: u8 = 6;
const IPSET_CMD_FLUSH: u16 = 4;
const IPSET_CMD_ADD: u16 = 9;
const IPSET_CMD_DEL: u16 = 10;
const IPSET_CMD_TEST: u16 = 11;
const IPSET_ATTR_PROTOCOL: u16 = 1;
const IPSET_ATTR_SETNAME: u16 = 2;
const IPSET_ATTR_DATA: u16 = 7;
const IPSET_ATTR_IP: u16 = 1;
const IPSET_ATTR_CIDR: u16 = 3;
const IPSET_ATTR_TIMEOUT: u16 = 6;
const IPSET_ATTR_IFACE: u16 = 23;
const IPSET_ATTR_IPADDR_IPV4: u16 = 1;
const IPSET_ATTR_IPADDR_IPV6: u16 = 2;
/// Errors from here on are ipset's own (IPSET_ERR_PRIVATE).
const IPSET_ERR_PRIVATE: i32 = 4096;
/// The entry is not in the set (ip_set_utest).
const IPSET_ERR_EXIST: i32 = 4103;
const IPSET_ERR_HASH_FULL: i32 = 4352;
/// The kernel keeps milliseconds in 32 bits (IPSET_MAX_TIMEOUT).
const IPSET_MAX_TIMEOUT: u64 = (u32::MAX as u64 >> 1) / 1000;

/// The whole message. The flag NLM_F_EXCL is left out: that is `-exist` (ip_set_core.c,
/// flag_exist).
fn encode(change: &Change, sequence: u32) -> Vec<u8> {
    let (command, set, entry, timeout) = match change {
        Change::Add { set, entry, timeout, .. } => (IPSET_CMD_ADD, set, Some(entry), *timeout),
        Change::Delete { set, entry, .. } => (IPSET_CMD_DEL, set, Some(entry), None),
        Change::Flush { set, .. } => (IPSET_CMD_FLUSH, set, None, None),
    };
    request(command, NLM_F_ACK, sequence, inet(change.family()), |all| {
        all.text(IPSET_ATTR_SETNAME, set);
        if let Some(entry) = entry {
            all.nest(IPSET_ATTR_DATA, |data| fill(data, entry, timeout));
        }
    })
}

fn inet(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

fn request(
    command: u16,
    flags: u16,
    sequence: u32,
    family: AddressFamily,
    fill: impl FnOnce(&mut Attributes),
) -> Vec<u8> {
    let mut attributes = Attributes::default();
    attributes.bytes(IPSET_ATTR_PROTOCOL, &[IPSET_PROTOCOL]);
    fill(&mut attributes);
    let kind = (NFNL_SUBSYS_IPSET << 8) | command;
    let head = nfgenmsg(family as u8, 0);
    netlink::request(kind, flags, sequence, &[&head, attributes.as_bytes()])
}

fn fill(data: &mut Attributes, entry: &Entry, timeout: Option<Duration>) {
    match entry {
        Entry::Address(address) => fill_ip(data, *address),
        Entry::Prefix(net) | Entry::At(net, _) => {
            fill_ip(data, net.addr());
            data.bytes(IPSET_ATTR_CIDR, &[net.prefix_len()]);
        }
    }
    if let Entry::At(_, interface) = entry {
        data.text(IPSET_ATTR_IFACE, interface);
    }
    if let Some(timeout) = timeout {
        data.number(IPSET_ATTR_TIMEOUT | NLA_F_NET_BYTEORDER, seconds(timeout));
    }
}

fn fill_ip(data: &mut Attributes, address: IpAddr) {
    data.nest(IPSET_ATTR_IP, |ip| match address {
        IpAddr::V4(v4) => ip.bytes(IPSET_ATTR_IPADDR_IPV4 | NLA_F_NET_BYTEORDER, &v4.octets()),
        IpAddr::V6(v6) => ip.bytes(IPSET_ATTR_IPADDR_IPV6 | NLA_F_NET_BYTEORDER, &v6.octets()),
    });
}

/// Rounded up: an entry must not end before the answer it came from, and 0 would mean for ever.
fn seconds(timeout: Duration) -> u32 {
    let whole = timeout.as_secs().saturating_add(u64::from(timeout.subsec_nanos() > 0));
    u32::try_from(whole.clamp(1, IPSET_MAX_TIMEOUT)).unwrap_or(u32::MAX)
}

/// The result in the datagram, if it answers this request.
fn acknowledgement(datagram: &[u8], sequence: u32) -> Option<io::Result<()>> {
    let mut messages = Message::all(datagram);
    let answer =
        messages.find(|message| message.kind == NLMSG_ERROR && message.sequence == sequence)?;
    Some(match answer.errno() {
        0 => Ok(()),
        IPSET_ERR_EXIST => Err(io::ErrorKind::NotFound.into()),
        IPSET_ERR_HASH_FULL => Err(io::Error::other("the set is full")),
        number if number >= IPSET_ERR_PRIVATE => {
            Err(io::Error::other(format!("ipset error {number} (linux/netfilter/ipset/ip_set.h)")))
        }
        number => Err(io::Error::from_raw_os_error(number)),
    })
}

/// Reads a datagram as an answer to each kind of request. For `reading`.
pub(in crate::firewall) fn read(datagram: &[u8]) {
    for sequence in Message::all(datagram).map(|message| message.sequence) {
        let _ = acknowledgement(datagram, sequence);
        let _ = listing::read(datagram, sequence, &mut HashMap::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As laid out in the headers; that the kernel agrees is shown in `tests/traffic.rs`.
    #[test]
    fn an_addition_on_the_wire() {
        if cfg!(target_endian = "big") {
            return;
        }
        let change = Change::Add {
            set: "snet-a4".into(),
            family: Family::V4,
            entry: Entry::Address("192.0.2.1".parse().unwrap()),
            timeout: Some(Duration::from_secs(60)),
        };
        #[rustfmt::skip]
        let expected = [
            64, 0, 0, 0,  9, 6,  5, 0,  7, 0, 0, 0,  0, 0, 0, 0,
            2, 0, 0, 0,
            5, 0, 1, 0,  6, 0, 0, 0,
            12, 0, 2, 0,  b's', b'n', b'e', b't', b'-', b'a', b'4', 0,
            24, 0, 7, 0x80,
                12, 0, 1, 0x80,  8, 0, 1, 0x40,  192, 0, 2, 1,
                8, 0, 6, 0x40,  0, 0, 0, 60,
        ];
        assert_eq!(encode(&change, 7), expected);
    }

    #[test]
    fn a_kernel_without_sets_is_recognised() {
        let said = |errno: Errno| is_absence(&Err(errno.into()));
        assert!(said(Errno::EINVAL) && said(Errno::EPROTONOSUPPORT));
        assert!(!said(Errno::EPERM) && !is_absence(&Ok(())));
    }

    #[test]
    fn zero_seconds_would_be_for_ever() {
        assert_eq!(seconds(Duration::ZERO), 1);
        assert_eq!(seconds(Duration::from_millis(1500)), 2);
        assert_eq!(seconds(Duration::MAX), 2_147_483);
    }

    #[test]
    fn an_answer_to_somebody_else_is_none() {
        let mut message = vec![36, 0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0];
        message.extend((-2i32).to_ne_bytes());
        assert!(acknowledgement(&message, 8).is_none());
        let error =
            acknowledgement(&message, u32::from_ne_bytes([7, 0, 0, 0])).unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(acknowledgement(&message[..12], 7).is_none());
        assert!(acknowledgement(&[], 7).is_none());
    }
}
