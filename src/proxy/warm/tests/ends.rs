//! A server that ends what is ready at every moment costs nobody a byte, and nobody sees one twice.

use super::{Order, PROTOCOLS, Protocol, Street, target, use_one};
use crate::proxy::Progress;
use proptest::prelude::*;
use std::collections::HashSet;
use std::sync::Arc;

/// Cases of an ordinary run; SNET_WARM_CASES sets another number (each makes about 10 connections).
const CASES: u32 = 60;

/// Connections that are ready when the server does what it does.
const READY: usize = 4;

#[derive(Clone, Debug)]
struct Case {
    protocol: Protocol,
    orders: Vec<Order>,
    dials: u64,
    /// At the same moment, and not before the dials.
    is_race: bool,
}

fn case() -> impl Strategy<Value = Case> {
    let order = prop::sample::select(vec![
        Order::Live,
        Order::Close,
        Order::Reset,
        Order::Farewell,
        Order::CloseWhenAsked,
        Order::ResetWhenAsked,
        Order::FarewellWhenAsked,
    ]);
    let protocol = prop::sample::select(PROTOCOLS.to_vec());
    let orders = prop::collection::vec(order, 0..=READY);
    (protocol, orders, 1..6u64, any::<bool>()).prop_map(|(protocol, orders, dials, is_race)| Case {
        protocol,
        orders,
        dials,
        is_race,
    })
}

async fn holds(case: Case) -> Result<(), TestCaseError> {
    let Case { protocol, orders, dials, is_race } = case;
    let street = Street::new(protocol);
    let ready = READY as u64;
    let dial = |number| tokio::spawn(use_one(Arc::clone(&street.proxy), number));
    let first: Vec<_> = (0..ready).map(dial).collect();
    for dial in first {
        prop_assert!(dial.await.unwrap().unwrap().echo.is_ok());
    }
    match is_race {
        // Where time passes it may be fewer.
        true => street.seen.becomes_idle_soon(READY).await,
        false => street.seen.becomes_idle(READY).await,
    }
    let carried_out = street.seen.order(&orders);
    if !is_race {
        carried_out.await;
    }
    let numbers = ready..ready + dials;
    let second: Vec<_> = numbers.clone().map(|number| (number, dial(number))).collect();
    let mut came_back = HashSet::new();
    for (number, dial) in second {
        let served = dial.await.unwrap();
        // Where the server answers the request, its end is noticed before any payload; else where
        // it came before the dial.
        let ends_when_asked = orders.iter().any(|order| order.waits_for_a_request());
        let may_be_lost = protocol == Protocol::Shadowsocks && (is_race || ends_when_asked);
        match served {
            Ok(served) if served.echo.is_ok() => drop(came_back.insert(number)),
            Ok(served) => prop_assert!(may_be_lost && served.was_ready, "{served:?}"),
            Err(error) => prop_assert!(false, "{error}"),
        }
    }
    let payloads = street.seen.payloads();
    let numbers: Vec<u64> =
        payloads.iter().map(|it| u64::from_be_bytes(*it.first_chunk().unwrap())).collect();
    let distinct: HashSet<u64> = numbers.iter().copied().collect();
    prop_assert_eq!(distinct.len(), numbers.len(), "one came twice: {:?}", numbers);
    prop_assert!(came_back.is_subset(&distinct));
    Ok(())
}

#[test]
fn whatever_ends_when_nothing_is_lost_or_doubled() {
    let cases = std::env::var("SNET_WARM_CASES").ok().and_then(|text| text.parse().ok());
    let config = ProptestConfig { cases: cases.unwrap_or(CASES), ..ProptestConfig::default() };
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let racing = builder.worker_threads(2).enable_all().build().unwrap();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let orderly = builder.enable_all().start_paused(true).build().unwrap();
    let config = ProptestConfig { failure_persistence: None, ..config };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let test = |case: Case| if case.is_race { &racing } else { &orderly }.block_on(holds(case));
    runner.run(&case(), test).unwrap();
}

/// A server that never answers a request on what was ready, and does on what is fresh.
#[tokio::test(start_paused = true)]
async fn a_request_is_made_once_more_and_not_again() {
    let cases = [
        (Protocol::Http, Order::CloseWhenAsked),
        (Protocol::Http, Order::FarewellWhenAsked),
        (Protocol::Socks5, Order::CloseWhenAsked),
    ];
    for (protocol, end) in cases {
        let mut street = Street::new(protocol);
        let serve = |number| use_one(Arc::clone(&street.proxy), number);
        serve(0).await.unwrap();
        street.seen.becomes_idle(1).await;
        street.seen.order(&[end]).await;
        let served = serve(1).await.unwrap();
        assert!(!served.was_ready && served.echo.is_ok());
        let counts = street.proxy.dialled_ahead().unwrap().counts();
        assert_eq!((counts.used, counts.ended), (1, 1));
        street.seen.becomes_idle(2).await;
        street.seen.order(&[end; 2]).await;
        street.close().await;
        let error = street.proxy.connect(&target(), &Progress::default()).await.unwrap_err();
        assert!(error.to_string().contains("cannot connect"), "{error}");
    }
}
