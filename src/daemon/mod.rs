//! The life of the daemon: start, supervise, reload, stop. It alone knows every room.
//!
//! | file | subject |
//! |---|---|
//! | `start` | bind, build, serve, install the rules, prove, watch |
//! | `supervise`, `tasks` | what is waited for while it runs, and the stop |
//! | `generation` | what a configuration becomes, and what outlives it |
//! | `reload` | from one generation to the next |
//! | `build` | from the configuration to the parts, pure |
//! | `heartbeat`, `proof`, `capture` | the health check that keeps the rules active |
//! | `subscriptions`, `subscription_task`, `arrival` | what providers hand out, fetched |
//! | `choosing`, `pins`, `delays` | what an operator pins, and tests |
//! | `shared_rules` | the installed rules and their owner |
//! | `control`, `signals`, `notify` | operators and the service manager |
//! | `seeing`, `explaining`, `insight`, `capture_board`, `here`, `today` | what is shown to them |
//! | `upkeep`, `devices`, `reload_history`, `subject` | the same of lists, hosts and reloads |
//! | `limits`, `memory`, `privileges`, `instance_lock` | what the process may, before all else |
//! | `network_watcher`, `origins` | what the kernel tells |
//! | `list_watcher` | whether the file of a list has changed |
//!
//! Whatever fails on the way, the rules are removed: they belong to a [`firewall::Installed`],
//! whose drop removes them, also when a panic unwinds.

mod arrival;
mod build;
mod capture;
mod capture_board;
mod choosing;
mod control;
mod delays;
mod devices;
mod error;
mod explaining;
mod generation;
mod heartbeat;
mod here;
#[cfg(feature = "web")]
mod insight;
mod instance_lock;
mod limits;
mod list_watcher;
mod memory;
mod network_watcher;
mod notify;
mod origins;
mod pins;
mod privileges;
mod proof;
mod reload;
mod reload_history;
mod rule_views;
mod seeing;
mod shared_rules;
mod signals;
mod start;
mod subject;
#[cfg(feature = "tls")]
mod subscription_task;
mod subscriptions;
mod supervise;
mod tasks;
mod today;
mod upkeep;

pub use control::{ControlReply, Look, PinOrder, Verb, ask};
pub use error::Error;
pub use explaining::explain_by_file;
pub use generation::ConfigSource;
pub use here::here;
pub use subject::Subject;

use crate::config::{self, Config, Offload, Purpose};
use crate::fault::Step;
use crate::firewall::{self, Backend, Ruleset};
use crate::inbound::advice as advice_on;
use crate::proxy::https;
#[cfg(feature = "web")]
use crate::web::MOST_DESCRIPTORS;
use error::step;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Runs until a signal asks to stop.
///
/// # Errors
/// What kept it from starting, or what died while it ran; the rules are gone in either case.
pub fn run(config: Config, purpose: Purpose, source: Arc<dyn ConfigSource>) -> Result<(), Error> {
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
    let _lock = firewall.is_some().then(instance_lock::claim).transpose()?;
    let captures_datagrams = config.may_capture_datagrams();
    let budget = limits::Budget::take(match firewall.is_some() && captures_datagrams {
        true => build::descriptors_of_a_session(&config),
        false => 0,
    });
    #[cfg(feature = "web")]
    let budget = match config.control_http {
        Some(_) => budget.beside(MOST_DESCRIPTORS as u64),
        None => budget,
    };
    https::bound_windows(budget.windows);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("snet")
        .build()
        .map_err(Error::Runtime)?;
    let result = runtime.block_on(async {
        start::start(config, purpose, source, firewall, budget).await?.supervise().await
    });
    // What is still open after the drain is cut: a stop ends within seconds.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

/// What `snet cleanup` does, unless a living snet has the rules; in words. `keep_closed`: a network
/// that an earlier run left closed stays so.
///
/// # Errors
/// [`Error::StillRunning`]; what the tools or the kernel say.
pub fn cleanup(keep_closed: bool) -> Result<String, Error> {
    if let Some(pid) = instance_lock::holder() {
        return Err(Error::StillRunning { pid });
    }
    if keep_closed && firewall::is_closed()? {
        return Ok("the network stays closed, as firewall.on-failure says; \
                   `snet cleanup` without --keep-closed opens it"
            .into());
    }
    Ok(firewall::cleanup()?.to_string())
}

/// What `snet rules` prints; with `sets` exactly what is told to the kernel, else without what long
/// sets hold, and the rules first. Sends nothing: host names of upstream servers are named as such.
///
/// # Errors
/// Router mode: the LAN side cannot be told.
pub fn rules(config: &Config, sets: bool) -> Result<String, Error> {
    let Some(backend) = build::backend(config) else {
        return Ok("# backend = \"none\": no rule is installed\n".into());
    };
    let listeners: Vec<IpAddr> = config.listen.addresses.clone();
    let endpoints = build::endpoints(config, None);
    let mut text = firewall::render(backend, &build::ruleset(config, &listeners, &endpoints)?);
    if !sets {
        text = firewall::folded(&text);
    }
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.is_name()) {
        text.push_str(&format!(
            "# the addresses of {} join the set of upstream servers once they are resolved\n",
            endpoint.host()
        ));
    }
    Ok(text)
}

/// What this machine cannot do of what the configuration wants of the firewall, one line each, for
/// `snet check`. A start says it itself.
pub fn shortfalls(config: &Config) -> Vec<String> {
    let is_plain = !config.datagrams().captures() && config.firewall.offload == Offload::Off;
    let here = if is_plain { None } else { rules_here(config) };
    here.map(|(backend, ruleset)| firewall::shortfalls(backend, ruleset)).unwrap_or_default()
}

/// What else is wrong with the network is told at the start.
fn rules_here(config: &Config) -> Option<(Backend, Ruleset)> {
    let backend = build::backend(config)?;
    let endpoints = build::endpoints(config, None);
    Some((backend, build::ruleset(config, &config.listen.addresses, &endpoints).ok()?))
}

/// The plugins that are not installed here, one line each.
pub fn missing_plugins(config: &Config) -> Vec<String> {
    let missing = |proxy: &config::ProxyConfig| {
        let plugin = proxy.kind.plugin().filter(|plugin| plugin.executable().is_none())?;
        let (name, program) = (&proxy.name, plugin.program());
        Some(format!(
            "there is no program {program:?} here, which the proxy {name:?} has as its plugin: \
             install it, or give plugin its whole path"
        ))
    };
    config.proxies.iter().filter_map(missing).collect()
}

/// What the operator should know of proxies that are programs of this machine. Asks the kernel who
/// they are, and no name server.
pub fn advice(config: &Config) -> Vec<String> {
    if config.firewall.backend == config::BackendChoice::None {
        return Vec::new();
    }
    let here = |proxy: &config::ProxyConfig| {
        let host = if proxy.host == "localhost" { "127.0.0.1" } else { &proxy.host };
        let server = SocketAddr::new(host.parse().ok()?, proxy.port);
        advice_on(&proxy.name, server, &config.rules.exempt_programs)
    };
    config.proxies.iter().filter_map(here).collect()
}
