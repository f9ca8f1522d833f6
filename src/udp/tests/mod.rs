//! Sessions without a firewall: datagrams are handed over as the listener would, and the proxy is a
//! socket of the test. A packet is the target's text, a space and the payload.

#![expect(clippy::disallowed_methods, reason = "these sockets stay on loopback")]

mod crowd;
mod life;
mod named;

use super::listener::take;
use super::session::SessionPhase;
use super::*;
use crate::dispatch::{Dispatcher, Upstream};
use crate::family::Family;
use crate::mark::Fwmark;
use crate::net::Refusal;
use crate::net::udp::train::Train;
use crate::probe;
use crate::proxy::association::*;
use crate::proxy::direct::Direct;
use crate::proxy::{BoxFuture, Error, Link, Progress, Proxy};
use crate::route::Rules;
use crate::target::Target;
use std::net::UdpSocket as StdSocket;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};

const SITE: &str = "203.0.113.10:5000";
const OTHER: &str = "203.0.113.11:6000";
const PATIENCE: Duration = Duration::from_secs(5);

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[derive(Debug)]
struct PlainCodec;

impl DatagramCodec for PlainCodec {
    fn seal(
        &mut self,
        target: &Target,
        payload: &[u8],
        packets: &mut Vec<u8>,
    ) -> Result<(), Unsealable> {
        if payload == b"huge" {
            return Err(Unsealable::TooLarge);
        }
        packets.extend(format!("{target} ").as_bytes());
        packets.extend(payload);
        Ok(())
    }

    fn open(&mut self, packet: &mut [u8]) -> Result<OpenedDatagram, Unopenable> {
        let space = packet.iter().position(|byte| *byte == b' ').ok_or(Unopenable::Forged)?;
        let source = std::str::from_utf8(&packet[..space]).ok().and_then(|text| text.parse().ok());
        Ok(OpenedDatagram {
            source: source.ok_or(Unopenable::Source)?,
            payload: space + 1..packet.len(),
        })
    }
}

#[derive(Debug)]
struct PlainProxy {
    /// Its server, if there is one.
    place: Arc<std::sync::Mutex<Option<SocketAddr>>>,
    lifelines: Lifelines,
}

/// What associations depend on, one after the other; then on nothing.
type Lifelines = Arc<std::sync::Mutex<Vec<TcpStream>>>;

impl Proxy for PlainProxy {
    fn name(&self) -> &str {
        "plain"
    }

    fn connect<'a>(&'a self, _: &'a Target, _: &'a Progress) -> BoxFuture<'a, Result<Link, Error>> {
        unreachable!("no connection is asked for")
    }

    fn carries_datagrams(&self) -> bool {
        true
    }

    fn associate(&self) -> BoxFuture<'_, Result<Association, Error>> {
        let server = *self.place.lock().unwrap();
        let lifeline = self.lifelines.lock().unwrap().pop();
        Box::pin(async move {
            let server = server.ok_or(Error::Unresolved { host: "plain".into() })?;
            let socket = outbound().udp(server).await.unwrap();
            Ok(Association { socket, codec: Box::new(PlainCodec), lifeline })
        })
    }
}

fn outbound() -> Outbound {
    Outbound::new(Fwmark::SNET, Refusal::Harmless)
}

/// Everything around the sessions.
struct Street {
    shared: Rc<SharedState>,
    /// What the proxy's server is.
    server: UdpSocket,
    /// Where the proxy believes it to be.
    place: Arc<std::sync::Mutex<Option<SocketAddr>>>,
    lifelines: Lifelines,
    upstream: Arc<Upstream>,
}

/// Runs a test on one thread, as the relay runs.
fn on_a_street(rules: Rules, limits: SessionLimits, test: impl AsyncFnOnce(&Street)) {
    on_a_street_with(1, rules, limits, test);
}

/// The same with several proxies, which are alike.
fn on_a_street_with(
    proxies: usize,
    rules: Rules,
    limits: SessionLimits,
    test: impl AsyncFnOnce(&Street),
) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    runtime.unwrap().block_on(async {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let place = Arc::new(std::sync::Mutex::new(Some(server.local_addr().unwrap())));
        let lifelines = Lifelines::default();
        let upstream = || {
            let proxy = PlainProxy { place: Arc::clone(&place), lifelines: Arc::clone(&lifelines) };
            Arc::new(Upstream::new(Box::new(proxy), PATIENCE))
        };
        let upstreams: Vec<_> = (0..proxies).map(|_| upstream()).collect();
        let upstream = Arc::clone(&upstreams[0]);
        let direct = Box::new(Direct::new(outbound()));
        let dispatcher = Dispatcher::new(Arc::new(rules), Arc::default(), direct, upstreams);
        let relay = DatagramRelay {
            current: Current::new(dispatcher),
            outbound: outbound(),
            token: Token::new().unwrap(),
            stats: Arc::default(),
            limits,
            by_source: Arc::new(AtomicBool::new(true)),
        };
        let pace = Arc::new(Mutex::new(Pace::new(std::time::Instant::now())));
        let shared = Rc::new(SharedState::new(relay, pace, |_, _| ReplySocket::of_any_address()));
        test(&Street { shared, server, place, upstream, lifelines }).await;
    });
}

const ROOMY: SessionLimits = SessionLimits { sessions: 100, reply_sockets: 10 };

impl Street {
    /// What the listener does with a datagram of this client.
    fn send(&self, client: &StdSocket, destination: &str, payload: &str) {
        self.take(client, destination, payload);
        self.shared.flush();
    }

    /// The same with one of several that have come at once.
    fn take(&self, client: &StdSocket, destination: &str, payload: &str) {
        self.take_from(client.local_addr().unwrap(), at(destination), payload);
    }

    fn take_from(&self, client: SocketAddr, destination: SocketAddr, payload: &str) {
        let mut bytes = payload.as_bytes().to_vec();
        take(&self.shared, Train::of_one(client, destination, &mut bytes), Instant::now());
    }

    /// The next packet at the server, and where it came from.
    async fn at_the_server(&self) -> (String, SocketAddr) {
        let mut packet = [0; 10_000];
        let received = timeout(PATIENCE, self.server.recv_from(&mut packet));
        let (length, from) = received.await.expect("no packet at the server").unwrap();
        (String::from_utf8_lossy(&packet[..length]).into_owned(), from)
    }

    async fn server_sends(&self, to: SocketAddr, packet: &str) {
        self.server.send_to(packet.as_bytes(), to).await.unwrap();
    }

    fn stats(&self) -> &crate::stats::DatagramStats {
        &self.shared.relay.stats.datagrams
    }
}

fn client() -> StdSocket {
    let client = StdSocket::bind("127.0.0.1:0").unwrap();
    client.set_nonblocking(true).unwrap();
    client
}

/// What the client has got within the time.
async fn got(client: &StdSocket) -> Option<String> {
    for _ in 0..100 {
        let mut buffer = [0; 2048];
        if let Ok(length) = client.recv(&mut buffer) {
            return Some(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        sleep(Duration::from_millis(5)).await;
    }
    None
}

#[test]
fn one_socket_of_a_client_is_one_session() {
    on_a_street(Rules::default(), ROOMY, async |street| {
        let (one, two) = (client(), client());
        street.send(&one, SITE, "a");
        street.send(&one, OTHER, "b");
        let (first, from) = street.at_the_server().await;
        let (second, from_again) = street.at_the_server().await;
        assert_eq!(
            (first.as_str(), second.as_str()),
            (&*format!("{SITE} a"), &*format!("{OTHER} b"))
        );
        assert_eq!(from, from_again, "the same mapping for every destination");
        street.send(&two, SITE, "c");
        let (_, from_two) = street.at_the_server().await;
        assert_ne!(from, from_two);
        // Also from a peer that was never asked.
        street.server_sends(from, "203.0.113.99:7 hello").await;
        assert_eq!(got(&one).await.as_deref(), Some("hello"));
        assert_eq!(street.shared.sessions.borrow().len(), 2);
        assert_eq!((street.stats().up.get(), street.stats().down.get()), (3, 1));
    });
}

/// What the listener brings at once leaves at once, of each client in its order.
#[test]
fn datagrams_of_many_clients_at_once() {
    on_a_street(Rules::default(), ROOMY, async |street| {
        let clients = [client(), client(), client()];
        let mut from = Vec::new();
        for client in &clients {
            street.send(client, SITE, "first");
            from.push(street.at_the_server().await.1);
        }
        let long = "x".repeat(9000);
        let places = [0, 0, 1, 0, 2, 2, 1, 0, 0, 1];
        for (number, place) in places.iter().enumerate() {
            let site = if number % 3 == 0 { OTHER } else { SITE };
            street.take(&clients[*place], site, &format!("{number} {long}"));
        }
        street.shared.flush();
        let mut came = vec![Vec::new(); clients.len()];
        for _ in places {
            let (packet, sender) = street.at_the_server().await;
            let place = from.iter().position(|other| *other == sender).expect("a session");
            let number = packet.split(' ').nth(1).expect("its number");
            came[place].push(number.parse::<usize>().unwrap());
        }
        for (place, came) in came.into_iter().enumerate() {
            let sent = (0..places.len()).filter(|number| places[*number] == place);
            assert_eq!(came, sent.collect::<Vec<_>>(), "client {place}");
        }
        assert_eq!(street.stats().up.get(), (clients.len() + places.len()) as u64);
    });
}

#[test]
fn what_is_not_to_be_carried() {
    let rules = Rules {
        block: ["203.0.113.66/32".parse::<ipnet::IpNet>().unwrap()].into_iter().collect(),
        reserved: crate::ipset::reserved(),
        ..Rules::default()
    };
    on_a_street(rules, ROOMY, async |street| {
        let one = client();
        street.send(&one, "203.0.113.66:1", "blocked");
        street.send(&one, "127.0.0.1:1111", "to the listener itself");
        assert_eq!(street.stats().rejected.get(), 2);
        let [refusal] = &street.shared.relay.stats.refusals.list()[..] else { panic!() };
        assert_eq!(refusal.destination, Some(at("203.0.113.66:1")));
        assert_eq!(&*refusal.cause, "blocked by rule");
        street.send(&one, SITE, "huge");
        street.send(&one, SITE, "fine");
        let (packet, from) = street.at_the_server().await;
        assert_eq!(packet, format!("{SITE} fine"));
        assert_eq!(street.stats().too_large.get(), 1);
        // A proxy speaks neither in the name of the household, nor another protocol.
        street.server_sends(from, "192.168.1.1:53 forged").await;
        street.server_sends(from, "nonsense").await;
        street.server_sends(from, &format!("{SITE} true")).await;
        assert_eq!(got(&one).await.as_deref(), Some("true"));
        assert_eq!((street.stats().unopenable.get(), street.stats().dropped.get()), (1, 1));
        // Our own socket, back again.
        let mut bytes = *b"loop";
        take(&street.shared, Train::of_one(from, at(SITE), &mut bytes), Instant::now());
        assert_eq!(street.stats().rejected.get(), 3);
        assert_eq!(street.shared.sessions.borrow().len(), 1);
    });
}

#[test]
fn the_proof_is_answered() {
    on_a_street(Rules::default(), ROOMY, async |street| {
        let one = client();
        let asked = SocketAddr::new(probe::address(Family::V4), probe::UDP_PORT);
        street.send(&one, &asked.to_string(), "?");
        assert_eq!(got(&one).await.as_deref(), Some(street.shared.relay.token.text()));
        assert_eq!(street.shared.sessions.borrow().len(), 0);
    });
}

#[test]
fn what_waits_is_bounded() {
    on_a_street(Rules::default(), ROOMY, async |street| {
        let one = client();
        for number in 0..1000 {
            street.send(&one, SITE, &number.to_string());
        }
        assert_eq!(street.stats().dropped.get(), 1000 - 64);
        assert_eq!(street.at_the_server().await.0, format!("{SITE} 0"));
        assert_eq!(street.shared.waiting.get(), 0);
    });
}

#[test]
fn a_server_that_dies_and_comes_back() {
    on_a_street(Rules::default(), ROOMY, async |street| {
        let one = client();
        *street.place.lock().unwrap() = None;
        street.send(&one, SITE, "lost");
        sleep(Duration::from_millis(50)).await;
        street.send(&one, SITE, "dropped");
        assert_eq!(street.shared.waiting.get(), 0);
        assert!(street.stats().dropped.get() >= 1);
        let [refusal] = &street.shared.relay.stats.refusals.list()[..] else { panic!() };
        assert_eq!(refusal.destination, Some(at(SITE)));
        assert!(refusal.cause.starts_with("no proxy carries its datagrams: "), "{refusal:?}");
        *street.place.lock().unwrap() = Some(street.server.local_addr().unwrap());
        let mut came = None;
        for _ in 0..100 {
            street.send(&one, SITE, "again");
            let mut packet = [0; 100];
            let waiting = timeout(Duration::from_millis(100), street.server.recv_from(&mut packet));
            if let Ok(received) = waiting.await {
                came = Some(received.unwrap());
                break;
            }
        }
        assert!(came.is_some(), "the session found no proxy again");
        assert_eq!(street.stats().sessions.get(), 1);
    });
}

/// The kernel tells an error once, to the send that comes next.
#[test]
fn an_error_that_a_send_meets_is_not_lost() {
    on_a_street(Rules::default(), ROOMY, async |street| {
        let (one, dying) = (client(), client());
        *street.place.lock().unwrap() = Some(dying.local_addr().unwrap());
        street.send(&one, SITE, "first");
        assert_eq!(got(&dying).await, Some(format!("{SITE} first")));
        let before = street.shared.own.borrow().clone();
        drop(dying);
        *street.place.lock().unwrap() = Some(street.server.local_addr().unwrap());
        street.send(&one, SITE, "refused");
        std::thread::sleep(Duration::from_millis(20));
        street.send(&one, SITE, "meets the refusal");
        let is_another = || {
            let now = street.shared.own.borrow();
            !now.is_empty() && *now != before
        };
        for _ in 0..60 {
            sleep(Duration::from_millis(50)).await;
            if is_another() {
                break;
            }
        }
        assert!(is_another(), "the session still sends to the dead server");
        street.send(&one, SITE, "again");
        assert_eq!(street.at_the_server().await.0, format!("{SITE} again"));
    });
}

/// What the kernel says of the one datagram that was sent makes nothing readable.
#[test]
fn one_datagram_tells_of_a_dead_server() {
    on_a_street_with(2, Rules::default(), ROOMY, async |street| {
        let (one, dying) = (client(), client());
        *street.place.lock().unwrap() = Some(dying.local_addr().unwrap());
        street.send(&one, SITE, "first");
        assert_eq!(got(&dying).await, Some(format!("{SITE} first")));
        let before = street.shared.own.borrow().clone();
        drop(dying);
        *street.place.lock().unwrap() = Some(street.server.local_addr().unwrap());
        street.send(&one, SITE, "refused");
        let client = one.local_addr().unwrap();
        for _ in 0..1000 {
            let now = street.shared.own.borrow().clone();
            if !now.is_empty() && now != before {
                break;
            }
            let session = street.shared.sessions.borrow().peek(client).cloned().unwrap();
            let is_resting = matches!(*session.phase.borrow(), SessionPhase::Resting);
            assert!(!is_resting, "there is another proxy, and the session rests");
            sleep(Duration::from_millis(5)).await;
        }
        street.send(&one, SITE, "again");
        assert_eq!(street.at_the_server().await.0, format!("{SITE} again"));
    });
}

#[test]
fn who_has_too_many_sessions_loses_the_oldest() {
    let limits = SessionLimits { sessions: 8, reply_sockets: 2 };
    on_a_street(Rules::default(), limits, async |street| {
        let clients: Vec<StdSocket> = (0..4).map(|_| client()).collect();
        for client in &clients {
            street.send(client, SITE, "x");
            street.at_the_server().await;
        }
        sleep(Duration::from_millis(50)).await;
        let stats = street.stats();
        assert_eq!((stats.sessions.get(), stats.evicted.get(), stats.ended.get()), (4, 2, 2));
        assert_eq!(street.shared.sessions.borrow().len(), 2);
        assert_eq!(street.shared.own.borrow().len(), 2, "their sockets are closed");
    });
}
