//! What is said of a name agrees with what then happens to it.

use super::servers::{addresses, always, nothing, silent};
use super::{ABROAD, CN, FORGED, World, list, run, world};
use crate::route::Route;
use crate::view::RecordView;
use hickory_proto::op::ResponseCode;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::rc::Rc;

async fn explained(world: &World, name: &str) -> RecordView {
    let records = Rc::clone(&world.resolver).explain(name.parse().unwrap()).await;
    records.into_iter().find(|record| record.kind == "A").unwrap()
}

fn texts(addresses: &[std::net::IpAddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn both_sides_are_heard() {
    run(async || {
        let domestic = always(|query| addresses(query, 60, &[FORGED]));
        let trusted = always(|query| addresses(query, 60, &[ABROAD]));
        let world = world(domestic, trusted, |_| {});
        let record = explained(&world, "www.example").await;
        let [near, far] = &record.replies[..] else { panic!("{record:?}") };
        assert_eq!((near.side.as_str(), near.server), ("domestic", Some(world.domestic.address)));
        assert_eq!(texts(&near.addresses), [FORGED]);
        assert!(near.says.contains("perhaps forged"), "{}", near.says);
        assert_eq!((far.side.as_str(), texts(&far.addresses)), ("trusted", vec![ABROAD.into()]));
        assert_eq!(texts(&record.answer), [ABROAD]);
        assert_eq!(record.verdict.as_deref(), Some("foreign"));
        assert_eq!(record.cached, None, "it was never asked before");
        let again = explained(&world, "www.example").await;
        let cached = again.cached.expect("it was asked a moment ago");
        assert_eq!(cached.side, "trusted");
        assert!((1..=60).contains(&cached.left), "{}", cached.left);
    })
    .await;
}

/// To ask why must not tell the domestic side what a rule keeps from it.
#[tokio::test]
async fn a_name_is_kept_from_the_side_that_does_not_hear_of_it() {
    run(async || {
        let trusted = always(|query| addresses(query, 60, &[ABROAD]));
        let domestic = always(|query| addresses(query, 60, &[CN]));
        let world = world(domestic, trusted, |settings| {
            let names = [
                ("far.example", Some(Route::Proxy)),
                ("near.example", Some(Route::Direct)),
                ("bad.example", Some(Route::Block)),
            ];
            list(settings, &names);
        });
        let far = explained(&world, "far.example").await;
        assert_eq!((texts(&far.answer), world.domestic.asked.get()), (vec![ABROAD.into()], 0));
        let asked = world.trusted.asked.get();
        let near = explained(&world, "near.example").await;
        assert_eq!((texts(&near.answer), world.trusted.asked.get()), (vec![CN.into()], asked));
        let asked = || (world.domestic.asked.get(), world.trusted.asked.get());
        let before = asked();
        let bad = explained(&world, "bad.example").await;
        assert_eq!(bad.instead.as_deref(), Some("no such name"));
        assert!(bad.replies.is_empty() && bad.asks.contains("blocked"), "{bad:?}");
        assert_eq!(asked(), before);
    })
    .await;
}

#[tokio::test]
async fn a_side_that_is_silent_is_named() {
    run(async || {
        let domestic = always(|query| {
            let mut reply = addresses(query, 60, &[]);
            reply.metadata.response_code = ResponseCode::NXDomain;
            reply
        });
        let world = world(domestic, silent(), |settings| {
            settings.servers.timeout = std::time::Duration::from_millis(300);
        });
        let record = explained(&world, "www.example").await;
        assert_eq!(record.replies[0].says, "no such name");
        assert!(record.replies[1].says.starts_with("no answer"), "{:?}", record.replies[1]);
        assert!(record.instead.is_some_and(|it| it.starts_with("SERVFAIL")));
    })
    .await;
}

/// A server that refuses is there: to call it silent sends people to look for it.
#[tokio::test]
async fn a_server_that_refuses_is_not_called_silent() {
    run(async || {
        let refusing = || always(|query| nothing(query, ResponseCode::Refused));
        let world = world(refusing(), refusing(), |_| {});
        let record = explained(&world, "www.example").await;
        let said: Vec<_> = record.replies.iter().map(|it| (&*it.side, &*it.says)).collect();
        assert_eq!(said, [("domestic", "REFUSED"), ("trusted", "REFUSED")]);
        assert_eq!(record.replies[1].server, Some(world.trusted.address), "the only one");
    })
    .await;
}

/// Random rules, replies and orders of asking.
#[tokio::test]
async fn what_is_explained_is_what_happens() {
    const REPLIES: [&[&str]; 5] = [&[CN], &[ABROAD], &[CN, ABROAD], &["0.0.0.0"], &[]];
    let cases = std::env::var("SNET_CASES").ok().and_then(|it| it.parse().ok()).unwrap_or(60);
    for seed in 0..cases {
        let mut random = StdRng::seed_from_u64(seed);
        let mut pick = || REPLIES[random.random_range(0..REPLIES.len())];
        let (near, far) = (pick(), pick());
        let route = [None, Some(Route::Direct), Some(Route::Proxy), Some(Route::Block)]
            [random.random_range(0..4)];
        let is_asked_first = random.random_bool(0.5);
        run(async || {
            let domestic = always(move |query| addresses(query, 60, near));
            let trusted = always(move |query| addresses(query, 60, far));
            let world = world(domestic, trusted, |settings| {
                if route.is_some() {
                    list(settings, &[("example", route)]);
                }
            });
            let before = match is_asked_first {
                true => Some(world.a("www.example").await),
                false => None,
            };
            let record = explained(&world, "www.example").await;
            let said = texts(&record.answer);
            let got = world.a("www.example").await;
            let what = format!("seed {seed}: {near:?} {far:?} {route:?} {record:?}");
            assert_eq!(said, got, "{what}");
            assert!(before.is_none_or(|before| before == said), "{what}");
            // The router of these tests has no list: only what names teach it is there.
            let public = said.iter().filter(|address| *address != "0.0.0.0");
            let taught = public.map(|address| world.route(address));
            let taught: Vec<_> = taught.filter(|_| route.is_some()).collect();
            assert!(taught.iter().all(|it| Some(*it) == route), "{what}");
        })
        .await;
    }
}
