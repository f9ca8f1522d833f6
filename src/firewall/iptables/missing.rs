//! What another program emptied or destroyed, by the number of entries in each set. Pure.

use super::sets::create;
use crate::family::Family;
use crate::firewall::ruleset::Ruleset;
use crate::firewall::sets::{Set, SetKind};
use std::collections::HashMap;
use std::fmt::Write;

/// What has to be made or filled again, and the text that does it.
#[derive(Debug, Default)]
pub(in crate::firewall) struct Missing {
    pub(in crate::firewall) names: Vec<String>,
    pub(in crate::firewall) text: String,
}

impl Missing {
    pub(in crate::firewall) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// Compares the number of entries in each set with what should be there.
pub(in crate::firewall) fn missing(
    ruleset: &Ruleset,
    families: &[Family],
    counts: &HashMap<String, u32>,
) -> Missing {
    let mut missing = Missing::default();
    for family in families {
        for set in Set::of(ruleset) {
            let name = set.name(*family);
            let wanted = match set.kind() {
                // Renewed by every beat, told by the resolver, or added by the packets.
                SetKind::Switch | SetKind::Expiring | SetKind::Flows { .. } => 0,
                _ => set.size(ruleset, *family),
            };
            match counts.get(&name) {
                Some(count) if usize::try_from(*count).unwrap_or(usize::MAX) >= wanted => continue,
                Some(_) => {
                    for entry in set.content(ruleset, *family) {
                        // A String takes every write.
                        let _ = writeln!(missing.text, "add {name} {entry} -exist");
                    }
                }
                None => missing.text.push_str(&create(&[set], ruleset, &[*family])),
            }
            missing.names.push(name);
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::environment::lan::Interface;
    use crate::firewall::tests::router;
    use crate::ipset::IpSet;

    /// What `ipset list -terse` would say.
    fn counts(ruleset: &Ruleset) -> HashMap<String, u32> {
        let all = Family::ALL
            .into_iter()
            .flat_map(|family| Set::of(ruleset).into_iter().map(move |set| (set, family)));
        all.map(|(set, family)| {
            (set.name(family), u32::try_from(set.content(ruleset, family).len()).unwrap())
        })
        .collect()
    }

    #[test]
    fn what_is_missing_is_made_or_filled() {
        let ruleset = router();
        let mut counts = counts(&ruleset);
        assert!(missing(&ruleset, &Family::ALL, &counts).is_empty());
        counts.insert("snet-china4".into(), 0);
        counts.remove("snet-lan6");
        let missing = missing(&ruleset, &Family::ALL, &counts);
        assert_eq!(missing.names, ["snet-china4", "snet-lan6"]);
        assert!(missing.text.contains("add snet-china4 203.0.113.0/24 -exist\n"));
        assert!(missing.text.contains("create snet-lan6 hash:net,iface family inet6"));
        // One family has no rules: nothing of it is missing.
        assert_eq!(super::missing(&ruleset, &[Family::V6], &counts).names, ["snet-lan6"]);
    }

    #[test]
    fn what_does_not_fit_is_not_missing() {
        let mut ruleset = router();
        let lan = &mut ruleset.environment.lan;
        lan.interfaces.extend((0..70).map(|number| Interface {
            name: format!("d{number}"),
            captured: [true, true],
            on_link: IpSet::default(),
            is_bridge: true,
        }));
        let mut counts = counts(&ruleset);
        counts.insert("snet-lan4".into(), 64);
        assert!(missing(&ruleset, &Family::ALL, &counts).is_empty());
    }
}
