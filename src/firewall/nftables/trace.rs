//! Where the packets of the daemon's proof end: the kernel's own account (`nft monitor trace`).
//!
//! A table of our own, which goes with its socket, marks them for tracing before anybody else's
//! chain sees them; the kernel then tells each rule that matched and each verdict. Rules of
//! iptables-nft are nf_tables' as well.
//!
//! Source: net/netfilter/nf_tables_trace.c, linux/netfilter/nf_tables.h (enum
//! nft_trace_attributes).

use super::batch::{Batch, Ownership};
use super::connection::TableConnection;
use super::error::Error;
use super::matches::base;
use super::message::NFNL_SUBSYS_NFTABLES;
use super::table::{ChainKind, Expression, Is, NftTable, Point, Protocol};
use crate::family::Family;
use crate::firewall::names::TABLE;
use crate::firewall::netlink;
use crate::firewall::netlink::{Message, NFGENMSG, attribute};
use crate::probe;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockProtocol};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

/// One for each family, since both may be followed at once.
fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "snet-trace4",
        Family::V6 => "snet-trace6",
    }
}

/// Before raw tables, also before those that stand before defragmentation (-450).
const BEFORE_ALL: i32 = -500;

/// NFNLGRP_NFTRACE, as a bit.
const GROUP: u32 = 1 << (9 - 1);
const NFT_MSG_TRACE: u16 = 17;

const NFTA_TRACE_TABLE: u16 = 1;
const NFTA_TRACE_CHAIN: u16 = 2;
const NFTA_TRACE_RULE_HANDLE: u16 = 3;
const NFTA_TRACE_VERDICT: u16 = 5;
const NFTA_TRACE_POLICY: u16 = 16;
const NFTA_VERDICT_CODE: u16 = 1;
const NF_DROP: u32 = 0;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// While it is there, packets of the proof are traced.
#[derive(Debug)]
pub(in crate::firewall) struct Tracer {
    /// The table goes with it.
    _connection: TableConnection,
    heard: OwnedFd,
}

/// Where a packet was dropped, or rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::firewall) struct Dropped {
    /// As nft(8) writes it: `ip`, `ip6`, `inet`.
    pub(in crate::firewall) family: &'static str,
    pub(in crate::firewall) table: String,
    pub(in crate::firewall) chain: String,
    /// The rule; `None`: the policy of the chain.
    pub(in crate::firewall) rule: Option<u64>,
}

/// A port of the proof.
#[derive(Clone, Copy, Debug)]
pub(in crate::firewall) struct TracedPort {
    pub(in crate::firewall) protocol: Protocol,
    /// The one that is asked.
    pub(in crate::firewall) asked: u16,
    /// The one where it arrives.
    pub(in crate::firewall) arrives: u16,
}

impl Tracer {
    /// Traces the proof of this family.
    ///
    /// # Errors
    /// What the kernel says, for instance that it has no nf_tables.
    pub(in crate::firewall) fn start(family: Family, ports: &[TracedPort]) -> Result<Self, Error> {
        let heard = netlink::open(SockProtocol::NetlinkNetFilter, GROUP)
            .map_err(|errno| Error::Netlink { source: errno.into() })?;
        let connection = TableConnection::open()?;
        let mut batch = Batch::new(name(family));
        batch.create(&table(family, ports), Ownership::Owned);
        connection.commit(&batch.seal())?.map_err(|refusal| Error::Refused {
            what: refusal.what,
            source: refusal.errno.into(),
        })?;
        Ok(Tracer { _connection: connection, heard })
    }

    /// The first drop within this time that is not one of ours.
    pub(in crate::firewall) fn dropped_within(self, time: Duration) -> Option<Dropped> {
        let mut buffer = vec![0; 64 * 1024];
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            match netlink::receive(&self.heard, &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => {
                    let messages = Message::all(&buffer[..length]);
                    let mut drops = messages.filter_map(|message| drop_of(&message));
                    if let Some(dropped) = drops.find(|dropped| !dropped.is_ours()) {
                        return Some(dropped);
                    }
                }
                // More was told than the socket holds: what comes next may tell it too.
                Err(Errno::ENOBUFS | Errno::EINTR) => {}
                Err(Errno::EAGAIN) => thread::sleep(PAUSE),
                Err(_) => return None,
            }
        }
        None
    }
}

impl Dropped {
    fn is_ours(&self) -> bool {
        self.table == TABLE || self.chain.starts_with("SNET")
    }
}

fn drop_of(message: &Message<'_>) -> Option<Dropped> {
    if message.kind != (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_TRACE {
        return None;
    }
    let body = message.body.get(NFGENMSG..)?;
    let family = match message.body.first()? {
        1 => "inet",
        2 => "ip",
        10 => "ip6",
        _ => return None,
    };
    let number = |value: &[u8]| value.first_chunk().map(|value| u32::from_be_bytes(*value));
    let verdict = attribute(body, NFTA_TRACE_VERDICT)
        .and_then(|verdict| attribute(verdict, NFTA_VERDICT_CODE))
        .and_then(number);
    let policy = attribute(body, NFTA_TRACE_POLICY).and_then(number);
    // The errno of a drop stands in the upper half.
    let drops = |code: Option<u32>| code.is_some_and(|code| code & 0xffff == NF_DROP);
    let by_rule = drops(verdict);
    if !by_rule && !drops(policy) {
        return None;
    }
    let text = |kind| {
        let value = attribute(body, kind)?;
        Some(String::from_utf8_lossy(value.strip_suffix(b"\0").unwrap_or(value)).into_owned())
    };
    let handle = attribute(body, NFTA_TRACE_RULE_HANDLE)
        .and_then(|value| value.first_chunk().map(|value| u64::from_be_bytes(*value)));
    Some(Dropped {
        family,
        table: text(NFTA_TRACE_TABLE)?,
        chain: text(NFTA_TRACE_CHAIN)?,
        rule: if by_rule { handle } else { None },
    })
}

/// The packets on their way out, redirected, and those that answer them.
fn table(family: Family, ports: &[TracedPort]) -> NftTable {
    let there = || ports.iter().map(|port| (port.protocol, port.arrives));
    let back = ports.iter().map(|port| (port.protocol, port.asked));
    let mut out = vec![vec![Expression::To(Is::In, probe::prefix(family)), Expression::Trace]];
    out.extend(there().map(|(protocol, port)| {
        vec![
            Expression::Family(family),
            Expression::ToLoopback,
            Expression::SourcePort(protocol, port),
            Expression::Trace,
        ]
    }));
    let mut inward = Vec::new();
    for (protocol, port) in there() {
        let port = Expression::Port(protocol, Is::In, port);
        let from = [Expression::Family(family), Expression::FromLoopback];
        inward.push(from.into_iter().chain([port, Expression::Trace]).collect());
    }
    for (protocol, port) in back {
        let port = Expression::SourcePort(protocol, port);
        let from = [Expression::Family(family), Expression::FromLoopback];
        inward.push(from.into_iter().chain([port, Expression::Trace]).collect());
    }
    let chains = vec![
        base("out", ChainKind::Filter, Point::Output, BEFORE_ALL, out.into_iter()),
        base("in", ChainKind::Filter, Point::Prerouting, BEFORE_ALL, inward.into_iter()),
    ];
    NftTable { name: name(family), sets: Vec::new(), flowtable: None, counters: Vec::new(), chains }
}
