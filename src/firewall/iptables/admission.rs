//! An accept in the chain INPUT of iptables for captured UDP of LAN hosts, while the rules are
//! those of nftables. Where that chain drops (ufw), an accept in another table does not count.
//!
//! It is harmless alone: the mark that it asks for cannot come from the network, and only rules of
//! ours give it. A start and a cleanup know it by its chain.

use super::reconcile::remove_rules_of;
use super::renew;
use super::residue;
use super::residue::Residue;
use super::table::{INPUT, IptablesChain, IptablesTable, Part};
use crate::family::Family;
use crate::firewall::error::Error;
use crate::firewall::ruleset::Ruleset;
use crate::firewall::tools::Iptables;
use crate::mark::Fwmark;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::{debug, warn};

/// What has been let in. Its drop takes the accepts out.
#[derive(Debug, Default)]
pub(in crate::firewall) struct Admission {
    is_there: AtomicBool,
}

impl Admission {
    /// Makes what these rules need, with each variant of iptables in which INPUT has rules, and
    /// takes out what they do not need. What cannot be done is told by who looks for conflicts. To
    /// be called when third-party rules have changed, too.
    pub(in crate::firewall) fn follow(&self, ruleset: &Ruleset) {
        let is_needed =
            |family: Family| ruleset.policy.lan.is_some() && ruleset.captures_datagrams(family);
        for family in Family::ALL {
            let needed = is_needed(family);
            if !needed && !self.is_there.load(Ordering::Relaxed) {
                continue;
            }
            for tools in Iptables::every(family) {
                let done = if needed { admit(&tools) } else { withdraw(&tools).map(|()| false) };
                match done {
                    Ok(admitted) => drop(self.is_there.fetch_or(admitted, Ordering::Relaxed)),
                    Err(error) => debug!("{tools}: {error}"),
                }
            }
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if !self.is_there.load(Ordering::Relaxed) {
            return;
        }
        for tools in Family::ALL.into_iter().flat_map(Iptables::every) {
            if let Err(error) = withdraw(&tools) {
                warn!("{tools}: the accept of captured UDP is left ({error}); run `snet cleanup`");
            }
        }
    }
}

fn accept() -> IptablesTable {
    let captured = format!("-p udp -m mark --mark {}", Fwmark::LAN_DATAGRAMS);
    let accept = IptablesChain { name: INPUT, rules: vec!["-j ACCEPT".into()] };
    IptablesTable {
        part: Part::Filter,
        jumps: vec![format!("INPUT {captured} -j {INPUT}")],
        chains: vec![accept],
    }
}

/// Puts the accept in where INPUT has rules, or drops; says whether it is there then.
fn admit(tools: &Iptables) -> Result<bool, Error> {
    let saved = tools.save()?;
    if !is_guarded(&saved) || residue::unreadable(&saved).contains(&Part::Filter) {
        return Ok(false);
    }
    let wanted = accept();
    let table = Part::Filter.table();
    let found = residue::find(&saved).into_iter().find(|found| found.table == table);
    if found.as_ref().is_some_and(|found| !is_all_of_it(found)) {
        // Rules of an earlier run that keep the network closed: they go as a whole, later.
        return Ok(false);
    }
    let jumps: Vec<&String> = wanted.jumps.iter().collect();
    let is_whole = found.as_ref() == residue::of(std::slice::from_ref(&wanted)).first()
        && residue::is_first(&saved, table, &wanted.jumps[0], &jumps);
    if !is_whole {
        let nothing = Residue { table: table.into(), ..Residue::default() };
        tools.restore(&renew::mended(&found.unwrap_or(nothing), &wanted))?;
    }
    Ok(true)
}

fn withdraw(tools: &Iptables) -> Result<(), Error> {
    remove_rules_of(tools, |left| left.table == Part::Filter.table() && is_all_of_it(left))
}

fn is_all_of_it(found: &Residue) -> bool {
    found.chains.iter().all(|(name, _)| name == INPUT)
}

/// Whether INPUT may drop something.
fn is_guarded(saved: &str) -> bool {
    let filter = saved.lines().skip_while(|line| *line != "*filter");
    let mut filter = filter.take_while(|line| *line != "COMMIT");
    filter.any(|line| line.starts_with(":INPUT DROP") || line.starts_with("-A INPUT "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_chain_that_may_drop_is_opened() {
        assert!(!is_guarded("*filter\n:INPUT ACCEPT [0:0]\n-A OUTPUT -j DROP\nCOMMIT\n"));
        assert!(!is_guarded("*nat\n:INPUT DROP [0:0]\n-A INPUT -j x\nCOMMIT\n"));
        assert!(is_guarded("*filter\n:INPUT DROP [0:0]\nCOMMIT\n"));
        assert!(is_guarded("*nat\nCOMMIT\n*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j x\nCOMMIT\n"));
    }
}
