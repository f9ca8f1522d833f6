//! What a client gets whose question takes long (RFC 8767, 5).

use super::servers::{Script, addresses, always, nothing, over_udp, say, silent};
use super::{ABROAD, FORGED, Query, World, found, list, run, world};
use crate::route::Route;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::time::sleep;

const NEWER: &str = "203.0.113.2";

/// Answers the first question at once, with a TTL of a second, and others after so many
/// milliseconds, with another address; or never.
fn slow(after: Option<u64>) -> Script {
    let is_first = Cell::new(true);
    Rc::new(move |query: &Message| match (is_first.replace(false), after) {
        (true, _) => vec![say(0, addresses(query, 1, &[ABROAD]))],
        (false, Some(after)) => vec![say(after, addresses(query, 60, &[NEWER]))],
        (false, None) => vec![],
    })
}

/// A world with an answer that is past its TTL.
async fn with_stale(domestic: Script, trusted: Script, route: Option<Route>) -> World {
    let world = world(domestic, trusted, |settings| {
        settings.servers.timeout = Duration::from_secs(4);
        list(settings, &[("site.example", route)]);
    });
    assert_eq!(world.a("site.example").await, [ABROAD]);
    world.resolver.memory.cache.borrow_mut().age(Duration::from_secs(2));
    world
}

async fn ask(world: &World) -> (Message, u128) {
    let began = Instant::now();
    let answer = world.ask("site.example", RecordType::A).await;
    (answer, began.elapsed().as_millis())
}

const AFTER_CLIENT_PATIENCE: Range<u128> = 1790..2100;

#[tokio::test]
async fn a_stale_answer_comes_while_servers_are_slow_and_the_question_goes_on() {
    run(async || {
        let world = with_stale(slow(Some(2200)), silent(), Some(Route::Direct)).await;
        let (answer, took) = ask(&world).await;
        assert_eq!(found(&answer), [ABROAD]);
        assert!(AFTER_CLIENT_PATIENCE.contains(&took), "{took}");
        let (answer, took) = ask(&world).await;
        assert_eq!((found(&answer), took < 50), (vec![ABROAD.to_owned()], true), "at once");
        assert_eq!(world.route(ABROAD), Route::Direct);
        sleep(Duration::from_millis(600)).await;
        let (answer, took) = ask(&world).await;
        assert_eq!((found(&answer), took < 50), (vec![NEWER.to_owned()], true), "it was kept");
    })
    .await;
}

#[tokio::test]
async fn a_quick_answer_is_waited_for() {
    run(async || {
        let foreign = always(|query| addresses(query, 1, &[FORGED]));
        let world = with_stale(foreign, slow(Some(1000)), None).await;
        assert_eq!(found(&ask(&world).await.0), [NEWER]);
    })
    .await;
}

/// A forged domestic answer, or one that there is no such name or address, rules it out.
#[tokio::test]
async fn no_stale_answer_where_the_judgement_allows_none() {
    run(async || {
        let outcome = async |domestic: Script| {
            let world = with_stale(domestic, slow(None), None).await;
            let (answer, took) = ask(&world).await;
            assert!((3900..4500).contains(&took), "{took}");
            let query = Query::new(&"site.example".parse().unwrap(), 1);
            assert!(world.resolver.memory.allows_stale(&query), "a question that is over");
            (found(&answer), answer.metadata.response_code)
        };
        let (bogus, no_name, no_address, foreign) = tokio::join!(
            outcome(always(|query| addresses(query, 1, &["127.0.0.1"]))),
            outcome(always(|query| nothing(query, ResponseCode::NXDomain))),
            outcome(always(|query| nothing(query, ResponseCode::NoError))),
            async {
                let foreign = always(|query| addresses(query, 1, &[FORGED]));
                ask(&with_stale(foreign, slow(None), None).await).await
            },
        );
        assert_eq!(bogus, (vec![], ResponseCode::ServFail));
        assert_eq!(no_name, (vec![], ResponseCode::ServFail));
        assert_eq!(no_address, (vec![], ResponseCode::NoError));
        assert_eq!((found(&foreign.0), foreign.1 < 2100), (vec![ABROAD.to_owned()], true));
    })
    .await;
}

/// What the asked server may know is not denied by an old answer of the public sides.
#[tokio::test]
async fn an_old_denial_waits_for_the_asked_server() {
    run(async || {
        let up = Rc::new(Cell::new(true));
        let is_up = Rc::clone(&up);
        let public: Script = Rc::new(move |query| match is_up.get() {
            true => vec![say(0, nothing(query, ResponseCode::NXDomain))],
            false => vec![],
        });
        let inside = over_udp(always(|query| addresses(query, 60, &["10.89.0.7"])));
        let world = world(silent(), public, |settings| {
            settings.servers.timeout = Duration::from_secs(4);
        });
        let denied = world.ask("site.example", RecordType::A).await;
        assert_eq!(denied.metadata.response_code, ResponseCode::NXDomain);
        up.set(false);
        world.resolver.memory.cache.borrow_mut().age(Duration::from_secs(100));
        world.asked.set(Some(inside.address));
        assert_eq!(found(&ask(&world).await.0), ["10.89.0.7"]);
    })
    .await;
}
