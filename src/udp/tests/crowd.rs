//! Many sessions of many sources. Clients are addresses here: nothing is sent back to them.

use super::*;

const SOURCES: u8 = 200;
const MOST: usize = 400;

fn client(source: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 168, 1, source], port))
}

/// Lets the tasks do what they can do now.
async fn settle() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn twenty_thousand_sessions_of_two_hundred_sources() {
    let limits = SessionLimits { sessions: MOST, reply_sockets: 2 };
    on_a_street(Rules::default(), limits, async |street| {
        let shared = &street.shared;
        let held = |source: u8, ports: std::ops::Range<u16>| {
            let sessions = shared.sessions.borrow();
            ports.filter(|port| sessions.peek(client(source, *port)).is_some()).count()
        };
        for port in 1000..1100 {
            for source in 0..SOURCES {
                street.take_from(client(source, port), at(SITE), "x");
            }
            shared.flush();
            settle().await;
            assert!(shared.sessions.borrow().len() <= MOST);
            assert!(shared.own.borrow().len() <= MOST, "sockets of sessions that are gone");
            assert_eq!(shared.waiting.get(), 0);
        }
        let stats = street.stats();
        let begun = u64::from(SOURCES) * 100;
        assert_eq!((stats.sessions.get(), stats.ended.get()), (begun, begun - MOST as u64));
        assert_eq!(stats.evicted.get(), begun - MOST as u64);
        // Two each; at any moment one may have a third, which another lacks.
        let parts = (0..SOURCES).map(|source| held(source, 1000..1100));
        assert!(parts.into_iter().all(|part| (1..=3).contains(&part)), "each has its part");

        // One that begins thousands more has the most at once, and loses its own.
        for port in 2000..5000 {
            street.take_from(client(0, port), at(SITE), "greedy");
            if port % 50 == 0 {
                shared.flush();
                settle().await;
            }
        }
        settle().await;
        assert!((1..=3).contains(&held(0, 2000..5000)), "more than the others");
        assert!((1..SOURCES).all(|source| held(source, 1000..1100) >= 1), "a source is put out");
        assert_eq!(shared.own.borrow().len(), MOST);
    });
}
