//! The rules of policy routing, as they are written to the kernel and read from it.

use crate::family::Family;
use crate::firewall::netlink::route::{self, PROTOCOL, number};
use crate::firewall::netlink::{Attributes, attributes, u32_at};
use crate::mark::Fwmark;
use std::fmt;
use std::os::fd::OwnedFd;

/// What becomes of a datagram with a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Lookup,
    /// The rule of this priority, and those behind it.
    Goto(u32),
    Unreachable,
}

/// A rule of policy routing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RoutingRule {
    priority: u32,
    mark: Fwmark,
    /// Only for packets of this machine.
    is_local: bool,
    action: Action,
}

/// In the order in which they are made; they are removed the other way round. So a datagram never
/// meets a table without the rule that says what else becomes of it.
pub(super) const RULES: [RoutingRule; 4] = {
    let own = Fwmark::OWN_DATAGRAMS;
    let lan = Fwmark::LAN_DATAGRAMS;
    let lookup = RoutingRule { priority: 1312, mark: own, is_local: false, action: Action::Lookup };
    [
        RoutingRule { priority: 1313, action: Action::Unreachable, ..lookup },
        lookup,
        RoutingRule { priority: 1310, mark: lan, is_local: true, action: Action::Goto(1312) },
        RoutingRule { priority: 1311, mark: lan, ..lookup },
    ]
};

impl RoutingRule {
    pub(super) fn request(
        &self,
        socket: &OwnedFd,
        family: Family,
        act: u16,
        flags: u16,
    ) -> nix::Result<()> {
        let (header, attributes) = self.encode(family);
        route::change(socket, act, flags, &[&header, attributes.as_bytes()])
    }

    /// struct fib_rule_hdr, and the attributes.
    fn encode(&self, family: Family) -> ([u8; FIB_RULE_HDR], Attributes) {
        let action = match self.action {
            Action::Lookup => FR_ACT_TO_TBL,
            Action::Goto(_) => FR_ACT_GOTO,
            Action::Unreachable => FR_ACT_UNREACHABLE,
        };
        let header = [number(family), 0, 0, 0, RT_TABLE_UNSPEC, 0, 0, action, 0, 0, 0, 0];
        let mut attributes = Attributes::default();
        attributes.bytes(FRA_PRIORITY, &self.priority.to_ne_bytes());
        attributes.bytes(FRA_FWMARK, &self.mark.value().to_ne_bytes());
        attributes.bytes(FRA_FWMASK, &self.mark.mask().to_ne_bytes());
        // A kernel before 4.17 does not know it.
        attributes.bytes(FRA_PROTOCOL, &[PROTOCOL]);
        if self.is_local {
            attributes.text(FRA_IIFNAME, "lo");
        }
        match self.action {
            Action::Lookup => attributes.bytes(FRA_TABLE, &TABLE.to_ne_bytes()),
            Action::Goto(target) => attributes.bytes(FRA_GOTO, &target.to_ne_bytes()),
            Action::Unreachable => {}
        }
        (header, attributes)
    }

    /// The one of [`RULES`] that the kernel shows here.
    pub(super) fn read(family: Family, body: &[u8]) -> Option<Self> {
        let [own_family, .., action, _, _, _, _] = *body.first_chunk::<FIB_RULE_HDR>()?;
        let (mut priority, mut table, mut target) = (None, None, None);
        let (mut mark, mut mask, mut is_local, mut protocol) = (None, None, false, PROTOCOL);
        for (kind, value) in attributes(body.get(FIB_RULE_HDR..)?) {
            match kind {
                FRA_PRIORITY => priority = u32_at(value, 0),
                FRA_FWMARK => mark = u32_at(value, 0),
                FRA_FWMASK => mask = u32_at(value, 0),
                FRA_TABLE => table = u32_at(value, 0),
                FRA_GOTO => target = u32_at(value, 0),
                FRA_PROTOCOL => protocol = *value.first()?,
                FRA_IIFNAME => is_local = value == b"lo\0",
                _ => {}
            }
        }
        let is_same = |rule: &RoutingRule| {
            let acts = match rule.action {
                Action::Lookup => action == FR_ACT_TO_TBL && table == Some(TABLE),
                Action::Goto(wanted) => action == FR_ACT_GOTO && target == Some(wanted),
                Action::Unreachable => action == FR_ACT_UNREACHABLE,
            };
            let marks = (Some(rule.mark.value()), Some(rule.mark.mask())) == (mark, mask);
            acts && marks && (Some(rule.priority), rule.is_local) == (priority, is_local)
        };
        let is_ours = (own_family, protocol) == (number(family), PROTOCOL);
        RULES.into_iter().find(|rule| is_ours && is_same(rule))
    }
}

/// As ip-rule(8) takes it.
impl fmt::Display for RoutingRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = if self.is_local { "iif lo " } else { "" };
        write!(f, "priority {} {from}fwmark {} ", self.priority, self.mark)?;
        match self.action {
            Action::Lookup => write!(f, "lookup {TABLE}"),
            Action::Goto(target) => write!(f, "goto {target}"),
            Action::Unreachable => f.write_str("unreachable"),
        }
    }
}

/// The table. Its number, like the priorities, is snet's port.
pub(super) const TABLE: u32 = 1311;

// linux/rtnetlink.h
pub(super) const RTM_NEWRULE: u16 = 32;
pub(super) const RTM_DELRULE: u16 = 33;
pub(super) const RTM_GETRULE: u16 = 34;
pub(super) const RT_TABLE_UNSPEC: u8 = 0;

// linux/fib_rules.h
const FIB_RULE_HDR: usize = 12;
const FRA_IIFNAME: u16 = 3;
const FRA_GOTO: u16 = 4;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_PROTOCOL: u16 = 21;
const FR_ACT_TO_TBL: u8 = 1;
const FR_ACT_GOTO: u8 = 2;
const FR_ACT_UNREACHABLE: u8 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_was_written_is_ours_and_no_other_is() {
        for family in Family::ALL {
            for rule in RULES {
                let (header, attributes) = rule.encode(family);
                let message = [&header[..], attributes.as_bytes()].concat();
                assert_eq!(RoutingRule::read(family, &message), Some(rule));
                let other = if family == Family::V4 { Family::V6 } else { Family::V4 };
                assert_eq!(RoutingRule::read(other, &message), None);
                for length in 0..message.len() {
                    // No panic, and nothing else is taken for it.
                    let cut = RoutingRule::read(family, &message[..length]);
                    assert!(cut.is_none_or(|found| found == rule));
                }
                let theirs = RoutingRule { priority: rule.priority + 100, ..rule };
                let (header, attributes) = theirs.encode(family);
                let message = [&header[..], attributes.as_bytes()].concat();
                assert_eq!(RoutingRule::read(family, &message), None);
            }
        }
    }
}
