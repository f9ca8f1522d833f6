//! What around us will not work together with the rules, each in one line with its remedy.
//!
//! Looked at at the start, by a reload, and when others change their rules or the network does;
//! where no notification tells of that (iptables-legacy), what was found is looked for again each
//! minute. So each is a warning that stands until it is over.
//! Nothing of it is an error: others may know what they do, and what is read here is a guess from
//! their rules.

mod datagrams;

use crate::family::Family;
use crate::firewall::environment::lan::LanSide;
use crate::firewall::ruleset::Ruleset;
use crate::firewall::third_party::from_tools::native_rules;
use crate::firewall::tools::Iptables;
use crate::mark::Fwmark;
use std::fs;
use std::path::Path;

/// All of them, one line each. `opens`: our rules open our ports in the tables of iptables, where
/// an accept of nf_tables does not count.
pub(in crate::firewall) fn all(
    ruleset: &Ruleset,
    tools: &[(Family, Iptables)],
    opens: bool,
) -> Vec<String> {
    let mut conflicts = Vec::new();
    for (family, tools) in tools {
        // What cannot be read is told by whoever needs it.
        let saved = tools.save().unwrap_or_default();
        if ruleset.policy.lan.is_some() && !opens {
            conflicts
                .extend(shut(&saved, &ruleset.environment.lan, "--ctstate DNAT").map(|interface| {
                format!(
                    "{tools} drops what comes in by {interface} by policy; if LAN hosts find ports \
                     {} and {} closed: {tools} -I INPUT -m conntrack --ctstate DNAT -j ACCEPT",
                    ruleset.policy.tcp_port, ruleset.policy.dns_port
                )
            }));
        }
        conflicts.extend(datagrams::of_tables(ruleset, (*family, tools), &saved, opens));
        conflicts.extend(overwritten(&saved, ruleset.policy.mark).map(|rule| {
            format!(
                "{tools}: the rule `{rule}` in table mangle overwrites snet's mark {}: if snet's own \
                 connections are captured, give it a mask without that bit (--nfmask, --set-xmark)",
                ruleset.policy.mark
            )
        }));
    }
    conflicts.extend(ruleset.environment.datagrams.told(&ruleset.policy));
    conflicts.extend(ruleset.environment.offload.told(&ruleset.policy));
    if opens {
        conflicts.extend(datagrams::reverse_path(ruleset));
    }
    let native = native_rules();
    conflicts.extend(datagrams::tunnels(ruleset, &native));
    conflicts.extend(datagrams::of_native(ruleset, &native));
    if ruleset.policy.uncaptured(Family::V6).is_none() {
        conflicts.extend(unreachable_loopback(&native).map(|table| {
            format!(
                "nft table {table} rejects what is redirected to ::1, so captured IPv6 connections of \
                 this machine fail: with firewalld, set RFC3964_IPv4=no in \
                 /etc/firewalld/firewalld.conf and run firewall-cmd --reload"
            )
        }));
    }
    if let Some(wanted) = &ruleset.policy.lan {
        let lan = &ruleset.environment.lan;
        conflicts.extend(lan.conflicts(wanted));
        conflicts.extend(forwarding(lan));
        conflicts.extend(bridged(lan));
        let ports = [ruleset.policy.tcp_port, ruleset.policy.dns_port];
        conflicts.extend(closed(&native, lan, "ct status dnat").map(
            |(table, chain, interface)| {
                format!(
                    "nft table {table} drops what comes in by {interface} unless a rule of its own \
                 accepts it; if LAN hosts find ports {} and {} closed: nft insert rule {table} \
                 {chain} ct status dnat accept",
                    ports[0], ports[1]
                )
            },
        ));
    }
    conflicts
}

/// Those that come with other rules.
pub(in crate::firewall) fn between(
    old: &Ruleset,
    new: &Ruleset,
    tools: &[(Family, Iptables)],
    opens: bool,
) -> Vec<String> {
    let asked = |ruleset: &Ruleset| {
        let Ruleset { policy, environment } = ruleset;
        let lan = (policy.lan.clone(), environment.lan.clone());
        let datagrams = (policy.quic, policy.udp, environment.datagrams.clone());
        let offload = environment.offload.told(policy);
        (lan, datagrams, offload, policy.ipv6, policy.listeners.clone())
    };
    if asked(old) == asked(new) {
        return Vec::new();
    }
    let known = all(old, tools, opens);
    let mut conflicts = all(new, tools, opens);
    conflicts.retain(|conflict| !known.contains(conflict));
    conflicts
}

/// The rules on the way of our own packets that set bits of our mark.
fn overwritten(saved: &str, mark: Fwmark) -> impl Iterator<Item = &str> {
    let mangle = saved.lines().skip_while(|line| *line != "*mangle");
    let rules = mangle.take_while(|line| *line != "COMMIT").filter_map(|l| l.strip_prefix("-A "));
    rules.filter(move |rule| {
        const ELSEWHERE: [&str; 4] = ["PREROUTING", "INPUT", "FORWARD", "POSTROUTING"];
        let mut words = rule.split_whitespace();
        let passes_by = words.next().is_some_and(|chain| ELSEWHERE.contains(&chain));
        let mask = words
            .skip_while(|word| !matches!(*word, "--nfmask" | "--set-xmark"))
            .nth(1)
            .map(|value| value.rsplit('/').next().unwrap_or(value).trim_start_matches("0x"))
            .and_then(|mask| u32::from_str_radix(mask, 16).ok());
        !passes_by
            && !rule.contains(" --save-mark ")
            && mask.is_some_and(|mask| mask & mark.mask() != 0)
    })
}

fn forwarding(lan: &LanSide) -> Vec<String> {
    let is_off = |setting: &str| {
        let file = Path::new("/proc/sys").join(setting.replace('.', "/"));
        fs::read_to_string(file).is_ok_and(|value| value.trim() == "0")
    };
    let needs = |family: Family| {
        lan.interfaces.iter().filter(|at| at.captures(family)).any(|at| match family {
            Family::V4 => true,
            // Every link has a link-local address; hosts that go further have another.
            Family::V6 => at.on_link.prefixes_v6().any(|net| !net.addr().is_unicast_link_local()),
        })
    };
    [(Family::V4, "net.ipv4.ip_forward"), (Family::V6, "net.ipv6.conf.all.forwarding")]
        .into_iter()
        .filter(|(family, setting)| needs(*family) && is_off(setting))
        .map(|(family, setting)| {
            format!(
                "this machine does not forward {family}, so domestic connections of LAN hosts go \
                 nowhere: sysctl -w {setting}=1"
            )
        })
        .collect()
}

/// A bridge that is uplink and LAN side at once, with br_netfilter: what hosts on it send to
/// another router of the same wire goes through iptables, and looks as if it were for us.
fn bridged(lan: &LanSide) -> Vec<String> {
    let is_called = |tool: &str| {
        let file = format!("/proc/sys/net/bridge/bridge-nf-call-{tool}");
        fs::read_to_string(file).is_ok_and(|value| value.trim() == "1")
    };
    let both = lan.interfaces.iter().filter(|at| at.is_bridge && lan.uplinks.contains(&at.name));
    let both: Vec<&str> = both.map(|at| at.name.as_str()).collect();
    let called: Vec<&str> =
        ["iptables", "ip6tables"].into_iter().filter(|t| is_called(t)).collect();
    if both.is_empty() || called.is_empty() {
        return Vec::new();
    }
    let settings: Vec<String> =
        called.iter().map(|tool| format!("net.bridge.bridge-nf-call-{tool}=0")).collect();
    vec![format!(
        "br_netfilter shows the firewall what {} only passes on between its ports, and that is \
         captured too: sysctl -w {}",
        both.join(", "),
        settings.join(" ")
    )]
}

/// The first LAN-side interface that no rule in INPUT accepts as such, where the policy is to drop
/// and no rule has this `accept`.
fn shut<'a>(saved: &str, lan: &'a LanSide, accept: &str) -> Option<&'a str> {
    let mut filter = saved.lines().skip_while(|line| *line != "*filter");
    let filter: Vec<&str> = filter.by_ref().take_while(|line| *line != "COMMIT").collect();
    let drops = filter.iter().any(|line| line.starts_with(":INPUT DROP"));
    let accepts = |words: &str| {
        let of_input = filter.iter().filter(|line| line.starts_with("-A INPUT "));
        of_input.clone().any(|line| line.contains(words) && line.ends_with("-j ACCEPT"))
    };
    if !drops || accepts(accept) {
        return None;
    }
    let mut names = lan.interfaces.iter().map(|at| at.name.as_str());
    names.find(|name| !accepts(&format!("-i {name} ")))
}

/// Input chains outside of iptables that drop by policy, or reject at their end, with each LAN-side
/// interface that no rule of their table accepts as such: the table, the chain, the interface. Our
/// own accept is in another table, and an accept is final only in its own. `mark`: what a rule that
/// accepts ours has.
fn closed<'a>(
    listed: &'a str,
    lan: &'a LanSide,
    mark: &'a str,
) -> impl Iterator<Item = (&'a str, &'a str, &'a str)> {
    let tables = listed.split("\ntable ").map(|text| text.trim_start_matches("table "));
    tables.flat_map(move |text| {
        let name = text.split(" {").next().unwrap_or_default();
        let mut chain = "";
        let (mut closed, mut is_input) = (None, false);
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("chain ") {
                chain = name.trim_end_matches(" {");
                is_input = false;
            } else if line.contains("hook input") {
                is_input = true;
                closed = closed.or(Some(chain).filter(|_| line.contains("policy drop")));
            } else if is_input && (line.starts_with("reject") || line == "drop") {
                // firewalld's way.
                closed = closed.or(Some(chain));
            }
        }
        // Those of iptables-nft, where ours are the first.
        let is_iptables = matches!(name, "ip filter" | "ip6 filter");
        let is_open = text.lines().any(|line| line.contains(mark) && line.contains(" accept"));
        let closed = closed.filter(|_| !is_iptables && !is_open);
        lan.interfaces.iter().filter_map(move |at| {
            let accepted = text.lines().any(|line| {
                line.contains(&format!("iifname \"{}\"", at.name))
                    && line.contains("accept")
                    && !line.contains("oifname")
            });
            closed.filter(|_| !accepted).map(|chain| (name, chain, at.name.as_str()))
        })
    })
}

/// The tables with a filter of RFC 3964 on the way out (firewalld has one by default): it rejects
/// all of ::/96, and with it ::1. That the packet leaves by lo it cannot see, since the interface
/// of a hook's walk is that of its beginning, before the redirect.
fn unreachable_loopback(listed: &str) -> impl Iterator<Item = &str> {
    let tables = listed.split("\ntable ").map(|text| text.trim_start_matches("table "));
    let filters = tables.filter(|text| {
        let mut goes_out = false;
        text.lines().map(str::trim).any(|line| {
            if line.starts_with("chain ") {
                goes_out = false;
            }
            goes_out |= line.contains("hook output");
            goes_out
                && line.starts_with("ip6 daddr {")
                && line.contains("::/96")
                && (line.contains("reject") || line.contains("drop"))
        })
    });
    filters.map(|text| text.split(" {").next().unwrap_or_default())
}

/// Looks for every conflict in this text, whichever tool has printed it. For `reading`.
pub(in crate::firewall) fn read(text: &str, lan: &LanSide, mark: Fwmark) {
    let _ = (overwritten(text, mark).count(), shut(text, lan, "--ctstate DNAT"));
    datagrams::read(text);
    let _ = (closed(text, lan, "ct status dnat").count(), unreachable_loopback(text).count());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::tests::router;

    const DNAT: &str = "ct status dnat";

    /// As firewalld 1.3 has it.
    #[test]
    fn a_filter_that_rejects_the_loopback() {
        let chain = |name: &str, hook: &str| {
            format!(
                "table inet {name} {{\n\tchain out {{\n\t\ttype filter hook {hook} priority \
                 filter + 10; policy accept;\n\t\tct state {{ established, related }} accept\n\
                 \t\toifname \"lo\" accept\n\t\tip6 daddr {{ ::/96, ::ffff:0.0.0.0/96, \
                 2002::/24 }} reject with icmpv6 addr-unreachable\n\t}}\n}}\n"
            )
        };
        let listed = chain("one", "forward") + &chain("firewalld", "output");
        assert_eq!(unreachable_loopback(&listed).collect::<Vec<_>>(), ["inet firewalld"]);
        assert_eq!(unreachable_loopback("").count(), 0);
    }

    #[test]
    fn marks_that_are_overwritten() {
        let saved = "*mangle\n\
            -A PREROUTING -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff\n\
            -A OUTPUT -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff\n\
            -A OUTPUT -j CONNMARK --restore-mark --nfmask 0x3f00 --ctmask 0x3f00\n\
            -A OUTPUT -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff\n\
            -A mine -p udp -j MARK --set-xmark 0x1/0xffffffff\n\
            -A mine -j MARK --set-xmark 0x40000/0xff0000\n\
            COMMIT\n*nat\n-A OUTPUT -j MARK --set-xmark 0x1/0xffffffff\nCOMMIT\n";
        let found: Vec<&str> = overwritten(saved, Fwmark::SNET).collect();
        assert_eq!(
            found,
            [
                "OUTPUT -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff",
                "mine -p udp -j MARK --set-xmark 0x1/0xffffffff"
            ]
        );
    }

    #[test]
    fn input_chains_that_drop() {
        let lan = router().environment.lan;
        let fw4 = include_str!("../tests/coexistence/fw4.nft");
        let found: Vec<_> = closed(fw4, &lan, DNAT).collect();
        assert_eq!(found, [("inet fw4", "input", "wg0")], "br-lan is accepted, wg0 is not");
        let firewalld = include_str!("../tests/coexistence/firewalld.nft");
        assert_eq!(closed(firewalld, &lan, DNAT).count(), 0);
        let ours = fw4.replace("inet fw4", "ip filter");
        assert_eq!(closed(&ours, &lan, DNAT).count(), 0);
        let mended = fw4.replace("iif \"lo\" accept", "ct status dnat accept");
        assert_eq!(closed(&mended, &lan, DNAT).count(), 0);
    }

    #[test]
    fn an_input_chain_of_iptables_that_drops() {
        let lan = router().environment.lan;
        let saved = |policy, rule| {
            format!(
                "*nat\n:INPUT ACCEPT [0:0]\nCOMMIT\n*filter\n:INPUT {policy} [0:0]\n{rule}\nCOMMIT\n"
            )
        };
        assert_eq!(shut(&saved("ACCEPT", ""), &lan, "--ctstate DNAT"), None);
        assert_eq!(shut(&saved("DROP", ""), &lan, "--ctstate DNAT"), Some("br-lan"));
        assert_eq!(
            shut(&saved("DROP", "-A INPUT -i br-lan -j ACCEPT"), &lan, "--ctstate DNAT"),
            Some("wg0")
        );
        let remedy = "-A INPUT -m conntrack --ctstate DNAT -j ACCEPT";
        assert_eq!(shut(&saved("DROP", remedy), &lan, "--ctstate DNAT"), None);
    }

    #[test]
    fn a_bridge_that_is_also_uplink_is_the_only_one_in_doubt() {
        let mut lan = router().environment.lan;
        assert_eq!(bridged(&lan), [] as [String; 0]);
        lan.uplinks.insert("br-lan".into());
        let conflicts = bridged(&lan);
        if Path::new("/proc/sys/net/bridge").exists() && !conflicts.is_empty() {
            assert!(
                conflicts[0].contains("br-lan") && conflicts[0].contains("sysctl -w"),
                "{conflicts:?}"
            );
        }
    }

    #[test]
    fn a_reload_tells_only_what_is_new() {
        let with = |patterns: &[&str]| {
            let patterns = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
            router().with(|policy| policy.lan.as_mut().unwrap().patterns = patterns)
        };
        let (old, new) = (with(&["br-lan", "wlan?"]), with(&["br-lan", "wlan?", "usb?"]));
        let told = between(&old, &new, &[], true);
        assert!(told.len() == 1 && told[0].contains("usb?"), "{told:?}");
        assert!(all(&new, &[], true).iter().any(|conflict| conflict.contains("wlan?")));
    }
}
