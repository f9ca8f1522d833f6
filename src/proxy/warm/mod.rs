//! Connections to a proxy server that are dialled before they are needed.
//!
//! Theory of operation. Each dial asks [`Warm::take`] for a connection that is ready, and each
//! makes good what it has taken, so that as many are ready as [`Demand`] (pure) says. Nothing else
//! dials: nothing is ready before the first dial, and some seconds after the last one nothing is
//! any more (one task closes what has become too old, while there is something). So a fresh
//! connection of traffic that flows saves the round trip of TCP, and what the protocol says before
//! it names a destination: SOCKS5's greeting, TLS.
//!
//! **What may have died is found before it is used.** A server may end a connection on which
//! nothing is asked, and some write a word of farewell first (haproxy a 408). So each is looked at
//! before it is handed out ([`Unspoken`]): one on which anything has come is closed, and the next
//! one is taken, or one is dialled. (TCP_INFO would tell no more: nothing of ours is on its way.)
//!
//! **What dies at that very moment** is a race that no look can win. Where the server answers a
//! request before the first payload ([`WarmRequest`]), an end without a byte of an answer means one
//! more dial, fresh: no payload was sent. A shadowsocks server answers nothing before payload. A
//! first payload that may be repeated is (`dispatch::first_words`), and no other is ever sent
//! twice; there the short life of what is ready has to do.
//!
//! **It is no evidence.** That a connection stands which was dialled seconds ago does not say that
//! the server is there now. So one failed dial, or one that was given up, and all are closed
//! ([`Endpoint::turn`](super::endpoint::Endpoint::turn)): the next dial asks the server itself. The
//! same where a dial ahead fails, or takes far longer than it used to: a server that went silent
//! shows itself so before a program meets it. That is held against nobody, but whoever wants to
//! know is told ([`DialledAhead::suspicion`]).
//!
//! They live on the runtime on which the proxy was made: the resolver dials on a thread of its own,
//! which shall not have to carry the connections of others. Their descriptors are lent
//! ([`allowance`](crate::net::allowance)) until they are used. They are recognised when they come
//! back (`net::own`) as all are: a loop shows itself when the other end is accepted, right after
//! the dial, not when the connection is used.

mod demand;
mod dialling;
mod request;
mod unspoken;

use super::server::ProxyServer;
use super::{BoxFuture, Error, Progress};
use crate::sync::{AtomicU64, lock};
use demand::Demand;
use dialling::DiallingAhead;
pub(super) use request::WarmRequest;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::Instant;
pub(super) use unspoken::Unspoken;

/// A dial that takes less is not worth to be saved: nobody notices it. So nothing is dialled ahead
/// to a server of this machine or of the LAN.
pub const WORTH: Duration = Duration::from_millis(5);

/// What became of the connections that were dialled ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WarmCounts {
    /// They served a dial.
    pub used: u64,
    /// They were not needed in time, or nobody knew whether they still led anywhere.
    pub unused: u64,
    /// The server had ended them, or did so when it was asked.
    pub ended: u64,
    /// They could not be dialled.
    pub failed: u64,
}

impl fmt::Display for WarmCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WarmCounts { used, unused, ended, failed } = self;
        write!(f, "{used} used, {unused} not needed, {ended} ended by the server, {failed} failed")
    }
}

/// The connections to one server that are dialled ahead of need, whatever they are made of.
pub trait DialledAhead: Send + Sync {
    /// All that are ready may lead nowhere, and so may those that are being dialled.
    fn give_up(&self);

    /// One that was handed out turned out to be ended, before a byte came back.
    fn was_of_no_use(&self);

    /// Waits until one could not be dialled, or only slowly. That is held against nobody, but it is
    /// a reason to ask. What was so before the wait began counts.
    fn suspicion(&self) -> BoxFuture<'_, ()>;

    /// What became of them so far.
    fn counts(&self) -> WarmCounts;

    /// How many are ready now.
    fn ready(&self) -> usize;
}

/// Makes a connection on which nothing is asked yet.
type Ahead<C> = Box<dyn Fn() -> BoxFuture<'static, Result<C, Error>> + Send + Sync>;

/// The connections to one server that are ready.
pub(super) struct Warm<C>(Arc<WarmState<C>>);

struct WarmState<C> {
    server: Arc<ProxyServer>,
    ahead: Ahead<C>,
    runtime: Handle,
    stock: Mutex<Stock<C>>,
    is_suspect: Notify,
    used: AtomicU64,
    unused: AtomicU64,
    ended: AtomicU64,
    failed: AtomicU64,
}

struct Stock<C> {
    demand: Demand,
    /// The oldest first.
    ready: VecDeque<Ready<C>>,
    dialling: usize,
    /// A task closes what becomes too old.
    is_watched: bool,
    /// Of the server's endpoint, at the last look.
    turn: u64,
    /// What was dialled for another network is of no use.
    network: u64,
}

struct Ready<C> {
    connection: C,
    /// When its dial began.
    born: Instant,
    _lent: OwnedSemaphorePermit,
}

impl Warm<TcpStream> {
    /// Bare connections to the server. `None`: as [`of`](Self::of), or the first bytes leave in the
    /// SYN, which saves the same round trip.
    pub(super) fn of_bare(server: &Arc<ProxyServer>) -> Option<Self> {
        if server.opens_fast() {
            return None;
        }
        let dialled = Arc::clone(server);
        let ahead = move || -> BoxFuture<'static, Result<TcpStream, Error>> {
            let server = Arc::clone(&dialled);
            Box::pin(async move { server.dial_ahead(&[]).await })
        };
        Warm::of(server, Box::new(ahead))
    }
}

impl<C: Unspoken> Warm<C> {
    /// Ready are, once dials ask for them, connections that `ahead` makes. `None`: the operator
    /// wants none, or a plugin makes the connections, or there is no runtime for them.
    pub(super) fn of(server: &Arc<ProxyServer>, ahead: Ahead<C>) -> Option<Self> {
        let worth = server.warms()?;
        let stock = Stock {
            demand: Demand::new(worth),
            ready: VecDeque::new(),
            dialling: 0,
            is_watched: false,
            turn: server.endpoint().turn(),
            network: 0,
        };
        Some(Warm(Arc::new(WarmState {
            server: Arc::clone(server),
            ahead,
            runtime: Handle::try_current().ok()?,
            stock: Mutex::new(stock),
            is_suspect: Notify::new(),
            used: AtomicU64::new(0),
            unused: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })))
    }

    /// One that is ready. `None`: whoever needs one has to dial, and that is timed
    /// ([`timing`](Self::timing)).
    pub(super) fn take(&self, progress: &Progress) -> Option<C> {
        if progress.is_probe() {
            return None;
        }
        let (state, now) = (&self.0, Instant::now());
        let mut stock = lock(&state.stock);
        state.turn(&mut stock);
        stock.demand.dialled(now);
        let taken = state.take(&mut stock, now);
        if taken.is_some() {
            state.used.fetch_add(1, Ordering::Relaxed);
        }
        self.fill(&mut stock, now);
        taken
    }

    /// A dial for which none was ready: that it succeeds, and in what time, says whether others are
    /// worth to be ready.
    pub(super) async fn timing<T>(
        warm: Option<&Self>,
        progress: &Progress,
        dial: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let Some(warm) = warm.filter(|_| !progress.is_probe()) else { return dial.await };
        let began = Instant::now();
        let dialled = dial.await?;
        let now = Instant::now();
        let mut stock = lock(&warm.0.stock);
        stock.demand.took(now.duration_since(began));
        warm.fill(&mut stock, now);
        drop(stock);
        Ok(dialled)
    }

    /// One was of use.
    pub(super) fn was_of_use(&self) {
        lock(&self.0.stock).demand.was_of_use();
    }

    fn server(&self) -> &ProxyServer {
        &self.0.server
    }

    /// Dials what is missing.
    fn fill(&self, stock: &mut Stock<C>, now: Instant) {
        let state = &self.0;
        let missing = stock.demand.wanted(now).saturating_sub(stock.ready.len() + stock.dialling);
        for _ in 0..missing {
            let places = Arc::clone(&state.server.allowance().warm);
            let Ok(lent) = places.try_acquire_owned() else { break };
            stock.dialling += 1;
            let dialling = DiallingAhead {
                state: Arc::downgrade(state),
                turn: (stock.turn, stock.network),
                born: now,
                remarkable: stock.demand.remarkable(),
            };
            let dial = (state.ahead)();
            state.runtime.spawn(dialling.run(dial, lent));
        }
    }
}

impl<C: Unspoken> DialledAhead for Warm<C> {
    fn give_up(&self) {
        let mut stock = lock(&self.0.stock);
        stock.network += 1;
        stock.demand.lost();
        self.0.discard(&mut stock);
    }

    fn was_of_no_use(&self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
        lock(&self.0.stock).demand.was_ended(Instant::now());
    }

    fn suspicion(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.is_suspect.notified())
    }

    fn counts(&self) -> WarmCounts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let WarmState { used, unused, ended, failed, .. } = &*self.0;
        WarmCounts {
            used: count(used),
            unused: count(unused),
            ended: count(ended),
            failed: count(failed),
        }
    }

    fn ready(&self) -> usize {
        lock(&self.0.stock).ready.len()
    }
}

impl<C: Unspoken> WarmState<C> {
    /// The oldest one that is fit.
    fn take(&self, stock: &mut Stock<C>, now: Instant) -> Option<C> {
        while let Some(Ready { mut connection, born, .. }) = stock.ready.pop_front() {
            if now.duration_since(born) > stock.demand.life() {
                self.unused.fetch_add(1, Ordering::Relaxed);
            } else if connection.is_untouched() {
                return Some(connection);
            } else {
                self.ended.fetch_add(1, Ordering::Relaxed);
                stock.demand.was_ended(now);
            }
        }
        None
    }

    /// Notices that what is ready may lead nowhere.
    fn turn(&self, stock: &mut Stock<C>) {
        let turn = self.server.endpoint().turn();
        if turn != stock.turn {
            stock.turn = turn;
            stock.demand.lost();
            self.discard(stock);
        }
    }

    /// Returns whether somebody has to watch over it.
    fn keep(&self, ready: Ready<C>, turn: (u64, u64)) -> bool {
        let mut stock = lock(&self.stock);
        self.turn(&mut stock);
        if turn != (stock.turn, stock.network) {
            self.unused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        // They may come in another order than they began.
        let place = stock.ready.partition_point(|other| other.born <= ready.born);
        stock.ready.insert(place, ready);
        !std::mem::replace(&mut stock.is_watched, true)
    }

    /// The server may be gone: the next dial asks it.
    fn could_not_dial(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut stock = lock(&self.stock);
        stock.demand.failed(Instant::now());
        self.suspect(&mut stock);
    }

    /// The same, although the dial still goes on.
    fn dials_slowly(&self, turn: (u64, u64)) {
        let mut stock = lock(&self.stock);
        self.turn(&mut stock);
        if turn == (stock.turn, stock.network) {
            self.suspect(&mut stock);
        }
    }

    fn suspect(&self, stock: &mut Stock<C>) {
        stock.demand.lost();
        self.discard(stock);
        self.is_suspect.notify_one();
    }

    fn discard(&self, stock: &mut Stock<C>) {
        self.unused.fetch_add(stock.ready.len() as u64, Ordering::Relaxed);
        stock.ready.clear();
    }

    /// Closes what is too old. Returns when the next one is; `None`: nothing is left.
    fn clear_old(&self) -> Option<Instant> {
        let mut stock = lock(&self.stock);
        self.turn(&mut stock);
        let (now, life) = (Instant::now(), stock.demand.life());
        while stock.ready.front().is_some_and(|ready| now >= ready.born + life) {
            let is_whole =
                stock.ready.pop_front().is_some_and(|mut it| it.connection.is_untouched());
            if is_whole {
                self.unused.fetch_add(1, Ordering::Relaxed);
                stock.demand.outlived(now);
            } else {
                self.ended.fetch_add(1, Ordering::Relaxed);
                stock.demand.was_ended(now);
            }
        }
        let next = stock.ready.front().map(|ready| ready.born + life);
        stock.is_watched = next.is_some();
        next
    }
}

impl<C> fmt::Debug for Warm<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ready = lock(&self.0.stock).ready.len();
        f.debug_struct("Warm").field("ready", &ready).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
