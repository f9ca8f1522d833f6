//! The addresses of the proxies' own host names: asked of the domestic servers over marked UDP,
//! never by getaddrinfo, which would come back to us, and never through a proxy.
//!
//! New addresses go to the kernel's set of exempted servers before anybody dials them.

use super::reply::{Domestic, Reply, classify};
use super::upstream::udp;
use super::wire::{Query, rr};
use crate::domain::Name;
use crate::ipset::IpSet;
use crate::net::Outbound;
use crate::proxy::endpoint::Endpoint;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

/// A start waits at most so long for the names; whoever dials earlier hears "not resolved".
const START: Duration = Duration::from_secs(3);

/// One round of questions.
const PATIENCE: Duration = Duration::from_secs(3);

/// Bounds of the time between two rounds, whatever the TTL says.
const SOONEST: Duration = Duration::from_secs(60);
const LATEST: Duration = Duration::from_secs(3600);

/// After a round without an answer.
const RETRY: Duration = Duration::from_secs(5);

/// The kernel's side: traffic to these addresses must not be captured. `daemon` provides it.
pub trait Exempt: Send + Sync {
    /// Called before the addresses are dialled.
    fn exempt(&self, addresses: Vec<IpAddr>);
}

/// The endpoints whose names have to be kept fresh.
pub struct Bootstrap {
    names: Vec<Named>,
    asker: Arc<Asker>,
}

struct Named {
    endpoint: Arc<Endpoint>,
    name: Name,
    /// When to ask again.
    wait: Duration,
}

struct Asker {
    servers: Vec<SocketAddr>,
    bogus: IpSet,
    outbound: Outbound,
    exempt: Box<dyn Exempt>,
}

/// Resolves the endpoints that have names, as far as that succeeds within three seconds.
pub async fn start(
    endpoints: Vec<Arc<Endpoint>>,
    servers: Vec<SocketAddr>,
    bogus: IpSet,
    outbound: Outbound,
    exempt: Box<dyn Exempt>,
) -> Bootstrap {
    let names = endpoints.into_iter().filter(|endpoint| endpoint.is_name());
    let names = names.filter_map(|endpoint| {
        let name = endpoint.host().parse().ok()?;
        Some(Named { endpoint, name, wait: Duration::ZERO })
    });
    let names = names.collect();
    let asker = Arc::new(Asker { servers, bogus, outbound, exempt });
    let mut bootstrap = Bootstrap { names, asker };
    let mut rounds = JoinSet::new();
    for mut named in std::mem::take(&mut bootstrap.names) {
        let asker = Arc::clone(&bootstrap.asker);
        rounds.spawn(async move {
            // A round that is cut by the time-out is repeated at once by `keep_fresh`.
            let _ = timeout(START, named.refresh(&asker)).await;
            named
        });
    }
    bootstrap.names = rounds.join_all().await;
    for named in &bootstrap.names {
        if named.endpoint.addresses().is_empty() {
            warn!(
                "the domestic name servers give no address for the proxy {}; still trying",
                named.endpoint.host()
            );
        }
    }
    bootstrap
}

impl Bootstrap {
    /// Asks again when the addresses grow old, until `stopped` turns true. Returns true for that
    /// end, and false if a task died.
    pub async fn keep_fresh(self, mut stopped: watch::Receiver<bool>) -> bool {
        let mut tasks = JoinSet::new();
        for mut named in self.names {
            let asker = Arc::clone(&self.asker);
            tasks.spawn(async move {
                loop {
                    sleep(named.wait).await;
                    named.refresh(&asker).await;
                }
            });
        }
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => true,
            Some(_) = tasks.join_next() => false,
        }
    }
}

impl Named {
    async fn refresh(&mut self, asker: &Arc<Asker>) {
        let (v4, v6) = tokio::join!(
            Arc::clone(asker).ask(Query::new(&self.name, rr::A)),
            Arc::clone(asker).ask(Query::new(&self.name, rr::AAAA)),
        );
        let lifetime = [&v4, &v6].into_iter().flatten().map(|found| found.lifetime).min();
        // IPv4 first: where IPv6 is broken, it is broken in silence.
        let addresses: Vec<IpAddr> =
            [v4, v6].into_iter().flatten().flat_map(|found| found.addresses).collect();
        let host = self.endpoint.host();
        if addresses.is_empty() {
            debug!("no address for {host}");
            self.wait = RETRY;
            return;
        }
        self.wait = lifetime.unwrap_or(SOONEST).clamp(SOONEST, LATEST);
        asker.exempt.exempt(addresses.clone());
        if self.endpoint.resolved(addresses) {
            info!("the proxy {host} is at {:?}", self.endpoint.addresses());
        }
    }
}

struct Found {
    addresses: Vec<IpAddr>,
    lifetime: Duration,
}

impl Asker {
    /// The first true answer of any server.
    async fn ask(self: Arc<Self>, query: Query) -> Option<Found> {
        let mut asked = JoinSet::new();
        for server in self.servers.clone() {
            let (asker, query) = (Arc::clone(&self), query.clone());
            asked.spawn(async move {
                let message = udp::ask(&asker.outbound, server, &query, PATIENCE).await.ok()?;
                asker.read(&message)
            });
        }
        while let Some(finished) = asked.join_next().await {
            if let Ok(Some(found)) = finished {
                return Some(found);
            }
        }
        None
    }

    /// The addresses of a reply; `None` for one without, or with one that cannot be true. A
    /// private address is the operator's business: the proxy may stand in the LAN.
    fn read(&self, message: &[u8]) -> Option<Found> {
        let reply = Reply::parse(message)?;
        match classify(&reply, &IpSet::default(), &self.bogus, true) {
            Domestic::Cn | Domestic::Foreign => {}
            _ => return None,
        }
        let lifetime = Duration::from_secs(reply.lifetime().unwrap_or(0).into());
        Some(Found { addresses: reply.addresses(), lifetime })
    }
}
