//! Sessions without a firewall: everything goes to one place, through a proxy that does as it is
//! told.

mod first_bytes;
mod live;

use super::Intercept;
use super::tcp::Inbound;
use super::token::Token;
use crate::dispatch::{Current, Dispatcher, Group, GroupSettings, Upstream};
use crate::family::Family;
use crate::mark::Fwmark;
use crate::net::origin::OrigDst;
use crate::net::{Outbound, Refusal, listen, reset};
use crate::probe;
use crate::proxy::direct::Direct;
use crate::proxy::first_payload::FirstPayload;
use crate::proxy::{BoxFuture, Error, HalfClose, Link, Progress, Proxy};
use crate::route::{ClientHost, Route, Rules};
use crate::stats::Stats;
use crate::target::Target;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// What the proxy does with the connections, in order; the last one for all that follow.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    /// A connection to a server that echoes.
    Connect,
    /// The same, once the test says so.
    ConnectOnceHeard,
    /// The same at once, where the server speaks first.
    Greet,
    /// The same, with the client's first bytes sent ahead.
    SendAhead,
    Refuse,
    /// The same, once the test says so.
    RefuseOnceHeard,
    /// Answers nothing.
    Hang,
}

/// What a server that speaks first says.
const BANNER: &[u8] = b"SSH-2.0-x\r\n";

#[derive(Debug)]
struct Scripted {
    name: &'static str,
    acts: Mutex<Vec<Act>>,
    echo: SocketAddr,
    heard: Arc<Notify>,
}

impl Proxy for Scripted {
    fn name(&self) -> &str {
        self.name
    }

    fn connect_carrying<'a>(
        &'a self,
        target: &'a Target,
        progress: &'a Progress,
        payload: &'a FirstPayload<'a>,
    ) -> BoxFuture<'a, Result<Link, Error>> {
        if self.acts.lock().unwrap()[0] != Act::SendAhead {
            return self.connect(target, progress);
        }
        Box::pin(async move {
            let first = payload.after(0).await;
            assert!(payload.leaves(first.len()));
            let Link::Plain { mut tcp, early, half_close } = self.connect(target, progress).await?
            else {
                panic!("it is a plain one")
            };
            tcp.write_all(&first).await.unwrap();
            payload.arrived();
            Ok(Link::Plain { tcp, early, half_close })
        })
    }

    fn connect<'a>(
        &'a self,
        _target: &'a Target,
        _: &'a Progress,
    ) -> BoxFuture<'a, Result<Link, Error>> {
        let mut acts = self.acts.lock().unwrap();
        let act = if acts.len() > 1 { acts.remove(0) } else { acts[0] };
        Box::pin(async move {
            if let Act::ConnectOnceHeard | Act::RefuseOnceHeard = act {
                self.heard.notified().await;
            }
            match act {
                Act::Connect | Act::ConnectOnceHeard | Act::Greet | Act::SendAhead => {
                    let tcp = outbound().tcp(&[self.echo]).await.unwrap();
                    let early = if let Act::Greet = act { BANNER.to_vec() } else { Vec::new() };
                    Ok(Link::Plain { tcp, early, half_close: HalfClose::Forwarded })
                }
                Act::Refuse | Act::RefuseOnceHeard => {
                    let (server, status) = ("scripted".into(), "503".into());
                    Err(Error::Target { server, target: "the site".into(), status })
                }
                Act::Hang => std::future::pending().await,
            }
        })
    }
}

fn outbound() -> Outbound {
    Outbound::new(Fwmark::SNET, Refusal::Harmless)
}

fn loopback() -> TcpListener {
    listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap()
}

/// How long a dial may take.
const DIAL: Duration = Duration::from_secs(3600);

/// Everything around one listener, and what it writes into the log.
struct House {
    inbound: Arc<Inbound>,
    dispatcher: Current,
    heard: Arc<Notify>,
    /// Bytes that came through a proxy.
    proxied: Arc<AtomicUsize>,
    token: Token,
    stats: Arc<Stats>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<io::Result<()>>,
    log: Arc<Mutex<Vec<u8>>>,
    _listening: tracing::subscriber::DefaultGuard,
}

/// Everything goes to a foreign site, and so to the proxy.
fn house(acts: &[Act], limit: u32) -> House {
    let site = "203.0.113.10:80".parse().unwrap();
    let house = house_at(site, Rules::default(), acts, limit);
    assert_eq!(house.dispatcher.load().route(&Target::addr(site)).route, Route::Proxy);
    house
}

fn house_at(site: SocketAddr, rules: Rules, acts: &[Act], limit: u32) -> House {
    house_with(site, rules, acts, limit, |dispatcher| dispatcher)
}

/// The proxy "scripted" is the first group, "other", which always connects, the second.
fn house_with(
    site: SocketAddr,
    rules: Rules,
    acts: &[Act],
    limit: u32,
    changed: impl FnOnce(Dispatcher) -> Dispatcher,
) -> House {
    let echo = loopback();
    let address = echo.local_addr().unwrap();
    let proxied = Arc::default();
    tokio::spawn(echo_all(echo, Arc::clone(&proxied)));
    let heard = Arc::new(Notify::new());
    let upstream = |name, acts: &[Act]| {
        let (acts, heard) = (Mutex::new(acts.to_vec()), Arc::clone(&heard));
        Arc::new(Upstream::new(Box::new(Scripted { name, acts, echo: address, heard }), DIAL))
    };
    let upstreams = vec![upstream("scripted", acts), upstream("other", &[Act::Connect])];
    let alone =
        |upstream: &Arc<Upstream>| Group::new(GroupSettings::default(), vec![Arc::clone(upstream)]);
    let groups = upstreams.iter().map(alone).collect();
    let direct = Box::new(Direct::new(outbound()));
    let dispatcher = Dispatcher::new(Arc::new(rules), Arc::default(), direct, upstreams);
    let dispatcher = changed(dispatcher.grouped(groups));
    let dispatcher = Current::new(dispatcher);
    let token = Token::new().unwrap();
    let stats = Arc::new(Stats::default());
    let inbound = Inbound::new(
        Intercept::Fixed(OrigDst(site)),
        dispatcher.clone(),
        outbound(),
        Arc::clone(&stats),
        limit,
    );
    let inbound = Arc::new(inbound.answering(token.clone()));
    let listener = loopback();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let accepting = tokio::spawn(Arc::clone(&inbound).accept(listener, stopped));
    let log = Arc::new(Mutex::new(Vec::new()));
    let writer = Arc::clone(&log);
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || Log(Arc::clone(&writer)))
        .finish();
    let _listening = tracing::subscriber::set_default(subscriber);
    House {
        inbound,
        dispatcher,
        heard,
        proxied,
        token,
        stats,
        address,
        stop,
        accepting,
        log,
        _listening,
    }
}

/// Sends back what comes, and counts it.
async fn echo_all(listener: TcpListener, bytes: Arc<AtomicUsize>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let bytes = Arc::clone(&bytes);
        tokio::spawn(async move {
            let mut piece = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut piece).await {
                bytes.fetch_add(read, Ordering::Relaxed);
                if stream.write_all(&piece[..read]).await.is_err() {
                    return;
                }
            }
        });
    }
}

struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl House {
    async fn client(&self) -> TcpStream {
        outbound().tcp(&[self.address]).await.unwrap()
    }

    /// A client whose bytes come back.
    async fn served(&self) -> TcpStream {
        let mut client = self.client().await;
        client.write_all(b"hello").await.unwrap();
        client.read_exact(&mut [0; 5]).await.unwrap();
        client
    }

    fn lines(&self, with: &str) -> usize {
        let log = String::from_utf8(self.log.lock().unwrap().clone()).unwrap();
        log.lines().filter(|line| line.contains(with)).count()
    }

    /// Accepted, refused, ended, open; they have to agree.
    fn counts(&self) -> [u64; 4] {
        let Stats { accepted, refused, ended, .. } = &*self.stats;
        let counts = [accepted.get(), refused.get(), ended.get(), self.inbound.open().into()];
        assert_eq!(counts[0], counts[1] + counts[2] + counts[3], "{counts:?}");
        counts
    }
}

async fn is_reset(mut client: TcpStream) -> bool {
    let heard = client.read(&mut [0; 9]).await;
    heard.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn every_connection_is_counted_once_and_leaves_a_line() {
    let house = house(&[Act::Connect, Act::Refuse, Act::Connect, Act::Hang], 16);
    let mut closed = house.served().await;
    closed.shutdown().await.unwrap();
    assert_eq!(closed.read(&mut [0; 9]).await.unwrap(), 0);
    assert!(is_reset(house.client().await).await, "the proxy refused it");
    house.inbound.drained().await;
    assert_eq!(house.counts(), [2, 1, 1, 0]);

    let relayed = house.served().await;
    let dialling = house.client().await;
    while house.inbound.open() < 2 || house.stats.accepted.get() < 4 {
        tokio::task::yield_now().await;
    }
    assert_eq!(house.counts(), [4, 1, 1, 2]);
    house.inbound.cut();
    house.inbound.drained().await;
    assert_eq!(house.counts(), [4, 1, 3, 0]);
    assert!(is_reset(relayed).await && is_reset(dialling).await);
    assert_eq!(house.lines("cut by the end of snet"), 2);
    assert_eq!(house.lines("proxy=\"scripted\" up=5 down=5"), 2);
    assert_eq!(house.lines("client="), 4);
}

/// Tells a client of the house by which name it finds the site.
fn tell(house: &House, client: &str, name: &str) {
    let host = ClientHost::of(client.parse().unwrap(), None);
    let (now, address) = (Instant::now().into_std(), "203.0.113.10".parse().unwrap());
    let (told, name) = (Arc::clone(house.dispatcher.load().told()), name.parse().unwrap());
    told.telling().tell(host, &name, address, now + Duration::from_secs(3600), now);
}

/// Clients of this machine are one, whichever address a program has.
#[tokio::test]
async fn the_line_has_the_name_that_the_client_was_told() {
    let house = house(&[Act::Connect, Act::Refuse], 16);
    tell(&house, "192.168.1.7", "other.example");
    house.served().await;
    tell(&house, "::1", "far.example");
    assert!(is_reset(house.client().await).await);
    house.inbound.drained().await;
    assert_eq!(house.lines("client="), 2);
    assert_eq!(house.lines("destination=203.0.113.10:80 proxy=\"scripted\" up=5"), 1);
    assert_eq!(house.lines("destination=203.0.113.10:80 name=\"far.example\""), 1);
    assert_eq!(house.lines("other.example"), 0);
}

#[tokio::test]
async fn at_the_limit_newcomers_are_reset_and_counted() {
    let house = house(&[Act::Connect], 16);
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(house.served().await);
    }
    for _ in 0..3 {
        assert!(is_reset(house.client().await).await);
    }
    assert_eq!(house.counts(), [19, 3, 0, 16]);
    assert_eq!(house.lines("16 connections are open of at most 16"), 1);
    drop(open);
    house.inbound.drained().await;
    assert_eq!(house.counts(), [19, 3, 16, 0]);
    house.served().await;
}

#[tokio::test]
async fn a_source_that_takes_all_is_told_and_leaves_room() {
    let house = house(&[Act::Connect], 16);
    house.inbound.share_by_source(true);
    let mut open = Vec::new();
    for _ in 0..12 {
        open.push(house.served().await);
    }
    for _ in 0..3 {
        assert!(is_reset(house.client().await).await);
    }
    assert_eq!(house.lines("127.0.0.1 holds 12 of at most 16 connections"), 1);
    assert_eq!(house.counts(), [15, 3, 0, 12]);
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_takes_too_long_is_a_reset() {
    let house = house(&[Act::Hang], 16);
    let began = Instant::now();
    assert!(is_reset(house.client().await).await);
    assert!((DIAL..DIAL + Duration::from_secs(1)).contains(&began.elapsed()));
    house.inbound.drained().await;
    assert_eq!(house.counts(), [1, 1, 0, 0]);
    assert_eq!(house.lines("client="), 1);
    assert_eq!(house.lines("refused: no proxy could connect"), 1);
    let [refusal] = &house.stats.refusals.list()[..] else { panic!() };
    assert!(refusal.cause.starts_with("no proxy could connect"), "{refusal:?}");
}

/// A half that breaks is told as that of the side that broke.
#[tokio::test]
async fn a_connection_that_breaks_leaves_one_line_too() {
    let house = house(&[Act::Connect], 16);
    reset(house.served().await);
    house.inbound.drained().await;
    assert_eq!(house.counts(), [1, 0, 1, 0]);
    assert_eq!((house.lines("client="), house.lines("client broke off")), (1, 1));
}

/// What a rule blocks is refused without a dial. The operator wrote the rule: the log says nothing.
#[tokio::test]
async fn what_is_blocked_is_reset() {
    let site = "203.0.113.10:80".parse().unwrap();
    let block = ["203.0.113.0/24".parse::<ipnet::IpNet>().unwrap()].into_iter().collect();
    let house = house_at(site, Rules { block, ..Rules::default() }, &[Act::Connect], 16);
    assert!(is_reset(house.client().await).await);
    house.inbound.drained().await;
    assert_eq!(house.counts(), [1, 1, 0, 0]);
    assert_eq!(house.lines("client="), 0);
}

/// At a stop nothing new is accepted, what is open goes on, and the drain lasts until it has ended.
#[tokio::test]
async fn a_stop_lets_open_connections_go_on_until_they_end() {
    let house = house(&[Act::Connect], 16);
    let mut open = house.served().await;
    house.stop.send_replace(true);
    house.accepting.await.unwrap().unwrap();
    let refused = outbound().tcp(&[house.address]).await;
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    open.write_all(b"still").await.unwrap();
    open.read_exact(&mut [0; 5]).await.unwrap();
    let drained = house.inbound.drained();
    assert!(timeout(Duration::from_millis(50), drained).await.is_err(), "one is open");
    drop(open);
    timeout(Duration::from_secs(5), house.inbound.drained()).await.expect("it has ended");
}

/// The daemon's own proof is answered with the token, is no connection and leaves no line.
#[tokio::test]
async fn a_proof_is_answered_and_not_counted() {
    for family in Family::ALL {
        let site = SocketAddr::new(probe::address(family), probe::TCP_PORT);
        let house = house_at(site, Rules::default(), &[Act::Refuse], 16);
        let mut client = house.client().await;
        let mut answer = [0; 32];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, house.token.text().as_bytes());
        reset(client);
        house.inbound.drained().await;
        assert_eq!((house.counts(), house.lines("")), ([0; 4], 0));
    }
}
