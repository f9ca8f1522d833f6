//! The start, in stages that each return a value: bind every socket, build what serves them, let it
//! serve, install the rules, prove that they capture, watch.
//!
//! The rules come last: everything they lead to answers by then. A stage that fails drops what the
//! stages before have made: first the tasks, then the owner of the rules, which removes them.

use super::capture::Capture;
use super::control::ControlSocket;
use super::delays::DelayTests;
use super::error::{Error, step};
use super::generation::{ConfigSource, Generation, Parts};
use super::heartbeat::{Heartbeat, Listeners, LossPolicy};
#[cfg(feature = "web")]
use super::insight::DaemonInsight;
use super::limits::Budget;
use super::pins::KeptPins;
use super::proof::Proof;
use super::reload_history::ReloadHistory;
use super::shared_rules::{RulesOwner, TeachKernel};
use super::signals::Signals;
use super::subscriptions::Fetching;
use super::supervise::Daemon;
use super::tasks::Tasks;
use super::today::{DayLedger, DayMoment};
use super::{build, list_watcher, network_watcher, notify, origins};
#[cfg(feature = "web")]
use crate::config::HttpAccess;
use crate::config::{Config, Mode, Purpose};
use crate::dispatch::Current;
use crate::dns;
use crate::fault::Step;
use crate::firewall::{self, OnFailure};
use crate::inbound::Intercept;
use crate::inbound::tcp::Inbound;
use crate::inbound::token::Token;
use crate::mark::Fwmark;
use crate::net::allowance::Allowance;
use crate::net::{Outbound, Refusal, listen};
use crate::stats::Stats;
use crate::task::{self, JoinSet};
use crate::udp::{self, BoundDatagrams, DatagramRelay};
#[cfg(feature = "web")]
use crate::web::Web;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{info, warn};

/// Starts everything. `prepared`: the backend that installs rules, if there is one.
///
/// # Errors
/// What kept it from starting; nothing is left in the kernel.
pub(super) async fn start(
    config: Config,
    purpose: Purpose,
    source: Arc<dyn ConfigSource>,
    prepared: Option<firewall::Prepared>,
    budget: Budget,
) -> Result<Daemon, Error> {
    let signals = Signals::new().map_err(Error::Runtime)?;
    let config = build::possible(config);
    let endpoints = build::endpoints(&config, None);
    let plugins = build::plugins(&config, &endpoints, None);
    let generation = Generation { config, endpoints, plugins };
    let captures = prepared.is_some();
    let sockets = bind(&generation, purpose, captures, &budget)?;
    #[cfg(feature = "web")]
    let web = listen_web(&generation.config)?;
    let kept_pins = (purpose == Purpose::Daemon).then(KeptPins::here).flatten();
    if let Some(kept) = &kept_pins {
        sockets.current.load().take_over_pins(&kept.read());
    }
    step(Step::Bootstrap)?;
    let (parts, mut tasks, control) = serve(&generation, sockets, source, purpose, &budget).await;
    step(Step::Rules)?;
    if let Some(prepared) = prepared {
        install(&generation, &parts, prepared).await?;
    }
    let heartbeat = prove(&generation, &parts, captures).await?;
    let (reporting, changes) = mpsc::channel(1);
    tasks.spawn("network watcher", network_watcher::watch(reporting, tasks.stopped()));
    let (watching, watched) = watch::channel(generation.config.rules.watched.clone());
    let (noticing, list_changes) = mpsc::channel(1);
    tasks.spawn("list watcher", list_watcher::watch(watched, noticing, tasks.stopped()));
    tasks.spawn("heartbeat", heartbeat.run(tasks.stopped()));
    let (asking, requests) = mpsc::channel(1);
    #[cfg(feature = "web")]
    if let Some((HttpAccess { address, secret, ui }, listener)) = web {
        let (stats, log) = (Arc::clone(&parts.stats), parts.source.log().clone());
        let insight = DaemonInsight { requests: asking.clone(), stats, log };
        let web = Arc::new(Web::new(Box::new(insight), secret).beside(ui));
        let serving = web.serve(listener, tasks.stopped());
        let address = address.ip();
        tasks.spawn_fallible(async move {
            serving.await.map_err(|source| Error::Accept { address, source })
        });
    }
    if let Some(control) = control {
        tasks.spawn("control", control.serve(asking));
    }
    generation.start_plugins();
    let ready = generation.describe(&parts);
    step(Step::Ready)?;
    info!("ready: {ready}");
    notify::ready(&ready);
    let asking = JoinSet::new();
    let (fetching, arrivals) = Fetching::new();
    Ok(Daemon {
        generation,
        parts,
        tasks,
        signals,
        requests,
        changes,
        list_changes,
        watching,
        asking,
        fetching,
        arrivals,
        unkept: Vec::new(),
        kept_pins,
        delay_tests: DelayTests::default(),
    })
}

/// What is bound, and not yet served.
struct BoundSockets {
    outbound: Outbound,
    token: Token,
    control: Option<ControlSocket>,
    redirect: Vec<(IpAddr, TcpListener)>,
    /// The addresses that are really listened on.
    listening: Vec<IpAddr>,
    current: Current,
    resolver: dns::BoundResolver,
    /// Where rules are installed.
    datagrams: Option<BoundDatagrams>,
}

fn bind(
    generation: &Generation,
    purpose: Purpose,
    captures: bool,
    budget: &Budget,
) -> Result<BoundSockets, Error> {
    let Generation { config, endpoints, plugins } = generation;
    let token = Token::new().map_err(Error::Runtime)?;
    let refusal = if captures { Refusal::Fatal } else { Refusal::Harmless };
    let outbound = Outbound::new(Fwmark::SNET, refusal).within(Allowance::new(budget.sockets));
    outbound.probe().map_err(Error::Mark)?;
    let control = ControlSocket::open(config, purpose)?;

    step(Step::Listen)?;
    let redirect = match purpose {
        Purpose::Daemon => listen_tcp(config)?,
        Purpose::DnsOnly => Vec::new(),
    };
    let listening = match purpose {
        Purpose::Daemon => redirect.iter().map(|(address, _)| *address).collect(),
        Purpose::DnsOnly => config.listen.addresses.clone(),
    };
    let captures_datagrams = captures && config.may_capture_datagrams();
    let datagrams = captures_datagrams.then(|| listen_udp(config)).transpose()?;
    let current = Current::new(build::dispatcher(config, &outbound, endpoints, plugins, None));
    step(Step::Resolver)?;
    let settings = build::dns(config, &listening, Some(&token));
    let resolver = dns::bind(settings, outbound.clone(), current.clone())
        .map_err(|source| Error::Dns { source })?;
    let resolver = match captures.then(origins::open).flatten() {
        Some(origins) => resolver.with_origins(origins),
        None => resolver,
    };
    Ok(BoundSockets { outbound, token, control, redirect, listening, current, resolver, datagrams })
}

/// Binds the redirect port on every address, also on one that this machine does not have now.
fn listen_tcp(config: &Config) -> Result<Vec<(IpAddr, TcpListener)>, Error> {
    let bind = |ip: &IpAddr| {
        if !listen::is_here(*ip) {
            warn!("{ip} is no address of this machine now; it is listened on as soon as it is");
        }
        let address = SocketAddr::new(*ip, config.listen.tcp_port);
        Ok((*ip, listen_on("listen.tcp-port", address)?))
    };
    config.listen.addresses.iter().map(bind).collect()
}

/// Binds the port of `control.http`.
#[cfg(feature = "web")]
fn listen_web(config: &Config) -> Result<Option<(HttpAccess, TcpListener)>, Error> {
    let Some(access) = config.control_http.clone() else { return Ok(None) };
    let listener = listen_on("control.http", access.address)?;
    Ok(Some((access, listener)))
}

/// Binds what this key names.
fn listen_on(key: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    listen::tcp(address).map_err(|source| Error::Listen { key, address, source })
}

/// Binds the port that captured datagrams are taken to.
fn listen_udp(config: &Config) -> Result<BoundDatagrams, Error> {
    let port = config.listen.tcp_port;
    let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    udp::bind(port).map_err(|source| Error::ListenUdp { address, source })
}

/// Resolves the names of the proxies' servers, and answers on every socket but the control socket.
async fn serve(
    generation: &Generation,
    sockets: BoundSockets,
    source: Arc<dyn ConfigSource>,
    purpose: Purpose,
    budget: &Budget,
) -> (Parts, Tasks, Option<ControlSocket>) {
    let BoundSockets {
        outbound,
        token,
        control,
        redirect,
        listening,
        current,
        resolver,
        datagrams,
    } = sockets;
    let firewall = RulesOwner::default();
    let bootstrap = generation.bootstrap(&outbound, &firewall).await;
    let mut tasks = Tasks::new();
    let stats: Arc<Stats> = Arc::default();
    let inbound = Inbound::new(
        Intercept::Redirect,
        current.clone(),
        outbound.clone(),
        Arc::clone(&stats),
        budget.connections,
    );
    let inbound = Arc::new(inbound.answering(token.clone()).within(budget.relay()));
    let by_source = generation.config.mode == Mode::Router;
    inbound.share_by_source(by_source);
    let datagrams_by_source = datagrams.map(|bound| {
        let by_source = Arc::new(AtomicBool::new(by_source));
        let relay = DatagramRelay {
            current: current.clone(),
            outbound: outbound.clone(),
            token: token.clone(),
            stats: Arc::clone(&stats),
            limits: budget.datagrams,
            by_source: Arc::clone(&by_source),
        };
        tasks.spawn("UDP relay", relay.spawn(bound, tasks.stopped()));
        by_source
    });
    for (address, listener) in redirect {
        let accepting = Arc::clone(&inbound).accept(listener, tasks.stopped());
        tasks.spawn_fallible(async move {
            accepting.await.map_err(|source| Error::Accept { address, source })
        });
    }
    let (orders, ordered) = mpsc::unbounded_channel();
    let resolver = resolver.counting(Arc::clone(&stats)).asking_for(budget.names);
    tasks.spawn_resolver(dns::spawn(resolver, ordered, tasks.stopped()));
    tasks.keep_fresh(bootstrap);
    let parts = Parts {
        purpose,
        source,
        outbound,
        token,
        listening,
        current,
        inbound,
        datagrams_by_source,
        stats,
        board: Arc::default(),
        began: Instant::now(),
        reloads: ReloadHistory::default(),
        today: Arc::new(DayLedger::new(DayMoment::now())),
        orders,
        firewall,
    };
    (parts, tasks, control)
}

/// Installs the rules. What they capture is answered by now.
async fn install(
    generation: &Generation,
    parts: &Parts,
    prepared: firewall::Prepared,
) -> Result<(), Error> {
    let Generation { config, endpoints, .. } = generation;
    let Parts { firewall, listening, current, .. } = parts;
    let ruleset = build::ruleset(config, listening, endpoints)?;
    let installing = task::spawn_blocking(move || prepared.install(ruleset));
    firewall.hold(installing.await.map_err(|_| Error::Died("firewall"))??);
    step(Step::Installed)?;
    // What was resolved since the ruleset was built.
    let resolved = endpoints.iter().flat_map(|endpoint| endpoint.addresses());
    firewall.with(|handle| handle.exempt(resolved.map(|address| address.ip()).collect()));
    current.load().learned().connect_kernel(Box::new(TeachKernel(Arc::clone(firewall))));
    Ok(())
}

/// Proves that the installed rules capture, and keeps them from here on. Returns the heartbeat that
/// keeps them active.
async fn prove(
    generation: &Generation,
    parts: &Parts,
    captures: bool,
) -> Result<Heartbeat<Capture>, Error> {
    let Generation { config, .. } = generation;
    let Parts { firewall, listening, outbound, token, inbound, current, purpose, .. } = parts;
    let Parts { datagrams_by_source, board, .. } = parts;
    let effects = Capture {
        firewall: Arc::clone(firewall),
        current: current.clone(),
        ports: [config.listen.tcp_port, config.listen.dns_port],
        board: Arc::clone(board),
    };
    let mut heartbeat = Heartbeat::new(
        effects,
        Proof::new(token.clone(), Arc::clone(inbound)),
        Listeners {
            outbound: outbound.clone(),
            addresses: listening.clone(),
            tcp: (*purpose == Purpose::Daemon).then_some(config.listen.tcp_port),
            dns: config.listen.dns_port,
            datagrams: datagrams_by_source
                .as_ref()
                .map(|_| (config.listen.tcp_port, token.clone())),
        },
        firewall.captures(),
        LossPolicy {
            is_closed: config.firewall.on_failure == OnFailure::Closed,
            blocks_ipv6: config.firewall.ipv6 == firewall::Ipv6::Block,
        },
    );
    if captures {
        heartbeat.prove().await.map_err(Error::NotCaptured)?;
        firewall.with(firewall::Installed::commit);
        firewall.with(|handle| handle.on_change(heartbeat.nudge()));
    }
    Ok(heartbeat)
}
