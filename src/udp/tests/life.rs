//! When sessions end, on a clock that stands still but where the test moves it.

use super::*;
use crate::stats::DecidedBy;
use crate::udp::idle::Activity;
use proptest::prelude::*;
use std::collections::BTreeMap;
use tokio::time::{advance, pause};

/// More than the steps of the runtime's timers, and less than any time that matters.
const LITTLE: Duration = Duration::from_millis(20);

const CLIENTS: usize = 5;
const MOST: usize = 12;

#[derive(Clone, Debug)]
enum Act {
    Send { client: usize, port: u16 },
    Reply { client: usize },
    Pass { seconds: u64 },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let port = prop::sample::select(vec![123, 443, 3478, 50_000]);
    let act = prop_oneof![
        3 => (0..CLIENTS, port).prop_map(|(client, port)| Act::Send { client, port }),
        2 => (0..CLIENTS).prop_map(|client| Act::Reply { client }),
        2 => (1u64..12).prop_map(|seconds| Act::Pass { seconds }),
        1 => (20u64..310).prop_map(|seconds| Act::Pass { seconds }),
    ];
    prop::collection::vec(act, 1..40)
}

/// What a client's session should have seen.
struct Expected {
    activity: Activity,
    /// The socket of its association.
    mapped: SocketAddr,
}

/// Lets the tasks do what they can do now. (To wait for a socket would move the clock.)
async fn settle() {
    for _ in 0..30 {
        tokio::task::yield_now().await;
    }
}

/// The sessions there are, each with the socket that it has had from its begin, whatever happens
/// in which order: those that have not rested for as long as `idle` allows.
async fn live(street: &Street, acts: &[Act]) -> Result<(), TestCaseError> {
    pause();
    let clients: Vec<StdSocket> = (0..CLIENTS).map(|_| client()).collect();
    let addresses: Vec<SocketAddr> = clients.iter().map(|it| it.local_addr().unwrap()).collect();
    let mut expected: BTreeMap<usize, Expected> = BTreeMap::new();
    for act in acts {
        // Hosts that do not answer are no reason to give the proxy up here.
        street.upstream.datagrams_answered();
        let now = Instant::now();
        match *act {
            Act::Send { client, port } => {
                street.send(&clients[client], &format!("203.0.113.10:{port}"), "x");
                settle().await;
                let (_, mapped) = street.server.try_recv_from(&mut [0; 100]).expect("a packet");
                let session = expected
                    .entry(client)
                    .or_insert_with(|| Expected { activity: Activity::new(now), mapped });
                prop_assert_eq!(session.mapped, mapped, "the mapping of client {}", client);
                session.activity.sent(port, now);
            }
            Act::Reply { client } => {
                if let Some(session) = expected.get_mut(&client) {
                    let packet = format!("{SITE} y");
                    street.server.try_send_to(packet.as_bytes(), session.mapped).expect("room");
                    settle().await;
                    session.activity.replied(now);
                    prop_assert!(clients[client].recv(&mut [0; 100]).is_ok(), "no reply");
                }
            }
            Act::Pass { seconds } => {
                advance(Duration::from_secs(seconds) + LITTLE).await;
                settle().await;
            }
        }
        let now = Instant::now();
        expected.retain(|_, session| session.activity.deadline() + LITTLE / 2 > now);
        let sessions = street.shared.sessions.borrow();
        for (client, address) in addresses.iter().enumerate() {
            let (is, should) = (sessions.peek(*address).is_some(), expected.contains_key(&client));
            prop_assert_eq!(is, should, "the session of client {} after {:?}", client, act);
        }
        prop_assert_eq!(street.shared.own.borrow().len(), expected.len());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_session_ends_when_it_has_rested_and_not_before(acts in acts()) {
        let limits = SessionLimits { sessions: MOST * 4, reply_sockets: 4 };
        let mut lived = Ok(());
        on_a_street(Rules::default(), limits, async |street| lived = live(street, &acts).await);
        lived?;
    }
}

/// What SOCKS5 servers do when they are restarted, or have heard nothing for a while.
#[test]
fn an_association_that_its_server_ends_is_made_anew() {
    on_a_street(Rules::default(), ROOMY, async |street| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (theirs, _) = listener.accept().await.unwrap();
        street.lifelines.lock().unwrap().push(ours);
        let one = client();
        street.send(&one, SITE, "first");
        let (_, before) = street.at_the_server().await;
        drop(theirs);
        // Young as it is, the next one has to wait a second.
        sleep(Duration::from_millis(1500)).await;
        street.send(&one, SITE, "second");
        let (packet, after) = street.at_the_server().await;
        assert_eq!(packet, format!("{SITE} second"));
        assert_ne!(before, after, "through the socket that is no more served");
        street.server_sends(after, "203.0.113.99:7 hello").await;
        assert_eq!(got(&one).await.as_deref(), Some("hello"));
        assert_eq!(street.stats().sessions.get(), 1);
    });
}

/// Whoever looks sees it, and can end it; its program's next datagram begins another one.
#[test]
fn the_operator_ends_one_session() {
    on_a_street(Rules::default(), ROOMY, async |street| {
        let one = client();
        street.send(&one, "203.0.113.10:443", "hello");
        let (_, mapped) = street.at_the_server().await;
        let live = &street.shared.relay.stats.live;
        let [flow] = &live.list()[..] else { panic!("{:?}", live.list()) };
        assert_eq!(flow.client, one.local_addr().unwrap());
        assert_eq!(flow.destination(), Some(at("203.0.113.10:443")));
        assert!(flow.way().is_some_and(|way| way.proxy.is_some()));
        assert!(flow.meter.up.get() > 0);
        assert!(live.close(flow.id));
        settle().await;
        assert!(live.list().is_empty());
        assert_eq!(street.upstream.traffic.sessions.get(), 1);
        street.send(&one, "203.0.113.10:443", "again");
        let (_, another) = street.at_the_server().await;
        assert_ne!(mapped, another);
    });
}

/// A session once, by its first destination; what is blocked where it is dropped.
#[test]
fn what_decided_about_a_session_is_counted() {
    let blocked: ipnet::IpNet = "203.0.113.99/32".parse().unwrap();
    let block = [blocked].into_iter().collect();
    on_a_street(Rules { block, ..Rules::default() }, ROOMY, async |street| {
        let hits = |by| street.shared.relay.stats.hits.get(by);
        for (count, one) in [(1, client()), (2, client())] {
            for _ in 0..3 {
                street.send(&one, "203.0.113.99:443", "dropped");
            }
            street.send(&one, SITE, "sent");
            assert_eq!(street.at_the_server().await.0, format!("{SITE} sent"));
            assert_eq!(hits(DecidedBy::BlockPrefixes), count);
            assert_eq!(hits(DecidedBy::Rest), count - 1);
            let other = client();
            street.send(&other, SITE, "sent too");
            assert_eq!(street.at_the_server().await.0, format!("{SITE} sent too"));
            assert_eq!(hits(DecidedBy::Rest), count);
        }
    });
}
