//! Which servers are asked for a proxy's name, and whose answer counts: what is believed here gets
//! the password of the proxy, and an exemption from every rule.
//!
//! In this order, the first that knows the name:
//!
//! 1. what the operator wrote down: `dns.hosts`, /etc/hosts;
//! 2. `dns.forward`, for the domains that it names;
//! 3. for local names (`nas`, `nas.lan`) `dns.local`, else the system's servers, and no others;
//! 4. the domestic servers. Where some of them are asked over TLS or HTTPS, only those are: else a
//!    forged answer over UDP would be believed as well. Likewise TCP goes before UDP;
//! 5. `dns.local`, else those of the system's servers that are in a private network, if they know a
//!    private address.
//!
//! An address of `dns.bogus`, or one that a server gives for names that cannot exist, does not
//! count, and names that do not exist by definition (`proxy.invalid`) are not asked.

use super::hosts_file;
use crate::dns::name_server::{NameServer, Transport};
use crate::dns::reply::{Believed, DomesticVerdict, Reply, classify, is_private};
use crate::dns::rewriting::random_name;
use crate::dns::settings::Settings;
use crate::dns::special::Special;
use crate::dns::system::SystemServers;
use crate::dns::upstream::once;
use crate::dns::wire::{Query, rr};
use crate::domain::Name;
use crate::ipset::IpSet;
use crate::net::Outbound;
use crate::proxy::tls::Tls;
use crate::sync::lock;
use crate::task::JoinSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tracing::warn;

/// One round of questions; more where `dns.timeout` says that servers are slower.
const PATIENCE: Duration = Duration::from_secs(3);

/// An answer waits so long for what its server says of names that cannot exist.
const PROBE: Duration = Duration::from_millis(1500);

/// How soon a file is looked at again.
const FILES: Duration = Duration::from_secs(60);

/// No proxy has more; each of them is exempted from the rules.
const MOST_ADDRESSES: usize = 16;

/// Who asks.
pub(super) struct EndpointLookup {
    settings: Settings,
    outbound: Outbound,
    tls: Tls,
    /// The domestic servers that are asked, and whether each was found to rewrite or not to.
    domestic: Vec<(NameServer, OnceCell<()>)>,
    /// What stands in the place of NXDOMAIN.
    rewritten: Mutex<IpSet>,
}

/// Addresses, and how long they hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundAddresses {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) lifetime: Duration,
}

impl EndpointLookup {
    pub(super) fn new(settings: Settings, outbound: Outbound, tls: Tls) -> Self {
        let domestic =
            safest(&settings.servers.china).into_iter().map(|server| (server, OnceCell::new()));
        let domestic = domestic.collect();
        EndpointLookup { domestic, settings, outbound, tls, rewritten: Mutex::default() }
    }

    /// The addresses of a name. IPv4 comes first: where IPv6 is broken, it is broken in silence.
    pub(super) async fn resolve(self: &Arc<Self>, name: &Name) -> Option<FoundAddresses> {
        let mut found = self.ask_in_order(name).await?;
        found.addresses.sort_by_key(IpAddr::is_ipv6);
        found.addresses.truncate(MOST_ADDRESSES);
        Some(found)
    }

    async fn ask_in_order(self: &Arc<Self>, name: &Name) -> Option<FoundAddresses> {
        if let Some(addresses) = self.written_down(name) {
            return Some(FoundAddresses { addresses, lifetime: FILES });
        }
        if let Some(servers) = self.settings.servers.forward.lookup(name.as_wire()) {
            return self.ask_near(servers, name).await;
        }
        match Special::of(name.as_wire()) {
            Special::Local => return self.ask_near(&self.local_servers(), name).await,
            Special::Ordinary => {}
            Special::Localhost | Special::NxDomain | Special::NoData => return None,
        }
        if let Some(found) = self.ask_domestic(name).await {
            return Some(found);
        }
        let mut servers = self.local_servers();
        // Public ones would only hear the name, in the clear.
        servers.retain(|server| {
            self.settings.servers.local.contains(server) || is_private(server.ip())
        });
        let found = self.ask_near(&servers, name).await?;
        found.addresses.iter().all(|address| is_private(*address)).then_some(found)
    }

    fn patience(&self) -> Duration {
        PATIENCE.max(self.settings.servers.timeout)
    }

    fn written_down(&self, name: &Name) -> Option<Vec<IpAddr>> {
        if let Some(addresses) = self.settings.answers.hosts.get(name) {
            return Some(addresses.clone());
        }
        Some(hosts_file::addresses(name)).filter(|addresses| !addresses.is_empty())
    }

    fn local_servers(&self) -> Vec<SocketAddr> {
        match self.settings.servers.local.as_slice() {
            [] => SystemServers::default().now(Instant::now()),
            configured => configured.to_vec(),
        }
    }

    /// The operator's own servers, over UDP as always.
    async fn ask_near(
        self: &Arc<Self>,
        servers: &[SocketAddr],
        name: &Name,
    ) -> Option<FoundAddresses> {
        let mut asking = JoinSet::new();
        for server in servers {
            let (lookup, server, name) =
                (Arc::clone(self), NameServer::from(*server), name.clone());
            asking.spawn(async move { lookup.ask_both(&server, &name).await });
        }
        first(asking).await
    }

    async fn ask_domestic(self: &Arc<Self>, name: &Name) -> Option<FoundAddresses> {
        let mut asking = JoinSet::new();
        for number in 0..self.domestic.len() {
            let (lookup, name) = (Arc::clone(self), name.clone());
            asking.spawn(async move {
                let (server, probed) = &lookup.domestic[number];
                let probe = timeout(PROBE, probed.get_or_try_init(|| lookup.probe(server)));
                let (found, _) = tokio::join!(lookup.ask_both(server, &name), probe);
                let found = found?;
                let rewritten = lock(&lookup.rewritten);
                let is_true = |address: &IpAddr| !rewritten.contains(*address);
                found.addresses.iter().all(is_true).then_some(found.clone())
            });
        }
        first(asking).await
    }

    /// Asks a server for names that cannot exist. What it says of them joins the forged addresses.
    async fn probe(&self, server: &NameServer) -> Result<(), ()> {
        let nonsense = || self.ask_nonsense(server);
        let (first, second, third) = tokio::join!(nonsense(), nonsense(), nonsense());
        let heard: Vec<Vec<IpAddr>> = [first, second, third].into_iter().flatten().collect();
        let spoke = !heard.is_empty();
        let found: IpSet = heard.into_iter().flatten().collect();
        let mut known = lock(&self.rewritten);
        *known = known.union(&found);
        if spoke { Ok(()) } else { Err(()) }
    }

    async fn ask_nonsense(&self, server: &NameServer) -> Option<Vec<IpAddr>> {
        let name = random_name("", "com")?;
        let (v4, v6) = (Query::new(&name, rr::A), Query::new(&name, rr::AAAA));
        let patience = self.patience();
        let ask = |query| once::ask(&self.outbound, &self.tls, server, query, patience);
        let (v4, v6) = tokio::join!(ask(&v4), ask(&v6));
        let heard = [v4, v6].into_iter().flatten();
        let found: Vec<_> =
            heard.filter_map(|message| Some(Reply::parse(&message)?.addresses())).collect();
        (!found.is_empty()).then(|| found.concat())
    }

    /// Both kinds of addresses of one server.
    async fn ask_both(&self, server: &NameServer, name: &Name) -> Option<FoundAddresses> {
        let (v4, v6) = (Query::new(name, rr::A), Query::new(name, rr::AAAA));
        let (v4, v6) = tokio::join!(self.ask(server, &v4), self.ask(server, &v6));
        let found: Vec<FoundAddresses> = [v4, v6].into_iter().flatten().collect();
        let lifetime = found.iter().map(|found| found.lifetime).min()?;
        let addresses = found.into_iter().flat_map(|found| found.addresses).collect();
        Some(FoundAddresses { addresses, lifetime })
    }

    async fn ask(&self, server: &NameServer, query: &Query) -> Option<FoundAddresses> {
        let asked = once::ask(&self.outbound, &self.tls, server, query, self.patience()).await;
        let message = asked.ok()?;
        let reply = Reply::parse(&message)?;
        // A private address is the operator's business: the proxy may stand in the LAN.
        match classify(&reply, &IpSet::default(), &self.settings.answers.bogus, Believed::Private) {
            DomesticVerdict::Cn | DomesticVerdict::Foreign => {}
            DomesticVerdict::Bogus => {
                warn!("{server} gives an address for a proxy that cannot be true");
                return None;
            }
            _ => return None,
        }
        let lifetime = Duration::from_secs(reply.lifetime().unwrap_or(0).into());
        Some(FoundAddresses { addresses: reply.addresses(), lifetime })
    }
}

/// The servers whose answers are hardest to forge.
fn safest(servers: &[NameServer]) -> Vec<NameServer> {
    let safety = |server: &NameServer| match server.transport {
        Transport::Plain => 0,
        Transport::Tcp => 1,
        Transport::Tls { .. } | Transport::Https { .. } => 2,
    };
    let most = servers.iter().map(safety).max();
    servers.iter().filter(|server| Some(safety(server)) == most).cloned().collect()
}

/// What the first one says that knows the name.
async fn first(mut asking: JoinSet<Option<FoundAddresses>>) -> Option<FoundAddresses> {
    while let Some(finished) = asking.join_next().await {
        if let Ok(Some(found)) = finished {
            return Some(found);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hardest_to_forge_is_asked_alone() {
        let server =
            |address: &str, transport| NameServer { address: address.parse().unwrap(), transport };
        let tls = Transport::Tls { name: "dns.example".into() };
        let https = Transport::Https { name: "dns.example".into(), path: "/".into() };
        let plain = server("192.0.2.1:53", Transport::Plain);
        let tcp = server("192.0.2.2:53", Transport::Tcp);
        let (tls, https) = (server("192.0.2.3:853", tls), server("192.0.2.4:443", https));
        let all = [plain.clone(), tls.clone(), tcp.clone(), https.clone()];
        assert_eq!(safest(&all), [tls, https]);
        assert_eq!(safest(&[plain.clone(), tcp.clone()]), [tcp]);
        assert_eq!(safest(std::slice::from_ref(&plain)), [plain]);
        assert_eq!(safest(&[]), []);
    }
}
