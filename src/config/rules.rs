//! `[rules]`: addresses and names by route, and the lists in files.

use super::address::{RuleSubject, prefix, rule};
use super::group::Groups;
use super::item::Item;
use super::list_files;
use super::section::Section;
use super::{Mode, Scope};
use crate::domain::{DomainMap, Name, NameList};
use crate::exempt_programs::ExemptPrograms;
use crate::file_stamp::ListFile;
use crate::ipset::{self, IpSet};
use crate::lists::ListUse;
use crate::route::{self, GroupPlace, GroupRules, Route};
use ipnet::IpNet;
use nix::unistd::User;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `[rules]`
#[derive(Debug, Clone)]
pub struct RulesConfig {
    /// Addresses and names by route, the lists in files included.
    pub routes: Arc<route::Rules>,
    /// What came of each list in a file: one line each, for the log.
    pub lists: Vec<String>,
    /// The files of these lists, included ones too, as they were read.
    pub files: Vec<ListFile>,
    /// When they were read.
    pub read_at: ReadMoment,
    /// The files to look at: the same with `rules.watch`, else none.
    pub watched: Vec<ListFile>,
    /// `rules.sniff`: whether the names in the first bytes of connections and flows count.
    pub sniff: bool,
    /// `rules.direct-sources`
    pub direct_sources: IpSet,
    /// `rules.direct-users` and `rules.direct-cgroups`
    pub exempt_programs: ExemptPrograms,
}

/// When something was read. Two readings of the same are the same.
#[derive(Clone, Copy)]
pub struct ReadMoment(Instant);

impl ReadMoment {
    /// How long ago that was.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

impl fmt::Debug for ReadMoment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadMoment")
    }
}

impl RulesConfig {
    /// Reads the section and the files it names.
    pub(super) fn read(
        section: &Section<'_>,
        mode: Mode,
        scope: Scope,
        groups: &mut GroupNames<'_>,
    ) -> RulesConfig {
        let mut written = Written::default();
        written.read(section, "direct", Route::Direct);
        written.read(section, "proxy", Route::Proxy);
        written.read(section, "block", Route::Block);
        written.read_via(section, groups);
        let mut sniff = true;
        section.key("sniff", &mut sniff, Item::boolean);
        let mut direct_sources = IpSet::default();
        section.key("direct-sources", &mut direct_sources, |item| sources(item, mode));
        let mut exempt_programs = ExemptPrograms::default();
        section.key("direct-users", &mut exempt_programs.users, |item| distinct(item, user));
        section.key("direct-cgroups", &mut exempt_programs.cgroups, |item| distinct(item, cgroup));

        let china = china(section, scope);
        let lists = |key, list_use| {
            let mut names = NameList::default();
            section.key(key, &mut names, |item| list_files::names(item, list_use));
            names
        };
        let china_names = lists("china-domain-file", ListUse::Domestic);
        let proxy_names = lists("proxy-domain-file", ListUse::Foreign);
        let blocked_names = lists("block-domain-file", ListUse::Block);
        let mut names = DomainMap::default();
        for (name, place) in &written.names {
            names.insert(name, place.route);
        }
        let via = written.via(groups.groups.names());
        let routes = route::Rules {
            block: written.prefixes(Route::Block),
            proxy: written.prefixes(Route::Proxy),
            direct: written.prefixes(Route::Direct),
            reserved: ipset::reserved(),
            china,
            names,
            blocked_names,
            proxy_names,
            china_names,
            via,
        };
        let mut watch = false;
        section.key("watch", &mut watch, Item::boolean);
        let (files, read_at) = (section.list_files(), ReadMoment(Instant::now()));
        let watched = if watch { files.clone() } else { Vec::new() };
        RulesConfig {
            routes: Arc::new(routes),
            lists: section.lists(),
            files,
            read_at,
            watched,
            sniff,
            direct_sources,
            exempt_programs,
        }
    }
}

/// The groups that rules may name.
pub(super) struct GroupNames<'a> {
    pub(super) groups: &'a mut Groups,
    /// Whether a single proxy has this name, or may have it yet.
    pub(super) is_proxy: &'a dyn Fn(&str) -> bool,
}

/// What stands in the file itself.
#[derive(Default)]
struct Written {
    nets: HashMap<IpNet, FirstMention>,
    names: HashMap<Name, FirstMention>,
}

/// Where a rule was given first, and what it says.
#[derive(Clone, Copy)]
struct FirstMention {
    route: Route,
    /// Which group carries it, where the route is the proxy.
    group: GroupPlace,
    key: &'static str,
    line: usize,
}

impl Written {
    fn read(&mut self, section: &Section<'_>, key: &'static str, route: Route) {
        let Some(item) = section.item(key) else { return };
        let rules = item.list(rule).unwrap_or_default();
        if !rules.is_empty() {
            item.note_change();
        }
        self.add(rules, key, route, GroupPlace::default());
    }

    /// `via`: a list of destinations for each of some groups.
    fn read_via(&mut self, section: &Section<'_>, names: &mut GroupNames<'_>) {
        let Some(item) = section.item("via") else { return };
        let entries = item.entries().unwrap_or_default();
        if !entries.is_empty() {
            item.note_change();
        }
        for (name, item) in entries {
            let Some(rules) = item.list(rule) else { continue };
            match names.place(name) {
                Some(group) => self.add(rules, "via", Route::Proxy, group),
                None => {
                    let accepted = "the name of a [[group]] or of a [[proxy]]";
                    item.refuse_as::<()>(format!("{name:?}"), accepted);
                }
            }
        }
    }

    fn add(
        &mut self,
        rules: Vec<(Item<'_>, RuleSubject)>,
        key: &'static str,
        route: Route,
        group: GroupPlace,
    ) {
        for (item, rule) in rules {
            let place = FirstMention { route, group, key, line: item.line() };
            match rule {
                RuleSubject::Prefix(net) => note(&mut self.nets, net, place, &item),
                RuleSubject::Suffix(name) => note(&mut self.names, name, place, &item),
            }
        }
    }

    fn prefixes(&self, route: Route) -> IpSet {
        self.nets.iter().filter(|(_, place)| place.route == route).map(|(net, _)| *net).collect()
    }

    /// Which group carries what goes through a proxy.
    fn via(&self, groups: Vec<String>) -> GroupRules {
        let mut via = GroupRules::new(groups);
        let mut nets: Vec<_> = self.nets.iter().collect();
        nets.sort_unstable_by_key(|(net, _)| **net);
        for (net, place) in nets.into_iter().filter(|(_, place)| place.route == Route::Proxy) {
            via.add_prefix(*net, place.group);
        }
        let mut names: Vec<_> = self.names.iter().collect();
        names.sort_unstable_by_key(|(name, _)| name.as_wire());
        for (name, place) in names.into_iter().filter(|(_, place)| place.route == Route::Proxy) {
            via.add_name(name, place.group);
        }
        via
    }
}

impl GroupNames<'_> {
    fn place(&mut self, name: &str) -> Option<GroupPlace> {
        let is_known = self.groups.has(name) || (self.is_proxy)(name);
        is_known.then(|| self.groups.place(name))
    }
}

fn note<T: Eq + Hash + std::fmt::Display>(
    rules: &mut HashMap<T, FirstMention>,
    rule: T,
    place: FirstMention,
    item: &Item<'_>,
) {
    let shown = rule.to_string();
    let first = *rules.entry(rule).or_insert(place);
    if (first.route, first.group) != (place.route, place.group) {
        item.refuse_as::<()>(
            format!("\"{shown}\", which is in rules.{} too (line {})", first.key, first.line),
            "each rule in one list only",
        );
    }
}

/// The China list, embedded or from a file; nothing is domestic with `scope = "global"`.
fn china(section: &Section<'_>, scope: Scope) -> Arc<IpSet> {
    let mut own = None;
    section.key("china-ip-file", &mut own, |item| china_file(item, scope).map(Some));
    match (scope, own) {
        (Scope::Global, _) => Arc::default(),
        (Scope::BypassChina, Some(own)) => Arc::new(own),
        (Scope::BypassChina, None) => ipset::china(),
    }
}

fn china_file(item: &Item<'_>, scope: Scope) -> Option<IpSet> {
    let list = list_files::prefixes(item)?;
    if scope == Scope::Global {
        item.warn("not used, since scope = \"global\"");
    }
    Some(list)
}

fn sources(item: &Item<'_>, mode: Mode) -> Option<IpSet> {
    let sources: IpSet = item.list(prefix)?.into_iter().map(|(_, net)| net).collect();
    if mode == Mode::Local && !sources.is_empty() {
        item.warn("not used, since mode = \"local\"");
    }
    Some(sources)
}

/// A list in which one that is there twice counts once.
fn distinct<T: PartialEq>(item: &Item<'_>, read: fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
    let mut values = Vec::new();
    for (_, value) in item.list(read)? {
        if !values.contains(&value) {
            values.push(value);
        }
    }
    Some(values)
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
fn cgroup(text: &str) -> Result<String, String> {
    let path = text.strip_prefix('/').unwrap_or(text);
    let is_name = |part: &str| !matches!(part, "" | "." | "..") && part.len() < 256;
    // In rules it stands without quotes; XT_CGROUP_PATH_LEN in linux/netfilter/xt_cgroup.h.
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || c == '"';
    if path.split('/').all(is_name) && !path.contains(is_odd) && path.len() < 512 {
        Ok(path.into())
    } else {
        Err("the path of a cgroup, for example \"system.slice/sing-box.service\"".into())
    }
}
