//! The addresses of the proxies' own host names: never from getaddrinfo, which would come back to
//! us, and never through a proxy. [`endpoint_lookup`] says which servers are asked.
//!
//! Names are asked for again when their records end, and at once when no address answers any more.
//! New addresses go to the kernel's set of exempted servers before a connection is dialled to them.

mod endpoint_lookup;
mod hosts_file;

use super::settings::Settings;
use crate::domain::Name;
use crate::net::Outbound;
use crate::proxy::endpoint::Endpoint;
use crate::proxy::tls::Tls;
use crate::task::JoinSet;
use endpoint_lookup::EndpointLookup;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

/// A start waits at most so long for the names; a dial before that fails with "not resolved".
const START: Duration = Duration::from_secs(3);

/// Bounds of the time between two rounds, whatever the TTL says. A proxy behind an address that
/// changes has a short one.
const SOONEST: Duration = Duration::from_secs(5);
const LATEST: Duration = Duration::from_secs(3600);

/// After a round without an answer, and at least between two rounds for want of an address that
/// answers.
const RETRY: Duration = Duration::from_secs(5);

/// The kernel's side: traffic to these addresses must not be captured. `daemon` provides it.
pub trait Exempt: Send + Sync {
    /// Called before the addresses are dialled.
    fn exempt(&self, addresses: Vec<IpAddr>);
}

/// The endpoints whose names have to be kept fresh.
pub struct Bootstrap {
    names: Vec<Named>,
    lookup: Arc<EndpointLookup>,
    exempt: Arc<dyn Exempt>,
}

struct Named {
    endpoint: Arc<Endpoint>,
    name: Name,
    /// When it was asked for.
    asked: Option<Instant>,
    /// When to ask again.
    wait: Duration,
}

/// Resolves the endpoints that have names, as far as that succeeds within three seconds.
pub async fn start(
    endpoints: Vec<Arc<Endpoint>>,
    settings: Settings,
    outbound: Outbound,
    exempt: Box<dyn Exempt>,
) -> Bootstrap {
    start_with(endpoints, settings, outbound, Tls::default(), exempt).await
}

/// The same, with these authorities.
pub(super) async fn start_with(
    endpoints: Vec<Arc<Endpoint>>,
    settings: Settings,
    outbound: Outbound,
    tls: Tls,
    exempt: Box<dyn Exempt>,
) -> Bootstrap {
    let names = endpoints.into_iter().filter(|endpoint| endpoint.is_name());
    let names = names.filter_map(|endpoint| {
        let name = endpoint.host().parse().ok()?;
        Some(Named { endpoint, name, asked: None, wait: Duration::ZERO })
    });
    let names = names.collect();
    let lookup = Arc::new(EndpointLookup::new(settings, outbound, tls));
    let mut bootstrap = Bootstrap { names, lookup, exempt: Arc::from(exempt) };
    let mut rounds = JoinSet::new();
    for mut named in std::mem::take(&mut bootstrap.names) {
        let (lookup, exempt) = (Arc::clone(&bootstrap.lookup), Arc::clone(&bootstrap.exempt));
        rounds.spawn(async move {
            // A round that is cut by the time-out is repeated at once by `keep_fresh`.
            let _ = timeout(START, named.refresh(&lookup, &*exempt)).await;
            named
        });
    }
    bootstrap.names = rounds.join_all().await;
    for named in &bootstrap.names {
        if named.endpoint.addresses().is_empty() {
            warn!("no name server gives an address for the proxy {}; still trying", named.name);
        }
    }
    bootstrap
}

/// The addresses of another name of snet's own, asked for as those of proxies are. Empty: no server
/// knows it.
pub async fn addresses(host: &str, settings: Settings, outbound: Outbound) -> Vec<IpAddr> {
    let Ok(name) = host.parse::<Name>() else { return Vec::new() };
    let lookup = Arc::new(EndpointLookup::new(settings, outbound, Tls::default()));
    lookup.resolve(&name).await.map_or_else(Vec::new, |found| found.addresses)
}

impl Bootstrap {
    /// Asks again when the addresses grow old, until `stopped` turns true. Returns true for that
    /// end, and false if a task died.
    pub async fn keep_fresh(self, mut stopped: watch::Receiver<bool>) -> bool {
        let mut tasks = JoinSet::new();
        for mut named in self.names {
            let (lookup, exempt) = (Arc::clone(&self.lookup), Arc::clone(&self.exempt));
            tasks.spawn(async move {
                loop {
                    named.until_due().await;
                    named.refresh(&lookup, &*exempt).await;
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
    /// Waits until the addresses are old, or none of them answers.
    async fn until_due(&self) {
        let Some(asked) = self.asked else { return };
        tokio::select! {
            () = sleep_until(asked + self.wait) => {}
            () = self.endpoint.was_missed() => sleep_until(asked + RETRY).await,
        }
    }

    async fn refresh(&mut self, lookup: &Arc<EndpointLookup>, exempt: &dyn Exempt) {
        let found = lookup.resolve(&self.name).await;
        self.asked = Some(Instant::now());
        let host = self.endpoint.host();
        let Some(found) = found else {
            debug!("no address for {host}");
            self.wait = RETRY;
            return;
        };
        self.wait = wait(found.lifetime);
        exempt.exempt(found.addresses.clone());
        if self.endpoint.resolved(found.addresses) {
            info!("the proxy {host} is at {:?}", self.endpoint.addresses());
        }
    }
}

/// When to ask again about records that live so long.
fn wait(lifetime: Duration) -> Duration {
    lifetime.clamp(SOONEST, LATEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_asked_for_again_when_it_ends() {
        let wait = |seconds| super::wait(Duration::from_secs(seconds)).as_secs();
        assert_eq!([0, 1, 5, 30, 300, 86_400].map(wait), [5, 5, 5, 30, 300, 3600]);
    }
}
