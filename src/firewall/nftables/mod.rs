//! The backend that needs no tool: nf_tables, spoken over netlink.
//!
//! # Theory of operation
//!
//! **One table for both families**, `inet snet`: sets, four base chains at OUTPUT, and behind
//! them the chains of each family, which are those of the other backend:
//!
//! | base chain | priority | what it does |
//! |---|---|---|
//! | zone | -300, before conntrack | captured UDP queries and our replies get a zone of their own |
//! | dns | -105, before other people's DNAT | redirects queries to the resolver |
//! | nat | -95, behind other people's DNAT | redirects foreign TCP |
//! | filter | -10, before other people's filters | rejects: `block`, foreign QUIC, foreign IPv6 |
//!
//! Router mode adds the same four, with `-lan` at their names, at PREROUTING and FORWARD, and
//! `door` at INPUT, which turns strangers away (`lan.rs`).
//!
//! One table is one life: it comes whole and inactive in one transaction, becomes active in a
//! second one, goes in one, and there is never an IPv4 half without its IPv6 half. (Some kernels
//! let rules act a moment before the sets of the same transaction hold anything. nat in a table
//! of the family inet: since Linux 5.2.)
//!
//! **The owner.** The table has the flag `owner`: it belongs to the netlink socket that made it.
//! Others can neither change nor delete it (EPERM), and their `flush ruleset` passes it by. When
//! the socket closes, whatever the reason, the kernel removes the table. So a killed daemon leaves
//! no rule, and a second one finds out who is there ([`Error::Owned`]). A kernel before 5.12 gets
//! a plain table, which [`cleanup`] or the next start removes.
//!
//! **The dead man's switch** is for the daemon that hangs, and for the one that was killed on an
//! old kernel. The set `alive` holds the two families and forgets them after six seconds. Every way
//! from a base chain to a rule that acts leads over a look into it; a family is a key as good as an
//! address, and a hash of two values is cheaper than a tree of halves of the internet.
//! [`KernelTable::beat`] renews it. [`KernelTable::release`] empties it: a stop is a death with
//! time to drain. Replies of the resolver are not subject to it, so that what was captured is
//! answered.
//!
//! **Renewing.** An element that is added again keeps its old time; one that has to be deleted
//! must be there. So a renewal is an addition, a deletion and an addition, in one transaction,
//! which packets see as one step. (A packet that looks at the very moment of a commit may miss the
//! element on kernels before 6.17: "restart set lookup on base_seq change".)
//!
//! **Transactions.** The kernel carries out a batch whole or not at all, acknowledges the last
//! message, and names the one that failed by its number; [`batch::Batch`] keeps what each was for,
//! so that an error says which rule this kernel cannot do. A batch without an end is tried and
//! taken back: that is [`available`], and `nft -c`.
//!
//! **The network is followed**: what differs is exchanged in one transaction when prefixes or
//! interfaces come and go ([`NftablesRules`]), and when other rules are given. A table without an
//! owner is looked at, and put back.
//!
//! **Two readers of one value.** A [`table::NftTable`] is written as text for people ([`render`])
//! and encoded for the kernel. A test loads the text with nft(8), installs the table by netlink,
//! and holds the kernel's listings and instructions of both against each other.
//!
//! # Source
//! nft(8), linux/netfilter/nf_tables.h, net/netfilter/nf_tables_api.c (nf_tables_commit,
//! nft_rcv_nl_event), nfnetlink.c, nft_ct.c, nf_nat_core.c (nf_nat_inet_fn).

mod asked;
mod batch;
mod connection;
mod direct;
mod error;
mod exempt;
mod expression;
mod filter;
mod flowtable;
mod follow;
mod handle;
pub(super) mod holder;
pub(super) mod kernel_table;
mod lan;
mod matches;
mod message;
mod numbers;
mod offload;
mod offloaded;
mod older;
mod owner;
mod program;
mod reconcile;
pub(super) mod rules;
mod set_encoding;
mod sets;
pub(super) mod table;
mod text;
pub(super) mod trace;
pub(super) mod translation;
mod udp;
mod values;

use super::ruleset::Ruleset;
use crate::family::Family;
use std::fmt::Write;

pub use error::Error;
pub(super) use handle::{NftablesRules, possible};
pub(super) use message::read;
pub use owner::TableOwner;
pub(super) use reconcile::is_closed;
pub use reconcile::{available, cleanup, is_there};

/// The table of these rules in nft's own syntax; `nft -c -f -` takes it. Asks nobody.
pub fn render(ruleset: &Ruleset) -> String {
    let mut text = String::new();
    let uncaptured = Family::ALL.into_iter().filter_map(|family| ruleset.policy.uncaptured(family));
    for why in uncaptured.chain(ruleset.environment.absent_cgroups()) {
        // A String takes every write.
        let _ = writeln!(text, "# {why}");
    }
    let _ = write!(text, "{}", rules::table(ruleset));
    text
}
