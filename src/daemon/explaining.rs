//! Why a name or an address goes where it goes: `snet explain`.
//!
//! The answer is made of the very parts that decide: the rules, what was learned, the resolver, the
//! groups. Nothing of it is decided here a second time.

use super::build;
use super::devices::TrafficSources;
use super::generation::ConfigSource;
use super::shared_rules::SharedRules;
use super::subject::Subject;
use crate::config::Config;
use crate::dispatch::Dispatcher;
use crate::dns;
use crate::domain::Name;
use crate::firewall::KernelAnswer;
use crate::route::{Decision, GroupPlace, Learned, Reason, Route, Rules};
use crate::target::Target;
use crate::view::{AddressView, ExplainView, KernelView, NameView};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// The port of which most people think.
const USUAL_PORT: u16 = 443;

/// What the file alone decides, without a daemon. Sends nothing.
pub fn explain_by_file(config: &Config, subject: &Subject) -> ExplainView {
    let rules = &*config.rules.routes;
    let mut view = ExplainView { asked: subject.to_string(), ..ExplainView::default() };
    match subject {
        Subject::Name(name) => {
            view.name = Some(about_name(rules, name));
            view.notes.push("no running snet was asked: answers and proxies are not known".into());
        }
        Subject::Address(ip, port) => {
            let decision = decide(rules, *ip, *port, &Learned::default());
            view.addresses.push(about_address(rules, *ip, decision));
            view.notes.push("no running snet was asked: what it learned is not known".into());
        }
    }
    view
}

/// What a running daemon answers with. A value, so that its supervisor need not wait.
pub(super) struct Explaining {
    pub(super) rules: Arc<Rules>,
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) orders: mpsc::UnboundedSender<dns::Order>,
    pub(super) source: Arc<dyn ConfigSource>,
    pub(super) firewall: Arc<SharedRules>,
    pub(super) traffic: Arc<TrafficSources>,
}

impl Explaining {
    pub(super) async fn explain(self, subject: Subject) -> ExplainView {
        let mut view = ExplainView { asked: subject.to_string(), ..ExplainView::default() };
        let (name, addresses, port) = match &subject {
            Subject::Name(name) => {
                let mut about = about_name(&self.rules, name);
                about.records = self.records(name).await;
                let answers = about.records.iter().flat_map(|record| record.answer.clone());
                let addresses: Vec<_> = answers.collect();
                view.name = Some(about);
                (Some(name), addresses, None)
            }
            Subject::Address(ip, port) => (None, vec![*ip], *port),
        };
        for ip in &addresses {
            let address = SocketAddr::new(*ip, port.unwrap_or(USUAL_PORT));
            let decision = self.dispatcher.route(&Target::addr(address));
            view.addresses
                .push(self.with_proxy(about_address(&self.rules, *ip, decision), decision));
            let servers = self.dispatcher.servers();
            let server = servers.into_iter().find(|(_, server)| server.ip() == *ip);
            if let Some((proxy, _)) = server {
                view.notes.push(format!(
                    "{ip} is a server of the proxy {proxy}: the kernel lets it pass unless a rule \
                     blocks or proxies it"
                ));
            }
        }
        self.ask_the_kernel(&mut view).await;
        self.tell_proxies(&mut view);
        self.traffic.tell(&mut view, name);
        if let Subject::Address(host, _) = subject {
            let traffic = Arc::clone(&self.traffic);
            let device = tokio::task::spawn_blocking(move || traffic.device(host));
            view.device = device.await.ok().flatten();
        }
        let source = Arc::clone(&self.source);
        // A list of a hundred thousand names is not read on a thread that serves connections.
        match tokio::task::spawn_blocking(move || source.load()).await {
            Ok(Ok(next)) => {
                let next = build::possible(next);
                let (learned, next) = (self.dispatcher.learned(), &next.rules.routes);
                view.changes = changes(&self.rules, learned, next, name, &view.addresses);
            }
            Ok(Err(problems)) => view.notes.push(format!(
                "the file on disk has a mistake, so that a reload would change nothing: {problems}"
            )),
            Err(_) => {}
        }
        view
    }

    /// The kernel decides before snet does: what it does not capture never comes here.
    async fn ask_the_kernel(&self, view: &mut ExplainView) {
        let addresses = view.addresses.iter().map(|it| it.address).collect();
        match self.firewall.look_up(addresses).await {
            Some(Ok(answers)) => {
                for (address, answer) in view.addresses.iter_mut().zip(answers) {
                    address.kernel = Some(kernel_view(&answer, &address.route));
                }
            }
            Some(Err(error)) => {
                view.notes.push(format!("the kernel's sets cannot be read: {error}"))
            }
            None if view.addresses.is_empty() => {}
            None => view.notes.push("no rules are installed: nothing is captured".into()),
        }
    }

    /// How those do that carry the addresses.
    fn tell_proxies(&self, view: &mut ExplainView) {
        let names = view.addresses.iter().filter_map(|address| address.proxy.as_deref());
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        names.dedup();
        let upstreams = names.iter().filter_map(|name| self.dispatcher.upstream(name));
        view.proxies = upstreams.map(|upstream| upstream.view(Instant::now())).collect();
    }

    async fn records(&self, name: &Name) -> Vec<crate::view::RecordView> {
        let (answer, answered) = oneshot::channel();
        // A resolver that died ends the daemon elsewhere.
        let _ = self.orders.send(dns::Order::Explain { name: name.clone(), answer });
        answered.await.unwrap_or_default()
    }

    fn with_proxy(&self, view: AddressView, decision: Decision) -> AddressView {
        if decision.route != Route::Proxy {
            return view;
        }
        let GroupPlace(place) = decision.group;
        let groups = self.dispatcher.groups();
        let Some(group) = groups.get(place).or_else(|| groups.first()) else { return view };
        // That of all proxies has a name for dashboards only.
        let name = Some(group.name().to_owned()).filter(|name| !name.is_empty());
        AddressView { group: name, proxy: group.view(Instant::now()).now, ..view }
    }
}

/// What other rules would say otherwise.
fn changes(
    rules: &Rules,
    learned: &Learned,
    next: &Rules,
    name: Option<&Name>,
    known: &[AddressView],
) -> Vec<String> {
    let mut changes = Vec::new();
    let mut named = None;
    if let Some(name) = name {
        let [before, after] = [rules, next].map(|rules| rules.name_route(name.as_wire()));
        named = after;
        if before != after {
            let words = |route: Option<Route>| route.map_or("as each address says", route_word);
            changes.push(format!("{name}: {} instead of {}", words(after), words(before)));
        } else {
            let [before, after] = [rules, next].map(|rules| about_name(rules, name).group);
            changes.extend(other_group(name, after, before));
        }
    }
    let forgotten = Learned::default();
    // What names taught is kept where the rules for names stay.
    let learned = if rules.same_names(next) { learned } else { &forgotten };
    for address in known {
        let decision = decide(next, address.address, None, learned);
        // A name teaches its addresses, and rules for addresses are stronger than that.
        let by_name = named.filter(|_| decision.reason != Reason::Rule);
        let after = route_word(by_name.unwrap_or(decision.route));
        if after != address.route {
            changes.push(format!("{}: {after} instead of {}", address.address, address.route));
        } else if after == route_word(Route::Proxy) && by_name.is_none() {
            let group = group_name(next, decision.group);
            changes.extend(other_group(&address.address, group, address.group.clone()));
        }
    }
    changes
}

/// A change of the group of proxies that serves something.
fn other_group(
    what: &dyn fmt::Display,
    after: Option<String>,
    before: Option<String>,
) -> Option<String> {
    let words = |group: Option<String>| group.map_or("no group".into(), |it| format!("group {it}"));
    (after != before).then(|| format!("{what}: {} instead of {}", words(after), words(before)))
}

/// `None`: the operator made no groups.
fn group_name(rules: &Rules, GroupPlace(place): GroupPlace) -> Option<String> {
    rules.via.groups().get(place).filter(|name| !name.is_empty()).cloned()
}

fn decide(rules: &Rules, ip: IpAddr, port: Option<u16>, learned: &Learned) -> Decision {
    let target = Target::addr(SocketAddr::new(ip, port.unwrap_or(USUAL_PORT)));
    rules.route(&target, learned, std::time::Instant::now())
}

fn about_name(rules: &Rules, name: &Name) -> NameView {
    let wire = name.as_wire();
    let route = rules.name_route(wire);
    let group = group_name(rules, rules.via.of_name(wire));
    NameView {
        name: name.to_string(),
        matches: rules.mentions(wire),
        route: route.map(|route| route_word(route).to_owned()),
        group: group.filter(|_| route == Some(Route::Proxy)),
        records: Vec::new(),
    }
}

fn about_address(rules: &Rules, ip: IpAddr, decision: Decision) -> AddressView {
    let matches = rules.holders(ip);
    let reason = match decision.reason {
        Reason::Rule => format!("{} has it", matches.first().unwrap_or(&"a rule")),
        Reason::Learned => "a name with a rule led there".into(),
        Reason::Reserved => "it never leaves the local networks".into(),
        Reason::China => "it is on the domestic list".into(),
        Reason::Foreign => "nothing says that it is domestic".into(),
        Reason::Name | Reason::Claimed | Reason::Asked => decision.reason.word().into(),
    };
    AddressView {
        address: ip,
        route: route_word(decision.route).into(),
        reason,
        matches: matches.into_iter().map(str::to_owned).collect(),
        group: None,
        proxy: None,
        kernel: None,
    }
}

/// `route`: what the rules of the daemon say.
fn kernel_view(answer: &KernelAnswer, route: &str) -> KernelView {
    let KernelAnswer { sets, rung, route: taken, acts, is_closed } = answer;
    let word = route_word(*taken);
    KernelView {
        sets: sets.iter().map(|set| (*set).to_owned()).collect(),
        route: word.into(),
        reason: rung.clone(),
        acts: *acts,
        is_closed: *is_closed,
        agrees: word == route,
    }
}

fn route_word(route: Route) -> &'static str {
    match route {
        Route::Direct => "direct",
        Route::Proxy => "proxy",
        Route::Block => "block",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(direct: &str, name: Option<(&str, Route)>) -> Rules {
        let direct = direct.split_whitespace().map(|text| text.parse::<ipnet::IpNet>().unwrap());
        let mut rules = Rules { direct: direct.collect(), ..Rules::default() };
        if let Some((name, route)) = name {
            rules.names.insert(&name.parse().unwrap(), route);
        }
        rules
    }

    fn about(rules: &Rules, learned: &Learned, ip: &str) -> AddressView {
        let ip = ip.parse().unwrap();
        about_address(rules, ip, decide(rules, ip, None, learned))
    }

    #[test]
    fn an_address_has_its_reason() {
        let rules = rules("203.0.113.0/24", None);
        let learned = Learned::default();
        let view = about(&rules, &learned, "203.0.113.1");
        assert_eq!((&*view.route, &*view.reason), ("direct", "rules.direct has it"));
        let minute = std::time::Duration::from_secs(60);
        learned.learn("198.51.100.1".parse().unwrap(), Route::Block, minute);
        let view = about(&rules, &learned, "198.51.100.1");
        assert_eq!((&*view.route, &*view.reason), ("block", "a name with a rule led there"));
        let view = about(&rules, &learned, "198.51.100.2");
        assert_eq!((&*view.route, &*view.reason), ("proxy", "nothing says that it is domestic"));
    }

    #[test]
    fn what_a_reload_would_change() {
        let name: Name = "example.com".parse().unwrap();
        let learned = Learned::default();
        let before = rules("", None);
        let known = [about(&before, &learned, "198.51.100.1")];
        let changed = |next: &Rules, name| changes(&before, &learned, next, name, &known);
        assert!(changed(&before, Some(&name)).is_empty());
        let next = rules("198.51.100.0/24", None);
        assert_eq!(changed(&next, None), ["198.51.100.1: direct instead of proxy"]);
        let next = rules("", Some(("example.com", Route::Block)));
        assert_eq!(
            changed(&next, Some(&name)),
            [
                "example.com: block instead of as each address says",
                "198.51.100.1: block instead of proxy"
            ]
        );
        // A rule for the address is stronger than one for the name.
        let next = rules("198.51.100.0/24", Some(("example.com", Route::Block)));
        assert_eq!(changed(&next, Some(&name))[1..], ["198.51.100.1: direct instead of proxy"]);
    }

    #[test]
    fn another_group_is_told() {
        let name: Name = "example.com".parse().unwrap();
        let grouped = |place, net: &str| {
            let mut rules = rules("", Some(("example.com", Route::Proxy)));
            let proxied: [ipnet::IpNet; 2] =
                ["198.51.100.0/24", "203.0.113.0/24"].map(|net| net.parse().unwrap());
            rules.proxy = proxied.into_iter().collect::<crate::ipset::IpSet>();
            rules.via = crate::route::GroupRules::new(["main", "video"].map(str::to_owned).into());
            rules.via.add_name(&name, GroupPlace(place));
            rules.via.add_prefix(net.parse().unwrap(), GroupPlace(1));
            rules
        };
        let (before, learned) = (grouped(0, "203.0.113.0/24"), Learned::default());
        let known = ["198.51.100.1", "203.0.113.1"].map(|ip| {
            let decision = decide(&before, ip.parse().unwrap(), None, &learned);
            let group = group_name(&before, decision.group);
            AddressView { group, ..about(&before, &learned, ip) }
        });
        let changed = |next: &Rules, name| changes(&before, &learned, next, name, &known);
        assert!(changed(&before, Some(&name)).is_empty());
        let next = grouped(1, "198.51.100.0/24");
        let told = changed(&next, Some(&name));
        assert_eq!(told[0], "example.com: group video instead of group main");
        assert_eq!(
            changed(&next, None),
            [
                "198.51.100.1: group video instead of group main",
                "203.0.113.1: group main instead of group video"
            ]
        );
    }

    #[test]
    fn a_kernel_that_does_otherwise_is_told() {
        let answer = KernelAnswer {
            sets: vec!["servers"],
            rung: "its set servers has it".into(),
            route: Route::Direct,
            acts: true,
            is_closed: false,
        };
        assert!(kernel_view(&answer, "direct").agrees);
        assert!(!kernel_view(&answer, "proxy").agrees);
        assert_eq!(kernel_view(&answer, "proxy").sets, ["servers"]);
    }

    #[test]
    fn what_was_learned_goes_with_the_rules_for_names() {
        let learned = Learned::default();
        let minute = std::time::Duration::from_secs(60);
        learned.learn("198.51.100.1".parse().unwrap(), Route::Direct, minute);
        let before = rules("", Some(("example.com", Route::Direct)));
        let known = [about(&before, &learned, "198.51.100.1")];
        assert_eq!(known[0].route, "direct");
        let same = rules("192.0.2.0/24", Some(("example.com", Route::Direct)));
        assert!(changes(&before, &learned, &same, None, &known).is_empty());
        let other = rules("", None);
        assert_eq!(
            changes(&before, &learned, &other, None, &known),
            ["198.51.100.1: proxy instead of direct"]
        );
    }
}
