//! Foreign UDP through the proxies.
//!
//! # The story of a datagram
//!
//! The kernel (`firewall`) takes a program's datagram to the listener of its family ([`listener`]),
//! and tells where it was sent. Its session is found by the program's address ([`table`]): one
//! socket of a program is one [`session`], whatever it talks to, so that every peer sees the same
//! address of it (endpoint-independent mapping, RFC 4787). A session has an
//! [`Association`](crate::proxy::association::Association), which wraps the payload for the proxy.
//! What comes back is unwrapped and leaves for the program from the very address that it names, by
//! a socket that is bound to that ([`replies`]): also from an address that the program never asked
//! (endpoint-independent filtering).
//!
//! # Cost
//!
//! All this is one thread with a runtime of its own: no lock that anything waits for, and no task
//! is woken for another's sake. The listener's own task seals and sends what a client sends; what a
//! session gets in a row leaves in one train ([`crate::net::udp::train`]). Where datagrams come in
//! bulk the thread lets them gather for half a millisecond ([`pace`]). Between wakes a session has
//! no buffer; what waits for an association is bounded ([`leg::Waiting`]).
//!
//! # Bounds
//!
//! Sessions, those of one source, reply sockets and waiting bytes are bounded; what is dropped is
//! counted ([`crate::stats::DatagramStats`]). A session ends when it has rested ([`idle`]).

mod course;
mod flow_name;
mod idle;
mod leg;
mod listener;
mod pace;
mod replies;
mod replying;
mod session;
mod table;

use crate::dispatch::Current;
use crate::inbound::token::Token;
use crate::net::Outbound;
use crate::net::udp::train::TrainInbox;
use crate::net::udp::transparent::{BoundTransparent, ReplySocket};
use crate::stats::Stats;
use crate::sync::lock;
use crate::task::JoinSet;
use listener::listen;
use pace::Pace;
use replies::ReplySockets;
use session::DatagramSession;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use table::Table;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, error};

/// How often reply sockets that have rested are looked for.
const SWEEP: Duration = Duration::from_secs(15);

/// What may be open at a time; each has a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Sessions.
    pub sessions: usize,
    /// Sockets that replies leave from.
    pub reply_sockets: usize,
}

/// Listeners that are bound, and do not run yet.
#[derive(Debug)]
pub struct BoundDatagrams(Vec<BoundTransparent>);

/// Binds the listener of each family.
///
/// # Errors
/// EPERM (CAP_NET_ADMIN), EADDRINUSE. A kernel without IPv6 is no error.
pub fn bind(port: u16) -> io::Result<BoundDatagrams> {
    let v4 = BoundTransparent::bind(false, port)?;
    let v6 = match BoundTransparent::bind(true, port) {
        Ok(v6) => Some(v6),
        Err(error) if error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) => None,
        Err(error) => return Err(error),
    };
    Ok(BoundDatagrams([Some(v4), v6].into_iter().flatten().collect()))
}

/// What the relay works with.
#[derive(Debug)]
pub struct DatagramRelay {
    /// Which proxy carries a new session.
    pub current: Current,
    /// Makes the reply sockets.
    pub outbound: Outbound,
    /// The answer to the daemon's own proof.
    pub token: Token,
    /// Where everything is counted.
    pub stats: Arc<Stats>,
    /// What may be open.
    pub limits: SessionLimits,
    /// Whether one source may have only a part of the sessions (router mode); a reload may change
    /// it.
    pub by_source: Arc<AtomicBool>,
}

impl DatagramRelay {
    /// Relays until `stopped` turns true; the result says whether it ended for that reason.
    /// Dropping the future stops it too.
    pub fn spawn(
        self,
        bound: BoundDatagrams,
        stopped: watch::Receiver<bool>,
    ) -> impl Future<Output = bool> {
        let (ended, end) = oneshot::channel();
        let thread = std::thread::Builder::new().name("snet-udp".into()).spawn(move || {
            match run(self, bound, stopped) {
                Ok(()) => drop(ended.send(true)),
                // The sender is dropped: the end was not asked for.
                Err(failure) => error!("the UDP relay ended: {failure}"),
            }
        });
        async move {
            match thread {
                Ok(_) => end.await.unwrap_or(false),
                Err(failure) => {
                    error!("no thread for the UDP relay: {failure}");
                    false
                }
            }
        }
    }
}

fn run(
    relay: DatagramRelay,
    BoundDatagrams(bound): BoundDatagrams,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    let pace = Arc::new(Mutex::new(Pace::new(std::time::Instant::now())));
    let paced = Arc::clone(&pace);
    let rest = move || {
        let pause = lock(&paced).rest(std::time::Instant::now());
        if let Some(pause) = pause {
            std::thread::sleep(pause);
        }
    };
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_all().on_thread_park(rest);
    runtime.build_local(LocalOptions::default())?.block_on(async move {
        let shared = Rc::new(SharedState::new(relay, pace, ReplySocket::bind));
        let mut listeners = JoinSet::new();
        for bound in bound {
            listeners.spawn_local(listen(Rc::clone(&shared), bound.listen()?));
        }
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = loop {
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => break Ok(()),
                _ = sweep.tick() => shared.sweep(),
                Some(ended) = listeners.join_next() => break match ended {
                    Ok(Err(failure)) => Err(failure),
                    Ok(Ok(())) => Err(io::Error::other("a listener ended")),
                    Err(panic) => Err(io::Error::other(panic)),
                },
            }
        };
        debug!(sessions = shared.sessions.borrow().len(), "the UDP relay stops");
        ended
    })
}

/// What listeners and sessions share, on their one thread.
#[derive(Debug)]
struct SharedState {
    relay: DatagramRelay,
    sessions: RefCell<Table<Rc<DatagramSession>>>,
    replies: RefCell<ReplySockets>,
    /// Borrowed only between two waits.
    inbox: RefCell<TrainInbox>,
    /// Packets of one session that are to leave. Borrowed only between two waits.
    outgoing: RefCell<leg::Packets>,
    /// Whose they are, of what the listener has brought.
    filling: RefCell<Option<Rc<DatagramSession>>>,
    pace: Arc<Mutex<Pace>>,
    /// The addresses of our own sockets to the proxies: what comes from there has come back.
    own: RefCell<HashSet<SocketAddr>>,
    /// Bytes that wait for associations, of all sessions.
    waiting: Cell<usize>,
    is_loop_told: Cell<bool>,
}

impl SharedState {
    fn new(relay: DatagramRelay, pace: Arc<Mutex<Pace>>, bind: replies::Bind) -> Self {
        let SessionLimits { sessions, reply_sockets } = relay.limits;
        let by_source = relay.by_source.load(Ordering::Relaxed);
        SharedState {
            sessions: RefCell::new(Table::new(sessions, by_source)),
            replies: RefCell::new(ReplySockets::new(relay.outbound.clone(), bind, reply_sockets)),
            inbox: RefCell::default(),
            outgoing: RefCell::default(),
            filling: RefCell::default(),
            pace,
            own: RefCell::default(),
            waiting: Cell::new(0),
            is_loop_told: Cell::new(false),
            relay,
        }
    }

    /// What is sealed from now on is of this session. That of another one leaves, and what is much.
    fn fill(&self, session: &Rc<DatagramSession>) {
        let is_same = |filling: &Rc<DatagramSession>| Rc::ptr_eq(filling, session);
        let is_same = self.filling.borrow().as_ref().is_some_and(is_same);
        if !is_same || self.outgoing.borrow().is_full() {
            self.flush();
            *self.filling.borrow_mut() = Some(Rc::clone(session));
        }
    }

    /// What was sealed leaves.
    fn flush(&self) {
        if let Some(session) = self.filling.take() {
            session.flush(&mut self.outgoing.borrow_mut(), &self.relay.stats.datagrams);
        }
    }

    fn sweep(&self) {
        let by_source = self.relay.by_source.load(Ordering::Relaxed);
        self.sessions.borrow_mut().set_by_source(by_source);
        self.replies.borrow_mut().expire(Instant::now());
    }
}

#[cfg(test)]
mod tests;
