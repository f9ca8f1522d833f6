//! A table of nf_tables as a value: sets, chains, rules.
//!
//! It is read twice: [`text`](super::text) writes it in nft's own syntax, and
//! [`batch`](super::batch) and [`expression`](super::expression) give it to the kernel. Only what
//! we say can be said: an [`Expression`] is one of ours, not one of nft's.

use crate::firewall::family::Family;
use crate::mark::Fwmark;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// A table of the family inet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) sets: Vec<Set>,
    pub(super) chains: Vec<Chain>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) name: String,
    pub(super) key: Key,
    pub(super) shape: Shape,
    pub(super) elements: Vec<Element>,
}

impl Table {
    /// These elements are in the set of this name.
    pub(super) fn note(&mut self, new: &Set) {
        for set in self.sets.iter_mut().filter(|set| set.name == new.name) {
            let unknown = new.elements.iter().filter(|element| !set.elements.contains(element));
            let unknown: Vec<Element> = unknown.copied().collect();
            set.elements.extend(unknown);
        }
    }
}

impl Set {
    /// Whether its content does not come with time.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(self.shape, Shape::Intervals | Shape::Values)
    }
}

/// What is looked up in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Address(Family),
    /// The name of an interface.
    Interface,
    /// The packet's own family.
    Family,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A tree of ranges that do not overlap.
    Intervals,
    /// A hash of single values.
    Values,
    /// A hash in which each element has a time-out of its own; at most so many.
    Expiring { size: u32 },
    /// A hash in which every element has this time-out.
    Switch { timeout: Duration },
    /// A hash that is filled once the other sets of the table hold what they should.
    Latch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// From the first to the last, both included, of one family. In a set of
    /// [`Shape::Values`] they are the same.
    Range(IpAddr, IpAddr),
    Family(Family),
    Interface(Name),
}

/// The name of an interface, as the kernel keeps it (IFNAMSIZ).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name(pub(super) [u8; 16]);

impl Name {
    /// What is longer than 15 bytes is no interface's.
    pub(super) fn new(name: &str) -> Self {
        let mut bytes = [0; 16];
        name.bytes().zip(bytes.iter_mut().take(15)).for_each(|(byte, place)| *place = byte);
        Name(bytes)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: String,
    /// Without one it is entered by a jump.
    pub(super) hook: Option<Hook>,
    pub(super) rules: Vec<Rule>,
}

/// Where packets enter a chain. The policy is always to accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hook {
    pub(super) kind: Kind,
    pub(super) point: Point,
    pub(super) priority: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Filter,
    /// Sees the first packet of a connection only.
    Nat,
}

/// enum nf_inet_hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    Prerouting = 0,
    Input = 1,
    Forward = 2,
    Output = 3,
}

/// Carried out from left to right, until one does not match.
pub(super) type Rule = Vec<Expression>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
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
    FromInterface(Name),
    ToInterface(Name),
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
    /// What the routing table says of the destination.
    ToType(Is, AddressType),
    /// Somebody translated the destination.
    Translated,
    /// An ICMP message "port unreachable" of this family of which conntrack knows nothing.
    StrayComplaint(Family),
    /// Conntrack takes the packet for the first of a connection (state new, original direction).
    Begins,
    /// SYN without ACK, RST and FIN.
    Syn,

    /// Conntrack looks in this zone.
    Zone(u16),
    /// To this port of this machine.
    Redirect(u16),
    /// To this address and port.
    Translate(Ipv6Addr, u16),
    Drop,
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
pub(super) enum Protocol {
    Tcp = 6,
    Udp = 17,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Is {
    In,
    NotIn,
}

/// RTN_* in linux/rtnetlink.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressType {
    Local = 2,
    Broadcast = 3,
    Multicast = 5,
}
