//! A proxy server on loopback that echoes, and does to connections on which nothing was asked yet
//! what the test says.

use crate::mark::Fwmark;
use crate::net::allowance::{Allowance, Numbers};
use crate::net::{self, Outbound, Refusal, listen};
use crate::proxy::Proxy;
use crate::proxy::endpoint::Endpoint;
use crate::proxy::http::HttpConnect;
use crate::proxy::server::ProxyServer;
use crate::proxy::shadowsocks::Shadowsocks;
use crate::proxy::shadowsocks::cipher::master_key::MasterKey;
use crate::proxy::shadowsocks::cipher::method::Method;
use crate::proxy::shadowsocks::server::{Accepted, accept};
use crate::proxy::socks5::Socks5;
use crate::secret::Secret;
use crate::sync::lock;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

/// Bytes that the client of a test sends, and gets back.
pub(super) const PAYLOAD: usize = 16;

/// How many may be ready.
pub(super) const PLACES: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    Socks5,
    Shadowsocks,
}

pub(super) const PROTOCOLS: [Protocol; 3] =
    [Protocol::Http, Protocol::Socks5, Protocol::Shadowsocks];

/// What becomes of a connection on which nothing was asked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Live,
    Close,
    Reset,
    /// HTTP: a word first, as haproxy has it.
    Farewell,
    CloseWhenAsked,
    ResetWhenAsked,
    /// The word was on its way when the request came.
    FarewellWhenAsked,
}

impl Order {
    pub(super) fn waits_for_a_request(self) -> bool {
        matches!(self, Order::CloseWhenAsked | Order::ResetWhenAsked | Order::FarewellWhenAsked)
    }
}

const FAREWELL: &[u8] = b"HTTP/1.1 408 Request Time-out\r\n\r\n";

type Ordered = (Order, oneshot::Sender<()>);

/// What the server knows.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Connections on which nothing was asked, in the order in which they came.
    idle: Mutex<Vec<mpsc::Sender<Ordered>>>,
    accepted: Mutex<usize>,
    /// The payloads that came.
    payloads: Mutex<Vec<[u8; PAYLOAD]>>,
}

impl Seen {
    pub(super) fn accepted(&self) -> usize {
        *lock(&self.accepted)
    }

    pub(super) fn payloads(&self) -> Vec<[u8; PAYLOAD]> {
        lock(&self.payloads).clone()
    }

    /// How many connections are there on which nothing was asked.
    pub(super) fn idle(&self) -> usize {
        let mut idle = lock(&self.idle);
        idle.retain(|connection| !connection.is_closed());
        idle.len()
    }

    /// Waits for a moment until there are so many.
    pub(super) async fn becomes_idle_soon(&self, count: usize) {
        for _ in 0..100 {
            if self.idle() == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until there are so many.
    pub(super) async fn becomes_idle(&self, count: usize) {
        for _ in 0..20_000 {
            if self.idle() == count {
                return;
            }
            std::thread::sleep(Duration::from_micros(100));
            tokio::task::yield_now().await;
        }
        panic!("{} connections wait, and not {count}", self.idle());
    }

    /// The first of them get these orders; returns when they are carried out.
    pub(super) fn order(&self, orders: &[Order]) -> impl Future<Output = ()> + use<> {
        self.idle();
        let mut carried_out = Vec::new();
        for (connection, order) in lock(&self.idle).iter().zip(orders) {
            let (done, is_done) = oneshot::channel();
            let _ = connection.try_send((*order, done));
            carried_out.push(is_done);
        }
        async move {
            for done in carried_out {
                let _ = done.await;
            }
        }
    }
}

/// A server, and a proxy that uses it.
pub(super) struct Street {
    pub(super) seen: Arc<Seen>,
    pub(super) proxy: Arc<dyn Proxy>,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) allowance: Outbound,
    serving: tokio::task::JoinHandle<()>,
}

impl Street {
    pub(super) fn new(protocol: Protocol) -> Self {
        Street::with(protocol, PLACES, Some(Duration::ZERO))
    }

    /// Where so many may be ready, if a dial takes so long.
    pub(super) fn with(protocol: Protocol, places: usize, worth: Option<Duration>) -> Self {
        let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let at = listener.local_addr().unwrap();
        let seen: Arc<Seen> = Arc::default();
        let at_work = Arc::clone(&seen);
        let serving = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (orders, ordered) = mpsc::channel(1);
                *lock(&at_work.accepted) += 1;
                let seen = Arc::clone(&at_work);
                tokio::spawn(async move {
                    let _ = serve(protocol, tcp, orders, ordered, &seen).await;
                });
            }
        });
        let numbers = Numbers { questions: 1, fallbacks: 1, clients: 1, races: 1, warm: places };
        let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
        let outbound = outbound.within(Allowance::new(numbers));
        let (proxy, endpoint) = proxy(protocol, at, &outbound, worth);
        Street { seen, proxy, endpoint, allowance: outbound, serving }
    }

    /// How many places are free.
    pub(super) fn places(&self) -> usize {
        self.allowance.allowance().warm.available_permits()
    }

    /// Nobody listens there any more.
    pub(super) async fn close(&mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
    }
}

impl Drop for Street {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn key() -> MasterKey {
    MasterKey::new(Method::Aes128Gcm, &Secret::new("pw")).unwrap()
}

/// A proxy of this protocol that is there.
pub(super) fn proxy(
    protocol: Protocol,
    at: SocketAddr,
    outbound: &Outbound,
    worth: Option<Duration>,
) -> (Arc<dyn Proxy>, Arc<Endpoint>) {
    let endpoint = Arc::new(Endpoint::new("127.0.0.1", at.port()));
    let server = ProxyServer::new("p".into(), Arc::clone(&endpoint), outbound.clone());
    let server = server.warm(worth);
    let proxy: Arc<dyn Proxy> = match protocol {
        Protocol::Http => Arc::new(HttpConnect::new(server, None)),
        Protocol::Socks5 => Arc::new(Socks5::new(server, None, false)),
        Protocol::Shadowsocks => Arc::new(Shadowsocks::new(server, key())),
    };
    (proxy, endpoint)
}

/// One connection from its begin to its end.
async fn serve(
    protocol: Protocol,
    mut tcp: TcpStream,
    orders: mpsc::Sender<Ordered>,
    mut ordered: mpsc::Receiver<Ordered>,
    seen: &Seen,
) -> std::io::Result<()> {
    if protocol == Protocol::Socks5 {
        let mut greeting = [0; 3];
        tcp.read_exact(&mut greeting).await?;
        tcp.write_all(&[5, 0]).await?;
    }
    lock(&seen.idle).push(orders);
    let (mut when_asked, mut peeked) = (Order::Live, [0]);
    loop {
        tokio::select! {
            biased;
            order = ordered.recv() => {
                let Some((order, done)) = order else { return Ok(()) };
                match order {
                    Order::Live => {}
                    order if order.waits_for_a_request() => when_asked = order,
                    order => {
                        if order == Order::Farewell && protocol == Protocol::Http {
                            tcp.write_all(FAREWELL).await?;
                        } else if order == Order::Reset {
                            net::reset_on_close(&tcp);
                        }
                        drop(tcp);
                        let _ = done.send(());
                        return Ok(());
                    }
                }
                let _ = done.send(());
            }
            there = tcp.peek(&mut peeked) => match there? {
                0 => return Ok(()),
                _ => break,
            },
        }
    }
    ordered.close();
    match when_asked {
        Order::CloseWhenAsked | Order::FarewellWhenAsked => {
            // Read, so that the end is none by a reset.
            let _ = tcp.read(&mut [0; 1024]).await?;
            if when_asked == Order::FarewellWhenAsked && protocol == Protocol::Http {
                tcp.write_all(FAREWELL).await?;
            }
            return Ok(());
        }
        Order::ResetWhenAsked => {
            net::reset(tcp);
            return Ok(());
        }
        _ => {}
    }
    let mut payload = [0; PAYLOAD];
    match protocol {
        Protocol::Http => {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(tcp.read_u8().await?);
            }
            tcp.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        }
        Protocol::Socks5 => {
            tcp.read_exact(&mut [0; 10]).await?;
            tcp.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
        }
        Protocol::Shadowsocks => {
            let Accepted { first, mut stream, .. } = accept(tcp, &key()).await?;
            payload[..first.len()].copy_from_slice(&first);
            stream.read_exact(&mut payload[first.len()..]).await?;
            lock(&seen.payloads).push(payload);
            stream.write_all(&payload).await?;
            stream.flush().await?;
            return stream.read(&mut [0]).await.map(drop);
        }
    }
    tcp.read_exact(&mut payload).await?;
    lock(&seen.payloads).push(payload);
    tcp.write_all(&payload).await?;
    tcp.read(&mut [0]).await.map(drop)
}
