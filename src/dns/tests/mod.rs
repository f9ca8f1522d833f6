//! The resolver whole, against scripted servers on loopback.

mod bootstrap;
mod busy_servers;
mod encrypted;
mod explaining;
mod household;
mod https_records;
mod judgement;
mod letter_case;
mod listening;
mod malformed;
mod many_clients;
mod missing_servers;
mod options;
mod persistent;
mod said_once;
mod servers;
mod servers_that_fail;
mod slow_servers;
mod split_horizon;
mod streams;
mod telling;
mod validating;

use super::client_query::{Came, ClientQuery};
use super::horizon::Horizon;
use super::household::Household;
use super::resolver::Resolver;
use super::settings::{AnswerSettings, CacheSettings, PrivacySettings, ServerSettings, Via};
use super::wire::{Query, TCP_SIZE};
use super::{Origins, Settings};
use crate::dispatch::{Current, Dispatcher};
use crate::domain::Listed;
use crate::mark::Fwmark;
use crate::net::{Outbound, Refusal};
use crate::proxy::direct::Direct;
use crate::route::{Route, Rules};
use crate::target::Target;
use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use ipnet::IpNet;
use servers::{Script, Server, addresses, always, nothing, over_tcp, over_udp, say};
use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::LocalSet;

/// Plays China, and the rest of the world.
const CN: &str = "198.51.100.1";
const ABROAD: &str = "203.0.113.1";
const FORGED: &str = "192.0.2.66";

struct World {
    resolver: Rc<Resolver>,
    current: Current,
    domestic: Server,
    trusted: Server,
    /// Which server the program means to ask.
    asked: Cell<Option<SocketAddr>>,
}

/// Queries come over TCP here, and that tells.
#[derive(Debug)]
struct NoDatagrams;

impl Origins for NoDatagrams {
    fn of_datagram(&self, _: SocketAddr, _: SocketAddr) -> Option<SocketAddr> {
        None
    }
}

fn settings() -> Settings {
    Settings {
        listen: Vec::new(),
        household: Household::default(),
        rules: Arc::new(Rules {
            china: Arc::new(["198.51.100.0/24", "2001:db8:c::/48"].iter().map(net).collect()),
            ..Rules::default()
        }),
        no_foreign_aaaa: false,
        servers: ServerSettings {
            china: Vec::new(),
            trusted: Vec::new(),
            trusted_via: Via::Direct,
            timeout: Duration::from_millis(1000),
            ..ServerSettings::default()
        },
        cache: CacheSettings { size: 1 << 20, ..CacheSettings::default() },
        privacy: PrivacySettings::default(),
        answers: AnswerSettings::default(),
    }
}

/// With these domestic servers.
fn asking(china: &[SocketAddr]) -> Settings {
    let mut settings = settings();
    settings.servers.china = china.iter().map(|address| (*address).into()).collect();
    settings
}

/// Names that a rule sends one way, or a list that blocks; without a route: its exceptions.
fn list(settings: &mut Settings, names: &[(&str, Option<Route>)]) {
    let rules = Arc::make_mut(&mut settings.rules);
    let mut blocked = Vec::new();
    for (name, route) in names {
        let name = name.parse().unwrap();
        match route {
            Some(Route::Block) => blocked.push((name, Listed::In)),
            Some(route) => drop(rules.names.insert(&name, *route)),
            None => blocked.push((name, Listed::Otherwise)),
        }
    }
    rules.blocked_names = blocked.into_iter().collect();
}

fn net(text: &&str) -> IpNet {
    text.parse().unwrap()
}

fn outbound() -> Outbound {
    Outbound::new(Fwmark::SNET, Refusal::Harmless)
}

fn world(domestic: Script, trusted: Script, adjust: impl FnOnce(&mut Settings)) -> World {
    let (domestic, trusted) = (over_udp(domestic), over_tcp(trusted, u32::MAX));
    let mut settings = asking(&[domestic.address]);
    settings.servers.trusted = vec![trusted.address.into()];
    adjust(&mut settings);
    let direct = Box::new(Direct::new(outbound()));
    let dispatcher = Dispatcher::new(Arc::default(), Arc::default(), direct, Vec::new());
    let current = Current::new(dispatcher);
    let horizon = Horizon::new(Some(Rc::new(NoDatagrams)));
    let resolver = Resolver::new(
        settings,
        outbound(),
        current.clone(),
        encrypted::tls(),
        horizon,
        Default::default(),
    );
    World { resolver, current, domestic, trusted, asked: Cell::new(None) }
}

impl World {
    async fn ask(&self, name: &str, kind: RecordType) -> Message {
        self.ask_from("127.0.0.1", name, kind).await
    }

    async fn ask_from(&self, client: &str, name: &str, kind: RecordType) -> Message {
        self.ask_query(client, &Query::new(&name.parse().unwrap(), kind.into())).await
    }

    async fn ask_query(&self, client: &str, query: &Query) -> Message {
        let came = self.asked.get().map_or(Came::ToUs, Came::Redirected);
        self.ask_that_came(client, query, came).await
    }

    async fn ask_that_came(&self, client: &str, query: &Query, came: Came) -> Message {
        let client = SocketAddr::new(client.parse().unwrap(), 4000);
        let at = std::time::Instant::now();
        let asked = ClientQuery { query, limit: TCP_SIZE, client, came, at };
        let mut out = Vec::new();
        if !self.resolver.answer_at_once(&asked, &mut out) {
            out = Rc::clone(&self.resolver).answer(&asked).await;
        }
        Message::from_vec(&out).unwrap()
    }

    async fn detect_rewriting(&self) {
        let (upstreams, memory) = (&self.resolver.upstreams, &self.resolver.memory);
        super::rewriting::detect(Rc::clone(upstreams), Rc::clone(memory)).await;
    }

    async fn a(&self, name: &str) -> Vec<String> {
        found(&self.ask(name, RecordType::A).await)
    }

    fn route(&self, address: &str) -> Route {
        let target = Target::addr(format!("{address}:80").parse().unwrap());
        self.current.load().route(&target).route
    }
}

fn found(answer: &Message) -> Vec<String> {
    let addresses = answer.answers.iter().filter_map(|record| record.data.ip_addr());
    addresses.map(|address: IpAddr| address.to_string()).collect()
}

async fn run(test: impl AsyncFnOnce()) {
    LocalSet::new().run_until(test()).await;
}
