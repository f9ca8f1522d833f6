//! Word that somebody has changed the rules of nf_tables, which is where iptables-nft keeps its
//! own. The tables of iptables-legacy have no such word.
//!
//! Only tables, chains and rules count. Elements of sets come and go all the time where dnsmasq,
//! fail2ban or crowdsec fill them, and each time the kernel also tells of a new generation of the
//! whole.
//!
//! Source: net/netfilter/nf_tables_api.c (nf_tables_gen_notify), linux/netfilter/nfnetlink.h,
//! nf_tables.h (enum nf_tables_msg_types).

use super::{Message, NFGENMSG, attribute};
use crate::firewall::names::TABLE;
use crate::firewall::netlink;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockProtocol, setsockopt, sockopt};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// NFNLGRP_NFTABLES, as a bit.
const GROUP: u32 = 1 << (7 - 1);

/// NFNL_SUBSYS_NFTABLES.
const NF_TABLES: u16 = 10;

/// NFTA_TABLE_NAME, NFTA_CHAIN_TABLE and NFTA_RULE_TABLE.
const TABLE_NAME: u16 = 1;

/// What may come before it is read. A socket that overflows says "changed".
const PENDING: usize = 256 * 1024;

/// A socket that is readable after a change.
#[derive(Debug)]
pub(in crate::firewall) struct TableChanges(OwnedFd);

impl TableChanges {
    /// Listens from now on, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// What the kernel says, for instance that it has no nf_tables.
    pub(in crate::firewall) fn subscribe() -> io::Result<Self> {
        let fd = netlink::open(SockProtocol::NetlinkNetFilter, GROUP)?;
        setsockopt(&fd, sockopt::RcvBuf, &PENDING)?;
        Ok(TableChanges(fd))
    }

    /// Takes what has come; never waits. Returns whether rules changed that are not in a table of
    /// ours.
    ///
    /// # Errors
    /// The socket is broken. That messages were lost is no error: they too say "changed".
    pub(in crate::firewall) fn drain(&self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let mut changed = false;
        loop {
            match netlink::receive(&self.0, &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN) => return Ok(changed),
                Ok(length) => changed |= is_about_rules(&buffer[..length], buffer.len()),
                Err(Errno::ENOBUFS) => changed = true,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whether one of these messages is about tables, chains or rules of others. What filled the buffer
/// may go on beyond it.
fn is_about_rules(datagram: &[u8], capacity: usize) -> bool {
    datagram.len() == capacity
        || Message::all(datagram).any(|message| {
            let [subsystem, kind] = message.kind.to_be_bytes();
            let body = message.body.get(NFGENMSG..).unwrap_or_default();
            let table = attribute(body, TABLE_NAME).unwrap_or_default();
            u16::from(subsystem) == NF_TABLES && !is_quiet(kind) && !is_ours(table)
        })
}

/// Our table, and those in which a proof is traced for a moment.
fn is_ours(table: &[u8]) -> bool {
    let name = table.strip_suffix(b"\0").unwrap_or(table);
    let behind = name.strip_prefix(TABLE.as_bytes());
    behind.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"-"))
}

/// Sets and elements (9 to 14, 29, 30, 33), generations (15, 16), traces, objects and flow tables
/// (17 to 24, 31, 32). A kind that is not known yet is not among them.
fn is_quiet(kind: u8) -> bool {
    matches!(kind, 9..=24 | 29..=33)
}

impl AsFd for TableChanges {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::netlink::{Attributes, nfgenmsg, request};

    fn message(kind: u8, table: &str) -> Vec<u8> {
        let mut attributes = Attributes::default();
        attributes.text(TABLE_NAME, table);
        let kind = u16::from_be_bytes([10, kind]);
        request(kind, 0, 0, &[&nfgenmsg(1, 0), attributes.as_bytes()])
    }

    #[test]
    fn rules_of_others_are_told_from_elements() {
        let tells = |messages: &[Vec<u8>]| is_about_rules(&messages.concat(), 16 * 1024);
        for (kind, expected) in [
            (0, true),
            (2, true),
            (3, true),
            (5, true),
            (6, true),
            (8, true),
            (9, false),
            (12, false),
            (14, false),
            (15, false),
            (28, true),
            (30, false),
            (99, true),
        ] {
            assert_eq!(tells(&[message(kind, "fw4")]), expected, "{kind}");
            assert!(!tells(&[message(kind, TABLE)]), "{kind}: ours");
            assert!(!tells(&[message(kind, "snet-trace4")]), "{kind}: ours");
        }
        assert!(tells(&[message(12, "fw4"), message(6, "fw4"), message(15, "fw4")]));
        assert!(!tells(&[message(12, "fw4"), message(6, TABLE), message(15, "fw4")]));
        let full = message(12, "fw4");
        assert!(is_about_rules(&full, full.len()), "more may have been said");
    }
}
