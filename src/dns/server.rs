//! The listeners: UDP and TCP on every address, on a thread of their own.

mod streams;

use super::Settings;
use super::present::Present;
use super::reply;
use super::resolver::{Asked, Resolver};
use super::upstream::tls::Tls;
use super::wire::Query;
use crate::dispatch::Current;
use crate::net::Outbound;
use crate::net::listen::{self, AcceptError};
use crate::net::udp::{self, Asker, UdpListener};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::timeout;
use tracing::{debug, error, warn};

/// A larger query is none of ours; what does not fit is cut and found malformed.
const LARGEST_QUERY: usize = 4096;

/// How long accepting rests when descriptors run out.
const SHORTAGE_REST: Duration = Duration::from_millis(100);

/// How long the first queries wait for the answers of the former run. The heartbeat has more patience.
const FORMER_ANSWERS: Duration = Duration::from_millis(500);

/// Sockets that are bound and a resolver that has yet to be started.
#[derive(Debug)]
pub struct Bound {
    udp: Vec<udp::Bound>,
    tcp: Vec<std::net::TcpListener>,
    settings: Settings,
    outbound: Outbound,
    current: Current,
}

/// Binds every listening address. One that this machine does not have is left out, with a warning.
///
/// # Errors
/// EADDRINUSE, EACCES, and what else the kernel says; no address at all.
pub fn bind(settings: Settings, outbound: Outbound, current: Current) -> io::Result<Bound> {
    let (mut udp, mut tcp) = (Vec::new(), Vec::new());
    let mut absent = None;
    for address in &settings.listen {
        match (udp::bind(*address), listen::bind(*address)) {
            (Ok(datagrams), Ok(streams)) => {
                udp.push(datagrams);
                tcp.push(streams);
            }
            (Err(error), _) | (_, Err(error)) if listen::is_absent(&error) => {
                warn!(
                    "{} is no address of this machine: names are not answered there",
                    address.ip()
                );
                absent = Some(context(*address, error));
            }
            (Err(error), _) | (_, Err(error)) => return Err(context(*address, error)),
        }
    }
    match absent {
        Some(error) if udp.is_empty() => Err(error),
        _ => Ok(Bound { udp, tcp, settings, outbound, current }),
    }
}

fn context(address: SocketAddr, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{address}: {error}"))
}

/// What a resolver that runs may be told.
#[derive(Debug)]
pub enum Order {
    /// Other settings. The listening addresses in them do not count.
    Settings(Box<Settings>),
    /// The machine is in another network, or has slept: for so long.
    Moved {
        /// Time that no monotonic clock has counted.
        slept: Duration,
    },
}

/// From the daemon.
pub type Orders = mpsc::UnboundedReceiver<Order>;

/// Runs the resolver until `stopped` turns true; the result says whether it ended for that reason.
/// Dropping the future stops it too.
pub fn spawn(
    bound: Bound,
    orders: Orders,
    stopped: watch::Receiver<bool>,
) -> impl Future<Output = bool> {
    let (ended, end) = oneshot::channel();
    let thread = std::thread::Builder::new().name("snet-dns".into()).spawn(move || {
        match run(bound, orders, stopped) {
            Ok(()) => drop(ended.send(true)),
            // The sender is dropped: the end was not asked for.
            Err(failure) => error!("the resolver ended: {failure}"),
        }
    });
    async move {
        match thread {
            Ok(_) => end.await.unwrap_or(false),
            Err(failure) => {
                error!("no thread for the resolver: {failure}");
                false
            }
        }
    }
}

fn run(bound: Bound, mut orders: Orders, mut stopped: watch::Receiver<bool>) -> io::Result<()> {
    // Tasks of its own thread are woken without a system call.
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let Bound { udp, tcp, settings, outbound, current } = bound;
        let resolver = Resolver::new(settings, outbound, current, Tls::default());
        let present = Present::new(resolver);
        let restoring = spawn_local(Rc::clone(&present).restore_cache());
        // It goes on; the first queries wait for no slow disk.
        let _ = timeout(FORMER_ANSWERS, restoring).await;
        spawn_local(Rc::clone(&present).keep_cache());
        let room = streams::Room::new();
        let mut listeners = JoinSet::new();
        for socket in udp {
            listeners.spawn_local(datagrams(Rc::clone(&present), Rc::new(socket.listen()?)));
        }
        for socket in tcp {
            let listener = TcpListener::from_std(socket)?;
            listeners.spawn_local(streams::serve_all(
                Rc::clone(&present),
                listener,
                Rc::clone(&room),
            ));
        }
        let ended = loop {
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => break Ok(()),
                Some(order) = orders.recv() => match order {
                    Order::Settings(settings) => present.reload(*settings),
                    Order::Moved { slept } => present.moved(slept),
                },
                Some(ended) = listeners.join_next() => break match ended {
                    Ok(Err(failure)) => Err(failure),
                    Ok(Ok(())) => Err(io::Error::other("a listener ended")),
                    Err(panic) => Err(io::Error::other(panic)),
                },
            }
        };
        // Meanwhile names are answered.
        present.save_cache().await;
        ended
    })
}

async fn datagrams(present: Rc<Present>, listener: Rc<UdpListener>) -> io::Result<()> {
    let (mut inbox, mut outbox) = (listener.inbox(LARGEST_QUERY), listener.outbox());
    loop {
        listener.readable().await?;
        match listener.try_receive_all(&mut inbox) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) if AcceptError::class(&error) == AcceptError::Fatal => return Err(error),
            // An ICMP error for a former reply: that client has left.
            Err(error) => {
                debug!("receiving a query: {error}");
                continue;
            }
        }
        let now = Instant::now();
        let resolver = present.load();
        for (message, asker) in inbox.datagrams() {
            let parsed = Query::parse(message);
            let in_limit = listener.is_own(asker)
                || resolver.rate_limit.borrow_mut().allows(asker.address.ip(), now);
            let query = match parsed {
                Ok(query) if in_limit => query,
                Ok(query) => {
                    outbox.add(asker, |out| {
                        out.extend(reply::truncated(&query));
                        true
                    });
                    continue;
                }
                Err(malformed) => {
                    outbox.add(asker, |out| in_limit && malformed.write_answer(out));
                    continue;
                }
            };
            let asked = over_udp(&query, asker, now);
            if !outbox.add(asker, |out| resolver.answer_at_once(&asked, out)) {
                let (resolver, listener) = (Rc::clone(&resolver), Rc::clone(&listener));
                spawn_local(answer(resolver, listener, *asker, query, now));
            }
        }
        listener.reply_all(&mut outbox, lost);
        if inbox.is_full() {
            tokio::task::yield_now().await;
        }
    }
}

fn over_udp<'a>(query: &'a Query, asker: &Asker, at: Instant) -> Asked<'a> {
    Asked { query, limit: query.udp_limit(), client: asker.address, at }
}

/// Asks upstream servers for one client.
async fn answer(
    resolver: Rc<Resolver>,
    listener: Rc<UdpListener>,
    asker: Asker,
    query: Query,
    at: Instant,
) {
    let answer = resolver.answer(&over_udp(&query, &asker, at)).await;
    if let Err(error) = listener.reply(&asker, &answer) {
        lost(&asker, error);
    }
}

fn lost(asker: &Asker, error: io::Error) {
    debug!(client = %asker.address, "a reply was lost: {error}");
}
