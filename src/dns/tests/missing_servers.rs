//! Servers that are slow, that are not there, or that drop some questions: `dns.timeout` holds, and
//! what was seen of a server spares the next names the wait.

use super::servers::{
    Script, addresses, always, asks_for, nothing, over_tcp, over_udp, say, silent,
};
use super::{ABROAD, CN, World, list, run, world};
use crate::route::Route;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const LONG: Duration = Duration::from_secs(4);
const SHORT: Duration = Duration::from_millis(350);

/// Nothing listens there.
fn refusing() -> SocketAddr {
    crate::net::listen::bind("127.0.0.1:0".parse().unwrap()).unwrap().local_addr().unwrap()
}

/// Asks for six names one after the other, of which only the first may wait for a dead server.
async fn only_the_first_waits(world: &World, answer: &str, what: &str) {
    for number in 0..6 {
        let began = Instant::now();
        assert_eq!(world.a(&format!("n{number}.example")).await, [answer], "{what} {number}");
        let took = began.elapsed();
        assert!(number == 0 || took < SHORT, "{what}: name {number} took {took:?}");
    }
}

fn direct(settings: &mut crate::dns::Settings) {
    list(settings, &[("example", Some(Route::Direct))]);
    settings.servers.timeout = LONG;
}

#[tokio::test]
async fn a_dead_first_server_of_several_is_learned() {
    run(async || {
        let (dead, there) = (over_udp(silent()), over_udp(always(|q| addresses(q, 60, &[CN]))));
        let both = [dead.address, there.address];
        let domestic = world(silent(), silent(), |settings| {
            direct(settings);
            settings.servers.china = both.map(Into::into).into();
        });
        only_the_first_waits(&domestic, CN, "domestic").await;
        let forward = world(silent(), silent(), |settings| {
            settings.servers.forward.insert(&"example".parse().unwrap(), both.into());
            settings.servers.timeout = LONG;
        });
        only_the_first_waits(&forward, CN, "forward").await;
        let no_leak = world(silent(), always(|q| addresses(q, 60, &["198.51.100.77"])), |it| {
            it.servers.china = both.map(Into::into).into();
            it.servers.timeout = LONG;
            it.privacy.no_leak = true;
        });
        assert_eq!(no_leak.a("first.example").await, ["198.51.100.77"]);
        sleep(Duration::from_millis(600)).await;
        only_the_first_waits(&no_leak, CN, "no-leak").await;
    })
    .await;
}

#[tokio::test]
async fn a_dead_first_trusted_server_is_learned() {
    run(async || {
        let dead = over_tcp(silent(), u32::MAX);
        let there = always(|query| addresses(query, 60, &[ABROAD]));
        let world = world(silent(), there, |settings| {
            list(settings, &[("example", Some(Route::Proxy))]);
            settings.servers.timeout = LONG;
            settings.servers.trusted.insert(0, dead.address.into());
        });
        only_the_first_waits(&world, ABROAD, "trusted").await;
    })
    .await;
}

#[tokio::test]
async fn the_return_of_a_server_is_noticed() {
    run(async || {
        let is_up = Rc::new(Cell::new(false));
        let state = Rc::clone(&is_up);
        let first = over_udp(Rc::new(move |query| match state.get() {
            true => vec![say(0, addresses(query, 60, &["192.168.1.1"]))],
            false => vec![],
        }));
        let second = over_udp(always(|query| addresses(query, 60, &["192.168.1.2"])));
        let world = world(silent(), silent(), |settings| {
            settings.servers.local = vec![first.address, second.address];
            settings.servers.timeout = LONG;
        });
        assert_eq!(world.a("nas").await, ["192.168.1.2"]);
        assert_eq!(world.a("printer").await, ["192.168.1.2"]);
        assert_eq!(first.asked.get(), 1, "not with every name");
        is_up.set(true);
        sleep(Duration::from_millis(1100)).await;
        let _either = world.a("lamp").await;
        sleep(Duration::from_millis(100)).await;
        let before = second.asked.get();
        assert_eq!(world.a("door").await, ["192.168.1.1"], "it is the first again");
        assert_eq!(second.asked.get(), before);
    })
    .await;
}

/// Slower than three seconds, the other side is of no use, and there is time.
#[tokio::test]
async fn a_slow_server_is_heard_while_there_is_time() {
    run(async || {
        let slow = |address: &'static str| -> Script {
            Rc::new(move |query| vec![say(3300, addresses(query, 60, &[address]))])
        };
        let judged = world(slow(CN), silent(), |settings| {
            settings.servers.timeout = LONG;
            settings.servers.trusted = vec![refusing().into()];
        });
        let listed = world(slow(CN), silent(), |settings| {
            direct(settings);
            settings.servers.trusted = vec![refusing().into()];
        });
        let trusted = world(silent(), slow(ABROAD), |settings| settings.servers.timeout = LONG);
        let (judged, listed, trusted) =
            tokio::join!(judged.a("a.example"), listed.a("a.example"), trusted.a("a.example"));
        assert_eq!([judged, listed, trusted], [[CN], [CN], [ABROAD]]);
    })
    .await;
}

/// The near address of a listed name is worth a wait, as long as the server may still come.
#[tokio::test]
async fn a_far_answer_is_held_back_for_a_slow_domestic_server() {
    run(async || {
        let slow: Script = Rc::new(|query| vec![say(1200, addresses(query, 60, &[CN]))]);
        let far = always(|query| addresses(query, 60, &[ABROAD]));
        let world = world(slow, far, |settings| {
            direct(settings);
            settings.servers.timeout = Duration::from_secs(2);
        });
        assert_eq!(world.a("a.example").await, [CN]);
        assert_eq!(world.trusted.asked.get(), 1, "it was asked beside");
    })
    .await;
}

#[tokio::test]
async fn no_query_waits_longer_than_its_time() {
    run(async || {
        let dead = over_udp(silent());
        let world = world(silent(), silent(), |settings| {
            list(settings, &[("direct.example", Some(Route::Direct))]);
            list(settings, &[("foreign.example", Some(Route::Proxy))]);
            settings.servers.local = vec![dead.address];
            settings.servers.timeout = Duration::from_millis(500);
        });
        for name in ["judged.example", "direct.example", "foreign.example", "nas"] {
            let began = Instant::now();
            let answer = world.ask(name, RecordType::A).await;
            assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
            assert!(began.elapsed() < Duration::from_millis(800), "{name} {:?}", began.elapsed());
        }
    })
    .await;
}

/// As home routers do: addresses are answered, HTTPS records are not.
#[tokio::test]
async fn a_server_that_drops_questions_for_https_records() {
    run(async || {
        let asked = Rc::new(RefCell::new(HashSet::new()));
        let names = Rc::clone(&asked);
        let dropping: Script =
            Rc::new(move |query: &Message| match asks_for(query, RecordType::A) {
                true => vec![say(0, addresses(query, 60, &[CN]))],
                false => {
                    names.borrow_mut().insert(query.queries[0].name().to_string());
                    vec![]
                }
            });
        let far = always(|query| nothing(query, ResponseCode::NoError));
        let listed = world(Rc::clone(&dropping), far.clone(), direct);
        let judged = world(dropping, far, |settings| settings.servers.timeout = LONG);
        for world in [&listed, &judged] {
            for number in 0..5 {
                let began = Instant::now();
                let name = format!("n{number}.example");
                let (a, https) = tokio::join!(world.a(&name), world.ask(&name, RecordType::HTTPS));
                assert_eq!(a, [CN]);
                assert_eq!(https.metadata.response_code, ResponseCode::NoError);
                let most = if number == 0 { Duration::from_secs(1) } else { SHORT };
                assert!(began.elapsed() < most, "{number}: {:?}", began.elapsed());
            }
        }
        assert_eq!(*asked.borrow(), HashSet::from(["n0.example.".into()]), "and no other in vain");
    })
    .await;
}

/// The first datagram of each question gets lost; the one with which it is asked again does not.
#[tokio::test]
async fn what_was_probably_lost_is_soon_asked_again() {
    run(async || {
        let heard = Rc::new(RefCell::new(HashSet::new()));
        let lossy: Script = Rc::new(move |query: &Message| {
            let name = query.queries[0].name().to_string();
            let is_first = heard.borrow_mut().insert(name.clone());
            match is_first && name != "first.example." {
                true => vec![],
                false => vec![say(0, addresses(query, 60, &[CN]))],
            }
        });
        let world = world(lossy, silent(), direct);
        assert_eq!(world.a("first.example").await, [CN]);
        let mut quickest = Duration::MAX;
        for number in 0..3 {
            let began = Instant::now();
            assert_eq!(world.a(&format!("n{number}.example")).await, [CN]);
            quickest = quickest.min(began.elapsed());
        }
        assert!(quickest < Duration::from_millis(900), "{quickest:?}");
    })
    .await;
}
