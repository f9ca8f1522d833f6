//! A session's task: it finds a proxy, carries replies, and ends.

use super::SharedState;
use super::leg::{Leg, Waiting};
use super::session::{DatagramSession, SessionPhase};
use crate::dispatch::{Associated, Upstream};
use crate::net::udp::leg::LegSocket;
use crate::route::Route;
use crate::stats::FlowWay;
use crate::target::Target;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tracing::debug;

/// How long a session whose proxies all fail drops what its client sends before it tries again.
const REST: Duration = Duration::from_secs(1);

/// What a leg waits for.
enum LegEvent {
    Readable,
    Broken(io::Error),
    /// What the association depends on has ended.
    Cut(io::Error),
    /// The time of the session's rest is over, unless something came meanwhile.
    Rested,
    /// The proxy is surely dead.
    Died,
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
    /// The proxy is surely dead, and others are there.
    Dead,
}

/// Ends with the connection that an association depends on.
type Cut = Pin<Box<dyn Future<Output = io::Error>>>;

/// A leg that was opened.
struct NewLeg {
    socket: Rc<LegSocket>,
    via: Arc<Upstream>,
    /// What would cut it.
    cut: Option<Cut>,
    /// Whether it ends with its proxy.
    resets: bool,
}

impl DatagramSession {
    /// From its begin to its end.
    pub(super) async fn run(&self, shared: &Rc<SharedState>) {
        self.count_rule(shared);
        loop {
            let opened = self.associate(shared).await;
            let end = match opened {
                Some(leg) => self.carry(shared, leg).await,
                None => self.rest().await,
            };
            match end {
                LegEnd::Idle | LegEnd::Unanswered | LegEnd::Dead => return,
                LegEnd::Broken(_) | LegEnd::Revoked(_) => {
                    *self.phase.borrow_mut() = SessionPhase::Associating(Waiting::default())
                }
            }
        }
    }

    /// Counts the rule or list that decided about it. One that blocks is counted where it drops.
    fn count_rule(&self, shared: &SharedState) {
        let (dispatcher, target) = (shared.relay.current.load(), Target::addr(self.first));
        let name = self.name.borrow();
        let claimed = name.claimed();
        if dispatcher.route_claimed(&target, claimed).route != Route::Block {
            let by = dispatcher.route_datagrams(self.first, claimed).by;
            by.into_iter().for_each(|by| shared.relay.stats.hits.decided(by));
        }
    }

    /// Finds a proxy. `None`: none carries it now, and what the client sends is dropped for a
    /// while.
    async fn associate(&self, shared: &SharedState) -> Option<NewLeg> {
        let dispatcher = shared.relay.current.load();
        let claimed = self.name.borrow().claimed().cloned();
        let associating =
            dispatcher.associate(self.first, claimed.as_ref(), Some(self.client.ip()));
        let associated = Box::pin(associating).await;
        let refused = match associated {
            Ok(associated) => match self.open(shared, associated) {
                Ok(opened) => return Some(opened),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        let (client, destination) = (self.client, self.first);
        debug!(%client, %destination, "no proxy carries its datagrams: {refused}");
        let cause = format_args!("no proxy carries its datagrams: {refused}");
        shared.relay.stats.refusals.note_flow(&self.live, &cause);
        self.close_leg(shared);
        None
    }

    /// Carries datagrams over a leg to its end, and tells what that says of the proxy.
    async fn carry(&self, shared: &Rc<SharedState>, leg: NewLeg) -> LegEnd {
        let began = Instant::now();
        let via = Arc::clone(&leg.via);
        let end = self.down(shared, leg).await;
        self.close_leg(shared);
        match &end {
            LegEnd::Idle => {}
            LegEnd::Dead => debug!(client = %self.client, proxy = via.name(), "its proxy is down"),
            LegEnd::Unanswered => via.datagrams_unanswered(),
            LegEnd::Revoked(error) => {
                let (client, proxy) = (self.client, via.name());
                debug!(%client, proxy, "the server ended the association: {error}");
                if self.activity.get().deadline() <= Instant::now() {
                    return LegEnd::Idle;
                }
                // Not again and again without a rest.
                if began.elapsed() < REST {
                    rest().await;
                }
            }
            LegEnd::Broken(error) => {
                debug!(client = %self.client, proxy = via.name(), "broke off: {error}");
                via.datagrams_failed(&error.to_string());
                // Another one may carry it. If none does: not a new socket for each try.
                let has_another = shared.relay.current.load().carries_datagrams_now();
                if !has_another && began.elapsed() < REST {
                    rest().await;
                }
            }
        }
        end
    }

    /// Waits a while before proxies are tried again.
    async fn rest(&self) -> LegEnd {
        rest().await;
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
        Associated { association, via, group, reason, resets }: Associated,
    ) -> io::Result<NewLeg> {
        let socket = Rc::new(LegSocket::new(association.socket)?);
        // Of an earlier leg there may be word still.
        self.failure.borrow_mut().error = None;
        if let Ok(own) = socket.local_addr() {
            shared.own.borrow_mut().insert(own);
        }
        let proxy = Some(Arc::clone(via.label()));
        self.live.goes(FlowWay { proxy, group, reason: reason.word() });
        self.live.tell_begin("UDP session");
        *self.via.borrow_mut() = Some(Arc::clone(&via));
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
        let cut = association.lifeline.map(|lifeline| Box::pin(closed(lifeline)) as Cut);
        Ok(NewLeg { socket, via, cut, resets })
    }

    pub(super) fn close_leg(&self, shared: &SharedState) {
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
    async fn down(&self, shared: &Rc<SharedState>, leg: NewLeg) -> LegEnd {
        let NewLeg { socket, via, mut cut, resets } = leg;
        let mut idle = pin!(sleep_until(self.activity.get().deadline()));
        // Boxed: few sessions have a proxy that may be left for another one.
        let mut death = resets.then(|| Box::pin(via.dies(|| self.live.meter.down.get())));
        loop {
            let mut readable = pin!(socket.readable());
            let event = poll_fn(|cx| {
                if let Poll::Ready(ready) = readable.as_mut().poll(cx) {
                    return Poll::Ready(
                        ready.map_or_else(LegEvent::Broken, |()| LegEvent::Readable),
                    );
                }
                if let Poll::Ready(error) = self.poll_failure(cx) {
                    return Poll::Ready(LegEvent::Broken(error));
                }
                if let Some(cut) = &mut cut
                    && let Poll::Ready(error) = cut.as_mut().poll(cx)
                {
                    return Poll::Ready(LegEvent::Cut(error));
                }
                if let Some(death) = &mut death
                    && death.as_mut().poll(cx).is_ready()
                {
                    return Poll::Ready(LegEvent::Died);
                }
                idle.as_mut().poll(cx).map(|()| LegEvent::Rested)
            });
            match event.await {
                LegEvent::Readable => match self.receive(shared, &socket, &via) {
                    Ok(true) => {}
                    // The others of this thread come first.
                    Ok(false) => tokio::task::yield_now().await,
                    Err(error) => return LegEnd::Broken(error),
                },
                LegEvent::Broken(error) => return LegEnd::Broken(error),
                LegEvent::Cut(error) => return LegEnd::Revoked(error),
                LegEvent::Died => return LegEnd::Dead,
                LegEvent::Rested => {
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

    /// Ready when datagrams could not be sent.
    fn poll_failure(&self, cx: &Context<'_>) -> Poll<io::Error> {
        let mut failure = self.failure.borrow_mut();
        match failure.error.take() {
            Some(error) => Poll::Ready(error),
            None => {
                if !failure.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
                    failure.task = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}

/// Boxed: a session that goes well should have no room for it.
fn rest() -> Pin<Box<Sleep>> {
    Box::pin(sleep(REST))
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
