//! The parts of kernel and tools that only the capture of UDP needs. Distributions have them in
//! packages of their own, OpenWrt for instance: where one is missing, nothing else is lost.
//!
//! They are tried: a chain that no packet enters, and a set that no other rule names, are made and
//! removed. A start does so only when its rules were refused, since it costs some calls of the
//! tools. Where all of it fails each part is tried for itself, to find which one it is.

use super::sets;
use super::table::{Part, TRIAL};
use crate::family::Family;
use crate::firewall::error::Error;
use crate::firewall::names::PREFIX;
use crate::firewall::ruleset::Ruleset;
use crate::firewall::tools::{Ipset, Iptables};
use crate::mark::Fwmark;
use std::time::Duration;
use tracing::debug;

/// A rule, and what it needs.
struct DatagramPart {
    table: Part,
    rule: fn(Family) -> String,
    /// In words for the operator.
    name: &'static str,
}

const PARTS: [DatagramPart; 4] = [
    DatagramPart {
        table: Part::Raw,
        rule: |family| {
            format!("-j SET --add-set {} src,src,dst --exist --timeout 1", trial_set(family))
        },
        name: "the target SET (module xt_set; on OpenWrt: kmod-ipt-ipset)",
    },
    DatagramPart {
        table: Part::Raw,
        rule: |_| "-j CT --notrack".into(),
        name: "the target CT (module xt_CT; on OpenWrt: kmod-ipt-raw, kmod-ipt-conntrack and \
               iptables-mod-conntrack-extra)",
    },
    DatagramPart {
        table: Part::Mangle,
        rule: |_| format!("-j MARK --set-xmark {}", Fwmark::OWN_DATAGRAMS),
        name: "the target MARK (module xt_mark; on OpenWrt: kmod-ipt-core)",
    },
    DatagramPart {
        table: Part::Mangle,
        rule: |family| format!("-p udp -j TPROXY --on-port 1 --on-ip {}", family.loopback()),
        name: "the target TPROXY (module xt_TPROXY; on OpenWrt: kmod-ipt-tproxy and \
               iptables-mod-tproxy)",
    },
];

/// These rules as far as these tools and this kernel can: where a part is missing, UDP that was to
/// be captured is rejected.
pub(in crate::firewall) fn possible(
    mut ruleset: Ruleset,
    ipset: &Ipset,
    tools: &[(Family, Iptables)],
) -> Ruleset {
    for (family, tools) in tools {
        if ruleset.captures_datagrams(*family)
            && let Some(missing) = missing(*family, ipset, tools)
        {
            ruleset.environment.datagrams.without(&[*family], &missing);
        }
    }
    ruleset
}

/// Whether these tools and this kernel can count what goes directly by such rules; why not. `Ok`
/// also where it cannot be told.
pub(super) fn can_count(tools: &[(Family, Iptables)], rules: &[String]) -> Result<(), String> {
    let name = "labels of connections (module xt_connlabel; on OpenWrt: kmod-ipt-conntrack-label \
                and iptables-mod-conntrack-label)";
    for (_, tools) in tools {
        let table = Part::Mangle.table();
        let rules: String = rules.iter().map(|rule| format!("-A {TRIAL} {rule}\n")).collect();
        let made = tools.restore(&format!("*{table}\n:{TRIAL} - [0:0]\n{rules}COMMIT\n"));
        // Where it was never made that fails; whatever is left, a start and a stop find it.
        let _ = tools.restore(&format!("*{table}\n-F {TRIAL}\n-X {TRIAL}\nCOMMIT\n"));
        if let Err(error) = made
            && let Some(why) = lack(name, &error)
        {
            return Err(why);
        }
    }
    Ok(())
}

/// The same with the tools of this system, where it has them.
pub(in crate::firewall) fn possible_here(ruleset: Ruleset) -> Ruleset {
    let tools = |family| Some((family, Iptables::of_system(family).ok()?));
    let tools: Vec<_> = Family::ALL.into_iter().filter_map(tools).collect();
    match Ipset::find() {
        Ok(ipset) => possible(ruleset, &ipset, &tools),
        Err(_) => ruleset,
    }
}

/// What is missing. `None` also where it cannot be told, for example without the rights: whoever
/// installs the rules hears of it.
fn missing(family: Family, ipset: &Ipset, tools: &Iptables) -> Option<String> {
    let trial = Trial { family, ipset, tools };
    let set = sets::flows(&trial_set(family), family, Duration::from_secs(1));
    if let Err(error) = ipset.restore(&set) {
        let name = "the set type hash:ip,port,ip (module ip_set_hash_ipportip; on OpenWrt: \
                    kmod-ipt-ipset)";
        return lack(name, &error);
    }
    let all = PARTS.iter().collect::<Vec<_>>();
    let error = trial.attempt(&all).err()?;
    debug!("what is missing for the capture of {family} UDP? {error}");
    for part in &PARTS {
        let Err(error) = trial.attempt(&[part]) else { continue };
        // Any rule at all in this table?
        let nothing = DatagramPart { rule: |_| "-j RETURN".into(), ..*part };
        return match trial.attempt(&[&nothing]) {
            Ok(()) => lack(part.name, &error),
            Err(error) if part.table == Part::Mangle => {
                lack("the table mangle (module iptable_mangle or ip6table_mangle)", &error)
            }
            // Nothing goes without raw.
            Err(_) => None,
        };
    }
    None
}

fn lack(name: &str, error: &Error) -> Option<String> {
    match error {
        Error::Failed { said, .. } if !error.is_locked_out() => {
            Some(format!("iptables or the kernel lacks {name}: {said}"))
        }
        _ => None,
    }
}

fn trial_set(family: Family) -> String {
    format!("{PREFIX}trial{}", family.digit())
}

/// Its drop removes what was made.
struct Trial<'a> {
    family: Family,
    ipset: &'a Ipset,
    tools: &'a Iptables,
}

impl Trial<'_> {
    fn attempt(&self, parts: &[&DatagramPart]) -> Result<(), Error> {
        let tables = [Part::Raw, Part::Mangle].map(|table| {
            let rules = parts.iter().filter(|part| part.table == table);
            let rules = rules.map(|part| format!("-A {TRIAL} {}\n", (part.rule)(self.family)));
            (table, rules.collect::<String>())
        });
        let used = tables.into_iter().filter(|(_, rules)| !rules.is_empty());
        let text: String = used
            .map(|(table, rules)| format!("*{}\n:{TRIAL} - [0:0]\n{rules}COMMIT\n", table.table()))
            .collect();
        self.tools.restore(&text)
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        for table in [Part::Raw, Part::Mangle] {
            let text = format!("*{}\n-F {TRIAL}\n-X {TRIAL}\nCOMMIT\n", table.table());
            // Where it was never made that fails; whatever is left, a start and a stop find it.
            let _ = self.tools.restore(&text);
        }
        let _ = self.ipset.restore(&sets::destroy([trial_set(self.family)]));
    }
}
