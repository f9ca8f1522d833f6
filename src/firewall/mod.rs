//! What the kernel is told: a [`Ruleset`] is a value; a backend renders and applies it whole.
//!
//! The backend here is iptables (nft or legacy, whichever `iptables-restore` is) with ipset, in
//! local mode: only what this machine itself sends is looked at. Synchronous; knows no tokio.
//!
//! # Theory of operation
//!
//! Three tables work together, IPv4 and IPv6 alike, each by one chain `SNET` that is entered from
//! OUTPUT:
//!
//! | table | what it does |
//! |---|---|
//! | raw | captured UDP queries and our replies to them get a conntrack zone of their own |
//! | filter | rejects: `block`, foreign QUIC, foreign IPv6 where it is blocked |
//! | nat | redirects: DNS to the resolver, foreign TCP to the redirect port |
//!
//! - **Only connections that begin are judged**: TCP by its SYN, anything else by conntrack state
//!   NEW. Loose pick-up makes a living TCP connection NEW too; without `--syn` the start would
//!   kill them all.
//! - **The zone**: a conntrack entry of UDP outlives the rules, and each retry refreshes it. A
//!   client that keeps its source port would keep its old server after the start, and would be
//!   sent to a dead port after the stop. In a zone of its own a query never meets an entry from
//!   the time before, and leaves none for the time after. Packets over loopback keep their
//!   conntrack entry on the way in (nf_conntrack_in: "Previously seen (loopback)"), so raw
//!   PREROUTING needs no rule.
//! - **One ladder of destinations** (`iptables.rs`) gives the order in nat and in filter, so that
//!   what is redirected and what is rejected can never disagree.
//! - **A reject is seen twice by a local UDP socket**: the send fails with EPERM, and the next
//!   call with ECONNREFUSED (the ICMP message). TCP sees ECONNREFUSED.
//! - **Reject and redirect** are different tables: nat has no REJECT. nat lets blocked
//!   destinations pass, filter comes next and rejects them.
//!
//! - **The dead man's switch**: the first rule of each chain lets everything pass unless a set holds
//!   the destination, and that set holds all of them, for [`PULSE`]. Only [`Handle::beat`] renews
//!   it. A daemon that was killed, that hangs or is stopped so lets the network go.
//!
//! # Life cycle
//!
//! Install: remove left-overs of any state, load all sets by one `ipset restore`, then the rules
//! of a family by one `iptables-restore --noflush`, in each table the jump last, the redirecting
//! table last. Remove: read the tables, take out what is ours, nat first; then the sets, which are
//! busy as long as a rule names them. Removing needs no memory: it is the same code for a stop,
//! for [`cleanup`] and for what a killed start left behind. A stop has two halves,
//! [`Handle::release`] and [`Handle::remove`], with the drain between them: a captured connection
//! needs conntrack to its end, and on many machines nobody but our rules asks for it.
//!
//! # Source
//! iptables-extensions(8), ipset(8), net/netfilter/nf_conntrack_core.c, xt_CT.c, nf_nat_redirect.c.

mod command;
mod connected;
mod error;
mod handle;
mod ipset_netlink;
mod iptables;
mod leftover;
pub mod nftables;
mod reconcile;
mod ruleset;
mod sets;
mod tools;

/// The rules act for so long after a beat.
pub const PULSE: Duration = Duration::from_secs(6);

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use connected::connected_prefixes;
pub use error::Error;
pub use handle::Handle;
pub use reconcile::{Cleaned, cleanup};
pub use ruleset::{Ipv6, Quic, Ruleset, render};
pub use tools::{load_legacy_modules, needs_raw_sockets};
