//! Start, supervise, stop. Alone knows everyone.
//!
//! Start: bind every socket, build, remove left-overs, rules last, ready. Stop: the rules capture
//! nothing more, then stop accepting, drain, take the rules away, exit. (Not before the drain: with
//! the last rule conntrack may leave, and with it the redirection of living connections.) Whatever
//! fails on the way, the rules are removed: they belong to
//! a [`firewall::Installed`], whose drop removes them, also when a panic unwinds.

mod alone;
mod build;
mod control;
mod error;
mod heartbeat;
mod installed;
mod limits;
mod notify;
mod privileges;
mod reload;
mod signals;
mod surroundings;

pub use control::{Answer, Verb, ask};
pub use error::{CONFIG, Error, Kind, UNAVAILABLE};

use crate::config::{self, Config, Purpose};
use crate::dispatch::Current;
use crate::dns::bootstrap::Bootstrap;
use crate::fault::{self, Step};
use crate::inbound::tcp::Inbound;
use crate::inbound::{Intercept, advice as advice_on};
use crate::mark::Fwmark;
use crate::net::{Outbound, Refusal, listen};
use crate::proxy::endpoint::Endpoint;
use crate::stats::Stats;
use crate::{dns, firewall};
use control::{Control, Request};
use installed::{ExemptServers, Installed, Responsible, TeachKernel};
use reload::World;
use signals::{Asked, Signals};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use surroundings::Moved;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tracing::{debug, info, warn};

/// How long a stop waits for open connections.
const DRAIN: Duration = Duration::from_secs(5);

/// How long cut connections may take to be gone; they have nothing to wait for.
const CUT: Duration = Duration::from_secs(1);

/// Where the configuration comes from, for the next time, and who else has to know of it.
pub trait Source: Send + Sync {
    /// Reads it again.
    ///
    /// # Errors
    /// All that is wrong with it.
    fn load(&self) -> Result<Config, config::Error>;

    /// It is in force now.
    fn taken(&self, config: &Config);
}

/// Runs until a signal asks to stop.
///
/// # Errors
/// What kept it from starting, or what died while it ran; the rules are gone in either case.
pub fn run(config: Config, purpose: Purpose, source: Arc<dyn Source>) -> Result<(), Error> {
    step(Step::Rights)?;
    privileges::keep_only(privileges::needed(&config, purpose))?;
    let backend = match purpose {
        Purpose::Daemon => build::backend(&config),
        Purpose::DnsOnly => None,
    };
    step(Step::Prepare)?;
    // Before any other descriptor: see `firewall::nftables::Owner`.
    let firewall = backend.map(firewall::Backend::prepare).transpose()?;
    step(Step::Claim)?;
    let _alone = firewall.is_some().then(alone::claim).transpose()?;
    let limit = limits::connections();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("snet")
        .build()
        .map_err(Error::Runtime)?;
    let result = runtime.block_on(async {
        Daemon::start(config, purpose, source, firewall, limit).await?.supervise().await
    });
    // What is still open after the drain is cut: nobody may wait for a stop.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

/// What `snet cleanup` does, unless a living snet has the rules.
///
/// # Errors
/// [`Error::Alone`]; what the tools or the kernel say.
pub fn cleanup() -> Result<firewall::Cleaned, Error> {
    match alone::holder() {
        Some(pid) => Err(Error::Alive { pid }),
        None => Ok(firewall::cleanup()?),
    }
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
    let endpoints = build::endpoints(config, None);
    let mut text = firewall::render(backend, &build::ruleset(config, &listeners, &endpoints)?);
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.is_name()) {
        text.push_str(&format!(
            "# the addresses of {} join the set of upstream servers once they are resolved\n",
            endpoint.host()
        ));
    }
    Ok(text)
}

/// What the operator should know of proxies that are programs of this machine. Asks the kernel who they
/// are, and no name server.
pub fn advice(config: &Config) -> Vec<String> {
    if config.firewall.backend == config::Backend::None {
        return Vec::new();
    }
    let here = |proxy: &config::Proxy| {
        let host = if proxy.host == "localhost" { "127.0.0.1" } else { &proxy.host };
        let server = SocketAddr::new(host.parse().ok()?, proxy.port);
        advice_on(&proxy.name, server, &config.rules.left_alone)
    };
    config.proxies.iter().filter_map(here).collect()
}

/// Everything that runs.
#[derive(Debug)]
struct Daemon {
    world: World,
    firewall: Responsible,
    inbound: Arc<Inbound>,
    /// Accept loops, resolver, bootstrap: none of them may end before it is told to.
    tasks: JoinSet<Result<(), Error>>,
    /// Of [`World`], the one task that a reload replaces.
    bootstrap: AbortHandle,
    stop: watch::Sender<bool>,
    signals: Signals,
    requests: mpsc::Receiver<Request>,
    moves: mpsc::Receiver<Moved>,
}

impl Daemon {
    async fn start(
        config: Config,
        purpose: Purpose,
        source: Arc<dyn Source>,
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

        step(Step::Listen)?;
        let listeners = match purpose {
            Purpose::Daemon => listen_tcp(&config)?,
            Purpose::DnsOnly => Vec::new(),
        };
        let families: Vec<IpAddr> = match purpose {
            Purpose::Daemon => listeners.iter().map(|(address, _)| *address).collect(),
            Purpose::DnsOnly => config.listen.addresses.clone(),
        };
        let endpoints = build::endpoints(&config, None);
        let current = Current::new(build::dispatcher(&config, &outbound, &endpoints, None));
        step(Step::Resolver)?;
        let resolver = dns::bind(build::dns(&config, &families), outbound.clone(), current.clone())
            .map_err(|source| Error::Dns { source })?;

        let firewall = Responsible::default();
        step(Step::Bootstrap)?;
        let bootstrap = bootstrap(&config, &endpoints, &outbound, &firewall).await;

        let mut tasks = JoinSet::new();
        // After an error it is dropped before the tasks, and so tells them.
        let (stop, stopped) = watch::channel(false);
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
        let (orders, told) = mpsc::unbounded_channel();
        tasks.spawn(supervised("resolver", dns::spawn(resolver, told, stopped.clone())));
        let bootstrap = tasks.spawn(supervised("bootstrap", bootstrap.keep_fresh(stopped.clone())));

        // The rules come last: everything they lead to answers by now.
        step(Step::Rules)?;
        if let Some(prepared) = prepared {
            let ruleset = build::ruleset(&config, &families, &endpoints)?;
            let handle = tokio::task::spawn_blocking(move || prepared.install(ruleset))
                .await
                .map_err(|_| Error::Died("firewall"))??;
            firewall.hold(handle);
            step(Step::Installed)?;
            // What was resolved since the ruleset was built.
            let resolved = endpoints.iter().flat_map(|endpoint| endpoint.addresses());
            firewall.with(|handle| handle.exempt(resolved.map(|address| address.ip()).collect()));
            current.load().learned().connect_kernel(Box::new(TeachKernel(Arc::clone(&firewall))));
        }
        let tcp = (purpose == Purpose::Daemon).then_some(config.listen.tcp_port);
        let pulse = heartbeat::Pulse::new(outbound.clone(), &families, tcp, config.listen.dns_port);
        let (kept, learned) = (Arc::clone(&firewall), current.clone());
        let renew = async move || {
            kept.beat().await;
            let learned = Arc::clone(learned.load().learned());
            // In the middle of a reload nobody is connected: then at the next beat.
            if learned.is_connected() && kept.forgot() {
                tokio::task::spawn_blocking(move || learned.teach_again());
            }
            notify::alive();
        };
        let (telling, moves) = mpsc::channel(1);
        tasks.spawn(supervised("surroundings", surroundings::watch(telling, stopped.clone())));
        let beating = async move { pulse.beat(renew, stopped).await };
        tasks.spawn(supervised("heartbeat", beating));
        let (asking, requests) = mpsc::channel(1);
        control(&config, purpose, &mut tasks, asking);
        let world =
            World { config, purpose, source, outbound, families, endpoints, current, orders };
        let ready = world.describe();
        step(Step::Ready)?;
        info!("ready: {ready}");
        notify::ready(&ready);
        Ok(Daemon { world, firewall, inbound, tasks, bootstrap, stop, signals, requests, moves })
    }

    /// Runs until a signal asks to stop, or until something died.
    async fn run(&mut self) -> Result<(), Error> {
        loop {
            tokio::select! {
                asked = self.signals.next() => match asked {
                    Asked::Stop(signal) => {
                        info!("stopping on {signal}");
                        return Ok(());
                    }
                    Asked::Reload => self.reload().await.1?,
                },
                Some(Request { verb: Verb::Reload, answer }) = self.requests.recv() => {
                    let (said, result) = self.reload().await;
                    // Who asked may have left.
                    let _ = answer.send(said);
                    result?;
                }
                Some(moved) = self.moves.recv() => self.moved(moved).await,
                Some(ended) = self.tasks.join_next() => match ended {
                    // The bootstrap of a former world.
                    Err(error) if error.is_cancelled() => {}
                    Ok(Err(error)) => return Err(error),
                    Ok(Ok(())) | Err(_) => return Err(Error::Died("a task")),
                },
            }
        }
    }

    async fn supervise(mut self) -> Result<(), Error> {
        let result = self.run().await;
        notify::stopping("waiting for open connections");
        fault::pass(Step::Release);
        let released = self.firewall.release().await;
        fault::pass(Step::Drain);
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
        fault::pass(Step::Cut);
        // Their resets have to leave while conntrack still translates them: a program that hears
        // nothing would go on sending, and without rules its bytes would leave directly.
        self.inbound.cut();
        let _ = tokio::time::timeout(CUT, self.inbound.drained()).await;
        fault::pass(Step::Remove);
        let removed = self.firewall.remove().await;
        fault::pass(Step::Removed);
        info!("stopped");
        result.and(released).and(removed)
    }
}

fn step(step: Step) -> Result<(), Error> {
    fault::at(step).map_err(Error::Runtime)
}

/// Resolves the names of the upstream servers.
async fn bootstrap(
    config: &Config,
    endpoints: &[Arc<Endpoint>],
    outbound: &Outbound,
    firewall: &Arc<Installed>,
) -> Bootstrap {
    dns::bootstrap::start(
        endpoints.to_vec(),
        config.dns.china_over_udp(),
        config.dns.bogus.clone(),
        outbound.clone(),
        Box::new(ExemptServers(Arc::clone(firewall))),
    )
    .await
}

/// Opens the control socket. Without it everything else works, and SIGHUP reloads too.
fn control(
    config: &Config,
    purpose: Purpose,
    tasks: &mut JoinSet<Result<(), Error>>,
    requests: mpsc::Sender<Request>,
) {
    let path = &config.control_socket;
    match Control::bind(path) {
        Ok(control) => drop(tasks.spawn(supervised("control", control.serve(requests)))),
        // An ordinary user has no place there.
        Err(error) if purpose == Purpose::DnsOnly => debug!("{}: {error}", path.display()),
        Err(error) => warn!(
            "no control socket at {} ({error}): `snet reload` does not find this snet, SIGHUP does",
            path.display()
        ),
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
