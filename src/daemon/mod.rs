//! Start, supervise, stop. Alone knows everyone.
//!
//! Start: bind every socket, build, remove left-overs, rules last, ready. Stop: the rules capture
//! nothing more, then stop accepting, drain, take the rules away, exit. (Not before the drain: with
//! the last rule conntrack may leave, and with it the redirection of living connections.) Whatever
//! fails on the way, the rules are removed: they belong to
//! a [`firewall::Installed`], whose drop removes them, also when a panic unwinds.

mod build;
mod error;
mod heartbeat;
mod installed;
mod limits;
mod notify;
mod privileges;
mod signals;

pub use error::{Error, Kind};

use crate::config::{Config, Purpose};
use crate::dispatch::Current;
use crate::inbound::Intercept;
use crate::inbound::tcp::Inbound;
use crate::mark::Fwmark;
use crate::net::{Outbound, Refusal, listen};
use crate::stats::Stats;
use crate::{dns, firewall};
use installed::{ExemptServers, Installed, TeachKernel};
use signals::Signals;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

/// How long a stop waits for open connections.
const DRAIN: Duration = Duration::from_secs(5);

/// How long cut connections may take to be gone; they have nothing to wait for.
const CUT: Duration = Duration::from_secs(1);

/// Runs until a signal asks to stop.
///
/// # Errors
/// What kept it from starting, or what died while it ran; the rules are gone in either case.
pub fn run(config: Config, purpose: Purpose) -> Result<(), Error> {
    privileges::keep_only(privileges::needed(&config, purpose))?;
    let backend = match purpose {
        Purpose::Daemon => build::backend(&config),
        Purpose::DnsOnly => None,
    };
    // Before any other descriptor: see `firewall::nftables::Owner`.
    let firewall = backend.map(firewall::Backend::prepare).transpose()?;
    let limit = limits::connections();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("snet")
        .build()
        .map_err(Error::Runtime)?;
    let result = runtime.block_on(async {
        match purpose {
            Purpose::DnsOnly => dns_only(&config).await,
            Purpose::Daemon => Daemon::start(&config, firewall, limit).await?.supervise().await,
        }
    });
    // What is still open after the drain is cut: nobody may wait for a stop.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

/// What `snet rules` prints. Asks nobody: host names of upstream servers are named as such.
///
/// # Errors
/// Router mode: the LAN side cannot be told.
pub fn rules(config: &Config) -> Result<String, Error> {
    let Some(backend) = build::backend(config) else {
        return Ok("# backend = \"none\": no rule is installed\n".into());
    };
    let listeners: Vec<IpAddr> = config.listen.addresses.clone();
    let endpoints = build::endpoints(config);
    let mut text = firewall::render(backend, &build::ruleset(config, &listeners, &endpoints)?)?;
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.is_name()) {
        text.push_str(&format!(
            "# the addresses of {} join the set of upstream servers once they are resolved\n",
            endpoint.host()
        ));
    }
    Ok(text)
}

/// Everything that runs.
#[derive(Debug)]
struct Daemon {
    firewall: Arc<Installed>,
    inbound: Arc<Inbound>,
    /// Accept loops, resolver, bootstrap: none of them may end before it is told to.
    tasks: JoinSet<Result<(), Error>>,
    stop: watch::Sender<bool>,
    signals: Signals,
}

impl Daemon {
    async fn start(
        config: &Config,
        prepared: Option<firewall::Prepared>,
        limit: u32,
    ) -> Result<Self, Error> {
        let signals = Signals::new().map_err(Error::Runtime)?;
        let refusal = match prepared {
            None => Refusal::Harmless,
            Some(_) => Refusal::Fatal,
        };
        let outbound = Outbound::new(Fwmark::SNET, refusal);
        outbound.probe().map_err(Error::Mark)?;

        let listeners = listen_tcp(config)?;
        let families: Vec<IpAddr> = listeners.iter().map(|(address, _)| *address).collect();
        let endpoints = build::endpoints(config);
        let current = Current::new(build::dispatcher(config, &outbound, &endpoints));
        let resolver = dns::bind(build::dns(config, &families), outbound.clone(), current.clone())
            .map_err(|source| Error::Dns { source })?;

        let firewall = Arc::new(Installed::default());
        let bootstrap = dns::bootstrap::start(
            endpoints.clone(),
            config.dns.china_over_udp(),
            config.dns.bogus.clone(),
            outbound.clone(),
            Box::new(ExemptServers(Arc::clone(&firewall))),
        )
        .await;

        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let stats = Arc::new(Stats::default());
        let inbound = Arc::new(Inbound::new(
            Intercept::Redirect,
            current.clone(),
            outbound.clone(),
            stats,
            limit,
        ));
        for (address, listener) in listeners {
            let accepting = Arc::clone(&inbound).accept(listener, stopped.clone());
            tasks.spawn(async move {
                accepting.await.map_err(|source| Error::Accept { address, source })
            });
        }
        tasks.spawn(supervised("resolver", dns::spawn(resolver, stopped.clone())));
        tasks.spawn(supervised("bootstrap", bootstrap.keep_fresh(stopped.clone())));

        // The rules come last: everything they lead to answers by now.
        if let Some(prepared) = prepared {
            let ruleset = build::ruleset(config, &families, &endpoints)?;
            let handle = tokio::task::spawn_blocking(move || prepared.install(ruleset))
                .await
                .map_err(|_| Error::Died("firewall"))??;
            firewall.hold(handle);
            // What was resolved since the ruleset was built.
            let resolved = endpoints.iter().flat_map(|endpoint| endpoint.addresses());
            firewall.with(|handle| handle.exempt(resolved.map(|address| address.ip()).collect()));
            current.load().learned().connect_kernel(Box::new(TeachKernel(Arc::clone(&firewall))));
        }
        let (tcp, dns) = (config.listen.tcp_port, config.listen.dns_port);
        let pulse = heartbeat::Pulse::new(outbound, &families, Some(tcp), dns);
        let kept = Arc::clone(&firewall);
        let renew = async move || {
            kept.beat().await;
            notify::alive();
        };
        let beating = async move { pulse.beat(renew, stopped).await };
        tasks.spawn(supervised("heartbeat", beating));
        let ready = build::describe(config, &families);
        info!("ready: {ready}");
        notify::ready(&ready);
        Ok(Daemon { firewall, inbound, tasks, stop, signals })
    }

    async fn supervise(mut self) -> Result<(), Error> {
        let result = tokio::select! {
            signal = self.signals.stop() => {
                info!("stopping on {signal}");
                Ok(())
            }
            died = self.tasks.join_next() => Err(match died {
                Some(Ok(Err(error))) => error,
                _ => Error::Died("a task"),
            }),
        };
        notify::stopping("waiting for open connections");
        let released = self.firewall.release().await;
        // Nobody is listening if every task died; then there is nobody to tell.
        let _ = self.stop.send(true);
        let open = self.inbound.open();
        if open > 0 {
            info!("waiting up to {} s for {open} connections", DRAIN.as_secs());
        }
        tokio::select! {
            drained = tokio::time::timeout(DRAIN, self.inbound.drained()) => if drained.is_err() {
                info!("{} connections are cut", self.inbound.open());
            },
            signal = self.signals.stop() => info!("{signal} again: not waiting"),
        }
        // Their resets have to leave while conntrack still translates them: a program that hears
        // nothing would go on sending, and without rules its bytes would leave directly.
        self.inbound.cut();
        let _ = tokio::time::timeout(CUT, self.inbound.drained()).await;
        let removed = self.firewall.remove().await;
        info!("stopped");
        result.and(released).and(removed)
    }
}

/// Also when a panic unwinds: the other owners of the rules live on threads that may never end.
impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.firewall.take());
    }
}

/// The resolver alone: no mark is needed, no rule is installed.
async fn dns_only(config: &Config) -> Result<(), Error> {
    let mut signals = Signals::new().map_err(Error::Runtime)?;
    let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
    let endpoints = build::endpoints(config);
    let current = Current::new(build::dispatcher(config, &outbound, &endpoints));
    let settings = build::dns(config, &config.listen.addresses);
    let resolver =
        dns::bind(settings, outbound.clone(), current).map_err(|source| Error::Dns { source })?;
    let nobody = Box::new(ExemptServers(Arc::default()));
    let bootstrap = dns::bootstrap::start(
        endpoints,
        config.dns.china_over_udp(),
        config.dns.bogus.clone(),
        outbound.clone(),
        nobody,
    )
    .await;
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(supervised("resolver", dns::spawn(resolver, stopped.clone())));
    tasks.spawn(supervised("bootstrap", bootstrap.keep_fresh(stopped.clone())));
    let pulse =
        heartbeat::Pulse::new(outbound, &config.listen.addresses, None, config.listen.dns_port);
    let beating = async move { pulse.beat(async || notify::alive(), stopped).await };
    tasks.spawn(supervised("heartbeat", beating));
    let ready = build::describe_dns(config);
    info!("ready: {ready}");
    notify::ready(&ready);
    tokio::select! {
        signal = signals.stop() => {
            info!("stopping on {signal}");
            notify::stopping("");
            let _ = stop.send(true);
            Ok(())
        }
        died = tasks.join_next() => Err(match died {
            Some(Ok(Err(error))) => error,
            _ => Error::Died("a task"),
        }),
    }
}

/// Turns an end that was not asked for into an error.
async fn supervised(name: &'static str, task: impl Future<Output = bool>) -> Result<(), Error> {
    // `true`: it ended because it was told to; then `supervise` no longer looks.
    if task.await { Ok(()) } else { Err(Error::Died(name)) }
}

/// Binds the redirect port on every address. An address that this machine does not have takes its
/// family out of the capture, with a warning; no address at all is an error.
fn listen_tcp(config: &Config) -> Result<Vec<(IpAddr, TcpListener)>, Error> {
    let mut listeners = Vec::new();
    let mut missing = None;
    for ip in &config.listen.addresses {
        let address = SocketAddr::new(*ip, config.listen.tcp_port);
        match listen::tcp(address) {
            Ok(listener) => listeners.push((*ip, listener)),
            Err(source) if listen::is_absent(&source) => {
                let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
                warn!(
                    "{ip} is no address of this machine ({source}): {family} is not captured there"
                );
                missing = Some(Error::Listen { address, source });
            }
            Err(source) => return Err(Error::Listen { address, source }),
        }
    }
    match (listeners.is_empty(), missing) {
        (true, Some(error)) => Err(error),
        _ => Ok(listeners),
    }
}
