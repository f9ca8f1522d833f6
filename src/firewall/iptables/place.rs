//! Puts the rules of a family in place, and puts them back when another program took them away.
//!
//! Others flush tables, restore whole files, or insert their own rules before ours: a firewall
//! that is reloaded, docker that is restarted. What is compared is what iptables-save shows: our
//! jumps, our chains, the number of rules in each. In filter and mangle our jumps have to be the
//! first, since a rule of another program that accepts ends the walk; in nat whoever stands before
//! us is let be.

use super::old_nat;
use super::renew;
use super::residue;
use super::residue::Residue;
use super::rules;
use super::table::Part;
use super::text;
use crate::family::Family;
use crate::fault::{self, Step};
use crate::firewall::error::Error;
use crate::firewall::ruleset::Ruleset;
use crate::firewall::tools::Iptables;

/// Installs the rules of one family and compares what is there with what should be.
///
/// # Errors
/// What the tools say; [`Error::Foreign`], [`Error::Unverified`].
pub(in crate::firewall) fn put(
    ruleset: &Ruleset,
    family: Family,
    iptables: &Iptables,
) -> Result<(), Error> {
    refuse_foreign(&iptables.save()?, ruleset, family)?;
    step(Step::PutTables)?;
    iptables.restore(&old_nat::completed(text::restore(ruleset, family), family, iptables))?;
    verify(ruleset, family, iptables)
}

/// The same in the place of rules that are there, table by table, each in one commit.
///
/// # Errors
/// As [`put`].
pub(in crate::firewall) fn turn(
    ruleset: &Ruleset,
    family: Family,
    iptables: &Iptables,
) -> Result<(), Error> {
    let saved = iptables.save()?;
    refuse_foreign(&saved, ruleset, family)?;
    step(Step::PutTables)?;
    let found = residue::find(&saved);
    for table in rules::tables(ruleset, family) {
        let nothing = Residue { table: table.part.table().into(), ..Residue::default() };
        let there = found.iter().find(|there| there.table == nothing.table);
        let text = renew::mended(there.unwrap_or(&nothing), &table);
        iptables.restore(&old_nat::completed(text, family, iptables))?;
    }
    verify(ruleset, family, iptables)
}

fn step(step: Step) -> Result<(), Error> {
    fault::at(step).map_err(|source| Error::Netlink { source })
}

fn verify(ruleset: &Ruleset, family: Family, iptables: &Iptables) -> Result<(), Error> {
    step(Step::LookAtTables)?;
    let saved = iptables.save()?;
    let wanted = residue::of(&rules::tables(ruleset, family));
    match missing(&wanted, &residue::find(&saved)) {
        None => Ok(()),
        Some(table) => Err(Error::Unverified {
            family: family.to_string(),
            command: text::command(family),
            missing: format!("table {}", table.table),
        }),
    }
}

/// Puts back what is missing or overtaken; says what it was.
///
/// # Errors
/// As [`put`].
pub(in crate::firewall) fn repair(
    ruleset: &Ruleset,
    family: Family,
    iptables: &Iptables,
) -> Result<Option<String>, Error> {
    let saved = iptables.save()?;
    refuse_foreign(&saved, ruleset, family)?;
    let tables = rules::tables(ruleset, family);
    let (wanted, found) = (residue::of(&tables), residue::find(&saved));
    let is_damaged = |part: Part, wanted: &Residue| {
        !is_whole(wanted, &found)
            || part == Part::Nat && old_nat::is_incomplete(&saved, family, iptables)
    };
    let damaged = tables.iter().zip(&wanted);
    let damaged: Vec<_> =
        damaged.filter(|(table, wanted)| is_damaged(table.part, wanted)).collect();
    if !damaged.is_empty() {
        // Only these, and each in one commit: what nobody has touched captures all the while.
        for (table, wanted) in &damaged {
            let nothing = Residue { table: wanted.table.clone(), ..Residue::default() };
            let there = found.iter().find(|there| there.table == wanted.table);
            let text = renew::mended(there.unwrap_or(&nothing), table);
            iptables.restore(&old_nat::completed(text, family, iptables))?;
        }
        let names: Vec<&str> = damaged.iter().map(|(_, wanted)| wanted.table.as_str()).collect();
        return Ok(Some(format!("{family} rules in {} were gone", names.join(", "))));
    }
    let mut told = None;
    for table in [Part::Filter, Part::Mangle].map(Part::table) {
        let ours = wanted.iter().filter(|wanted| wanted.table == table);
        let jumps: Vec<&String> = ours.flat_map(|table| &table.jumps).collect();
        // To count, it does not matter who stands before us.
        let counts = |jump: &String| Part::tally_jumps().contains(jump);
        let is_overtaken =
            |jump: &&String| !counts(jump) && !residue::is_first(&saved, table, jump, &jumps);
        let overtaken: Vec<&String> = jumps.iter().copied().filter(is_overtaken).collect();
        if overtaken.is_empty() {
            continue;
        }
        let moves = overtaken.iter().map(|jump| format!("-D {jump}\n-I {jump}\n"));
        let moves: String = moves.collect();
        iptables.restore(&format!("*{table}\n{moves}COMMIT\n"))?;
        told = Some(format!("other {family} rules stood before ours in table {table}"));
    }
    Ok(told)
}

/// Where these rules have a part.
fn refuse_foreign(saved: &str, ruleset: &Ruleset, family: Family) -> Result<(), Error> {
    let tables = rules::tables(ruleset, family);
    let has_part = |part: &Part| tables.iter().any(|table| table.part == *part);
    match residue::unreadable(saved).into_iter().find(has_part) {
        Some(part) => Err(Error::Foreign { family: family.to_string(), table: part.table() }),
        None => Ok(()),
    }
}

/// The first table in which not all is there, or too much.
fn missing<'a>(wanted: &'a [Residue], found: &[Residue]) -> Option<&'a Residue> {
    wanted.iter().find(|wanted| !is_whole(wanted, found))
}

fn is_whole(wanted: &Residue, found: &[Residue]) -> bool {
    found.iter().any(|there| {
        there.table == wanted.table
            && there.jumps.len() == wanted.jumps.len()
            && wanted.chains.iter().all(|chain| there.chains.contains(chain))
    })
}
