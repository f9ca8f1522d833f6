//! The resolver whole, against scripted servers on loopback.

mod encrypted;
mod listening;
mod servers;

use super::resolver::{Asked, Resolver};
use super::wire::{Query, TCP_SIZE};
use super::{HttpsRecords, Options, Settings};
use crate::dispatch::{Current, Dispatcher};
use crate::domain::DomainMap;
use crate::ipset::IpSet;
use crate::mark::Fwmark;
use crate::net::{Outbound, Refusal};
use crate::proxy::direct::Direct;
use crate::route::{Route, Router};
use crate::target::Target;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use ipnet::IpNet;
use servers::{
    Script, Server, addresses, always, asks_for, nothing, over_tcp, over_udp, reply, say, silent,
};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::LocalSet;
use tokio::time::Instant;

/// Plays China, and the rest of the world.
const CN: &str = "198.51.100.1";
const ABROAD: &str = "203.0.113.1";
const FORGED: &str = "192.0.2.66";

struct World {
    resolver: Rc<Resolver>,
    current: Current,
    domestic: Server,
    trusted: Server,
}

fn settings() -> Settings {
    Settings {
        listen: Vec::new(),
        china: Vec::new(),
        trusted: Vec::new(),
        trusted_via_proxy: false,
        local: Vec::new(),
        forward: DomainMap::default(),
        timeout: Duration::from_millis(1000),
        cache_size: 1 << 20,
        min_ttl: Duration::ZERO,
        max_ttl: Duration::from_secs(86_400),
        block_types: Vec::new(),
        bogus: IpSet::default(),
        hosts: HashMap::new(),
        rules: Arc::default(),
        china_names: Arc::default(),
        china_set: Arc::new(["198.51.100.0/24", "2001:db8:c::/48"].iter().map(net).collect()),
        no_foreign_aaaa: false,
        options: Options::default(),
    }
}

fn rules(list: &[(&str, Option<Route>)]) -> Arc<DomainMap<Option<Route>>> {
    let mut rules = DomainMap::default();
    for (name, route) in list {
        rules.insert(&name.parse().unwrap(), *route);
    }
    Arc::new(rules)
}

fn net(text: &&str) -> IpNet {
    text.parse().unwrap()
}

fn outbound() -> Outbound {
    Outbound::new(Fwmark::SNET, Refusal::Harmless)
}

fn world(domestic: Script, trusted: Script, adjust: impl FnOnce(&mut Settings)) -> World {
    let (domestic, trusted) = (over_udp(domestic), over_tcp(trusted, u32::MAX));
    let mut settings = Settings {
        china: vec![domestic.address.into()],
        trusted: vec![trusted.address.into()],
        ..settings()
    };
    adjust(&mut settings);
    let direct = Box::new(Direct::new(outbound()));
    let dispatcher = Dispatcher::new(Router::default(), Arc::default(), direct, Vec::new());
    let current = Current::new(dispatcher);
    let resolver = Resolver::new(settings, outbound(), current.clone(), encrypted::tls());
    World { resolver, current, domestic, trusted }
}

impl World {
    async fn ask(&self, name: &str, kind: RecordType) -> Message {
        let query = Query::new(&name.parse().unwrap(), kind.into());
        let client = "127.0.0.1:4000".parse().unwrap();
        let at = std::time::Instant::now();
        let asked = Asked { query: &query, limit: TCP_SIZE, client, at };
        let mut out = Vec::new();
        if !self.resolver.answer_at_once(&asked, &mut out) {
            out = Rc::clone(&self.resolver).answer(&asked).await;
        }
        Message::from_vec(&out).unwrap()
    }

    async fn a(&self, name: &str) -> Vec<String> {
        found(&self.ask(name, RecordType::A).await)
    }

    fn route(&self, address: &str) -> Route {
        let target = Target::addr(format!("{address}:80").parse().unwrap());
        self.current.load().route(&target)
    }
}

fn found(answer: &Message) -> Vec<String> {
    let addresses = answer.answers.iter().filter_map(|record| record.data.ip_addr());
    addresses.map(|address: IpAddr| address.to_string()).collect()
}

async fn run(test: impl AsyncFnOnce()) {
    LocalSet::new().run_until(test()).await;
}

#[tokio::test]
async fn a_domestic_name_gets_its_near_address_at_once() {
    run(async || {
        let trusted = Rc::new(|query: &Message| vec![say(600, addresses(query, 60, &[ABROAD]))]);
        let world = world(always(|query| addresses(query, 60, &[CN])), trusted, |_| {});
        let began = Instant::now();
        assert_eq!(world.a("site.example").await, [CN]);
        assert!(began.elapsed() < Duration::from_millis(400), "no wait for the other side");
        assert_eq!(world.a("SITE.example").await, [CN]);
        assert_eq!(world.domestic.asked.get(), 1, "the second came from the cache");
    })
    .await;
}

/// Forged replies come first: with the right number, with a wrong one, many of them.
#[tokio::test]
async fn forged_answers_never_pass() {
    run(async || {
        let forger = Rc::new(|query: &Message| {
            let mut wrong_id = addresses(query, 60, &[CN]);
            wrong_id.metadata.id ^= 1;
            vec![
                say(0, wrong_id),
                say(1, addresses(query, 300, &[FORGED])),
                say(2, addresses(query, 300, &["127.0.0.1"])),
                say(5, addresses(query, 300, &["8.7.198.45"])),
            ]
        });
        let trusted = Rc::new(|query: &Message| vec![say(100, addresses(query, 60, &[ABROAD]))]);
        let world = world(forger, trusted, |_| {});
        for number in 0..20 {
            assert_eq!(world.a(&format!("n{number}.example")).await, [ABROAD]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_silent_domestic_side_costs_a_grace_and_then_none() {
    run(async || {
        let trusted = always(|query| addresses(query, 60, &[ABROAD]));
        let world = world(silent(), trusted, |_| {});
        let began = Instant::now();
        for number in 0..5 {
            assert_eq!(world.a(&format!("n{number}.example")).await, [ABROAD]);
        }
        assert!(began.elapsed() >= Duration::from_millis(1500), "five times the grace");
        let began = Instant::now();
        assert_eq!(world.a("n5.example").await, [ABROAD]);
        assert!(began.elapsed() < Duration::from_millis(250), "the side counts as down");
    })
    .await;
}

#[tokio::test]
async fn a_silent_trusted_side_means_servfail_and_never_the_doubtful_answer() {
    run(async || {
        let foreign = always(|query| addresses(query, 60, &[ABROAD]));
        let world = world(foreign, silent(), |_| {});
        let answer = world.ask("site.example", RecordType::A).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        assert!(answer.answers.is_empty());
        let began = Instant::now();
        let again = world.ask("site.example", RecordType::A).await;
        assert_eq!(again.metadata.response_code, ResponseCode::ServFail);
        assert!(began.elapsed() < Duration::from_millis(400), "a failure is remembered");
    })
    .await;
}

#[tokio::test]
async fn nothing_from_the_domestic_side_needs_the_trusted_one_to_confirm() {
    run(async || {
        let domestic = always(|query| nothing(query, ResponseCode::NXDomain));
        let trusted = always(|query| addresses(query, 60, &[ABROAD]));
        let world = world(domestic, trusted, |_| {});
        assert_eq!(world.a("site.example").await, [ABROAD]);
    })
    .await;
}

#[tokio::test]
async fn other_types_follow_the_verdict() {
    run(async || {
        let domestic = always(|query| match asks_for(query, RecordType::A) {
            true => addresses(query, 60, &[CN]),
            false => nothing(query, ResponseCode::NoError),
        });
        let trusted = always(|query| nothing(query, ResponseCode::NXDomain));
        let world = world(domestic, trusted, |_| {});
        let https = world.ask("site.example", RecordType::HTTPS).await;
        assert_eq!(https.metadata.response_code, ResponseCode::NoError, "the domestic answer");
        assert_eq!(world.domestic.asked.get(), 2, "the address first");
        let text = world.ask("unknown.example", RecordType::TXT).await;
        assert_eq!(text.metadata.response_code, ResponseCode::NXDomain, "the trusted answer");
        assert_eq!(world.domestic.asked.get(), 2, "not asked about an unknown name");
    })
    .await;
}

#[tokio::test]
async fn listed_names_have_one_side_and_steer_the_router() {
    run(async || {
        let domestic = always(|query| addresses(query, 60, &[ABROAD]));
        let trusted = always(|query| addresses(query, 60, &[CN]));
        let world = world(domestic, trusted, |settings| {
            settings.rules = rules(&[
                ("near.example", Some(Route::Direct)),
                ("far.example", Some(Route::Proxy)),
                ("bad.example", Some(Route::Block)),
                ("good.bad.example", None),
            ]);
            let mut names = DomainMap::default();
            names.insert(&"cn.example".parse().unwrap(), Some(()));
            names.insert(&"hk.cn.example".parse().unwrap(), None);
            settings.china_names = Arc::new(names);
        });
        assert_eq!(world.route(ABROAD), Route::Proxy);
        assert_eq!(world.a("www.near.example").await, [ABROAD]);
        assert_eq!(world.route(ABROAD), Route::Direct, "learned");
        assert_eq!(world.trusted.asked.get(), 0);
        assert_eq!(world.a("far.example").await, [CN]);
        assert_eq!(world.domestic.asked.get(), 1, "never asked about a proxied name");
        assert_eq!(world.a("a.cn.example").await, [ABROAD]);
        let blocked = world.ask("x.bad.example", RecordType::A).await;
        assert_eq!(blocked.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(world.a("x.good.bad.example").await, [CN], "excepted, and so judged");
        let asked = world.trusted.asked.get();
        assert_eq!(world.a("a.hk.cn.example").await, [CN]);
        assert_eq!(world.trusted.asked.get(), asked + 1, "excepted, and so judged");
    })
    .await;
}

/// Programs ask for both address types at once: the site without IPv6 must not wait for abroad.
#[tokio::test]
async fn a_missing_address_type_is_believed_once_the_other_is_domestic() {
    run(async || {
        let domestic = Rc::new(|query: &Message| match asks_for(query, RecordType::A) {
            true => vec![say(50, addresses(query, 60, &[CN]))],
            false => vec![say(0, nothing(query, ResponseCode::NoError))],
        });
        let world = world(domestic, silent(), |_| {});
        let began = Instant::now();
        let (a, aaaa) = tokio::join!(
            world.ask("site.example", RecordType::A),
            world.ask("site.example", RecordType::AAAA),
        );
        assert_eq!(found(&a), [CN]);
        assert_eq!(aaaa.metadata.response_code, ResponseCode::NoError);
        assert!(began.elapsed() < Duration::from_millis(500), "no wait for the trusted side");
    })
    .await;
}

#[tokio::test]
async fn an_answer_does_not_steer_local_addresses() {
    run(async || {
        let trusted = always(|query| addresses(query, 60, &["10.0.0.5", ABROAD]));
        let world = world(silent(), trusted, |settings| {
            Arc::make_mut(&mut settings.rules)
                .insert(&"far.example".parse().unwrap(), Some(Route::Proxy));
        });
        world.a("far.example").await;
        assert_eq!(format!("{:?}", world.current.load().learned()), "Learned(1 addresses)");
    })
    .await;
}

#[tokio::test]
async fn the_second_server_of_a_list_helps() {
    run(async || {
        let refusing = over_udp(always(|query| {
            let mut refusal = reply(query);
            refusal.metadata.response_code = ResponseCode::Refused;
            refusal
        }));
        let knowing = over_udp(always(|query| addresses(query, 60, &["192.168.1.9"])));
        let world = world(silent(), silent(), |settings| {
            settings.local = vec![refusing.address, knowing.address];
        });
        assert_eq!(world.a("nas").await, ["192.168.1.9"]);
    })
    .await;
}

#[tokio::test]
async fn a_direct_name_falls_back_to_the_trusted_side() {
    run(async || {
        let forged = always(|query| addresses(query, 60, &["127.0.0.1"]));
        let trusted = always(|query| addresses(query, 60, &[ABROAD]));
        let world = world(forged, trusted, |settings| {
            settings.rules = rules(&[("near.example", Some(Route::Direct))]);
        });
        assert_eq!(world.a("near.example").await, [ABROAD]);
    })
    .await;
}

#[tokio::test]
async fn local_names_never_leave() {
    run(async || {
        let public = always(|query| addresses(query, 60, &[ABROAD]));
        let local = over_udp(always(|query| addresses(query, 60, &["192.168.1.9"])));
        let forward = over_udp(always(|query| addresses(query, 60, &["10.0.0.9"])));
        let world = world(public.clone(), public, |settings| {
            settings.local = vec![local.address];
            let corp = "corp.example".parse().unwrap();
            settings.forward.insert(&corp, vec![forward.address]);
        });
        assert_eq!(world.a("nas").await, ["192.168.1.9"]);
        assert_eq!(world.a("nas.lan").await, ["192.168.1.9"]);
        assert_eq!(world.a("www.corp.example").await, ["10.0.0.9"]);
        assert_eq!(world.a("localhost").await, ["127.0.0.1"]);
        assert_eq!((world.domestic.asked.get(), world.trusted.asked.get()), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn identical_queries_share_a_flight() {
    run(async || {
        let slow = Rc::new(|query: &Message| vec![say(100, addresses(query, 60, &[CN]))]);
        let world = world(slow, silent(), |_| {});
        let (a, b, c) =
            tokio::join!(world.a("site.example"), world.a("SITE.example"), world.a("site.example"));
        assert_eq!([a, b, c], [[CN], [CN], [CN]]);
        assert_eq!(world.domestic.asked.get(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_ends_is_dialled_again() {
    run(async || {
        // Each connection answers one query, reads another and closes.
        let asked = std::cell::Cell::new(0);
        let every_other: Script = Rc::new(move |query| {
            asked.set(asked.get() + 1);
            match asked.get() % 2 {
                1 => vec![say(0, addresses(query, 60, &[ABROAD]))],
                _ => vec![],
            }
        });
        let trusted = over_tcp(every_other, 2);
        let foreign = always(|query| addresses(query, 60, &[FORGED]));
        let world =
            world(foreign, silent(), |settings| settings.trusted = vec![trusted.address.into()]);
        for number in 0..4 {
            assert_eq!(world.a(&format!("n{number}.example")).await, [ABROAD]);
        }
        assert_eq!(trusted.asked.get(), 7, "three were asked twice");
    })
    .await;
}

#[tokio::test]
async fn the_second_trusted_server_helps() {
    run(async || {
        let failing = over_tcp(
            always(|query| {
                let mut failure = reply(query);
                failure.metadata.response_code = ResponseCode::ServFail;
                failure
            }),
            u32::MAX,
        );
        let trusted = always(|query| addresses(query, 60, &[ABROAD]));
        let world = world(silent(), trusted, |settings| {
            settings.trusted.insert(0, failing.address.into());
        });
        assert_eq!(world.a("one.example").await, [ABROAD]);
        assert_eq!(world.a("two.example").await, [ABROAD]);
        assert_eq!(failing.asked.get(), 1, "the one that answered is asked first from then on");
    })
    .await;
}

#[tokio::test]
async fn foreign_names_have_no_ipv6_where_it_is_blocked() {
    run(async || {
        let both = always(|query| addresses(query, 60, &[ABROAD, "2001:db8:f::1"]));
        let world = world(both.clone(), both, |settings| settings.no_foreign_aaaa = true);
        let answer = world.ask("site.example", RecordType::AAAA).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert_eq!(found(&answer), [""; 0]);
        assert_eq!(world.a("site.example").await, [ABROAD]);
    })
    .await;
}

#[tokio::test]
async fn a_rewriting_provider_is_found_out() {
    run(async || {
        // Everything has a domestic address, says the provider.
        let rewriting = always(|query| addresses(query, 60, &["198.51.100.66"]));
        let trusted = always(|query| nothing(query, ResponseCode::NXDomain));
        let world = world(rewriting, trusted, |_| {});
        super::rewriting::detect(Rc::clone(&world.resolver)).await;
        let answer = world.ask("typo.example", RecordType::A).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    })
    .await;
}

#[tokio::test]
async fn a_truncated_reply_is_fetched_over_tcp() {
    run(async || {
        let domestic = over_tcp(always(|query| addresses(query, 60, &[CN])), u32::MAX);
        let truncating = crate::net::udp::bind(domestic.address).unwrap().listen().unwrap();
        tokio::task::spawn_local(async move {
            let mut buffer = [0; 512];
            loop {
                truncating.readable().await.unwrap();
                let Ok((length, asker)) = truncating.try_receive(&mut buffer) else { continue };
                let mut cut = reply(&Message::from_vec(&buffer[..length]).unwrap());
                cut.metadata.truncation = true;
                truncating.reply(&asker, &cut.to_vec().unwrap()).unwrap();
            }
        });
        let world =
            world(silent(), silent(), |settings| settings.china = vec![domestic.address.into()]);
        assert_eq!(world.a("site.example").await, [CN]);
        assert_eq!(domestic.asked.get(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_stale_answer_is_better_than_none() {
    run(async || {
        let up = Rc::new(std::cell::Cell::new(true));
        let state = Rc::clone(&up);
        let trusted: Script = Rc::new(move |query| match state.get() {
            true => vec![say(0, addresses(query, 1, &[ABROAD]))],
            false => vec![],
        });
        let foreign = always(|query| addresses(query, 1, &[FORGED]));
        let world = world(foreign, trusted, |_| {});
        assert_eq!(world.a("site.example").await, [ABROAD]);
        up.set(false);
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let answer = world.ask("site.example", RecordType::A).await;
        assert_eq!(found(&answer), [ABROAD]);
        assert_eq!(answer.answers[0].ttl, 1);
        assert_eq!(world.domestic.asked.get(), 2, "it was tried");
        assert_eq!(world.a("site.example").await, [ABROAD]);
        assert_eq!(world.domestic.asked.get(), 2, "and not again at once");
    })
    .await;
}

#[tokio::test]
async fn without_a_leak_the_domestic_side_hears_of_domestic_names_only() {
    run(async || {
        // Far addresses from the trusted side, near ones from the domestic side.
        let trusted = always(|query| match query.queries[0].name().to_ascii().as_str() {
            "cn.example." => addresses(query, 60, &["198.51.100.77"]),
            _ => addresses(query, 60, &[ABROAD]),
        });
        let domestic = always(|query| addresses(query, 60, &[CN]));
        let world = world(domestic, trusted, |settings| settings.options.no_leak = true);
        assert_eq!(world.a("foreign.example").await, [ABROAD]);
        assert_eq!(world.domestic.asked.get(), 0);
        assert_eq!(world.a("cn.example").await, [CN]);
        assert_eq!(world.domestic.asked.get(), 1);
    })
    .await;
}

#[tokio::test]
async fn without_a_leak_the_trusted_answer_helps_out() {
    run(async || {
        let trusted = always(|query| addresses(query, 60, &[CN]));
        let world = world(silent(), trusted, |settings| settings.options.no_leak = true);
        let began = Instant::now();
        assert_eq!(world.a("cn.example").await, [CN]);
        assert!(began.elapsed() < Duration::from_millis(900), "a grace, no more");
        let down = self::world(always(|query| addresses(query, 60, &[CN])), silent(), |settings| {
            settings.options.no_leak = true;
        });
        let answer = down.ask("cn.example", RecordType::A).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(down.domestic.asked.get(), 0, "that would be the leak");
    })
    .await;
}

#[tokio::test]
async fn a_domestic_sibling_ends_the_wait() {
    run(async || {
        // A comes late, AAAA says at once that there is none, the trusted side says nothing.
        let domestic: Script = Rc::new(|query| match asks_for(query, RecordType::A) {
            true => vec![say(150, addresses(query, 60, &[CN]))],
            false => vec![say(0, nothing(query, ResponseCode::NoError))],
        });
        let world = world(domestic, silent(), |_| {});
        let began = Instant::now();
        let (a, aaaa) =
            tokio::join!(world.a("site.example"), world.ask("site.example", RecordType::AAAA));
        assert_eq!((a.as_slice(), found(&aaaa)), ([CN.to_owned()].as_slice(), vec![]));
        assert_eq!(aaaa.metadata.response_code, ResponseCode::NoError);
        assert!(began.elapsed() < Duration::from_millis(700), "not until the deadline");
    })
    .await;
}

#[tokio::test]
async fn https_records_can_be_blocked() {
    run(async || {
        let domestic = always(|query| addresses(query, 60, &[CN]));
        let world = world(domestic, silent(), |settings| {
            settings.options.https_records = HttpsRecords::Block;
        });
        let answer = world.ask("site.example", RecordType::HTTPS).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert_eq!((answer.answers.len(), world.domestic.asked.get()), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn a_name_server_that_asks_us_back_is_refused() {
    run(async || {
        // Keeps what it was asked.
        let heard = Rc::new(std::cell::RefCell::new(Vec::new()));
        let names = Rc::clone(&heard);
        let domestic = always(move |query| {
            names.borrow_mut().push(query.queries[0].name().to_ascii());
            nothing(query, ResponseCode::NXDomain)
        });
        let world = world(domestic, silent(), |_| {});
        super::rewriting::detect(Rc::clone(&world.resolver)).await;
        let name = heard.borrow()[0].trim_end_matches('.').to_owned();
        let answer = world.ask(&name, RecordType::A).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    })
    .await;
}
