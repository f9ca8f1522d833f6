//! One socket of a client: its association with a proxy, both ways, and its end.

use super::House;
use super::idle::Activity;
use super::leg::{Leg, Packets, Waiting};
use crate::dispatch::{self, Associated, Upstream};
use crate::net::udp::train::{self, Train};
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
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info};

/// How long a session whose proxies all fail drops what its client sends before it tries again.
const REST: Duration = Duration::from_secs(1);

/// The flow of one client socket.
#[derive(Debug)]
pub(super) struct DatagramSession {
    client: SocketAddr,
    /// The first destination, for the log.
    first: SocketAddr,
    began: Instant,
    activity: Cell<Activity>,
    /// The destination that was judged last, and whether it is blocked.
    judged: Cell<Option<(SocketAddr, bool)>>,
    up: Cell<u64>,
    down: Cell<u64>,
    phase: RefCell<SessionPhase>,
    task: RefCell<Option<AbortHandle>>,
}

#[derive(Debug)]
enum SessionPhase {
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
    /// Nothing ever came back.
    Unanswered,
}

/// A session that begins, with the task that carries its replies.
pub(super) fn begin(
    house: &Rc<House>,
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
    });
    house.relay.stats.datagrams.sessions.add(1);
    let ending = Ending { house: Rc::clone(house), session: Rc::clone(&session) };
    let task = spawn_local(async move { ending.session.run(&ending.house).await });
    *session.task.borrow_mut() = Some(task.abort_handle());
    session
}

/// Counts the end of a session and forgets what it held, however its task ends.
struct Ending {
    house: Rc<House>,
    session: Rc<DatagramSession>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let Ending { house, session } = self;
        session.close_leg(house);
        // The table may hold a newer session of the same client, if this one was evicted.
        let is_ours = house.sessions.try_borrow_mut().is_ok_and(|mut table| {
            table.peek(session.client).is_some_and(|other| Rc::ptr_eq(other, session))
                && table.remove(session.client).is_some()
        });
        let (client, destination) = (session.client, session.first);
        let (up, down) = (session.up.get(), session.down.get());
        let seconds = session.began.elapsed().as_millis() as f64 / 1000.0;
        house.relay.stats.datagrams.ended.add(1);
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

    /// Takes datagrams of the client.
    pub(super) fn up(
        &self,
        house: &House,
        destination: SocketAddr,
        train: &mut Train<'_>,
        now: Instant,
    ) {
        let stats = &house.relay.stats.datagrams;
        if self.is_blocked(house, destination) {
            stats.rejected.add(1);
            return;
        }
        let mut activity = self.activity.get();
        activity.sent(destination.port(), now);
        self.activity.set(activity);
        match &mut *self.phase.borrow_mut() {
            SessionPhase::Open(leg) => {
                let mut packets = house.outgoing.borrow_mut();
                let target = Target::addr(destination);
                for datagram in train.datagrams() {
                    leg.seal(&target, datagram, &mut packets, stats);
                }
                self.send(leg, &mut packets, stats);
            }
            SessionPhase::Associating(waiting) => {
                for datagram in train.datagrams() {
                    if !waiting.add(house, destination, datagram) {
                        stats.dropped.add(1);
                    }
                }
            }
            SessionPhase::Resting => stats.dropped.add(train.datagrams().count() as u64),
        }
    }

    /// Whether a rule blocks the destination by now.
    fn is_blocked(&self, house: &House, destination: SocketAddr) -> bool {
        if let Some((judged, is_blocked)) = self.judged.get()
            && judged == destination
        {
            return is_blocked;
        }
        let decision = house.relay.current.load().route(&Target::addr(destination));
        let is_blocked = decision.route == Route::Block;
        self.judged.set(Some((destination, is_blocked)));
        is_blocked
    }

    /// Sends what was sealed. An error of the socket is found by its next read, too.
    fn send(&self, leg: &Leg, packets: &mut Packets, stats: &DatagramStats) {
        let result = train::send_connected(&leg.socket, &packets.bytes, &packets.lengths);
        match result {
            Ok(sent) => {
                self.up.set(self.up.get() + sent.bytes as u64);
                stats.up.add(sent.datagrams as u64);
                stats.too_large.add(sent.too_large as u64);
                stats.dropped.add(sent.no_room as u64);
            }
            Err(error) => {
                stats.dropped.add(packets.lengths.len() as u64);
                debug!(client = %self.client, "to the proxy: {error}");
            }
        }
        packets.clear();
    }

    /// From its begin to its end.
    async fn run(&self, house: &Rc<House>) {
        loop {
            let dispatcher = house.relay.current.load();
            let associated = Box::pin(dispatcher.associate()).await;
            drop(dispatcher);
            let end = match associated {
                Ok(associated) => {
                    let began = Instant::now();
                    let (socket, via, lifeline) = self.open(house, associated);
                    let end = self.down(house, &socket, lifeline, &via).await;
                    self.close_leg(house);
                    match &end {
                        LegEnd::Idle => {}
                        LegEnd::Unanswered => via.datagrams_unanswered(),
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
                Err(error) => self.refused(house, &error).await,
            };
            match end {
                LegEnd::Idle | LegEnd::Unanswered => return,
                LegEnd::Broken(_) => {
                    *self.phase.borrow_mut() = SessionPhase::Associating(Waiting::default())
                }
            }
        }
    }

    /// No proxy carries it now: what the client sends is dropped for a while.
    async fn refused(&self, house: &House, error: &dispatch::Error) -> LegEnd {
        let (client, destination) = (self.client, self.first);
        debug!(%client, %destination, "no proxy carries its datagrams: {error}");
        self.close_leg(house);
        sleep(REST).await;
        match self.activity.get().deadline() <= Instant::now() {
            true => LegEnd::Idle,
            false => LegEnd::Broken(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Takes an association, and sends what has waited for it.
    fn open(
        &self,
        house: &House,
        Associated { association, via }: Associated,
    ) -> (Rc<UdpSocket>, Arc<Upstream>, Option<TcpStream>) {
        let socket = Rc::new(association.socket);
        if let Ok(own) = socket.local_addr() {
            house.own.borrow_mut().insert(own);
        }
        let (client, destination) = (self.client, self.first);
        debug!(%client, %destination, via = via.name(), "UDP session");
        let mut leg =
            Leg { socket: Rc::clone(&socket), codec: association.codec, via: Arc::clone(&via) };
        let stats = &house.relay.stats.datagrams;
        let former = std::mem::replace(&mut *self.phase.borrow_mut(), SessionPhase::Resting);
        if let SessionPhase::Associating(waiting) = former {
            let mut packets = house.outgoing.borrow_mut();
            for (destination, datagram) in &waiting.datagrams {
                leg.seal(&Target::addr(*destination), datagram, &mut packets, stats);
            }
            house.waiting.set(house.waiting.get() - waiting.bytes);
            self.send(&leg, &mut packets, stats);
        }
        *self.phase.borrow_mut() = SessionPhase::Open(leg);
        (socket, via, association.lifeline)
    }

    fn close_leg(&self, house: &House) {
        match std::mem::replace(&mut *self.phase.borrow_mut(), SessionPhase::Resting) {
            SessionPhase::Open(leg) => {
                if let Ok(own) = leg.socket.local_addr() {
                    house.own.borrow_mut().remove(&own);
                }
            }
            SessionPhase::Associating(waiting) => {
                house.waiting.set(house.waiting.get() - waiting.bytes);
            }
            SessionPhase::Resting => {}
        }
    }

    /// Carries replies until the association ends.
    async fn down(
        &self,
        house: &Rc<House>,
        socket: &UdpSocket,
        lifeline: Option<TcpStream>,
        via: &Upstream,
    ) -> LegEnd {
        let mut idle = pin!(sleep_until(self.activity.get().deadline()));
        let mut cut = lifeline.map(|lifeline| Box::pin(closed(lifeline)));
        loop {
            tokio::select! {
                biased;
                ready = poll_fn(|cx| socket.poll_recv_ready(cx)) => {
                    if let Err(error) = ready.and_then(|()| self.receive(house, socket, via)) {
                        return LegEnd::Broken(error);
                    }
                    // The others of this thread come first.
                    tokio::task::yield_now().await;
                }
                error = async {
                    match &mut cut {
                        Some(cut) => cut.await,
                        None => pending().await,
                    }
                } => return LegEnd::Broken(error),
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

    /// Takes what the proxy has sent, and sends it on.
    fn receive(&self, house: &House, socket: &UdpSocket, via: &Upstream) -> io::Result<()> {
        let mut inbox = house.inbox.borrow_mut();
        match train::receive(socket, &mut inbox) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        let now = Instant::now();
        let stats = &house.relay.stats.datagrams;
        let mut phase = self.phase.borrow_mut();
        let SessionPhase::Open(leg) = &mut *phase else { return Ok(()) };
        let mut packets = house.outgoing.borrow_mut();
        let mut from = None;
        for mut train in inbox.trains() {
            for packet in train.datagrams() {
                let opened = match leg.codec.open(packet) {
                    Ok(opened) => opened,
                    Err(error) => {
                        stats.unopenable.add(1);
                        debug!(client = %self.client, via = via.name(), "from the proxy: {error}");
                        continue;
                    }
                };
                if from != Some(opened.source) {
                    if let Some(source) = from {
                        self.reply(house, source, &mut packets, now);
                    }
                    from = Some(opened.source);
                }
                let payload = &packet[opened.payload];
                let _ = packets.add(|bytes| {
                    bytes.extend_from_slice(payload);
                    Ok::<_, ()>(())
                });
            }
        }
        if let Some(source) = from {
            self.reply(house, source, &mut packets, now);
            let mut activity = self.activity.get();
            if !activity.is_replied() {
                via.datagrams_answered();
            }
            activity.replied(now);
            self.activity.set(activity);
        }
        Ok(())
    }

    /// Sends replies of one source to the client.
    fn reply(&self, house: &House, source: SocketAddr, packets: &mut Packets, now: Instant) {
        let stats = &house.relay.stats.datagrams;
        let count = packets.lengths.len() as u64;
        let socket = match self.may_come_from(house, source) {
            true => house.replies.borrow_mut().get(source, now),
            false => None,
        };
        let result =
            socket.map(|socket| socket.send(&packets.bytes, &packets.lengths, self.client));
        match result {
            Some(Ok(sent)) => {
                self.down.set(self.down.get() + sent.bytes as u64);
                stats.down.add(sent.datagrams as u64);
                stats.too_large.add(sent.too_large as u64);
                stats.dropped.add(sent.no_room as u64);
            }
            Some(Err(error)) => {
                stats.dropped.add(count);
                debug!(client = %self.client, %source, "a reply cannot be delivered: {error}");
            }
            None => stats.dropped.add(count),
        }
        packets.clear();
    }

    /// A proxy must not speak in the name of hosts that only the local networks have.
    fn may_come_from(&self, house: &House, source: SocketAddr) -> bool {
        if self.judged.get() == Some((source, false)) {
            return true;
        }
        let decision = house.relay.current.load().route(&Target::addr(source));
        decision.reason != crate::route::Reason::Reserved
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
