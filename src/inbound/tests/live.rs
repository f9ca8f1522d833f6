//! What those who look see of a connection, and how they end it.

use super::*;

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
