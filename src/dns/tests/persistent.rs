//! Persistent connections whose server is slow at one name, refuses one, takes no more, or dies:
//! who else is on the connection must not notice, or be asked again. The clock stands still but for
//! what is waited for.

use super::encrypted::{acceptor, answer, tls};
use super::servers::{Script, addresses, always, asks_for};
use super::{ABROAD, outbound, run};
use crate::dispatch::{Current, Dispatcher, Upstream};
use crate::dns::upstream::persistent::{Dialler, PersistentConnection};
use crate::dns::wire::{Query, rr};
use crate::dns::{NameServer, Transport};
use crate::proxy::direct::Direct;
use crate::proxy::{self, BoxFuture, HalfClose, Link, Progress, Proxy};
use crate::target::Target;
use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// `dns.timeout`
const PATIENCE: Duration = Duration::from_secs(4);

/// What a server has seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    connections: Cell<u32>,
    asked: Cell<u32>,
}

impl Seen {
    pub(super) fn so_far(&self) -> (u32, u32) {
        (self.connections.get(), self.asked.get())
    }
}

/// How a server takes a query: by its name, and by the number of the connection.
pub(super) type Manner = Rc<dyn Fn(&str, u32) -> Take>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// After so many milliseconds.
    Answer(u64),
    Reset(h2::Reason),
    /// Answers with another status.
    Status(u16),
    /// Says that this is the last query, and answers it after a second.
    Leave,
    /// From now on the connection is dead: not a byte is read or written.
    Die,
}

fn listen<F: Future<Output = ()> + 'static>(
    serve: impl Fn(TcpStream, Rc<Seen>, u32) -> F + 'static,
) -> (SocketAddr, Rc<Seen>) {
    let listener = crate::net::listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Rc::new(Seen::default());
    let counted = Rc::clone(&seen);
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.connections.set(counted.connections.get() + 1);
            let number = counted.connections.get();
            tokio::task::spawn_local(serve(stream, Rc::clone(&counted), number));
        }
    });
    (address, seen)
}

fn script() -> Script {
    always(|query| addresses(query, 60, &[ABROAD]))
}

/// At most `streams` queries at a time.
pub(super) fn over_https(streams: u32, manner: Manner) -> (Rc<PersistentConnection>, Rc<Seen>) {
    let (address, seen) = https_server(streams, manner);
    (kept(address, https_transport()), seen)
}

pub(super) fn https_transport() -> Transport {
    Transport::Https { name: "dns.example".into(), path: "/dns-query".into() }
}

pub(super) fn https_server(streams: u32, manner: Manner) -> (SocketAddr, Rc<Seen>) {
    listen(move |stream, seen, number| {
        let manner = Rc::clone(&manner);
        async move {
            let stream = acceptor(b"h2").accept(stream).await.unwrap();
            let mut builder = h2::server::Builder::new();
            builder.max_concurrent_streams(streams);
            let mut connection = builder.handshake(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                seen.asked.set(seen.asked.get() + 1);
                let mut body = request.into_body();
                let query = body.data().await.unwrap().unwrap();
                let name = Message::from_vec(&query).unwrap().queries[0].name().to_string();
                let take = manner(&name, number);
                match take {
                    Take::Die => return std::future::pending().await,
                    Take::Reset(reason) => {
                        respond.send_reset(reason);
                        continue;
                    }
                    Take::Leave => connection.graceful_shutdown(),
                    Take::Answer(_) | Take::Status(_) => {}
                }
                tokio::task::spawn_local(async move {
                    let (wait, status) = match take {
                        Take::Answer(wait) => (wait, 200),
                        Take::Status(status) => (0, status),
                        _ => (1000, 200),
                    };
                    sleep(Duration::from_millis(wait)).await;
                    let head = http::Response::builder().status(status).body(()).unwrap();
                    // The client may have given up.
                    if let Ok(mut sending) = respond.send_response(head, false) {
                        let _ =
                            sending.send_data(bytes::Bytes::from(answer(&script(), &query)), true);
                    }
                });
            }
        }
    })
}

/// Queries are worked on side by side.
fn over_tcp(manner: Manner) -> (Rc<PersistentConnection>, Rc<Seen>) {
    let (address, seen) = tcp_server(manner);
    (kept(address, Transport::Tcp), seen)
}

pub(super) fn tcp_server(manner: Manner) -> (SocketAddr, Rc<Seen>) {
    listen(move |stream, seen, number| {
        let manner = Rc::clone(&manner);
        async move {
            let (mut source, sink) = stream.into_split();
            let sink = Rc::new(tokio::sync::Mutex::new(sink));
            while let Ok(length) = source.read_u16().await {
                let mut bytes = vec![0; length.into()];
                source.read_exact(&mut bytes).await.unwrap();
                let query = Message::from_vec(&bytes).unwrap();
                let is_for_life = asks_for(&query, RecordType::NS);
                seen.asked.set(seen.asked.get() + u32::from(!is_for_life));
                let take = manner(&query.queries[0].name().to_string(), number);
                let Take::Answer(wait) = take else { return std::future::pending().await };
                let sink = Rc::clone(&sink);
                tokio::task::spawn_local(async move {
                    sleep(Duration::from_millis(wait)).await;
                    let reply = answer(&script(), &bytes);
                    let length = u16::try_from(reply.len()).unwrap().to_be_bytes();
                    let _ = sink.lock().await.write_all(&[&length, &reply[..]].concat()).await;
                });
            }
        }
    })
}

pub(super) fn kept(address: SocketAddr, transport: Transport) -> Rc<PersistentConnection> {
    kept_for(PATIENCE, address, transport)
}

pub(super) fn kept_for(
    patience: Duration,
    address: SocketAddr,
    transport: Transport,
) -> Rc<PersistentConnection> {
    let direct = Box::new(Direct::new(outbound()));
    let dispatcher = Dispatcher::new(Arc::default(), Arc::default(), direct, Vec::new());
    let current = Current::new(dispatcher);
    let dialler = Dialler {
        current,
        through_proxy: false,
        tls: tls(),
        names_of_servers: |_| None,
        patience,
        troubles: Rc::default(),
    };
    Rc::new(PersistentConnection::new(NameServer { address, transport }, dialler))
}

/// What comes of a query, and after how many milliseconds.
async fn ask(kept: &PersistentConnection, name: &str) -> (Result<(), io::ErrorKind>, u128) {
    let (began, query) = (Instant::now(), Query::new(&name.parse().unwrap(), rr::A));
    let asked = timeout(PATIENCE, kept.ask(&query)).await;
    let result = asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    (result.map(drop).map_err(|error| error.kind()), began.elapsed().as_millis())
}

async fn later(
    kept: &PersistentConnection,
    millis: u64,
    name: &str,
) -> (Result<(), io::ErrorKind>, u128) {
    sleep(Duration::from_millis(millis)).await;
    ask(kept, name).await
}

fn slow_at_a() -> Manner {
    Rc::new(|name, _| match name {
        "a.example." => Take::Answer(3000),
        "b.example." => Take::Answer(1500),
        "never.example." => Take::Answer(60_000),
        _ => Take::Answer(0),
    })
}

#[tokio::test(start_paused = true)]
async fn a_slow_name_over_https_is_nobody_elses() {
    run(async || slow_name(over_https(100, slow_at_a())).await).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_name_over_tcp_is_nobody_elses() {
    run(async || slow_name(over_tcp(slow_at_a())).await).await;
}

async fn slow_name((kept, seen): (Rc<PersistentConnection>, Rc<Seen>)) {
    let (a, b) = tokio::join!(ask(&kept, "a.example"), later(&kept, 1000, "b.example"));
    assert_eq!((a, b), ((Ok(()), 3000), (Ok(()), 1500)));
    assert_eq!(seen.so_far(), (1, 2), "nobody was asked twice");
    // One that is never answered costs only whoever asks it.
    let (never, other) = tokio::join!(ask(&kept, "never.example"), later(&kept, 3500, "c.example"));
    assert_eq!((never, other), ((Err(io::ErrorKind::TimedOut), 4000), (Ok(()), 0)));
    assert_eq!(seen.so_far(), (1, 4));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_reset_ends_itself_only() {
    run(async || {
        let refused = Cell::new(false);
        let manner: Manner = Rc::new(move |name, _| match name {
            "refused.example." if !refused.replace(true) => Take::Reset(h2::Reason::REFUSED_STREAM),
            "bad.example." => Take::Reset(h2::Reason::INTERNAL_ERROR),
            "slow.example." => Take::Answer(1000),
            _ => Take::Answer(0),
        });
        let (kept, seen) = over_https(100, manner);
        let (slow, refused, bad) = tokio::join!(
            ask(&kept, "slow.example"),
            later(&kept, 100, "refused.example"),
            later(&kept, 200, "bad.example"),
        );
        assert_eq!((slow, refused), ((Ok(()), 1000), (Ok(()), 0)));
        assert_eq!(bad, (Err(io::ErrorKind::Other), 0));
        assert_eq!(seen.so_far(), (1, 4), "only the refused one was asked again");
    })
    .await;
}

/// What waits for a free stream does not age.
#[tokio::test(start_paused = true)]
async fn more_queries_than_streams() {
    run(async || {
        let (kept, seen) = over_https(2, Rc::new(|_, _| Take::Answer(1200)));
        // The server's limit is known from the first answer on.
        assert_eq!(ask(&kept, "first.example").await, (Ok(()), 1200));
        let names: Vec<_> = (0..6).map(|number| format!("n{number}.example")).collect();
        let mut asking = tokio::task::JoinSet::new();
        for name in names {
            let kept = Rc::clone(&kept);
            asking.spawn_local(async move { ask(&kept, &name).await });
        }
        let mut took: Vec<_> = asking.join_all().await;
        took.sort_by_key(|(_, millis)| *millis);
        assert_eq!(
            took.iter().map(|(_, millis)| millis / 1200).collect::<Vec<_>>(),
            [1, 1, 2, 2, 3, 3]
        );
        assert!(took.iter().all(|(result, _)| result.is_ok()), "{took:?}");
        assert_eq!(seen.so_far(), (1, 7));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_no_more_answers_what_it_has() {
    run(async || {
        let manner: Manner = Rc::new(|_, connection| match connection {
            1 => Take::Leave,
            _ => Take::Answer(0),
        });
        let (kept, seen) = over_https(100, manner);
        let (last, next) =
            tokio::join!(ask(&kept, "last.example"), later(&kept, 500, "next.example"));
        assert_eq!((last, next), ((Ok(()), 1000), (Ok(()), 0)));
        assert_eq!(seen.connections.get(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_connection_leaves_is_asked_again() {
    for is_https in [true, false] {
        run(async || {
            let manner: Manner = Rc::new(|name, connection| match (name, connection) {
                ("dead.example.", 1) => Take::Die,
                (".", _) | ("first.example.", _) => Take::Answer(0),
                _ => Take::Answer(100),
            });
            let (kept, seen) = if is_https { over_https(100, manner) } else { over_tcp(manner) };
            assert_eq!(ask(&kept, "first.example").await, (Ok(()), 0));
            let (dead, victim) =
                tokio::join!(ask(&kept, "dead.example"), later(&kept, 1500, "victim.example"));
            assert_eq!((dead, victim), ((Ok(()), 2100), (Ok(()), 600)), "https: {is_https}");
            assert_eq!(seen.connections.get(), 2);
        })
        .await;
    }
}

/// A proxy that allows CONNECT to these ports only. Whatever the address, the connection comes to
/// the same server.
#[derive(Debug)]
struct Picky {
    ports: Arc<Mutex<Vec<u16>>>,
    server: SocketAddr,
}

impl Proxy for Picky {
    fn name(&self) -> &str {
        "picky"
    }

    fn connect<'a>(
        &'a self,
        target: &'a Target,
        _: &'a Progress,
    ) -> BoxFuture<'a, Result<Link, proxy::Error>> {
        Box::pin(async move {
            if self.ports.lock().unwrap().contains(&target.port()) {
                let tcp = outbound().tcp(&[self.server]).await.unwrap();
                return Ok(Link::Stream {
                    stream: Box::new(tcp),
                    half_close: HalfClose::Forwarded,
                });
            }
            let (server, target) = ("picky".into(), target.to_string());
            let (status, hint) = ("403".into(), String::new());
            Err(proxy::Error::Refused { server, target, status, hint })
        })
    }
}

/// The default of squid: CONNECT to 443 only.
#[tokio::test(start_paused = true)]
async fn a_known_server_is_asked_over_https_where_the_proxy_allows_nothing_else() {
    run(async || {
        let (server, seen) = https_server(100, Rc::new(|_, _| Take::Answer(0)));
        let ports = Arc::new(Mutex::new(vec![443]));
        let asked_at = |address: &str| {
            let picky = Picky { ports: Arc::clone(&ports), server };
            let upstream = Arc::new(Upstream::new(Box::new(picky), Duration::from_secs(5)));
            let direct = Box::new(Direct::new(outbound()));
            let dispatcher =
                Dispatcher::new(Arc::default(), Arc::default(), direct, vec![upstream]);
            let known = "192.0.2.53".parse::<IpAddr>().unwrap();
            assert_eq!(known_name(known), Some("dns.example"));
            let current = Current::new(dispatcher);
            let dialler = Dialler {
                current,
                through_proxy: true,
                tls: tls(),
                names_of_servers: known_name,
                patience: PATIENCE,
                troubles: Rc::default(),
            };
            let (address, transport) = (address.parse().unwrap(), Transport::Plain);
            PersistentConnection::new(NameServer { address, transport }, dialler)
        };
        let known = asked_at("192.0.2.53:53");
        assert_eq!(ask(&known, "a.example").await.0, Ok(()), "the first query already");
        assert_eq!(ask(&known, "b.example").await.0, Ok(()));
        assert_eq!(seen.so_far(), (1, 2));
        for unknown in ["192.0.2.54:53", "192.0.2.53:5353"] {
            assert!(ask(&asked_at(unknown), "a.example").await.0.is_err(), "{unknown}");
        }
        // Where not even that is allowed, each query fails at once and what is written is tried.
        ports.lock().unwrap().clear();
        let known = asked_at("192.0.2.53:53");
        for _ in 0..2 {
            let (answer, took) = ask(&known, "a.example").await;
            assert!(answer.is_err() && took < 100, "{answer:?} after {took} ms");
        }
        assert_eq!(seen.so_far(), (1, 2));
    })
    .await;
}

fn known_name(server: IpAddr) -> Option<&'static str> {
    (server.to_string() == "192.0.2.53").then_some("dns.example")
}
