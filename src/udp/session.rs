//! One socket of a client: its association with a proxy, both ways, and its end.

use super::SharedState;
use super::idle::Activity;
use super::leg::{Leg, Packets, Waiting};
use crate::dispatch::{Associated, Upstream};
use crate::net::udp::leg::LegSocket;
use crate::net::udp::train::Train;
use crate::route::Route;
use crate::stats::DatagramStats;
use crate::target::Target;
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info};

/// How long a session whose proxies all fail drops what its client sends before it tries again.
const REST: Duration = Duration::from_secs(1);

/// The flow of one client socket.
#[derive(Debug)]
pub(super) struct DatagramSession {
    pub(super) client: SocketAddr,
    /// The first destination, for the log.
    first: SocketAddr,
    began: Instant,
    pub(super) activity: Cell<Activity>,
    /// The destination that was judged last, and whether it is blocked.
    pub(super) judged: Cell<Option<(SocketAddr, bool)>>,
    up: Cell<u64>,
    pub(super) down: Cell<u64>,
    pub(super) phase: RefCell<SessionPhase>,
    task: RefCell<Option<AbortHandle>>,
    /// Why the last datagrams could not be sent, and word of it for the task.
    failed: RefCell<Option<io::Error>>,
    fails: Notify,
}

#[derive(Debug)]
pub(super) enum SessionPhase {
    /// An association is being made.
    Associating(Waiting),
    /// There is one.
    Open(Leg),
    /// None could be made: what comes is dropped.
    Resting,
}

/// Why a session goes on no longer with its association.
enum LegEnd {
    /// It has rested.
    Idle,
    /// The proxy's end broke, or the association did.
    Broken(io::Error),
    /// The server has ended the association: that is its right, and another one can be made.
    Revoked(io::Error),
    /// Nothing ever came back.
    Unanswered,
}

/// A session that begins, with the task that carries its replies.
pub(super) fn begin(
    shared: &Rc<SharedState>,
    client: SocketAddr,
    first: SocketAddr,
    now: Instant,
) -> Rc<DatagramSession> {
    let session = Rc::new(DatagramSession {
        client,
        first,
        began: now,
        activity: Cell::new(Activity::new(now)),
        judged: Cell::new(None),
        up: Cell::new(0),
        down: Cell::new(0),
        phase: RefCell::new(SessionPhase::Associating(Waiting::default())),
        task: RefCell::new(None),
        failed: RefCell::new(None),
        fails: Notify::new(),
    });
    shared.relay.stats.datagrams.sessions.add(1);
    let ending = Ending { shared: Rc::clone(shared), session: Rc::clone(&session) };
    let task = spawn_local(async move { ending.session.run(&ending.shared).await });
    *session.task.borrow_mut() = Some(task.abort_handle());
    session
}

/// Counts the end of a session and forgets what it held, however its task ends.
struct Ending {
    shared: Rc<SharedState>,
    session: Rc<DatagramSession>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let Ending { shared, session } = self;
        session.close_leg(shared);
        // The table may hold a newer session of the same client, if this one was evicted.
        let is_ours = shared.sessions.try_borrow_mut().is_ok_and(|mut table| {
            table.peek(session.client).is_some_and(|other| Rc::ptr_eq(other, session))
                && table.remove(session.client).is_some()
        });
        let (client, destination) = (session.client, session.first);
        let (up, down) = (session.up.get(), session.down.get());
        let seconds = session.began.elapsed().as_millis() as f64 / 1000.0;
        shared.relay.stats.datagrams.ended.add(1);
        let how = if is_ours { "UDP session ended" } else { "UDP session ended, for want of room" };
        info!(%client, %destination, up, down, seconds, "{how}");
    }
}

impl DatagramSession {
    /// Ends it: others need its place.
    pub(super) fn evict(&self) {
        if let Some(task) = self.task.borrow().as_ref() {
            task.abort();
        }
    }

    /// Takes datagrams of the client. They leave at the next [`flush`](Self::flush).
    pub(super) fn up(
        &self,
        shared: &SharedState,
        destination: SocketAddr,
        train: &mut Train<'_>,
        now: Instant,
    ) {
        let stats = &shared.relay.stats.datagrams;
        if self.is_blocked(shared, destination) {
            stats.rejected.add(1);
            return;
        }
        let mut activity = self.activity.get();
        activity.sent(destination.port(), now);
        self.activity.set(activity);
        match &mut *self.phase.borrow_mut() {
            SessionPhase::Open(leg) => {
                let mut packets = shared.outgoing.borrow_mut();
                let target = Target::addr(destination);
                for datagram in train.datagrams() {
                    leg.seal(&target, datagram, &mut packets, stats);
                }
            }
            SessionPhase::Associating(waiting) => {
                for datagram in train.datagrams() {
                    if !waiting.add(shared, destination, datagram) {
                        stats.dropped.add(1);
                    }
                }
            }
            SessionPhase::Resting => stats.dropped.add(train.datagrams().count() as u64),
        }
    }

    /// Sends what [`up`](Self::up) has sealed.
    pub(super) fn flush(&self, packets: &mut Packets, stats: &DatagramStats) {
        if packets.lengths.is_empty() {
            return;
        }
        if let SessionPhase::Open(leg) = &*self.phase.borrow() {
            self.send(leg, packets, stats);
        }
        packets.clear();
    }

    /// Whether a rule blocks the destination by now.
    fn is_blocked(&self, shared: &SharedState, destination: SocketAddr) -> bool {
        if let Some((judged, is_blocked)) = self.judged.get()
            && judged == destination
        {
            return is_blocked;
        }
        let decision = shared.relay.current.load().route(&Target::addr(destination));
        let is_blocked = decision.route == Route::Block;
        self.judged.set(Some((destination, is_blocked)));
        is_blocked
    }

    /// Sends what was sealed. An error of the socket ends the leg. (Its task would not learn of it:
    /// the kernel tells it once, sock_error in include/net/sock.h, and it makes nothing readable.)
    fn send(&self, leg: &Leg, packets: &mut Packets, stats: &DatagramStats) {
        let result = leg.socket.send(&packets.bytes, &packets.lengths);
        match result {
            Ok(sent) => {
                self.up.set(self.up.get() + sent.bytes as u64);
                stats.up.add(sent.datagrams as u64);
                stats.too_large.add(sent.too_large as u64);
                stats.dropped.add(sent.no_room as u64);
            }
            Err(error) => {
                stats.dropped.add(packets.lengths.len() as u64);
                *self.failed.borrow_mut() = Some(error);
                self.fails.notify_one();
            }
        }
        packets.clear();
    }

    /// From its begin to its end.
    async fn run(&self, shared: &Rc<SharedState>) {
        loop {
            let dispatcher = shared.relay.current.load();
            let associated = Box::pin(dispatcher.associate()).await;
            drop(dispatcher);
            let end = match associated {
                Ok(associated) => match self.open(shared, associated) {
                    Ok((socket, via, lifeline)) => {
                        self.carry(shared, &socket, lifeline, &via).await
                    }
                    Err(error) => self.refused(shared, &error).await,
                },
                Err(error) => self.refused(shared, &error).await,
            };
            match end {
                LegEnd::Idle | LegEnd::Unanswered => return,
                LegEnd::Broken(_) | LegEnd::Revoked(_) => {
                    *self.phase.borrow_mut() = SessionPhase::Associating(Waiting::default())
                }
            }
        }
    }

    /// Carries datagrams over a leg to its end, and tells what that says of the proxy.
    async fn carry(
        &self,
        shared: &Rc<SharedState>,
        socket: &LegSocket,
        lifeline: Option<TcpStream>,
        via: &Upstream,
    ) -> LegEnd {
        let began = Instant::now();
        let end = self.down(shared, socket, lifeline, via).await;
        self.close_leg(shared);
        match &end {
            LegEnd::Idle => {}
            LegEnd::Unanswered => via.datagrams_unanswered(),
            LegEnd::Revoked(error) => {
                let (client, via) = (self.client, via.name());
                debug!(%client, via, "the server ended the association: {error}");
                if self.activity.get().deadline() <= Instant::now() {
                    return LegEnd::Idle;
                }
                // Not again and again without a rest.
                if began.elapsed() < REST {
                    sleep(REST).await;
                }
            }
            LegEnd::Broken(error) => {
                debug!(client = %self.client, via = via.name(), "broke off: {error}");
                via.datagrams_failed(&error.to_string());
                // Its server refuses what it is sent: not a new socket for each try.
                if began.elapsed() < REST {
                    sleep(REST).await;
                }
            }
        }
        end
    }

    /// No proxy carries it now: what the client sends is dropped for a while.
    async fn refused(&self, shared: &SharedState, error: &dyn std::error::Error) -> LegEnd {
        let (client, destination) = (self.client, self.first);
        debug!(%client, %destination, "no proxy carries its datagrams: {error}");
        self.close_leg(shared);
        sleep(REST).await;
        match self.activity.get().deadline() <= Instant::now() {
            true => LegEnd::Idle,
            false => LegEnd::Broken(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Takes an association, and sends what has waited for it.
    ///
    /// # Errors
    /// What epoll says: there is no room for one more socket.
    fn open(
        &self,
        shared: &SharedState,
        Associated { association, via }: Associated,
    ) -> io::Result<(Rc<LegSocket>, Arc<Upstream>, Option<TcpStream>)> {
        let socket = Rc::new(LegSocket::new(association.socket)?);
        *self.failed.borrow_mut() = None;
        if let Ok(own) = socket.local_addr() {
            shared.own.borrow_mut().insert(own);
        }
        let (client, destination) = (self.client, self.first);
        debug!(%client, %destination, via = via.name(), "UDP session");
        let mut leg =
            Leg { socket: Rc::clone(&socket), codec: association.codec, via: Arc::clone(&via) };
        let stats = &shared.relay.stats.datagrams;
        let former = std::mem::replace(&mut *self.phase.borrow_mut(), SessionPhase::Resting);
        if let SessionPhase::Associating(waiting) = former {
            let mut packets = shared.outgoing.borrow_mut();
            for (destination, datagram) in &waiting.datagrams {
                leg.seal(&Target::addr(*destination), datagram, &mut packets, stats);
            }
            shared.waiting.set(shared.waiting.get() - waiting.bytes);
            self.send(&leg, &mut packets, stats);
        }
        *self.phase.borrow_mut() = SessionPhase::Open(leg);
        Ok((socket, via, association.lifeline))
    }

    fn close_leg(&self, shared: &SharedState) {
        match std::mem::replace(&mut *self.phase.borrow_mut(), SessionPhase::Resting) {
            SessionPhase::Open(leg) => {
                if let Ok(own) = leg.socket.local_addr() {
                    shared.own.borrow_mut().remove(&own);
                }
            }
            SessionPhase::Associating(waiting) => {
                shared.waiting.set(shared.waiting.get() - waiting.bytes);
            }
            SessionPhase::Resting => {}
        }
    }

    /// Carries replies until the association ends.
    async fn down(
        &self,
        shared: &Rc<SharedState>,
        socket: &LegSocket,
        lifeline: Option<TcpStream>,
        via: &Upstream,
    ) -> LegEnd {
        let mut idle = pin!(sleep_until(self.activity.get().deadline()));
        let mut cut = lifeline.map(|lifeline| Box::pin(closed(lifeline)));
        loop {
            tokio::select! {
                biased;
                ready = poll_fn(|cx| socket.poll_readable(cx)) => {
                    match ready.and_then(|()| self.receive(shared, socket, via)) {
                        Ok(true) => {}
                        // The others of this thread come first.
                        Ok(false) => tokio::task::yield_now().await,
                        Err(error) => return LegEnd::Broken(error),
                    }
                }
                () = self.fails.notified() => {
                    // Of an earlier leg there may be word still.
                    if let Some(error) = self.failed.borrow_mut().take() {
                        return LegEnd::Broken(error);
                    }
                }
                error = async {
                    match &mut cut {
                        Some(cut) => cut.await,
                        None => pending().await,
                    }
                } => return LegEnd::Revoked(error),
                () = &mut idle => {
                    let (activity, now) = (self.activity.get(), Instant::now());
                    if now < activity.deadline() {
                        idle.as_mut().reset(activity.deadline());
                    } else if activity.is_replied() {
                        return LegEnd::Idle;
                    } else {
                        return LegEnd::Unanswered;
                    }
                }
            }
        }
    }
}

/// Waits for the end of the connection that the association depends on.
async fn closed(mut lifeline: TcpStream) -> io::Error {
    let mut buffer = [0; 64];
    loop {
        match lifeline.read(&mut buffer).await {
            Ok(0) => return io::ErrorKind::ConnectionAborted.into(),
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}
