//! Flows that are older than snet go on as they were: at its start, at reloads and at its stop not
//! one of their datagrams is lost, and the site sees the same client all the time. What else goes
//! on meanwhile is not harmed either.

use super::chatter::{Chat, Chatter};
use super::{PLACES, lan, router};
use crate::client::{connect, echo};
use crate::peer::service::Seen;
use crate::peer::{names, service};
use crate::question;
use crate::snet::{self, Config, Snet};
use crate::stop::Stop;
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{
    DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, Family, MACHINE, SYSTEM_NAMES, sealed_for,
};
use nix::sys::signal::Signal;
use snet_lab::in_every_variant;
use std::collections::HashSet;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

in_every_variant!(older_flows_of_a_household, older_flows_that_nothing_has_tracked);

/// Flows of each kind; they do not talk at the same moment.
const FLOWS: usize = 4;

/// Other configurations between two of the same.
const RELOADS: usize = 3;

/// The machine and a LAN host, beside the rules of a router, which make conntrack run.
fn older_flows_of_a_household(variant: Variant) {
    let seen = service::start();
    let _names = [names::domestic(), names::trusted(), names::system()];
    lan(variant);
    let (_proxy, line) = Upstream::Rust("aes-128-gcm").start(Family::V4);
    live_through(variant, &router(Family::V4, line), &PLACES, &seen);
}

/// Without any rule before snet's, conntrack knows of no flow at all.
fn older_flows_that_nothing_has_tracked(variant: Variant) {
    let seen = service::start();
    let _names = [names::domestic(), names::trusted(), names::system()];
    let (_proxy, line) = Upstream::Rust("aes-128-gcm").start(Family::V4);
    let mut config = Config::through(Family::V4, &[line]);
    Config::set(&mut config.firewall, "udp", "\"proxy\"");
    live_through(variant, &config, &[None], &seen);
}

fn live_through(variant: Variant, config: &Config, places: &[Option<&str>], seen: &Seen) {
    let mut flows = Vec::new();
    for place in places {
        for family in FAMILIES {
            for _ in 0..FLOWS {
                flows.push(Chatter::echo(*place, FOREIGN_SITE.port(family, service::ECHO)));
                sleep(Duration::from_millis(23));
            }
        }
    }
    let older = flows.len();
    let names = FAMILIES.map(|family| {
        Chatter::start(None, SYSTEM_NAMES.port(family, 53), |id| {
            question::query(id, "foreign.example", 1)
        })
    });
    let domestic = FAMILIES.map(|f| Chatter::echo(None, DOMESTIC_SITE.port(f, service::ECHO)));
    let connections = Connections::default();
    let mut log = String::new();
    thread::scope(|scope| {
        let _stop = Stop(&connections.stop);
        FAMILIES.iter().for_each(|family| drop(scope.spawn(|| connections.live(*family))));
        sleep(Duration::from_millis(500));

        let mut config = config.by(variant);
        let file = config.write();
        let snet = Snet::ready(snet::snet(variant).arg("-vv").arg("-c").arg(&file));
        sleep(Duration::from_millis(500));
        let newer = Chatter::echo(places[0], FOREIGN_SITE.port(Family::V4, service::ECHO));
        for round in 0..RELOADS {
            // Other rules, and the same again.
            let list = ["[]", "[\"192.0.2.64/26\"]"][round % 2];
            Config::set(&mut config.rules, "proxy", list);
            fs::write(&file, config.text()).expect("the tmpfs is writable");
            let done = snet.log().matches("reloaded").count();
            snet.signal(Signal::SIGHUP);
            wait::until("a reload", Duration::from_secs(20), || {
                snet.log().matches("reloaded").count() > done
            });
            sleep(Duration::from_millis(300));
        }
        newer.end().must_be_whole("a flow that is captured");
        log = snet.log();
        snet.stop();
        sleep(Duration::from_millis(500));
    });

    let chats = |flows: Vec<Chatter>| flows.into_iter().map(Chatter::end).collect::<Vec<Chat>>();
    for chat in chats(flows) {
        chat.must_be_whole(&format!("an older flow: {log}"));
    }
    let clients: HashSet<_> = FAMILIES
        .iter()
        .flat_map(|family| seen.at(FOREIGN_SITE.port(*family, service::ECHO)))
        .filter(|visit| visit.end.is_none())
        .map(|visit| visit.from)
        .collect();
    let direct = clients.iter().filter(|from| FAMILIES.iter().any(|f| MACHINE.ip(*f) == from.ip()));
    assert_eq!(direct.count(), older, "each is one client all the time: {clients:?}\n{log}");
    assert_eq!(clients.len(), older + 1, "and the newer one is the proxy's: {clients:?}\n{log}");
    for chat in chats(domestic.into()) {
        chat.must_be_whole(&format!("domestic UDP: {log}"));
    }
    for chat in chats(names.into()) {
        chat.must_be_whole(&format!("names: {log}"));
    }
    let rounds = connections.rounds.load(Ordering::Relaxed);
    assert!(rounds > 20, "only {rounds} rounds of connections");
}

/// A foreign connection that is older as well, and domestic ones that begin all the time.
#[derive(Debug, Default)]
struct Connections {
    stop: AtomicBool,
    rounds: AtomicU32,
}

impl Connections {
    fn live(&self, family: Family) {
        let mut older = connect(FOREIGN_SITE.port(family, service::ECHO));
        while !self.stop.load(Ordering::Relaxed) {
            echo(&mut older, b"still there?").expect("an older connection lives on");
            let mut domestic = connect(DOMESTIC_SITE.port(family, service::ECHO));
            echo(&mut domestic, b"hello").expect("a domestic connection");
            self.rounds.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(50));
        }
    }
}
