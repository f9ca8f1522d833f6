//! The installed rules of iptables turn into others.

use super::handle::{IptablesRules, open, step};
use super::renew;
use super::sets;
use super::table::Part;
use crate::family::Family;
use crate::fault::{self, Step};
use crate::firewall::error::Error;
use crate::firewall::flow::Flow;
use crate::firewall::netlink::ipset::Change;
use crate::firewall::ruleset::Ruleset;
use crate::firewall::sets::names as set_names;
use crate::firewall::tools::Iptables;
use tracing::{debug, warn};

impl IptablesRules {
    /// Turns sets and tables; after an error the old ones are in force. These UDP flows are older
    /// than what the new tables capture first.
    pub(super) fn turn(&self, old: &Ruleset, new: &Ruleset, first: &[Flow]) -> Result<(), Error> {
        let families = &self.sets.families;
        // Not the one over which the resolver tells what it learned.
        let connection = open()?;
        let set = |changes: &[Change]| {
            connection.apply(changes).map_err(|source| Error::Netlink { source })
        };
        let undo_sets = || {
            if let Err(error) = set(&sets::changes(new, old, families)) {
                warn!("the sets are not as they were: {error}; restart snet");
            }
            self.destroy(new, old);
        };
        step(Step::NewSets)?;
        self.ipset.restore(&sets::restore_new(old, new, families))?;
        self.note_older(first, new);
        let turned = step(Step::ChangeSets)
            .and_then(|()| set(&sets::changes(old, new, families)))
            .and_then(|()| self.turn_tables(old, new))
            .inspect_err(|_| undo_sets());
        if turned.is_ok() {
            self.destroy(old, new);
        }
        turned
    }

    /// These flows are older than the capture by these rules.
    pub(super) fn note_older(&self, flows: &[Flow], ruleset: &Ruleset) {
        if flows.is_empty() {
            return;
        }
        let captured = |family: &Family| ruleset.captures_datagrams(*family);
        let families = self.sets.families.iter().copied().filter(captured);
        if let Err(error) = self.ipset.restore(&sets::older(flows, families)) {
            warn!("UDP flows from before the capture may be captured in their middle: {error}");
        }
    }

    pub(super) fn turn_tables(&self, old: &Ruleset, new: &Ruleset) -> Result<(), Error> {
        let mut turned: Vec<(&Iptables, Family, Part)> = Vec::new();
        for (family, tools) in &self.tools {
            for part in renew::order(old, new, *family) {
                let Some(text) = renew::text(part, old, new, *family) else { continue };
                if let Err(error) = step(Step::TurnTable).and_then(|()| tools.restore(&text)) {
                    for (tools, family, part) in turned.into_iter().rev() {
                        let back = renew::text(part, new, old, family).unwrap_or_default();
                        if let Err(error) = tools.restore(&back) {
                            warn!("{tools}: {error}");
                        }
                    }
                    return Err(error);
                }
                turned.push((tools, *family, part));
            }
        }
        Ok(())
    }

    /// Destroys the sets that only the rules of `before` had. One that is busy still goes with the
    /// others at the end.
    fn destroy(&self, before: &Ruleset, after: &Ruleset) {
        fault::pass(Step::DropSets);
        let kept = set_names(after);
        let gone = set_names(before).into_iter().filter(|name| !kept.contains(name));
        if let Err(error) = self.ipset.restore(&sets::destroy(gone)) {
            debug!("{error}");
        }
    }
}
