//! What the registry of live flows costs a connection and a datagram while nobody looks: beside the
//! CPU time of a connection and of a datagram (`scripts/bench.sh`) it has to vanish.

use criterion::{Criterion, criterion_group, criterion_main};
use snet::stats::{FlowWay, LiveKind, Stats};
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;

/// Flows that are open beside it.
const OPEN: u16 = 1000;

fn live(c: &mut Criterion) {
    let stats = Stats::default();
    let client = |port| SocketAddr::from(([192, 168, 1, 7], port));
    let destination = SocketAddr::from(([203, 0, 113, 1], 443));
    let _open: Vec<_> =
        (0..OPEN).map(|port| stats.live.enter(LiveKind::Connection, client(port))).collect();
    let (proxy, group): (Arc<str>, Arc<str>) = (Arc::from("tokyo"), Arc::from("video"));

    c.bench_function("live: a connection, from its accept to its end", |b| {
        b.iter(|| {
            let flow = stats.live.enter(LiveKind::Connection, black_box(client(40_000)));
            flow.is_for(black_box(destination));
            flow.is_named(black_box("www.example.com"));
            let (proxy, group) = (Some(Arc::clone(&proxy)), Some(Arc::clone(&group)));
            flow.goes(FlowWay { proxy, group, reason: "foreign" });
            flow.meter.up.add(black_box(500));
            flow.meter.down.add(black_box(500));
            stats.live.leave(&flow);
        });
    });

    let session = stats.live.enter(LiveKind::Datagrams, client(40_001));
    c.bench_function("live: a datagram of a session", |b| {
        b.iter(|| session.meter.up.add(black_box(1350)));
    });
    stats.live.leave(&session);
}

criterion_group!(benches, live);
criterion_main!(benches);
