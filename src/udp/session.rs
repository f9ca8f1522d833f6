//! One socket of a client: what is known of it, and the way of what it sends. Its task is in
//! [`super::course`], the way back in [`super::replying`].

use super::SharedState;
use super::flow_name::FlowName;
use super::idle::Activity;
use super::leg::{Leg, Packets, Waiting};
use crate::dispatch::Upstream;
use crate::net::udp::train::Train;
use crate::route::Route;
use crate::stats::{DatagramStats, LiveFlow, LiveKind, RefusedKind};
use crate::target::Target;
use crate::task::spawn_local;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// The flow of one client socket.
#[derive(Debug)]
pub(super) struct DatagramSession {
    pub(super) client: SocketAddr,
    /// The first destination, for the log.
    pub(super) first: SocketAddr,
    pub(super) live: Arc<LiveFlow>,
    pub(super) name: RefCell<FlowName>,
    pub(super) activity: Cell<Activity>,
    /// The destination that was judged last, and whether it is blocked.
    pub(super) judged: Cell<Option<(SocketAddr, bool)>>,
    /// The proxy that carried it last.
    pub(super) via: RefCell<Option<Arc<Upstream>>>,
    pub(super) phase: RefCell<SessionPhase>,
    task: RefCell<Option<AbortHandle>>,
    pub(super) failure: RefCell<SendFailure>,
}

/// Why the last datagrams could not be sent, and the task that is to learn of it.
#[derive(Debug, Default)]
pub(super) struct SendFailure {
    pub(super) error: Option<io::Error>,
    pub(super) task: Option<Waker>,
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

/// A session that begins, with the task that carries its replies.
pub(super) fn begin(
    shared: &Rc<SharedState>,
    client: SocketAddr,
    first: SocketAddr,
    now: Instant,
) -> Rc<DatagramSession> {
    let live = shared.relay.stats.live.enter(LiveKind::Datagrams, client);
    live.is_for(first);
    let session = Rc::new(DatagramSession {
        client,
        first,
        name: RefCell::new(FlowName::of(shared, &live, first, now)),
        live,
        activity: Cell::new(Activity::new(now)),
        judged: Cell::new(None),
        via: RefCell::default(),
        phase: RefCell::new(SessionPhase::Associating(Waiting::default())),
        task: RefCell::new(None),
        failure: RefCell::default(),
    });
    shared.relay.stats.datagrams.sessions.add(1);
    let ending = Ending { shared: Rc::clone(shared), session: Rc::clone(&session) };
    let task = async move {
        tokio::select! {
            () = ending.session.run(&ending.shared) => {}
            () = ending.session.live.ends() => {}
        }
    };
    let task = spawn_local(task);
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
        let live = &session.live;
        let stats = &shared.relay.stats;
        stats.datagrams.ended.add(1);
        stats.add_bytes(live);
        stats.live.leave(live);
        if let Some(via) = session.via.take() {
            via.traffic.ended(live);
        }
        let how = match (is_ours, live.is_closed()) {
            (_, true) => "UDP session closed by the operator",
            (true, false) => "UDP session ended",
            (false, false) => "UDP session ended, for want of room",
        };
        live.tell_end(how);
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
        let is_named = destination == self.first && self.name.borrow_mut().look(train, &self.live);
        if is_named {
            self.judged.set(None);
        }
        if self.is_blocked(shared, destination) {
            stats.rejected.add(1);
            if is_named && let SessionPhase::Associating(waiting) = &mut *self.phase.borrow_mut() {
                // The beginning of the same hello.
                stats.rejected.add(waiting.forget(shared, destination));
            }
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

    /// Whether a rule blocks the destination by now, or the name by which the flow calls it.
    fn is_blocked(&self, shared: &SharedState, destination: SocketAddr) -> bool {
        if let Some((judged, is_blocked)) = self.judged.get()
            && judged == destination
        {
            return is_blocked;
        }
        let name = self.name.borrow();
        let claimed = name.claimed().filter(|_| destination == self.first);
        let target = Target::addr(destination);
        let decision = shared.relay.current.load().route_claimed(&target, claimed);
        let is_blocked = decision.route == Route::Block;
        if is_blocked {
            decision.by.into_iter().for_each(|by| shared.relay.stats.hits.decided(by));
        }
        self.judged.set(Some((destination, is_blocked)));
        if is_blocked {
            let (client, cause) = (self.client, &"blocked by rule");
            let (to, name) = (Some(destination), claimed.map(ToString::to_string));
            let refusals = &shared.relay.stats.refusals;
            refusals.note(RefusedKind::Datagrams, client, to, name.as_deref(), cause);
        }
        is_blocked
    }

    /// Sends what was sealed. An error of the socket ends the leg. (Its task would not learn of it:
    /// the kernel tells it once, sock_error in include/net/sock.h, and it makes nothing readable.)
    pub(super) fn send(&self, leg: &Leg, packets: &mut Packets, stats: &DatagramStats) {
        let result = leg.socket.send(&packets.bytes, &packets.lengths);
        match result {
            Ok(sent) => {
                self.live.meter.up.add(sent.bytes as u64);
                stats.up.add(sent.datagrams as u64);
                stats.too_large.add(sent.too_large as u64);
                stats.dropped.add(sent.no_room as u64);
            }
            Err(error) => {
                stats.dropped.add(packets.lengths.len() as u64);
                let mut failure = self.failure.borrow_mut();
                failure.error = Some(error);
                if let Some(task) = failure.task.take() {
                    task.wake();
                }
            }
        }
        packets.clear();
    }
}
