//! Decide and connect: the router, the proxies, and which of them answer.
//!
//! A [`Dispatcher`] is immutable and swapped whole on reload; a connection keeps the one it was
//! born with. Proxies are tried in order; one that fails is left out for a short, growing while.
//! When none is left the connection is refused, never sent directly.

mod asking;
mod datagrams;
mod health;
mod refusals;
mod upstream;

use crate::firewall::ExemptPrograms;
use crate::proxy::association::Association;
use crate::proxy::endpoint::Endpoint;
use crate::proxy::{self, Link, Progress, Proxy};
use crate::route::{Decision, Learned, Route, Rules};
use crate::sync::{read, write};
use crate::target::Target;
pub use upstream::Upstream;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

/// How long a direct dial may take; a program that dials by itself waits about two minutes, but
/// here the answer "refused" has to come before it gives up.
const DIRECT_TIMEOUT: Duration = Duration::from_secs(20);

/// The decision and the ways out.
#[derive(Debug)]
pub struct Dispatcher {
    rules: Arc<Rules>,
    learned: Arc<Learned>,
    direct: Box<dyn Proxy>,
    upstreams: Vec<Arc<Upstream>>,
    exempt: ExemptPrograms,
}

/// A connection that stands.
#[derive(Debug)]
pub struct Connected {
    /// The bytes' way.
    pub link: Link,
    /// Through whom; `None` for direct.
    pub via: Option<Arc<Upstream>>,
}

/// A way for datagrams that stands.
#[derive(Debug)]
pub struct Associated {
    /// The datagrams' way.
    pub association: Association,
    /// Through whom.
    pub via: Arc<Upstream>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule says no.
    #[error("blocked by rule")]
    Blocked,
    /// The direct dial failed.
    #[error("{0}")]
    Direct(proxy::Error),
    /// The direct dial took too long.
    #[error("no answer from {target} within {} s", .after.as_secs())]
    DirectTimeout {
        /// Where to.
        target: String,
        /// The limit.
        after: Duration,
    },
    /// Every proxy failed; the causes, in the order of the attempts.
    #[error("no proxy could connect: {}", .0.join("; "))]
    AllProxiesFailed(Vec<String>),
    /// The proxies work, and none connects to this target: at least one of them does not allow it;
    /// the causes, in the order of the attempts.
    #[error("no proxy connects to it: {}", .0.join("; "))]
    Refused(Vec<String>),
    /// No proxy is said to carry UDP.
    #[error("no proxy carries UDP")]
    NoDatagrams,
    /// Every proxy is known to be down and none is due for another attempt.
    #[error("all proxies are down")]
    AllProxiesDown,
}

impl Dispatcher {
    /// Puts the parts together. `upstreams` in order of preference; one of a former dispatcher
    /// brings along what is known of its health.
    pub fn new(
        rules: Arc<Rules>,
        learned: Arc<Learned>,
        direct: Box<dyn Proxy>,
        upstreams: Vec<Arc<Upstream>>,
    ) -> Self {
        Dispatcher { rules, learned, direct, upstreams, exempt: ExemptPrograms::default() }
    }

    /// The same, where the programs of this machine that shall not be captured are known.
    #[must_use]
    pub fn exempting(self, exempt: ExemptPrograms) -> Self {
        Dispatcher { exempt, ..self }
    }

    /// The programs of this machine that shall not be captured.
    pub fn exempt(&self) -> &ExemptPrograms {
        &self.exempt
    }

    /// Where a destination goes.
    pub fn route(&self, target: &Target) -> Decision {
        self.rules.route(target, &self.learned, Instant::now().into_std())
    }

    /// Where the servers of the proxies are, each address with the proxy's name.
    pub fn servers(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.upstreams.iter().flat_map(|upstream| {
            let endpoint = upstream.proxy.endpoint();
            let addresses = endpoint.map(Endpoint::addresses).unwrap_or_default();
            addresses.into_iter().map(|address| (upstream.name(), address))
        })
    }

    /// What the resolver learned.
    pub fn learned(&self) -> &Arc<Learned> {
        &self.learned
    }

    /// The network is another one: every proxy is asked again at once, over new connections.
    pub fn wake(&self) {
        self.upstreams.iter().for_each(|upstream| {
            upstream.health.forget();
            upstream.datagrams.forget();
            upstream.proxy.network_changed();
        });
    }

    /// Makes a way for the datagrams of one client socket, through the first proxy that carries UDP
    /// and is not known to be down for it; if all are, through the first that can be asked.
    ///
    /// # Errors
    /// No proxy carries UDP, or none could be asked.
    pub async fn associate(&self) -> Result<Associated, Error> {
        let now = Instant::now();
        let carrying = self.upstreams.iter().filter(|it| it.proxy.carries_datagrams());
        let (resting, healthy): (Vec<_>, Vec<_>) =
            carrying.partition(|upstream| upstream.datagrams.is_resting(now));
        let mut causes = Vec::new();
        for upstream in healthy.into_iter().chain(resting) {
            let cause = match timeout(upstream.timeout, upstream.proxy.associate()).await {
                Ok(Ok(association)) => {
                    return Ok(Associated { association, via: Arc::clone(upstream) });
                }
                Ok(Err(error)) => {
                    let cause = error.to_string();
                    // A shortage of ours says nothing of the proxy.
                    if !error.is_shortage() {
                        upstream.datagrams_failed(&cause);
                    }
                    cause
                }
                Err(_) => {
                    let cause = format!("no answer within {:?}", upstream.timeout);
                    upstream.datagrams_failed(&cause);
                    cause
                }
            };
            causes.push(format!("{}: {cause}", upstream.name()));
        }
        if causes.is_empty() {
            return Err(Error::NoDatagrams);
        }
        Err(Error::AllProxiesFailed(causes))
    }

    /// Whether a proxy carries UDP that is not known to be down for it.
    pub fn carries_datagrams_now(&self) -> bool {
        let now = Instant::now();
        let mut carrying = self.upstreams.iter().filter(|it| it.proxy.carries_datagrams());
        carrying.any(|upstream| !upstream.datagrams.is_resting(now))
    }

    /// The upstream of this name.
    pub fn upstream(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.upstreams.iter().find(|upstream| upstream.name() == name)
    }

    /// Decides and dials.
    ///
    /// # Errors
    /// Blocked, or every way failed.
    pub async fn connect(&self, target: &Target) -> Result<Connected, Error> {
        match self.route(target).route {
            Route::Block => Err(Error::Blocked),
            Route::Direct => self.connect_direct(target).await,
            Route::Proxy => self.connect_proxied(target).await,
        }
    }

    /// Dials without a proxy, whatever the router thinks of the target.
    ///
    /// # Errors
    /// The dial failed or took too long.
    pub async fn connect_direct(&self, target: &Target) -> Result<Connected, Error> {
        connect_direct(&*self.direct, target).await
    }

    /// Dials through the first proxy that works, whatever the router thinks of the target.
    ///
    /// # Errors
    /// Every proxy failed or is down.
    pub async fn connect_proxied(&self, target: &Target) -> Result<Connected, Error> {
        let (mut causes, mut refused) = (Vec::new(), false);
        for upstream in self.candidates() {
            let Some(attempt) = upstream.health.begin(Instant::now()) else { continue };
            let progress = Progress::default();
            let dial = upstream.proxy.connect(target, &progress);
            let result = timeout(upstream.timeout, dial).await;
            let (cause, proxys_fault) = match result {
                Ok(Ok(link)) => {
                    upstream.refusals.ended();
                    if attempt.succeeded(Instant::now()) {
                        info!(proxy = upstream.name(), "answers again");
                    }
                    return Ok(Connected { link, via: Some(upstream) });
                }
                // No verdict on the proxy: it would rest for what it has not done.
                Ok(Err(error)) if error.is_shortage() => {
                    causes.push(format!("{}: {error}", upstream.name()));
                    continue;
                }
                Ok(Err(error)) => {
                    if error.is_refusal() {
                        refused = true;
                        upstream.refused(target, &error);
                    }
                    let proxys_fault = !error.is_targets_fault();
                    (error.to_string(), proxys_fault)
                }
                Err(_) if progress.is_server_reached() => {
                    let after = upstream.timeout;
                    let cause = format!(
                        "it is there, but gave no answer within {after:?}; perhaps {target} is down"
                    );
                    causes.push(format!("{}: {cause}", upstream.name()));
                    if attempt.target_was_silent(Instant::now()) {
                        warn!(
                            proxy = upstream.name(),
                            "is down: no answer within {after:?} for several destinations"
                        );
                    }
                    continue;
                }
                Err(_) => (format!("no answer within {:?}", upstream.timeout), true),
            };
            if !proxys_fault {
                attempt.succeeded(Instant::now());
                debug!(proxy = upstream.name(), %target, "{cause}");
            } else if attempt.failed(Instant::now()) {
                warn!(proxy = upstream.name(), "is down: {cause}");
            }
            causes.push(format!("{}: {cause}", upstream.name()));
        }
        if causes.is_empty() {
            return Err(Error::AllProxiesDown);
        }
        Err(if refused { Error::Refused(causes) } else { Error::AllProxiesFailed(causes) })
    }

    /// Healthy proxies first, then the resting ones, each group in the operator's order.
    fn candidates(&self) -> Vec<Arc<Upstream>> {
        let now = Instant::now();
        let (resting, healthy): (Vec<_>, Vec<_>) =
            self.upstreams.iter().cloned().partition(|upstream| upstream.health.is_resting(now));
        healthy.into_iter().chain(resting).collect()
    }
}

/// Dials this way, which is no proxy's.
///
/// # Errors
/// The dial failed or took too long.
pub async fn connect_direct(direct: &dyn Proxy, target: &Target) -> Result<Connected, Error> {
    match timeout(DIRECT_TIMEOUT, direct.connect(target, &Progress::default())).await {
        Ok(Ok(link)) => Ok(Connected { link, via: None }),
        Ok(Err(error)) => Err(Error::Direct(error)),
        Err(_) => Err(Error::DirectTimeout { target: target.to_string(), after: DIRECT_TIMEOUT }),
    }
}

/// The dispatcher of the present moment; `daemon` swaps it on reload.
#[derive(Clone)]
pub struct Current(Arc<RwLock<Arc<Dispatcher>>>);

impl Current {
    /// Starts with this one.
    pub fn new(dispatcher: Dispatcher) -> Self {
        Current(Arc::new(RwLock::new(Arc::new(dispatcher))))
    }

    /// The one to use for a new connection, to its end.
    pub fn load(&self) -> Arc<Dispatcher> {
        Arc::clone(&read(&self.0))
    }

    /// From now on, this one. Returns the former one.
    pub fn swap(&self, dispatcher: Arc<Dispatcher>) -> Arc<Dispatcher> {
        let mut current = write(&self.0);
        std::mem::replace(&mut *current, dispatcher)
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.load().fmt(f)
    }
}

#[cfg(test)]
mod tests;
