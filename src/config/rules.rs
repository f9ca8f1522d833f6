//! `[rules]`: addresses and names by route, and the lists in files.

use super::address::{Rule, prefix, rule};
use super::file;
use super::item::Item;
use super::section::Section;
use super::{Mode, Rules, Scope};
use crate::domain::{self, DomainMap, Listed, Name};
use crate::firewall::{Cgroup, LeftAlone};
use crate::ipset::{self, IpSet, ListProblem};
use crate::route::{self, Route};
use ipnet::IpNet;
use nix::unistd::User;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

impl Rules {
    /// Reads the section and the files it names.
    pub(super) fn read(section: &Section<'_>, mode: Mode, scope: Scope) -> Rules {
        let mut written = Written::default();
        written.read(section, "direct", Route::Direct);
        written.read(section, "proxy", Route::Proxy);
        written.read(section, "block", Route::Block);

        let mut names = name_list(section, "block-domain-file", Route::Block);
        // What the operator wrote beats a list from elsewhere, so that it can be corrected.
        for (name, place) in &written.names {
            names.insert(name, Some(place.route));
        }
        let china_names = name_list(section, "china-domain-file", ());
        Rules {
            routes: Arc::new(route::Rules {
                block: written.prefixes(Route::Block),
                proxy: written.prefixes(Route::Proxy),
                direct: written.prefixes(Route::Direct),
                reserved: ipset::reserved(),
                china: china(section, scope),
                names,
                china_names,
            }),
            direct_sources: section
                .or("direct-sources", IpSet::default(), |item| direct_sources(item, mode)),
            left_alone: LeftAlone {
                users: distinct(section, "direct-users", user),
                cgroups: distinct(section, "direct-cgroups", cgroup),
            },
        }
    }
}

/// What stands in the file itself.
#[derive(Default)]
struct Written {
    nets: HashMap<IpNet, Place>,
    names: HashMap<Name, Place>,
}

/// Where a rule was given first, and what it says.
#[derive(Clone, Copy)]
struct Place {
    route: Route,
    key: &'static str,
    line: usize,
}

impl Written {
    fn read(&mut self, section: &Section<'_>, key: &'static str, route: Route) {
        let rules = section.item(key).and_then(|item| item.list(rule)).unwrap_or_default();
        for (item, rule) in rules {
            let place = Place { route, key, line: item.line() };
            match rule {
                Rule::Prefix(net) => note(&mut self.nets, net, place, &item),
                Rule::Suffix(name) => note(&mut self.names, name, place, &item),
            }
        }
    }

    fn prefixes(&self, route: Route) -> IpSet {
        self.nets.iter().filter(|(_, place)| place.route == route).map(|(net, _)| *net).collect()
    }
}

fn note<T: Eq + Hash + std::fmt::Display>(
    rules: &mut HashMap<T, Place>,
    rule: T,
    place: Place,
    item: &Item<'_>,
) {
    let shown = rule.to_string();
    let first = *rules.entry(rule).or_insert(place);
    if first.route != place.route {
        item.refuse_as::<()>(
            format!("\"{shown}\", which is in rules.{} too (line {})", first.key, first.line),
            "each rule in one list only",
        );
    }
}

/// The China list, embedded or from a file; nothing is domestic with `scope = "global"`.
fn china(section: &Section<'_>, scope: Scope) -> Arc<IpSet> {
    let item = section.item("china-ip-file");
    let own = list(section, "china-ip-file", IpSet::parse_list);
    if let (Some(item), Some(own)) = (item, &own) {
        if own.is_empty() {
            item.refuse::<()>(
                "a file with at least one prefix; if nothing is to be domestic, scope = \"global\"",
            );
        } else if scope == Scope::Global {
            item.warn("not used, since scope = \"global\"");
        }
    }
    match (scope, own) {
        (Scope::Global, _) => Arc::default(),
        (Scope::BypassChina, Some(own)) => Arc::new(own),
        (Scope::BypassChina, None) => ipset::china(),
    }
}

fn direct_sources(item: &Item<'_>, mode: Mode) -> Option<IpSet> {
    let sources: IpSet = item.list(prefix)?.into_iter().map(|(_, net)| net).collect();
    if mode == Mode::Local && !sources.is_empty() {
        item.warn("not used, since mode = \"local\"");
    }
    Some(sources)
}

/// A list in which one that is there twice counts once.
fn distinct<T: PartialEq>(
    section: &Section<'_>,
    key: &'static str,
    read: fn(&str) -> Result<T, String>,
) -> Vec<T> {
    let items = section.item(key).and_then(|item| item.list(read)).unwrap_or_default();
    let mut values = Vec::new();
    for (_, value) in items {
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

/// A user, by name or number; names as getpwnam(3) knows them.
fn user(text: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse::<u32>()
        && number != u32::MAX
        && !text.starts_with('+')
    {
        return Ok(number);
    }
    let found = if text.contains('\0') { None } else { User::from_name(text).ok().flatten() };
    found
        .map(|user| user.uid.as_raw())
        .ok_or_else(|| "the name of a user that this machine has, or a number".into())
}

/// A cgroup, as `systemctl show -P ControlGroup` or /proc/PID/cgroup write it.
fn cgroup(text: &str) -> Result<Cgroup, String> {
    let path = text.strip_prefix('/').unwrap_or(text);
    let is_name = |part: &str| !matches!(part, "" | "." | "..") && part.len() < 256;
    // In rules it stands without quotes; XT_CGROUP_PATH_LEN in linux/netfilter/xt_cgroup.h.
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || c == '"';
    if path.split('/').all(is_name) && !path.contains(is_odd) && path.len() < 512 {
        Ok(Cgroup { path: path.into(), id: None })
    } else {
        Err("the path of a cgroup, for example \"system.slice/sing-box.service\"".into())
    }
}

/// Names of a file; exceptions have no value.
fn name_list<T: Copy>(section: &Section<'_>, key: &'static str, value: T) -> DomainMap<Option<T>> {
    let mut names = DomainMap::default();
    let passed_over = list(section, key, |text| {
        domain::read_list(text, |name, listed| match listed {
            Listed::Except => drop(names.insert(&name, None)),
            // An exception stands wherever it is written.
            Listed::In if names.get(name.as_wire()).is_some() => {}
            Listed::In => drop(names.insert(&name, Some(value))),
        })
    });
    if let (Some(count @ 1..), Some(item)) = (passed_over, section.item(key)) {
        item.warn(format!("{count} adblock rules are about more than a name and not used"));
    }
    names.shrink_to_fit();
    names
}

fn list<T>(
    section: &Section<'_>,
    key: &'static str,
    parse: impl FnOnce(&str) -> Result<T, Vec<ListProblem>>,
) -> Option<T> {
    file::list(section.source(), &section.item(key)?, parse)
}
