//! A network that an earlier run left closed ([`OnFailure::Closed`](super::OnFailure::Closed)) and
//! that stays so while the next one starts: its sets and tables are not removed and made anew, but
//! turned into the new ones, each in one step of the kernel's.
//!
//! A set is filled beside the old one and swapped (ipset(8): "swap"), a table is committed whole
//! (`place::turn`). What the new rules have no use for goes last.

use super::reconcile::remove_rules_of;
use super::residue;
use super::residue::Residue;
use super::rules;
use super::sets;
use super::table::CLOSED;
use super::table::IptablesTable;
use crate::family::Family;
use crate::firewall::error::Error;
use crate::firewall::names::PREFIX;
use crate::firewall::ruleset::Ruleset;
use crate::firewall::sets::names as set_names;
use crate::firewall::tools::{Ipset, Iptables};
use tracing::debug;

/// Whether any variant of iptables holds rules that an earlier run left closed.
///
/// # Errors
/// What the tools say.
pub(in crate::firewall) fn is_anything_closed() -> Result<bool, Error> {
    for family in Family::ALL {
        for tools in Iptables::every(family) {
            if holds_closed(&tools)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn holds_closed(tools: &Iptables) -> Result<bool, Error> {
    let saved = match tools.save() {
        // A kernel without nf_tables, or without IPv6.
        Err(error) if error.is_unsupported() => return Ok(false),
        saved => saved?,
    };
    // A stop takes the jumps out first: without them the network is open.
    let is_closed = |left: &Residue| {
        !left.jumps.is_empty() && left.chains.iter().any(|(name, _)| name == CLOSED)
    };
    Ok(residue::find(&saved).iter().any(is_closed))
}

/// Makes and fills all sets of these rules; one that is there is exchanged at one moment.
pub(in crate::firewall) fn sets(
    ruleset: &Ruleset,
    families: &[Family],
    ipset: &Ipset,
) -> Result<(), Error> {
    let there = ipset.names()?;
    ipset.restore(&sets::exchange(ruleset, families, &there))
}

/// Removes what is there of ours and not of these rules: tables and sets of the other mode or the
/// other variant. What stays is harmless, and a stop finds it.
pub(in crate::firewall) fn remove_others(
    ruleset: &Ruleset,
    used: &[(Family, Iptables)],
    ipset: &Ipset,
) {
    let mut results = Vec::new();
    for family in Family::ALL {
        for tools in Iptables::every(family) {
            let wanted: Vec<IptablesTable> =
                match used.iter().any(|(_, used)| used.is_alike(&tools)) {
                    true => rules::tables(ruleset, family),
                    false => Vec::new(),
                };
            let of_no_use =
                |left: &Residue| wanted.iter().all(|table| table.part.table() != left.table);
            results.push(remove_rules_of(&tools, of_no_use));
        }
    }
    let names = set_names(ruleset);
    results.push(ipset.names().and_then(|there| {
        let ours = there.into_iter().filter(|name| name.starts_with(PREFIX));
        ipset.restore(&sets::destroy(ours.filter(|name| !names.contains(name))))
    }));
    for error in results.into_iter().filter_map(Result::err) {
        debug!("what an earlier run left is not all gone: {error}");
    }
}
