//! The counters of what the kernel sends directly; the theory is in
//! [`direct`](crate::firewall::direct). A rule counts its packets anyway: that of a label, in the
//! chain of a direction, is the counter.

use super::parts;
use super::table::{DOWN, IptablesChain, IptablesTable, LABEL, Part, TALLY, UP};
use crate::family::Family;
use crate::firewall::direct::{COUNTED, DirectCounts, DirectReason};
use crate::firewall::error::Error;
use crate::firewall::ladder::Destination;
use crate::firewall::ruleset::Ruleset;
use crate::firewall::tools::Iptables;
use tracing::info;

/// The target of a rung of the ladder that lets pass: the connection gets its label on the way.
pub(super) fn let_go(ruleset: &Ruleset, destination: Destination) -> String {
    let reason = match destination {
        Destination::In(set) => DirectReason::of(set),
        Destination::Anywhere => Some(DirectReason::Foreign),
        Destination::Local | Destination::Multicast => None,
    };
    match reason.filter(|_| ruleset.policy.counts_direct) {
        Some(reason) => format!("-g {}", LABEL[reason as usize]),
        None => "-j RETURN".into(),
    }
}

/// The chains in filter that label. The match sets the label, and there is no target: a connection
/// that cannot have one passes all the same.
pub(super) fn labels(ruleset: &Ruleset) -> Vec<IptablesChain> {
    if !ruleset.policy.counts_direct {
        return Vec::new();
    }
    let chain = |reason: DirectReason| {
        let labels = [COUNTED, reason.label()];
        let rules = labels.map(|label| format!("-m connlabel --label {label} --set"));
        IptablesChain { name: LABEL[reason as usize], rules: rules.into() }
    };
    DirectReason::ALL.map(chain).into()
}

/// Adds the chains that count, in mangle.
pub(super) fn tally(ruleset: &Ruleset, mangle: &mut IptablesTable) {
    if !ruleset.policy.counts_direct {
        return;
    }
    let has = |label: u8| format!("-m connlabel --label {label}");
    let gate = vec![
        format!("-m connlabel ! --label {COUNTED} -j RETURN"),
        format!("-m conntrack --ctdir ORIGINAL -g {UP}"),
        format!("-g {DOWN}"),
    ];
    mangle.chains.push(IptablesChain { name: TALLY, rules: gate });
    for name in [UP, DOWN] {
        let rules = DirectReason::ALL.map(|reason| format!("{} -j RETURN", has(reason.label())));
        mangle.chains.push(IptablesChain { name, rules: rules.into() });
    }
    mangle.jumps.extend(Part::tally_jumps());
}

/// What only counting needs of kernel and tools.
fn trial() -> [String; 2] {
    [
        format!("-m connlabel --label {COUNTED} --set"),
        "-m conntrack --ctdir ORIGINAL -j RETURN".into(),
    ]
}

/// The counters cost no start: without what they need the rest goes in.
pub(super) fn possible(ruleset: Ruleset, tools: &[(Family, Iptables)]) -> Ruleset {
    if !ruleset.policy.counts_direct {
        return ruleset;
    }
    match parts::can_count(tools, &trial()) {
        Ok(()) => ruleset,
        Err(why) => {
            info!("what the kernel sends directly is not counted: {why}");
            ruleset.without_counters()
        }
    }
}

/// What the counters say now.
///
/// # Errors
/// A tool says no.
pub(super) fn counted(tools: &[(Family, Iptables)]) -> Result<DirectCounts, Error> {
    let mut counts = DirectCounts::default();
    for (family, tools) in tools {
        read(&tools.save_counted(Some(Part::Mangle.table()))?, *family, &mut counts);
    }
    Ok(counts)
}

/// What the counters of one family say, from the text of `iptables-save -c`.
fn read(saved: &str, family: Family, counts: &mut DirectCounts) {
    for line in saved.lines() {
        let Some((counted, rule)) = line.strip_prefix('[').and_then(|it| it.split_once("] -A "))
        else {
            continue;
        };
        let Some((_, bytes)) = counted.split_once(':') else { continue };
        let mut words = rule.split(' ');
        let chain = words.next();
        let label =
            words.skip_while(|word| *word != "--label").nth(1).map(|it| it.trim_matches('"'));
        let reason = DirectReason::ALL
            .into_iter()
            .find(|reason| label.is_some_and(|it| it == reason.label().to_string()));
        let (Some(reason), Ok(bytes)) = (reason, bytes.parse()) else { continue };
        let of = counts.at(reason, family);
        match chain {
            Some(UP) => of.up = bytes,
            Some(DOWN) => of.down = bytes,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::direct::DirectBytes;

    #[test]
    fn the_counters_are_those_of_the_rules() {
        let saved = r#"*mangle
:SNET-UP - [0:0]
[7:999] -A POSTROUTING -j SNET-TALLY
[3:140] -A SNET-UP -m connlabel --label "97" -j RETURN
[0:0] -A SNET-UP -m connlabel --label "101" -j RETURN
[9:4000] -A SNET-DOWN -m connlabel --label "97" -j RETURN
[1:60] -A SNET-DOWN -m connlabel --label 98 -j RETURN
[5:5] -A OTHER -m connlabel --label "97" -j RETURN
COMMIT
"#;
        let mut counts = DirectCounts::default();
        read(saved, Family::V4, &mut counts);
        let of = |reason| counts.of(reason, Family::V4);
        assert_eq!(of(DirectReason::Domestic), DirectBytes { up: 140, down: 4000 });
        assert_eq!(of(DirectReason::Rule), DirectBytes { up: 0, down: 60 });
        assert_eq!(counts.of(DirectReason::Domestic, Family::V6), DirectBytes::default());
    }
}
