//! The backend of the tools iptables (nft or legacy, whichever `iptables-restore` is) and ipset.
//!
//! # Theory of operation
//!
//! Three tables work together, IPv4 and IPv6 alike. A chain `SNET` of each is entered from OUTPUT
//! (the other chains are listed in `table.rs`):
//!
//! | table | what it does |
//! |---|---|
//! | raw | captured UDP queries and our replies to them get a conntrack zone of their own |
//! | filter | rejects: `block`, foreign QUIC, foreign IPv6 if blocked, a family that is lost |
//! | nat | redirects: DNS to the resolver, foreign TCP to the redirect port |
//!
//! - **Only connections that begin are judged** in filter and nat: TCP by its SYN, anything else by
//!   conntrack state NEW. Loose pick-up makes a living TCP connection NEW too; without `--syn` the
//!   start would kill them all.
//! - **The zone**: a conntrack entry of UDP outlives the rules, and each retry refreshes it. A
//!   client that keeps its source port would keep its old server after the start, and would be
//!   sent to a dead port after the stop. In a zone of its own a query never meets an entry from
//!   the time before, and leaves none for the time after. Packets over loopback keep their
//!   conntrack entry on the way in (nf_conntrack_in: "Previously seen (loopback)"), so raw
//!   PREROUTING needs no rule.
//! - **One ladder of destinations** (`firewall/ladder.rs`) gives the order in nat and in filter, so
//!   that what is redirected and what is rejected can never disagree.
//! - **A reject is seen twice by a local UDP socket**: the send fails with EPERM, and the next
//!   call with ECONNREFUSED (the ICMP message). TCP sees ECONNREFUSED.
//! - **Reject and redirect** are different tables: nat has no REJECT. nat lets blocked
//!   destinations pass, filter comes next and rejects them.
//!
//! - **Sockets bound to a device** reach a redirect by routes of ours
//!   (`firewall/device_routes.rs`).
//!
//! - **Exempt programs** of this machine (`exempt_programs.rs`) pass where snet's own packets do.
//!
//! - **The dead man's switch**: a rule before all that captures lets everything pass unless a set
//!   holds the destination, and that set holds all of them, for
//!   [`RULE_LIFETIME`](crate::firewall::RULE_LIFETIME). Only the heartbeat renews it
//!   ([`Installed::beat`](crate::firewall::Installed::beat)). A daemon that was killed, that hangs
//!   or is stopped so lets the network go; with `firewall.on-failure = "closed"` filter rejects
//!   what is foreign instead.
//! - **One family beside the other**: one that cannot be captured is rejected while the other one
//!   is (`Switch::Reject` in `firewall/switch.rs`), by a second set that has to be renewed like the
//!   first.
//! - **The proof** (`probe.rs`): one foreign address is redirected at any time, whether
//!   the rules are active or not, so that the daemon sees whether others let through what we
//!   redirect before it activates the rules, and at every beat.
//!
//! # Router mode
//!
//! The same chains are entered from PREROUTING (raw, nat) and FORWARD (filter) by a chain
//! `SNET-LAN`, which lets go what does not come from the LAN side (`lan.rs` of this folder):
//!
//! - **The LAN side is a set** of interfaces (hash:net,iface), and so are the prefixes on their
//!   links, so that an interface comes and goes without a change of any rule.
//! - **Only what is to be forwarded out is captured**: a destination of this machine passes on the
//!   first rung, ports that docker or a router forwards among them, whose DNAT comes behind us.
//!   What comes in from an uplink is not looked at, and the replies to it are not NEW.
//! - **A redirect leads to the first address of the incoming interface**, so the daemon listens on
//!   `::`; `SNET-INPUT` accepts what was redirected, and drops non-LAN hosts' packets that were
//!   not.
//! - **Queries to another host on the same link** pass: with br_netfilter they are seen although a
//!   bridge only passes them on.
//! - **The network is followed** (`firewall/monitor/`), and rules that another program takes away
//!   are put back (`place.rs`).
//!
//! # Life cycle
//!
//! Install: remove left-overs of any state (what a closed network left is taken over in place,
//! `adopt.rs`), load all sets by one `ipset restore`, then the rules of a family by one
//! `iptables-restore --noflush`, in each table the jump last, the redirecting table last. Remove:
//! read the tables, take out what is ours, nat first; then the sets, which are busy as long as a
//! rule names them. Removing needs no memory: it is the same code for a stop, for a cleanup and for
//! what a killed start left behind. A stop has two halves, `release` and `remove` of
//! [`Installed`](crate::firewall::Installed), with the drain between them: a captured connection
//! needs conntrack to its end, and on many machines nobody but our rules asks for it.
//!
//! # Source
//! iptables-extensions(8), ipset(8), net/netfilter/nf_conntrack_core.c, xt_CT.c, nf_nat_redirect.c.

pub(super) mod admission;
pub(super) mod adopt;
mod datagrams;
mod direct;
pub(super) mod families;
mod filter;
mod follow;
mod handle;
mod lan;
mod matches;
mod missing;
mod old_nat;
pub(super) mod parts;
mod place;
pub(super) mod reconcile;
mod renew;
pub(super) mod residue;
pub(super) mod rules;
pub(super) mod sets;
pub(super) mod table;
pub(super) mod text;
mod turn;

pub(super) use handle::IptablesRules;

use crate::family::Family;
use crate::firewall::ruleset::Ruleset;
use std::fmt::Write;

/// Exactly what an installation of these rules gives to the tools, in order, and what its removal
/// does. Asks neither kernel nor tools.
pub(super) fn render(ruleset: &Ruleset) -> String {
    let mut text = format!("# {}\n{}", sets::COMMAND, sets::restore(ruleset, &Family::ALL));
    for family in Family::ALL {
        if let Some(why) = ruleset.policy.uncaptured(family) {
            // A String takes every write.
            let _ = writeln!(text, "\n# {why}");
        }
        let command = text::command(family);
        let _ = write!(text, "\n# {command}\n{}", text::restore(ruleset, family));
    }
    for why in ruleset.environment.absent_cgroups() {
        let _ = writeln!(text, "\n# {why}");
    }
    text.push_str("\n# A stop, and `snet cleanup`, find what is there and remove it:\n");
    for family in Family::ALL {
        let found = residue::of(&rules::tables(ruleset, family));
        let _ = write!(text, "# {}\n{}", text::command(family), residue::removal(&found));
    }
    let _ = write!(
        text,
        "# {}\n{}",
        sets::COMMAND,
        sets::destroy(crate::firewall::sets::names(ruleset))
    );
    text
}
