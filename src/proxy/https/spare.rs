//! The next connection of HTTP/2, which is opened before a dial has to wait for it: when those that
//! are kept are nearly full, or when one that was in use opens no more tunnels (the server has said
//! GOAWAY, or the connection has broken or gone silent).
//!
//! One at a time. None to a server that is near, none while nothing is dialled, and after a failure
//! none for a while that grows. It comes to rest as every other kept one does, and its failure is
//! told as that of any connection that is dialled ahead ([`Warm`](crate::proxy::warm)).

use super::kept::{Kept, KeptConnection, OnLeave, cut};
use super::{HTTP2, Handshake};
use crate::proxy::Error;
use crate::sync::lock;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout};

/// It is given up after so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long none is opened after a failure: at first, and at most.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Without a dial for so long, nobody waits for it.
const IN_USE: Duration = Duration::from_secs(8);

/// Opens connections ahead of need.
#[derive(Debug)]
pub(super) struct SpareDialler {
    handshake: Arc<Handshake>,
    kept: Arc<Kept>,
    opening: Arc<Semaphore>,
    /// `None`: the operator wants none, or there is no runtime for them.
    runtime: Option<Handle>,
    /// A dial that takes less is no loss.
    worth: Duration,
    is_dialling: AtomicBool,
    history: Mutex<DialHistory>,
    has_failed: Notify,
}

/// What is known of the dials.
#[derive(Debug, Default)]
struct DialHistory {
    /// When a tunnel was asked for.
    last: Option<Instant>,
    /// How long the last handshake took.
    took: Duration,
    /// In a row, and until when they keep us from trying.
    failures: u32,
    paused: Option<Instant>,
}

impl DialHistory {
    fn is_worth(&self, worth: Duration, now: Instant) -> bool {
        let is_in_use = self.last.is_some_and(|last| now.duration_since(last) <= IN_USE);
        let is_paused = self.paused.is_some_and(|until| now < until);
        is_in_use && !is_paused && self.took >= worth
    }

    fn failed(&mut self, now: Instant) {
        let pause = PAUSE.saturating_mul(1 << self.failures.min(16)).min(LONGEST_PAUSE);
        self.paused = Some(now + pause);
        self.failures = self.failures.saturating_add(1);
    }

    fn succeeded(&mut self, took: Duration) {
        *self = DialHistory { took, last: self.last, ..DialHistory::default() };
    }
}

impl SpareDialler {
    pub(super) fn new(
        handshake: &Arc<Handshake>,
        kept: &Arc<Kept>,
        opening: &Arc<Semaphore>,
    ) -> Arc<Self> {
        let worth = handshake.server.warms();
        Arc::new(SpareDialler {
            handshake: Arc::clone(handshake),
            kept: Arc::clone(kept),
            opening: Arc::clone(opening),
            runtime: worth.and_then(|_| Handle::try_current().ok()),
            worth: worth.unwrap_or_default(),
            is_dialling: AtomicBool::new(false),
            history: Mutex::default(),
            has_failed: Notify::new(),
        })
    }

    /// A tunnel is asked for.
    pub(super) fn dialled(&self) {
        lock(&self.history).last = Some(Instant::now());
    }

    /// A connection was opened by a dial that needed it.
    pub(super) fn took(&self, time: Duration) {
        lock(&self.history).succeeded(time);
    }

    /// Opens one if those that are kept have little room left.
    pub(super) fn look(self: &Arc<Self>) {
        let Some(runtime) = &self.runtime else { return };
        if !lock(&self.history).is_worth(self.worth, Instant::now()) || self.kept.has_room() {
            return;
        }
        let Ok(lent) = Arc::clone(&self.handshake.server.allowance().warm).try_acquire_owned()
        else {
            return;
        };
        if self.is_dialling.swap(true, Ordering::Relaxed) {
            return;
        }
        let dialling = DiallingSpare(Arc::downgrade(self));
        let opening = Arc::clone(&self.opening);
        let on_leave = self.on_leave();
        let handshake = Arc::clone(&self.handshake);
        runtime.spawn(async move {
            // A dial that waits for its turn finds places on it.
            let _turn = opening.acquire_owned().await;
            let began = Instant::now();
            let dialled = timeout(PATIENCE, open(&handshake, on_leave)).await;
            let _lent = lent;
            let Some(spare) = dialling.0.upgrade() else { return };
            let mut history = lock(&spare.history);
            match dialled {
                Ok(Ok(connection)) => {
                    history.succeeded(began.elapsed());
                    drop(history);
                    spare.kept.keep(connection);
                }
                Ok(Err(_)) | Err(_) => {
                    history.failed(Instant::now());
                    spare.has_failed.notify_one();
                }
            }
        });
    }

    /// What a connection calls that leaves.
    pub(super) fn on_leave(self: &Arc<Self>) -> OnLeave {
        let own = Arc::downgrade(self);
        Box::new(move || {
            if let Some(own) = own.upgrade() {
                own.look();
            }
        })
    }

    /// Waits until one could not be opened. One that failed before the wait began counts.
    pub(super) async fn failed(&self) {
        self.has_failed.notified().await;
    }
}

/// Dropped, another one may be dialled.
struct DiallingSpare(Weak<SpareDialler>);

impl Drop for DiallingSpare {
    fn drop(&mut self) {
        if let Some(spare) = self.0.upgrade() {
            spare.is_dialling.store(false, Ordering::Relaxed);
        }
    }
}

async fn open(handshake: &Handshake, on_leave: OnLeave) -> Result<KeptConnection, Error> {
    let tls = handshake.with(handshake.server.dial_ahead(&[]).await?).await?;
    let failed = |source| handshake.server.broke_off(source);
    if tls.get_ref().1.alpn_protocol() != Some(HTTP2) {
        return Err(failed(io::Error::other("it speaks HTTP/1.1 now")));
    }
    let begun = KeptConnection::begin(tls, &Handle::current(), on_leave).await;
    begun.map_err(|error| failed(cut(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_where_somebody_would_wait() {
        let worth = Duration::from_millis(5);
        let mut history = DialHistory::default();
        let now = Instant::now();
        history.took = Duration::from_millis(150);
        assert!(!history.is_worth(worth, now), "nobody has dialled");
        history.last = Some(now);
        assert!(history.is_worth(worth, now));
        assert!(history.is_worth(worth, now + IN_USE));
        assert!(!history.is_worth(worth, now + IN_USE + PAUSE));
        let mut pauses = Vec::new();
        for _ in 0..10 {
            history.failed(now);
            pauses.push((history.paused.unwrap() - now).as_secs());
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert!(!history.is_worth(worth, now + PAUSE));
        history.succeeded(Duration::from_millis(4));
        assert!(!history.is_worth(worth, now), "it is near");
        history.succeeded(worth);
        assert!(history.is_worth(worth, now));
    }
}
