//! What those who look see of a connection, and how they end it.

use super::*;
use crate::stats::DecidedBy;

/// Whoever looks sees it, and can end it; no other is touched.
#[tokio::test]
async fn the_operator_ends_one_connection() {
    let house = house(&[Act::Connect], 16);
    let (closed, mut kept) = (house.served().await, house.served().await);
    let live = house.stats.live.list();
    let address = closed.local_addr().unwrap();
    let flow = live.iter().find(|flow| flow.client == address).unwrap();
    let way = flow.way().unwrap();
    assert_eq!((way.proxy.as_deref(), way.reason), (Some("scripted"), "foreign"));
    assert_eq!((flow.meter.up.get(), flow.meter.down.get()), (5, 5));
    assert!(house.stats.live.close(flow.id));
    assert!(is_reset(closed).await);
    while house.inbound.open() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(house.lines("closed by the operator"), 1);
    assert_eq!(house.stats.live.list().len(), 1);
    kept.write_all(b"still").await.unwrap();
    kept.read_exact(&mut [0; 5]).await.unwrap();
    let upstream = Arc::clone(&house.dispatcher.load().upstreams()[0]);
    let traffic = &upstream.traffic;
    let counted = [&traffic.connections, &traffic.up, &traffic.down].map(|it| it.get());
    assert_eq!(counted, [1, 5, 5], "what has ended is counted for the proxy");
}

/// Refused or not, with a proxy that works or one that does not: the rule has decided.
#[tokio::test]
async fn what_decided_is_counted() {
    for (act, blocks, by) in [
        (Act::Connect, false, DecidedBy::Rest),
        (Act::Refuse, false, DecidedBy::Rest),
        (Act::Connect, true, DecidedBy::BlockPrefixes),
    ] {
        let net: ipnet::IpNet = "203.0.113.0/24".parse().unwrap();
        let block = blocks.then_some(net).into_iter().collect();
        let rules = Rules { block, ..Rules::default() };
        let house = house_at("203.0.113.10:80".parse().unwrap(), rules, &[act], 16);
        for count in 1..=2 {
            let mut client = house.client().await;
            // Whether it is served or reset.
            let _ = client.write_all(b"hello").await;
            let _ = client.read(&mut [0; 5]).await;
            drop(client);
            house.inbound.drained().await;
            let hits = DecidedBy::ALL.map(|by| house.stats.hits.get(by));
            assert_eq!(hits.iter().sum::<u64>(), count, "{act:?}");
            assert_eq!(house.stats.hits.get(by), count, "{act:?}");
        }
    }
}
