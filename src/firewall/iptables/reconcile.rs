//! From whatever state to none: removes every chain, jump and set of ours.
//!
//! The order is fixed: jumps, chains, sets. A set that a rule names is busy.

use super::residue;
use super::residue::Residue;
use super::sets;
use crate::family::Family;
use crate::fault::{self, Step};
use crate::firewall::error::Error;
use crate::firewall::names::PREFIX;
use crate::firewall::tools::{Ipset, Iptables};
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};
use tracing::debug;

/// How often the tables are read again because they changed between reading and writing.
const ATTEMPTS: usize = 3;

/// How long all is tried again while a tool fails, which is mostly a set in use. A tool outlives a
/// snet that is killed: its last rules can come between our look at the tables and the sets
/// (seen). And the kernel may free the rules of iptables-nft after the commit, in a work queue
/// (nf_tables_trans_destroy_work; not seen on 6.18).
const BUSY: Duration = Duration::from_secs(5);

/// What was found and removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CleanedRules {
    /// Chains and the jumps to them, each with its tool and table.
    rules: Vec<String>,
    /// Names of sets.
    sets: Vec<String>,
}

impl CleanedRules {
    /// Whether there was nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.sets.is_empty()
    }
}

impl fmt::Display for CleanedRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing to clean");
        }
        for rule in &self.rules {
            writeln!(f, "removed {rule}")?;
        }
        match self.sets.as_slice() {
            [] => write!(f, "no set was left"),
            sets => write!(f, "removed {} sets: {}", sets.len(), sets.join(" ")),
        }
    }
}

/// Removes every rule and set that any snet left in the kernel, in both variants of iptables and
/// both families. Needs neither configuration nor memory.
///
/// # Errors
/// What the tools say. Tools that are not installed cannot have left anything.
pub fn cleanup() -> Result<CleanedRules, Error> {
    let mut cleaned = CleanedRules::default();
    let deadline = Instant::now() + BUSY;
    loop {
        match remove_all(&mut cleaned) {
            Err(error @ Error::Failed { .. }) if Instant::now() < deadline => {
                debug!("trying again: {error}");
                thread::sleep(Duration::from_millis(20));
            }
            result => return result.map(|()| cleaned),
        }
    }
}

fn remove_all(cleaned: &mut CleanedRules) -> Result<(), Error> {
    let step = |step| fault::at(step).map_err(|source| Error::Netlink { source });
    step(Step::CleanRules)?;
    let mut first_error = Ok(());
    for family in Family::ALL {
        for tools in Iptables::every(family) {
            // One tool that fails must not keep the others from their work.
            first_error = first_error.and(remove_rules(&tools, cleaned));
        }
    }
    match Ipset::find() {
        Ok(ipset) => {
            step(Step::CleanSets)?;
            first_error.and(remove_sets(&ipset, cleaned))
        }
        Err(_) => first_error,
    }
}

/// Takes the jumps out and leaves the chains: nothing that begins is captured any more. What was
/// captured goes on, since the rules in the chains keep conntrack at work.
pub(in crate::firewall) fn detach() -> Result<(), Error> {
    let mut first_error = Ok(());
    for family in Family::ALL {
        for tools in Iptables::every(family) {
            let detached = change(&tools, residue::detachment, |_| {}).map(drop);
            first_error = first_error.and(detached);
        }
    }
    first_error
}

/// Removes the rules of ours that these tools see.
pub(in crate::firewall) fn withdraw(tools: &Iptables) -> Result<(), Error> {
    remove_rules(tools, &mut CleanedRules::default())
}

/// Removes those tables' parts of ours that these tools see and that are meant.
pub(in crate::firewall) fn remove_rules_of(
    tools: &Iptables,
    is_meant: impl Fn(&Residue) -> bool,
) -> Result<(), Error> {
    let found: Vec<Residue> = residue::find(&tools.save()?).into_iter().filter(is_meant).collect();
    if found.is_empty() { Ok(()) } else { tools.restore(&residue::removal(&found)) }
}

fn remove_rules(tools: &Iptables, cleaned: &mut CleanedRules) -> Result<(), Error> {
    let saved = change(tools, residue::removal, |found| {
        cleaned.rules.extend(found.iter().map(|left| describe(tools, left)));
    })?;
    for part in residue::unreadable(&saved) {
        let acts = residue::blind_removal(part);
        let worked = acts.iter().filter(|act| tools.restore(act).is_ok()).count();
        if worked > 0 {
            cleaned.rules.push(format!("{tools} {}: what was of ours", part.table()));
        }
    }
    Ok(())
}

/// Reads the tables and applies `text` of what is found there, until it has nothing to say.
/// Returns what was read last.
fn change(
    tools: &Iptables,
    text: fn(&[Residue]) -> String,
    mut done: impl FnMut(&[Residue]),
) -> Result<String, Error> {
    let mut saved = String::new();
    for attempt in 1..=ATTEMPTS {
        saved = match tools.save() {
            // A kernel without nf_tables, or without IPv6: nothing can be left there.
            Err(error) if error.is_unsupported() => String::new(),
            saved => saved?,
        };
        let found = residue::find(&saved);
        let text = text(&found);
        if text.is_empty() {
            break;
        }
        match tools.restore(&text) {
            Ok(()) => done(&found),
            Err(error) if attempt < ATTEMPTS => debug!("reading {tools} again: {error}"),
            Err(error) => return Err(error),
        }
    }
    Ok(saved)
}

fn describe(tools: &Iptables, left: &Residue) -> String {
    let chains: Vec<&str> = left.chains.iter().map(|(name, _)| name.as_str()).collect();
    let (jumps, table) = (left.jumps.len(), &left.table);
    let plural = if jumps == 1 { "" } else { "s" };
    format!("{tools} {table}: {jumps} jump{plural}, chains {}", chains.join(" "))
}

fn remove_sets(ipset: &Ipset, cleaned: &mut CleanedRules) -> Result<(), Error> {
    let mut left = ipset.names()?;
    left.retain(|name| name.starts_with(PREFIX));
    if left.is_empty() {
        return Ok(());
    }
    let removed = ipset.restore(&sets::destroy(left.iter().cloned()));
    left.retain(|name| !cleaned.sets.contains(name));
    cleaned.sets.append(&mut left);
    removed
}
