//! A table of nf_tables as a value: sets, chains, rules.
//!
//! It is read twice: [`text`](super::text) writes it in nft's own syntax, and
//! [`batch`](super::batch) and [`expression`](super::expression) give it to the kernel. Only what
//! we say can be said: an [`Expression`] is one of ours, not one of nft's.

use crate::family::Family;
use crate::mark::Fwmark;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// A table of the family inet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::firewall) struct NftTable {
    pub(in crate::firewall) name: &'static str,
    pub(in crate::firewall) sets: Vec<NftSet>,
    pub(in crate::firewall) flowtable: Option<NftFlowtable>,
    /// Their names. They count on when the rules that name them are exchanged.
    pub(in crate::firewall) counters: Vec<String>,
    pub(in crate::firewall) chains: Vec<NftChain>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::firewall) struct NftSet {
    pub(in crate::firewall) name: String,
    pub(in crate::firewall) key: SetKey,
    pub(in crate::firewall) shape: Shape,
    pub(in crate::firewall) elements: Vec<Element>,
}

/// Where packets of offloaded flows are looked for, before every other hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::firewall) struct NftFlowtable {
    pub(in crate::firewall) name: &'static str,
    pub(in crate::firewall) devices: Vec<InterfaceName>,
}

impl NftTable {
    /// Whether the set of this name holds the address. Its ranges ascend.
    pub(in crate::firewall) fn holds(&self, set: &str, address: IpAddr) -> bool {
        let Some(set) = self.sets.iter().find(|known| known.name == set) else { return false };
        let begins = |element: &Element| match element {
            Element::Range(first, _) => *first <= address,
            _ => false,
        };
        let behind = set.elements.partition_point(begins);
        let last = behind.checked_sub(1).and_then(|at| set.elements.get(at));
        matches!(last, Some(Element::Range(_, last)) if address <= *last)
    }

    /// These elements are in the set of this name.
    pub(in crate::firewall) fn note(&mut self, new: &NftSet) {
        for set in self.sets.iter_mut().filter(|set| set.name == new.name) {
            let unknown = new.elements.iter().filter(|element| !set.elements.contains(element));
            let unknown: Vec<Element> = unknown.copied().collect();
            set.elements.extend(unknown);
        }
    }
}

impl NftSet {
    /// Whether its content does not come with time.
    pub(in crate::firewall) fn is_lasting(&self) -> bool {
        matches!(self.shape, Shape::Intervals | Shape::Values)
    }
}

/// What is looked up in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::firewall) enum SetKey {
    Address(Family),
    /// The name of an interface.
    Interface,
    /// The packet's own family.
    Family,
    /// Source, source port, destination and destination port of a UDP flow.
    Flow(Family),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::firewall) enum Shape {
    /// A tree of ranges that do not overlap.
    Intervals,
    /// A hash of single values.
    Values,
    /// A hash in which each element has a time-out of its own; at most so many.
    Expiring { size: u32 },
    /// A hash in which every element has this time-out.
    Switch { timeout: Duration },
    /// A hash that the packets fill: every element has this time-out since the last packet that
    /// renewed it; at most so many.
    Flows { size: u32, timeout: Duration },
    /// A hash that is filled once the other sets of the table hold what they should.
    Latch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::firewall) enum Element {
    /// From the first to the last, both included, of one family. In a set of
    /// [`Shape::Values`] they are the same.
    Range(IpAddr, IpAddr),
    Family(Family),
    Interface(InterfaceName),
    /// From there to there.
    Flow(SocketAddr, SocketAddr),
}

/// The name of an interface, as the kernel keeps it (IFNAMSIZ).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::firewall) struct InterfaceName(pub(super) [u8; 16]);

impl InterfaceName {
    /// What is longer than 15 bytes is no interface's.
    pub(in crate::firewall) fn new(name: &str) -> Self {
        let mut bytes = [0; 16];
        name.bytes().zip(bytes.iter_mut().take(15)).for_each(|(byte, place)| *place = byte);
        InterfaceName(bytes)
    }

    /// With one zero byte at its end. The last of the sixteen is one.
    pub(super) fn terminated(&self) -> &[u8] {
        self.0.split_inclusive(|byte| *byte == 0).next().unwrap_or_default()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::firewall) struct NftChain {
    pub(in crate::firewall) name: String,
    /// Without one it is entered by a jump.
    pub(in crate::firewall) hook: Option<BaseHook>,
    pub(in crate::firewall) rules: Vec<NftRule>,
}

/// Where packets enter a chain. The policy is always to accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::firewall) struct BaseHook {
    pub(in crate::firewall) kind: ChainKind,
    pub(in crate::firewall) point: Point,
    pub(in crate::firewall) priority: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::firewall) enum ChainKind {
    Filter,
    /// Sees the first packet of a connection only.
    Nat,
    /// Looks for another route once the mark has changed; at OUTPUT only.
    Route,
}

/// enum nf_inet_hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::firewall) enum Point {
    Prerouting = 0,
    Input = 1,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

/// Carried out from left to right, until one does not match.
pub(in crate::firewall) type NftRule = Vec<Expression>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::firewall) enum Expression {
    /// The packet is of this family.
    Family(Family),
    /// The family is in this set, or not.
    FamilyIn(Is, &'static str),
    Protocol(Protocol),
    /// It leaves over the loopback interface.
    ToLoopback,
    /// It came in over the loopback interface.
    FromLoopback,
    /// It came in by an interface in this set, or not.
    FromInterfaceIn(Is, String),
    FromInterface(InterfaceName),
    ToInterface(InterfaceName),
    /// The source is in a set.
    FromSet(Family, String),
    SourcePort(Protocol, u16),
    Port(Protocol, Is, u16),
    Marked(Fwmark),
    /// This user has made the socket.
    User(u32),
    /// The socket is of this cgroup, or of one beneath it: its path, its level and its number.
    Cgroup(String, u32, u64),
    /// The destination lies in a prefix.
    To(Is, IpNet),
    /// The destination is in a set.
    ToSet(Is, Family, String),
    /// What the routing table says of the source.
    FromType(Is, AddressType),
    /// What the routing table says of the destination.
    ToType(Is, AddressType),
    /// Another program translated the destination.
    Translated,
    /// An ICMP message "port unreachable" of this family of which conntrack knows nothing.
    StrayComplaint(Family),
    /// Conntrack takes the packet for the first of a connection (state new, original direction).
    Begins,
    /// An ICMP message "destination unreachable" of this family of which conntrack knows nothing.
    StrayUnreachable(Family),
    /// Conntrack has been told to leave the packet alone.
    Untracked,
    /// The UDP flow of the packet, or its way back, is in a set.
    FlowIn(Family, Way, String),
    /// Conntrack has seen both directions of the flow, and expects more of it; the packet goes the
    /// way of the first one.
    Lasts,
    /// The connection of the packet has this label.
    Labelled(u8),
    /// It goes the way in which its connection began.
    Forth,
    /// SYN without ACK, RST and FIN.
    Syn,

    /// Conntrack looks in this zone.
    Zone(u16),
    /// To this port of this machine.
    Redirect(u16),
    /// To this address and port.
    Translate(Ipv6Addr, u16),
    /// The packet gets this mark beside those it has.
    Mark(Fwmark),
    /// Conntrack leaves the packet alone.
    Untrack,
    /// The UDP flow of the packet, or its way back, has its whole time in a set; it is added if
    /// need be and the set has room. Without room this is no match.
    Remember(Family, Way, String),
    /// The flow goes into this flowtable; one that cannot is no match.
    Offload(&'static str),
    /// The connection of the packet gets this label beside those it has.
    Label(u8),
    /// The counter of this name counts the packet.
    Count(String),
    /// To the transparent socket at this address; without one this is no match.
    Tproxy(SocketAddr),
    Drop,
    /// Nothing more in this base chain.
    Accept,
    /// The kernel tells what becomes of the packet.
    Trace,
    /// A TCP reset for the sender.
    Reset,
    /// Port unreachable, in the family's ICMP.
    Unreachable,
    Return,
    /// There and back.
    Jump(String),
    /// There, and then back to where this chain was entered from.
    Goto(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::firewall) enum Protocol {
    Tcp = 6,
    Udp = 17,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::firewall) enum Is {
    In,
    NotIn,
}

/// Which way along a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::firewall) enum Way {
    /// That of the packet.
    Same,
    /// That of its answer.
    Back,
}

/// RTN_* in linux/rtnetlink.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::firewall) enum AddressType {
    Local = 2,
    Broadcast = 3,
    Multicast = 5,
}
