//! Clients beside one that asks without end.

use super::servers::{Script, addresses, say, silent};
use super::{CN, FORGED, found, run, world};
use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::{spawn_local, yield_now};

/// The flooding client's names are foreign, or the domestic servers are silent about them; others
/// are domestic.
fn domestic(flood_is_answered: bool) -> Script {
    Rc::new(move |query: &Message| {
        let name = query.queries[0].name().to_ascii();
        match name.ends_with(".flood.example.") {
            true if flood_is_answered => vec![say(0, addresses(query, 60, &[FORGED]))],
            true => vec![],
            false => vec![say(5, addresses(query, 60, &[CN]))],
        }
    })
}

/// Five thousand names in a second, while the trusted side is silent.
async fn others_are_served(flood_is_answered: bool) {
    let world = Rc::new(world(domestic(flood_is_answered), silent(), |settings| {
        settings.servers.timeout = Duration::from_secs(4);
    }));
    let began = Instant::now();
    let (mut flood, mut longest, mut asked) = (Vec::new(), Duration::ZERO, 0);
    for number in 0..5000 {
        let world_of_flood = Rc::clone(&world);
        flood.push(spawn_local(async move {
            let name = format!("n{number}.flood.example");
            world_of_flood.ask_from("192.168.1.9", &name, RecordType::A).await
        }));
        if number % 5 == 0 {
            yield_now().await;
        }
        if number % 100 == 99 {
            let asking = Instant::now();
            let name = format!("site{number}.example");
            let answer = world.ask_from("192.168.1.8", &name, RecordType::A).await;
            assert_eq!(found(&answer), [CN], "after {number} names");
            longest = longest.max(asking.elapsed());
            asked += 1;
        }
    }
    let took = began.elapsed();
    println!("{asked} domestic names beside 5000 in {took:?}: at most {longest:?}");
    assert!(longest < Duration::from_millis(500), "{longest:?}");
    flood.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_flood_of_foreign_names_leaves_places() {
    run(async || others_are_served(true).await).await;
}

#[tokio::test]
async fn a_flood_of_dead_names_leaves_sockets() {
    run(async || others_are_served(false).await).await;
}
