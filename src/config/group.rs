//! `[[group]]`: proxies that stand in for each other, and which of them is preferred.

use super::item::Item;
use super::section::Section;
use super::{Config, ProxyConfig};
use crate::dispatch::{GroupPolicy, GroupSettings};
use crate::route::GroupPlace;
use crate::subscription::names::NamePattern;
use crate::target::Target;
use std::collections::HashSet;

/// One `[[group]]`, or one that the file implies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// What the dispatcher is told.
    pub settings: GroupSettings,
    /// Which proxies belong to it; in the order of these, then of the proxies.
    members: Vec<NamePattern>,
    /// What is asked through its members besides the trusted name servers.
    pub probe: Option<Target>,
}

impl GroupConfig {
    /// All proxies, in their order.
    fn of_all() -> Self {
        let members = vec![NamePattern::new("*")];
        GroupConfig { settings: GroupSettings::default(), members, probe: None }
    }

    /// The one proxy of this name, which a rule names.
    fn of_one(proxy: &str) -> Self {
        let settings = GroupSettings { name: proxy.to_owned(), ..GroupSettings::default() };
        GroupConfig { settings, members: vec![NamePattern::exactly(proxy)], probe: None }
    }

    /// The places of its members among these proxies, the preferred ones first.
    pub fn members(&self, proxies: &[ProxyConfig]) -> Vec<usize> {
        let mut places = Vec::new();
        for pattern in &self.members {
            let fitting = proxies.iter().enumerate().filter(|(_, it)| pattern.matches(&it.name));
            for (place, _) in fitting {
                if !places.contains(&place) {
                    places.push(place);
                }
            }
        }
        places
    }
}

/// All groups, in the order that the rules know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Groups(Vec<GroupConfig>);

impl Groups {
    /// Those of the file; without any, one of all proxies.
    pub(super) fn read(top: &Section<'_>) -> Self {
        let mut names = HashSet::new();
        let tables = top.tables("group").unwrap_or_default();
        let mut groups: Vec<_> = tables.iter().filter_map(|it| one(it, &mut names)).collect();
        if groups.is_empty() {
            groups.push(GroupConfig::of_all());
        }
        Groups(groups)
    }

    /// Whether there is a group of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|it| it.settings.name == name)
    }

    /// The place of the group of this name; one of the single proxy of this name, if there is no
    /// group.
    pub(super) fn place(&mut self, name: &str) -> GroupPlace {
        let known = self.0.iter().position(|it| it.settings.name == name);
        GroupPlace(known.unwrap_or_else(|| {
            self.0.push(GroupConfig::of_one(name));
            self.0.len() - 1
        }))
    }

    /// Their names.
    pub(super) fn names(&self) -> Vec<String> {
        self.0.iter().map(|group| group.settings.name.clone()).collect()
    }

    pub(super) fn into_inner(self) -> Vec<GroupConfig> {
        self.0
    }
}

const NAME: &str =
    "a name of 1 to 64 bytes, which no other [[group]] has; not \"direct\" or \"block\"";

fn one(section: &Section<'_>, names: &mut HashSet<String>) -> Option<GroupConfig> {
    let name = match section.item("name") {
        Some(item) => name(&item, names),
        None => section.missing("name", NAME),
    };
    let mut members = vec![NamePattern::new("*")];
    section.key("members", &mut members, patterns);
    let mut policy = GroupPolicy::First;
    section.key("policy", &mut policy, |item| {
        item.choice(&[
            ("first", GroupPolicy::First),
            ("fastest", GroupPolicy::Fastest),
            ("spread", GroupPolicy::Spread),
        ])
    });
    let mut keeps_dead = false;
    section
        .key("on-death", &mut keeps_dead, |item| item.choice(&[("reset", false), ("keep", true)]));
    let mut probe = None;
    section.key("probe", &mut probe, |item| item.parse(web_server).map(Some));
    Some(GroupConfig {
        settings: GroupSettings { name: name?, policy, keeps_dead },
        members,
        probe,
    })
}

fn name(item: &Item<'_>, names: &mut HashSet<String>) -> Option<String> {
    let name = item.parse(|text| {
        let is_fit = (1..=64).contains(&text.len())
            && text.trim() == text
            && !text.contains(char::is_control)
            && !super::proxy_kind::is_reserved(text);
        if is_fit { Ok(text.to_owned()) } else { Err(NAME.into()) }
    })?;
    if names.insert(name.clone()) { Some(name) } else { item.refuse(NAME) }
}

fn patterns(item: &Item<'_>) -> Option<Vec<NamePattern>> {
    let patterns = item.list(|text| Ok(NamePattern::new(text)))?;
    if patterns.is_empty() {
        return item.refuse("at least one name of a [[proxy]], or a pattern, for example \"*\"");
    }
    Some(patterns.into_iter().map(|(_, pattern)| pattern).collect())
}

fn web_server(text: &str) -> Result<Target, String> {
    let server = super::address::server(text)
        .map_err(|_| "host:port of a web server, for example \"www.example.com:80\"".to_owned())?;
    Ok(match server.host.parse() {
        Ok(ip) => Target::addr(std::net::SocketAddr::new(ip, server.port)),
        Err(_) => Target::Name(server.host.as_str().into(), server.port),
    })
}

impl Config {
    /// What is odd about the groups: one line each.
    pub(super) fn odd_groups(&self) -> Vec<String> {
        let is_awaited = self.subscriptions.iter().any(super::SubscriptionConfig::is_awaited);
        let mut odd = Vec::new();
        for group in self.groups.iter().filter(|_| !is_awaited && !self.proxies.is_empty()) {
            let name = &group.settings.name;
            let is_lost = |it: &&NamePattern| !self.proxies.iter().any(|one| it.matches(&one.name));
            for member in group.members.iter().filter(is_lost) {
                odd.push(format!(
                    "group {name:?}: no [[proxy]] and no server of a subscription is called \
                     {member}"
                ));
            }
            if group.members(&self.proxies).is_empty() {
                odd.push(format!("group {name:?} has no member: what goes there is refused"));
            }
        }
        odd
    }
}
