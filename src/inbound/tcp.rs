//! The accept loop: accepts, takes a permit, spawns, nothing else. No handshake is awaited here,
//! so that one slow client cannot keep the others out.
//!
//! At the limit newcomers are reset, not left in the queue: a program then knows, and the daemon's
//! own question whether connections are served (`daemon::heartbeat`) still gets its answer. Full is
//! not hung. Before the limit is reached a host may be refused for what it holds: see
//! [`super::shares`].

use super::Intercept;
use super::loops::Loops;
use super::session::Sessions;
use super::shares::{Claimant, Denied, Shares, Shortage};
use super::token::Token;
use crate::dispatch::Current;
use crate::net::listen::Errors;
use crate::net::{Outbound, reset};
use crate::relay;
use crate::stats::{LiveFlow, LiveKind, RefusedKind, Stats};
use crate::sync::lock;
use crate::target::canonical;
use crate::task;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tracing::warn;

/// What every accepted connection needs; one for all listeners.
#[derive(Debug)]
pub struct Inbound {
    sessions: Sessions,
    limit: u32,
    shares: Mutex<Shares>,
    /// The last open connection has ended.
    emptied: Notify,
}

/// One of the connections that may be open; given back when dropped.
struct Permit {
    inbound: Arc<Inbound>,
    live: Arc<LiveFlow>,
}

impl Inbound {
    /// Serves at most `limit` connections at a time, whosever they are:
    /// see [`share_by_source`](Self::share_by_source).
    pub fn new(
        intercept: Intercept,
        current: Current,
        outbound: Outbound,
        stats: Arc<Stats>,
        limit: u32,
    ) -> Self {
        let sessions = Sessions {
            intercept,
            current,
            outbound,
            stats,
            relay_limits: relay::Limits::default(),
            token: None,
            loops: Loops::default(),
            loop_reported: AtomicBool::new(false),
        };
        Inbound {
            sessions,
            limit,
            shares: Mutex::new(Shares::new(limit, false)),
            emptied: Notify::new(),
        }
    }

    /// Answers the daemon's own proof with this.
    #[must_use]
    pub fn answering(mut self, token: Token) -> Self {
        self.sessions.token = Some(token);
        self
    }

    /// Relays within these limits.
    #[must_use]
    pub fn within(mut self, relay_limits: relay::Limits) -> Self {
        self.sessions.relay_limits = relay_limits;
        self
    }

    /// Whether clients are different hosts, so that none of them may take all connections.
    pub fn share_by_source(&self, by_source: bool) {
        self.shares().set_by_source(by_source);
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
        let mut errors = Errors::default();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, client)) => {
                    errors.over();
                    self.admit(stream, canonical(client));
                }
                Err(error) => {
                    let beside = || format!(", {} connections are open", self.open());
                    errors.after(error, "cannot accept", beside).await?;
                }
            }
        }
    }

    /// Starts a session, if there is room for one more.
    fn admit(self: &Arc<Self>, mut stream: TcpStream, client: SocketAddr) {
        let permit = match Permit::take(self, client) {
            Ok(permit) => permit,
            Err(denied) => {
                let stats = &self.sessions.stats;
                stats.accepted.add(1);
                stats.refused.add(1);
                let cause = &denied.why;
                stats.refusals.note(RefusedKind::Connection, client, None, None, cause);
                self.tell(denied);
                return reset(stream);
            }
        };
        task::spawn(async move {
            tokio::select! {
                () = permit.inbound.sessions.serve(&mut stream, &permit.live) => {}
                () = permit.live.ends() => {}
            }
            // The connection is closed before its permit comes back: at a stop the rules go next,
            // and a reset has to leave while they still translate it.
            drop(stream);
            drop(permit);
        });
    }

    fn tell(&self, Denied { why, is_news }: Denied) {
        if !is_news {
            return;
        }
        let limit = self.limit;
        match why {
            Shortage::Full => warn!(
                "{} connections are open of at most {limit}; newcomers are refused (open \
                 files or memory allow no more: LimitNOFILE= and MemoryMax= of the service, \
                 ulimit -n)",
                self.open()
            ),
            Shortage::Share { source, held } => {
                let culprit = match source {
                    Claimant::Host(_) => "a program there may be broken or scan the network",
                    Claimant::Network(_) => "a host there may use very many addresses",
                };
                warn!(
                    "{source} holds {held} of at most {limit} connections; further ones from there \
                     are refused, so that others get in: {culprit} (rules.direct-sources \
                     leaves a host alone)"
                );
            }
        }
    }

    /// Ends what is still open, by a reset, and what is accepted later.
    pub fn cut(&self) {
        self.sessions.stats.live.end();
    }

    /// Whether newcomers may be refused for want of room.
    pub fn is_short(&self) -> bool {
        self.open() >= self.limit / 2
    }

    /// The number of connections being served.
    pub fn open(&self) -> u32 {
        self.shares().open()
    }

    /// Waits until no connection is served any more.
    pub async fn drained(&self) {
        loop {
            let mut emptied = pin!(self.emptied.notified());
            // Before the look: the last one may end between it and the wait.
            emptied.as_mut().enable();
            if self.open() == 0 {
                return;
            }
            emptied.await;
        }
    }

    fn shares(&self) -> MutexGuard<'_, Shares> {
        lock(&self.shares)
    }
}

impl Permit {
    fn take(inbound: &Arc<Inbound>, client: SocketAddr) -> Result<Self, Denied> {
        inbound.shares().enter(client.ip())?;
        let live = inbound.sessions.stats.live.enter(LiveKind::Connection, client);
        Ok(Permit { inbound: Arc::clone(inbound), live })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.inbound.sessions.stats.live.leave(&self.live);
        let mut shares = self.inbound.shares();
        shares.leave(self.live.client.ip());
        if shares.open() == 0 {
            self.inbound.emptied.notify_waiters();
        }
    }
}
