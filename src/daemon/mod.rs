//! Start, supervise, stop. Alone knows everyone.
//!
//! Start: bind every socket, build, remove left-overs, rules last, ready. Stop: the rules capture
//! nothing more, then stop accepting, drain, take the rules away, exit. (Not before the drain: with
//! the last rule conntrack may leave, and with it the redirection of living connections.) Whatever
//! fails on the way, the rules are removed: they belong to
//! a [`firewall::Installed`], whose drop removes them, also when a panic unwinds.

mod alone;
mod build;
mod capture;
mod control;
mod error;
mod heartbeat;
mod installed;
mod limits;
mod notify;
mod origins;
mod privileges;
mod proof;
mod reload;
mod signals;
mod surroundings;

pub use control::{Answer, Verb, ask};
pub use error::{CONFIG, Error, Kind, UNAVAILABLE};

use crate::config::{self, Config, Mode, Purpose};
use crate::dispatch::Current;
use crate::dns::bootstrap::Bootstrap;
use crate::fault::{self, Step};
use crate::firewall::OnFailure;
use crate::inbound::tcp::Inbound;
use crate::inbound::token::Token;
use crate::inbound::{Intercept, advice as advice_on};
use crate::mark::Fwmark;
use crate::net::allowance::Allowance;
use crate::net::{Outbound, Refusal, listen};
use crate::proxy::endpoint::Endpoint;
use crate::stats::Stats;
use crate::{dns, firewall};
use capture::Capture;
use control::{Control, Request};
use heartbeat::{Heartbeat, Parts, Policy};
use installed::{ExemptServers, Installed, Responsible, TeachKernel};
use proof::Proof;
use reload::World;
use signals::{Asked, Signals};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use surroundings::Moved;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tracing::{info, warn};

/// How long a stop waits for open connections.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a stop waits for the answers to be in their file.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

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

    /// Said once, at the start: a thread that is started now has no right that the daemon does not keep.
    ///
    /// # Errors
    /// No thread can be had.
    fn rights_are_given_up(&self) -> io::Result<()>;
}

/// Runs until a signal asks to stop.
///
/// # Errors
/// What kept it from starting, or what died while it ran; the rules are gone in either case.
pub fn run(config: Config, purpose: Purpose, source: Arc<dyn Source>) -> Result<(), Error> {
    step(Step::Rights)?;
    privileges::keep_only(privileges::needed(&config, purpose))?;
    source.rights_are_given_up().map_err(Error::Runtime)?;
    let backend = match purpose {
        Purpose::Daemon => build::backend(&config),
        Purpose::DnsOnly => None,
    };
    step(Step::Prepare)?;
    // Before any other descriptor: see `firewall::nftables::Owner`.
    let firewall = backend.map(firewall::Backend::prepare).transpose()?;
    step(Step::Claim)?;
    let _alone = firewall.is_some().then(alone::claim).transpose()?;
    let budget = limits::Budget::take();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("snet")
        .build()
        .map_err(Error::Runtime)?;
    let result = runtime.block_on(async {
        Daemon::start(config, purpose, source, firewall, budget).await?.supervise().await
    });
    // What is still open after the drain is cut: nobody may wait for a stop.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

/// What `snet cleanup` does, unless a living snet has the rules; in words. `keep_closed`: a network
/// that an earlier run left closed stays so.
///
/// # Errors
/// [`Error::Alone`]; what the tools or the kernel say.
pub fn cleanup(keep_closed: bool) -> Result<String, Error> {
    if let Some(pid) = alone::holder() {
        return Err(Error::Alive { pid });
    }
    if keep_closed && firewall::is_closed()? {
        return Ok("the network stays closed, as firewall.on-failure says; \
                   `snet cleanup` without --keep-closed opens it"
            .into());
    }
    Ok(firewall::cleanup()?.to_string())
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
    /// Closed when the resolver has ended.
    resolver: oneshot::Receiver<()>,
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
        budget: limits::Budget,
    ) -> Result<Self, Error> {
        let signals = Signals::new().map_err(Error::Runtime)?;
        let config = build::possible(config);
        let token = Token::new().map_err(Error::Runtime)?;
        let refusal = match prepared {
            None => Refusal::Harmless,
            Some(_) => Refusal::Fatal,
        };
        let outbound = Outbound::new(Fwmark::SNET, refusal).within(Allowance::new(budget.sockets));
        outbound.probe().map_err(Error::Mark)?;
        let control = Control::open(&config, purpose)?;

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
        let resolver = dns::bind(
            build::dns(&config, &families, Some(&token)),
            outbound.clone(),
            current.clone(),
        )
        .map_err(|source| Error::Dns { source })?;
        let resolver = match prepared.as_ref().and_then(|_| origins::open()) {
            Some(origins) => resolver.with_origins(origins),
            None => resolver,
        };

        let firewall = Responsible::default();
        step(Step::Bootstrap)?;
        let bootstrap = bootstrap(&config, &endpoints, &outbound, &firewall).await;

        let mut tasks = JoinSet::new();
        // After an error it is dropped before the tasks, and so tells them.
        let (stop, stopped) = watch::channel(false);
        let stats = Arc::new(Stats::default());
        let inbound = Inbound::new(
            Intercept::Redirect,
            current.clone(),
            outbound.clone(),
            stats,
            budget.connections,
        );
        let inbound = Arc::new(inbound.answering(token.clone()));
        inbound.share_by_source(config.mode == Mode::Router);
        for (address, listener) in listeners {
            let accepting = Arc::clone(&inbound).accept(listener, stopped.clone());
            tasks.spawn(async move {
                accepting.await.map_err(|source| Error::Accept { address, source })
            });
        }
        let (orders, told) = mpsc::unbounded_channel();
        let (answering, resolver_ended) = oneshot::channel::<()>();
        let resolving = dns::spawn(resolver, told, stopped.clone());
        tasks.spawn(supervised("resolver", async move {
            let _answering = answering;
            resolving.await
        }));
        let bootstrap = tasks.spawn(supervised("bootstrap", bootstrap.keep_fresh(stopped.clone())));

        // The rules come last: everything they lead to answers by now.
        step(Step::Rules)?;
        let installed = prepared.is_some();
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
        let act = Capture {
            firewall: Arc::clone(&firewall),
            current: current.clone(),
            ports: [config.listen.tcp_port, config.listen.dns_port],
        };
        let mut heartbeat = Heartbeat::new(
            act,
            Proof::new(token.clone(), Arc::clone(&inbound)),
            Parts {
                outbound: outbound.clone(),
                listening: families.clone(),
                tcp: (purpose == Purpose::Daemon).then_some(config.listen.tcp_port),
                dns: config.listen.dns_port,
            },
            firewall.captures(),
            Policy {
                is_closed: config.firewall.on_failure == OnFailure::Closed,
                blocks_ipv6: config.firewall.ipv6 == firewall::Ipv6::Block,
            },
        );
        if installed {
            heartbeat.prove().await.map_err(Error::NotCaptured)?;
            firewall.with(firewall::Installed::commit);
            firewall.with(|handle| handle.on_change(heartbeat.nudge()));
        }
        let (telling, moves) = mpsc::channel(1);
        tasks.spawn(supervised("surroundings", surroundings::watch(telling, stopped.clone())));
        tasks.spawn(supervised("heartbeat", heartbeat.beat(stopped)));
        let (asking, requests) = mpsc::channel(1);
        if let Some(control) = control {
            tasks.spawn(supervised("control", control.serve(asking)));
        }
        let world = World {
            config,
            purpose,
            source,
            outbound,
            token,
            families,
            endpoints,
            current,
            orders,
        };
        let ready = world.describe();
        step(Step::Ready)?;
        info!("ready: {ready}");
        notify::ready(&ready);
        let resolver = resolver_ended;
        Ok(Daemon {
            world,
            firewall,
            inbound,
            tasks,
            resolver,
            bootstrap,
            stop,
            signals,
            requests,
            moves,
        })
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
        let fails = result.is_err();
        let released = if fails && self.world.config.firewall.on_failure == OnFailure::Closed {
            self.firewall.abandon().await;
            Ok(())
        } else {
            self.firewall.release().await
        };
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
        let removed = if fails && self.world.config.firewall.on_failure == OnFailure::Closed {
            // The drop leaves them.
            Ok(())
        } else {
            self.firewall.remove().await
        };
        fault::pass(Step::Removed);
        if tokio::time::timeout(LAST_ANSWERS, &mut self.resolver).await.is_err() {
            warn!("dns.cache-file: the disk takes too long; answers of this run may be lost");
        }
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
        build::dns(config, &[], None),
        outbound.clone(),
        Box::new(ExemptServers(Arc::clone(firewall))),
    )
    .await
}

/// Turns an end that was not asked for into an error.
async fn supervised(name: &'static str, task: impl Future<Output = bool>) -> Result<(), Error> {
    // `true`: it ended because it was told to; then `supervise` no longer looks.
    if task.await { Ok(()) } else { Err(Error::Died(name)) }
}

/// Binds the redirect port on every address, also on one that this machine does not have now.
fn listen_tcp(config: &Config) -> Result<Vec<(IpAddr, TcpListener)>, Error> {
    let bind = |ip: &IpAddr| {
        if !listen::is_here(*ip) {
            warn!("{ip} is no address of this machine now; it is listened on as soon as it is");
        }
        let address = SocketAddr::new(*ip, config.listen.tcp_port);
        let listener = listen::tcp(address);
        Ok((*ip, listener.map_err(|source| Error::Listen { address, source })?))
    };
    config.listen.addresses.iter().map(bind).collect()
}
