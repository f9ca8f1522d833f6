//! The listeners, on a thread of their own: UDP and TCP on every address, and what the household
//! asks directly ([`Household`](super::household::Household)).

mod guest;
#[cfg(feature = "tls")]
mod https;
mod room;
pub(super) mod streams;

use super::client_query::{Came, ClientQuery};
use super::horizon::{Horizon, Origins};
use super::pending::PendingQueries;
use super::present::Present;
use super::reply;
use super::resolver::Resolver;
use super::settings::Settings;
use super::wire::Query;
use crate::dispatch::Current;
use crate::domain::Name;
use crate::net::Outbound;
use crate::net::listen::{self, Errors};
use crate::net::udp::{self, Asker, UdpListener};
use crate::proxy::tls::Tls;
use crate::stats::Stats;
use crate::target::canonical;
use crate::task::{JoinSet, spawn_local};
use crate::view::RecordView;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::{debug, error};

/// A larger query is none of ours; what does not fit is cut and found malformed.
const LARGEST_QUERY: usize = 4096;

/// How long the first queries wait for the answers of the former run. The heartbeat waits longer.
const FORMER_ANSWERS: Duration = Duration::from_millis(500);

/// Sockets that are bound and a resolver that has yet to be started.
#[derive(Debug)]
pub struct BoundResolver {
    udp: Vec<(Door, udp::Bound)>,
    tcp: Vec<(Door, std::net::TcpListener)>,
    settings: Settings,
    outbound: Outbound,
    current: Current,
    origins: Option<Box<dyn Origins>>,
    stats: Arc<Stats>,
    pending: PendingQueries,
}

impl BoundResolver {
    /// Lets the resolver know which server was asked, so that it can ask that one too.
    #[must_use]
    pub fn with_origins(self, origins: Box<dyn Origins>) -> Self {
        BoundResolver { origins: Some(origins), ..self }
    }

    /// So many names are asked of name servers at a time.
    #[must_use]
    pub fn asking_for(self, names: u32) -> Self {
        BoundResolver { pending: PendingQueries::new(names), ..self }
    }

    /// Answers are counted there.
    #[must_use]
    pub fn counting(self, stats: Arc<Stats>) -> Self {
        BoundResolver { stats, ..self }
    }
}

/// What a listening socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    /// Captured queries, and whoever else finds it.
    Captured,
    /// The household over UDP and TCP.
    Plain,
    /// The household over TLS.
    Tls,
    /// The household over HTTPS.
    Https,
}

/// Binds every listening address, also one that this machine does not have now.
///
/// # Errors
/// EADDRINUSE, EACCES, and what else the kernel says.
pub fn bind(settings: Settings, outbound: Outbound, current: Current) -> io::Result<BoundResolver> {
    let (mut udp, mut tcp) = (Vec::new(), Vec::new());
    let household = &settings.household;
    for (door, addresses) in [
        (Door::Captured, &settings.listen),
        (Door::Plain, &household.plain),
        (Door::Tls, &household.tls),
        (Door::Https, &household.https),
    ] {
        for address in addresses {
            if matches!(door, Door::Captured | Door::Plain) {
                let socket = udp::bind(*address).map_err(|error| context(*address, error))?;
                udp.push((door, socket));
            }
            let socket = listen::bind(*address).map_err(|error| context(*address, error))?;
            tcp.push((door, socket));
        }
    }
    Ok(BoundResolver {
        udp,
        tcp,
        settings,
        outbound,
        current,
        origins: None,
        stats: Arc::default(),
        pending: PendingQueries::default(),
    })
}

fn context(address: SocketAddr, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{address}: {error}"))
}

/// What a resolver that runs may be told.
#[derive(Debug)]
pub enum Order {
    /// Other settings. The listening addresses in them do not count.
    Settings(Box<Settings>),
    /// The machine is in another network, or was suspended.
    NetworkChanged {
        /// For how long it was suspended, which no monotonic clock counts.
        slept: Duration,
    },
    /// Somebody wants to know why a name is answered as it is.
    Explain {
        /// It.
        name: Name,
        /// What is known of its addresses.
        answer: oneshot::Sender<Vec<RecordView>>,
    },
}

/// From the daemon.
pub type Orders = mpsc::UnboundedReceiver<Order>;

/// Runs the resolver until `stopped` turns true; the result says whether it ended for that reason.
/// Dropping the future stops it too.
pub fn spawn(
    bound: BoundResolver,
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

fn run(
    bound: BoundResolver,
    mut orders: Orders,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    // Tasks of its own thread are woken without a system call.
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let BoundResolver { udp, tcp, settings, outbound, current, origins, stats, pending } =
            bound;
        let horizon = Horizon::new(origins.map(Rc::from));
        let room = room::Room::new(outbound.allowance());
        let counts = (pending, stats);
        let resolver = Resolver::new(settings, outbound, current, Tls::default(), horizon, counts);
        let present = Present::new(resolver);
        let restoring = spawn_local(Rc::clone(&present).restore_cache());
        // It goes on; the first queries wait for no slow disk.
        let _ = timeout(FORMER_ANSWERS, restoring).await;
        spawn_local(Rc::clone(&present).keep_cache());
        let mut listeners = JoinSet::new();
        for (door, socket) in udp {
            let listener = Rc::new(socket.listen()?);
            listeners.spawn_local(datagrams(Rc::clone(&present), listener, door));
        }
        for (door, socket) in tcp {
            let listener = TcpListener::from_std(socket)?;
            let (present, room) = (Rc::clone(&present), Rc::clone(&room));
            listeners.spawn_local(streams::serve_all(present, listener, room, door));
        }
        let ended = loop {
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => break Ok(()),
                Some(order) = orders.recv() => match order {
                    Order::Settings(settings) => present.reload(*settings),
                    Order::NetworkChanged { slept } => present.network_changed(slept),
                    Order::Explain { name, answer } => {
                        let resolver = present.load();
                        spawn_local(async move {
                            // Who asked may have left.
                            let _ = answer.send(resolver.explain(name).await);
                        });
                    }
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

async fn datagrams(present: Rc<Present>, listener: Rc<UdpListener>, door: Door) -> io::Result<()> {
    let (mut inbox, mut outbox) = (listener.inbox(LARGEST_QUERY), listener.outbox());
    let mut errors = Errors::default();
    loop {
        listener.readable().await?;
        match listener.try_receive_all(&mut inbox) {
            Ok(()) => errors.over(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => {
                errors.after(error, "cannot receive a query", String::new).await?;
                continue;
            }
        }
        let now = Instant::now();
        let resolver = present.load();
        for (message, asker) in inbox.datagrams() {
            // A stranger gets nothing: its address may be a victim's.
            if door == Door::Plain && !is_welcome(&resolver, &listener, asker) {
                continue;
            }
            let parsed = Query::parse(message);
            let in_limit = listener.is_own(asker) || resolver.allows(asker.address.ip(), now);
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
            let asked = over_udp(&query, &listener, asker, door, now);
            if !outbox.add(asker, |out| resolver.answer_at_once(&asked, out)) {
                let (resolver, listener) = (Rc::clone(&resolver), Rc::clone(&listener));
                spawn_local(answer(resolver, listener, *asker, door, query, now));
            }
        }
        listener.reply_all(&mut outbox, lost);
        if inbox.is_full() {
            tokio::task::yield_now().await;
        }
    }
}

fn is_welcome(resolver: &Resolver, listener: &UdpListener, asker: &Asker) -> bool {
    let (client, own) = (canonical(asker.address), listener.arrived_at(asker));
    resolver.policy.settings.household.may_ask(client.ip(), own.ip())
}

fn over_udp<'a>(
    query: &'a Query,
    listener: &UdpListener,
    asker: &Asker,
    door: Door,
    at: Instant,
) -> ClientQuery<'a> {
    let came = match door {
        Door::Captured => Came::Datagram(listener.arrived_at(asker)),
        _ => Came::DatagramToUs,
    };
    let client = canonical(asker.address);
    ClientQuery { query, limit: query.udp_limit(), client, came, at }
}

/// Asks upstream servers for one client.
async fn answer(
    resolver: Rc<Resolver>,
    listener: Rc<UdpListener>,
    asker: Asker,
    door: Door,
    query: Query,
    at: Instant,
) {
    let answer = resolver.answer(&over_udp(&query, &listener, &asker, door, at)).await;
    if let Err(error) = listener.reply(&asker, &answer) {
        lost(&asker, error);
    }
}

fn lost(asker: &Asker, error: io::Error) {
    debug!(client = %asker.address, "a reply was lost: {error}");
}
