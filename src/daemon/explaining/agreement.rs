//! What is explained is what happens: random rules, lists, groups, pins and proxies, and
//! connections through the real dispatcher.
//!
//! 10,000 connections; `SNET_CASES` is how many. What the kernel does has its own test
//! (`firewall/tests/explained.rs`), and so have answers of name servers
//! (`dns/tests/explaining.rs`).

use super::*;
use crate::dispatch::{Error, Group, GroupPolicy, GroupSettings, Upstream};
use crate::domain::{Listed, NameList};
use crate::ipset::IpSet;
use crate::proxy::{self, BoxFuture, HalfClose, Link, Progress, Proxy};
use crate::route::{GroupRules, NamedWay, Reason, ToldName};
use crate::target::Target;
use ipnet::{IpNet, Ipv4Net};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 7));

/// Connections in each world.
const IN_A_WORLD: u64 = 20;

const NAMES: [&str; 9] = [
    "example",
    "a.example",
    "b.example",
    "www.a.example",
    "www.b.example",
    "x.www.a.example",
    "a.example.net",
    "example.net",
    "other.test",
];

#[derive(Debug)]
struct Fake {
    name: String,
    works: Arc<AtomicBool>,
}

impl Proxy for Fake {
    fn name(&self) -> &str {
        &self.name
    }

    fn connect<'a>(
        &'a self,
        _: &'a Target,
        _: &'a Progress,
    ) -> BoxFuture<'a, Result<Link, proxy::Error>> {
        let (server, works) = (self.name.clone(), self.works.load(Ordering::Relaxed));
        Box::pin(async move {
            let stream = Box::new(tokio::io::duplex(1).0);
            let source = io::ErrorKind::ConnectionRefused.into();
            match works {
                true => Ok(Link::Stream { stream, half_close: HalfClose::Forwarded }),
                false => Err(proxy::Error::Dial { server, source }),
            }
        })
    }
}

fn fake(name: &str) -> (Box<Fake>, Arc<AtomicBool>) {
    let works = Arc::new(AtomicBool::new(true));
    (Box::new(Fake { name: name.into(), works: Arc::clone(&works) }), works)
}

/// Rules, proxies and groups; what is known of the proxies is true.
struct RandomWorld {
    rules: Arc<Rules>,
    dispatcher: Dispatcher,
    works: Vec<Arc<AtomicBool>>,
}

/// What became of a connection.
#[derive(Debug, PartialEq)]
struct Course {
    route: &'static str,
    group: Option<String>,
    proxy: Option<String>,
}

fn prefixes(random: &mut StdRng, most: usize) -> Vec<IpNet> {
    let count = random.random_range(0..=most);
    let mut prefix = || {
        let address = Ipv4Addr::new(203, 0, 113, random.random());
        IpNet::V4(Ipv4Net::new(address, random.random_range(25..=32)).unwrap().trunc())
    };
    (0..count).map(|_| prefix()).collect()
}

fn name_list(random: &mut StdRng) -> NameList {
    let listed = NAMES.into_iter().filter(|_| random.random_bool(0.15));
    listed.map(|name| (name.parse().unwrap(), Listed::In)).collect::<Vec<_>>().into_iter().collect()
}

fn random_rules(random: &mut StdRng, groups: &[String]) -> Rules {
    let mut set = |most| prefixes(random, most).into_iter().collect::<IpSet>();
    let mut rules = Rules {
        block: set(1),
        direct: set(2),
        reserved: set(1),
        china: Arc::new(set(4)),
        via: GroupRules::new(groups.to_vec()),
        ..Rules::default()
    };
    let mut proxied = prefixes(random, 3);
    for net in prefixes(random, 2).into_iter().filter(|_| !groups.is_empty()) {
        rules.via.add_prefix(net, GroupPlace(random.random_range(0..groups.len())));
        proxied.push(net);
    }
    rules.proxy = proxied.into_iter().collect();
    for name in NAMES {
        let name: Name = name.parse().unwrap();
        let route = match random.random_range(0..12) {
            0 => Route::Block,
            1 | 2 => Route::Direct,
            3 | 4 => Route::Proxy,
            5 if !groups.is_empty() => {
                rules.via.add_name(&name, GroupPlace(random.random_range(0..groups.len())));
                Route::Proxy
            }
            _ => continue,
        };
        rules.names.insert(&name, route);
    }
    rules.blocked_names = name_list(random);
    rules.proxy_names = name_list(random);
    rules.china_names = name_list(random);
    rules
}

impl RandomWorld {
    fn new(random: &mut StdRng) -> Self {
        let proxies = ["a", "b", "c", "d"][..random.random_range(1..=4)].iter();
        let (proxies, works): (Vec<_>, Vec<_>) = proxies.map(|name| fake(name)).unzip();
        let timeout = Duration::from_secs(5);
        let upstreams: Vec<_> =
            proxies.into_iter().map(|it| Arc::new(Upstream::new(it, timeout))).collect();
        let names: Vec<_> = ["main", "video", "work"][..random.random_range(0..=3)]
            .iter()
            .map(|name| (*name).to_owned())
            .collect();
        let policies = [GroupPolicy::First, GroupPolicy::Fastest, GroupPolicy::Spread];
        let mut group = |name: &String| {
            let mut members: Vec<_> = upstreams.clone();
            members.retain(|_| random.random_bool(0.6));
            if members.is_empty() {
                members.push(Arc::clone(&upstreams[0]));
            }
            let turn = random.random_range(0..members.len());
            members.rotate_left(turn);
            let policy = policies[random.random_range(0..policies.len())];
            Group::new(GroupSettings { name: name.clone(), policy, keeps_dead: false }, members)
        };
        let groups = names.iter().map(&mut group).collect();
        let rules = Arc::new(random_rules(random, &names));
        let direct = fake("direct").0;
        let dispatcher =
            Dispatcher::new(Arc::clone(&rules), Arc::default(), direct, upstreams).grouped(groups);
        RandomWorld { rules, dispatcher, works }
    }

    /// Some proxies die, some come back, some are pinned; and connections find it out.
    async fn turns(&self, random: &mut StdRng) {
        for works in &self.works {
            works.store(random.random_bool(0.7), Ordering::Relaxed);
        }
        for group in self.dispatcher.groups() {
            if random.random_bool(0.5) {
                continue;
            }
            let name = if group.name().is_empty() { "PROXY" } else { group.name() };
            let member = group.members()[random.random_range(0..group.members().len())].name();
            let member = Some(member).filter(|_| random.random_bool(0.7));
            self.dispatcher.pin(name, member).unwrap();
        }
        // By addresses that nothing but the rule of the group is for.
        let groups = self.dispatcher.groups().len();
        for place in 0..groups {
            let ip: IpAddr = Ipv4Addr::new(198, 51, 100, place as u8).into();
            let (route, group) = (Route::Proxy, GroupPlace(place));
            let by = crate::stats::DecidedBy::ProxyNames;
            let hour = Duration::from_secs(3600);
            self.dispatcher.learned().learn_via(ip, NamedWay { route, group, by }, hour);
            let _ = self.goes(ip, None, None).await;
        }
    }

    async fn goes(
        &self,
        ip: IpAddr,
        claimed: Option<&Name>,
        told: Option<&ToldName>,
    ) -> Result<Course, Error> {
        let target = Target::addr(SocketAddr::new(ip, 443));
        let connected = self.dispatcher.connect(&target, claimed, CLIENT, told, None).await?;
        Ok(Course {
            route: if connected.via.is_some() { "proxy" } else { "direct" },
            group: connected.group.map(|group| group.to_string()),
            proxy: connected.via.map(|via| via.name().to_owned()),
        })
    }

    /// Whether a group of this name has a proxy that works.
    fn has_a_way(&self, group: Option<&str>) -> bool {
        let mut groups = self.dispatcher.groups().iter();
        let group = groups.find(|it| it.name() == group.unwrap_or_default()).unwrap();
        let works = |it: &Arc<Upstream>| {
            let place = self.dispatcher.upstreams().iter().position(|other| Arc::ptr_eq(it, other));
            self.works[place.unwrap()].load(Ordering::Relaxed)
        };
        group.members().iter().any(works)
    }

    /// Whether what happened is what was said: the route, the group, and the proxy, if one was
    /// named.
    fn agrees(
        &self,
        (route, group, proxy): (&str, Option<&str>, Option<&str>),
        happened: &Result<Course, Error>,
    ) -> bool {
        match happened {
            Ok(course) => {
                (course.route, course.group.as_deref()) == (route, group)
                    && proxy.is_none_or(|proxy| course.proxy.as_deref() == Some(proxy))
            }
            Err(Error::Blocked) => route == "block",
            Err(_) => route == "proxy" && !self.has_a_way(group),
        }
    }

    /// One address is explained, and dialled; also for a connection that claims a name, and with
    /// what is known of the name by then.
    async fn is_as_explained(&self, random: &mut StdRng) {
        let ip = IpAddr::from([203, 0, 113, random.random()]);
        let name: Name = NAMES[random.random_range(0..NAMES.len())].parse().unwrap();
        let about = about_name(&self.rules, &name);
        // As the resolver does before the program hears of the address.
        let way = self.rules.name_way(name.as_wire()).filter(|way| way.route != Route::Block);
        let is_learned = random.random_bool(0.5) && !self.rules.reserved.contains(ip);
        if let Some(way) = way.filter(|_| is_learned) {
            self.dispatcher.learned().learn_via(ip, way, Duration::from_secs(3600));
        }
        let view = about_way(&self.rules, &self.dispatcher, ip, None);
        let said = (&*view.route, view.group.as_deref(), view.proxy.as_deref());
        let told = ToldName { name: "told.example".into(), is_sole: random.random_bool(0.5) };
        let told = Some(&told).filter(|_| random.random_bool(0.5));
        let happened = self.goes(ip, None, told).await;
        assert!(self.agrees(said, &happened), "{view:?} {happened:?}");

        let by_address = self.dispatcher.route(&destination(ip, None));
        let by_rule = matches!(by_address.reason, Reason::Rule | Reason::Reserved);
        let by_name = about.route.as_deref().filter(|_| !by_rule);
        let group = about.group.as_deref();
        let said = by_name.map_or(said, |route| (route, group, None));
        let happened = self.goes(ip, Some(&name), None).await;
        assert!(self.agrees(said, &happened), "{about:?} {view:?} {happened:?}");
        if is_learned && let Some(route) = by_name {
            // Its addresses go where its name goes; a blocked one has none.
            let is_same = (&*view.route, view.group.as_deref()) == (route, group);
            assert!(route == "block" || is_same, "{about:?} {view:?}");
        }
    }

    /// What the file on disk would change is what a reload changes.
    fn changes_as_explained(&self, random: &mut StdRng) {
        let next = random_rules(random, self.rules.via.groups());
        let ip = IpAddr::from([203, 0, 113, random.random()]);
        let view = about_way(&self.rules, &self.dispatcher, ip, None);
        let learned = self.dispatcher.learned();
        let told = changes(&self.rules, learned, &next, None, std::slice::from_ref(&view));
        // The names are other ones, so that what was learned is forgotten.
        let after = decide(&next, ip, None, &Learned::default());
        let after = (decided::route_word(after.route), decided::group_name(&next, after.group));
        let is_proxied = after.0 == "proxy";
        let is_same = *view.route == *after.0 && (!is_proxied || view.group == after.1);
        assert_eq!(told.is_empty(), is_same, "{view:?} {after:?} {told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_explained_is_what_happens() {
    let cases = std::env::var("SNET_CASES").ok().and_then(|it| it.parse().ok()).unwrap_or(10_000);
    for seed in 0..u64::div_ceil(cases, IN_A_WORLD) {
        let mut random = StdRng::seed_from_u64(seed);
        let world = RandomWorld::new(&mut random);
        for case in 0..IN_A_WORLD {
            if case % 5 == 0 {
                world.turns(&mut random).await;
            }
            world.is_as_explained(&mut random).await;
            world.changes_as_explained(&mut random);
        }
    }
}

/// As `snet status` says it.
#[test]
fn a_proxy_has_its_kind() {
    let name = format!("snet-explained-kind-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let text = "[[proxy]]\nname = \"a\"\ntype = \"http\"\nserver = \"192.0.2.1:8080\"\n";
    std::fs::write(&path, text).unwrap();
    let loaded = Config::load(&path, crate::config::Purpose::Daemon);
    std::fs::remove_file(&path).unwrap();
    let config = loaded.unwrap().config;
    for (name, kind) in [("a", "http"), ("b", "")] {
        let upstream = Upstream::new(fake(name).0, Duration::from_secs(5));
        assert_eq!(seeing::proxy(&config, &upstream, Instant::now()).kind, kind, "{name}");
    }
}
