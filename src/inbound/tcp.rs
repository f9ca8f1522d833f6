//! The accept loop: accepts, takes a permit, spawns, nothing else. No handshake is awaited here,
//! so that one slow client cannot keep the others out.
//!
//! At the limit newcomers are reset, not left in the queue: a program then knows, and the daemon's
//! own question whether connections are served (`daemon::heartbeat`) still gets its answer. Full is
//! not hung.

use super::loops::Loops;
use super::{Intercept, session};
use crate::dispatch::Current;
use crate::net::listen::AcceptError;
use crate::net::{Outbound, reset};
use crate::stats::Stats;
use crate::target::canonical;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tracing::{debug, warn};

/// How long accepting rests when descriptors or memory run out: the running connections need the
/// time to end, and the kernel keeps the newcomers in the backlog.
const SHORTAGE_REST: Duration = Duration::from_millis(100);

/// What every accepted connection needs; one for all listeners.
#[derive(Debug)]
pub struct Inbound {
    intercept: Intercept,
    current: Current,
    outbound: Outbound,
    stats: Arc<Stats>,
    permits: Arc<Semaphore>,
    limit: u32,
    /// Turns true when open connections are cut.
    cut: watch::Sender<bool>,
    /// Said once: somebody overwrites our mark.
    pub(super) loop_reported: AtomicBool,
    pub(super) loops: Loops,
    /// Said once each time: the limit is reached.
    limit_reported: AtomicBool,
}

impl Inbound {
    /// Serves at most `limit` connections at a time.
    pub fn new(
        intercept: Intercept,
        current: Current,
        outbound: Outbound,
        stats: Arc<Stats>,
        limit: u32,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(limit as usize));
        Inbound {
            intercept,
            current,
            outbound,
            stats,
            permits,
            limit,
            cut: watch::channel(false).0,
            loop_reported: AtomicBool::new(false),
            loops: Loops::default(),
            limit_reported: AtomicBool::new(false),
        }
    }

    /// Accepts until `stop` turns true, then returns; running connections go on.
    ///
    /// # Errors
    /// The listener itself is broken.
    pub async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        mut stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, client)) => self.admit(stream, canonical(client)),
                Err(error) => match AcceptError::class(&error) {
                    AcceptError::Transient => {
                        debug!("a connection died before it was accepted: {error}")
                    }
                    AcceptError::Shortage => {
                        warn!(
                            "cannot accept: {error}; resting, {} connections are open",
                            self.open()
                        );
                        tokio::time::sleep(SHORTAGE_REST).await;
                    }
                    AcceptError::Fatal => return Err(error),
                },
            }
        }
    }

    /// Starts a session, if there is room for one more.
    fn admit(self: &Arc<Self>, mut stream: TcpStream, client: SocketAddr) {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            if !self.limit_reported.swap(true, Ordering::Relaxed) {
                warn!("{} connections are open, the limit; newcomers are refused", self.limit);
            }
            self.stats.refused.add(1);
            return reset(stream);
        };
        let (inbound, mut cut) = (Arc::clone(self), self.cut.subscribe());
        tokio::spawn(async move {
            tokio::select! {
                () = session::serve(&inbound, &mut stream, client) => {}
                _ = cut.wait_for(|cut| *cut) => {}
            }
            inbound.limit_reported.store(false, Ordering::Relaxed);
            // Whoever waits for the permit may count on it that the connection is closed: at a stop the
            // rules go next, and a reset has to leave while they still translate it.
            drop(stream);
            drop(permit);
        });
    }

    /// Ends what is still open, by a reset.
    pub fn cut(&self) {
        // Sessions that begin later see it too.
        self.cut.send_replace(true);
    }

    /// The number of connections being served.
    pub fn open(&self) -> u32 {
        let free = u32::try_from(self.permits.available_permits()).unwrap_or(u32::MAX);
        self.limit.saturating_sub(free)
    }

    /// Waits until no connection is served any more.
    pub async fn drained(&self) {
        // The semaphore is never closed, so this cannot fail.
        let _ = self.permits.acquire_many(self.limit).await;
    }

    pub(super) fn intercept(&self) -> Intercept {
        self.intercept
    }

    pub(super) fn current(&self) -> &Current {
        &self.current
    }

    pub(super) fn outbound(&self) -> &Outbound {
        &self.outbound
    }

    pub(super) fn stats(&self) -> &Stats {
        &self.stats
    }
}
