//! Another configuration while the daemon runs.
//!
//! Theory of operation. The next generation is built beside the present one: read, checked, names
//! of new servers resolved, the network looked at. Until then nothing has changed, but that
//! addresses of new servers are exempt already, and whatever is wrong is told and leaves it so.
//! Then, in this order:
//!
//! 1. **The dispatcher** is swapped. A connection that is captured from now on is judged by the new
//!    rules, whichever rules captured it; what is being relayed keeps the dispatcher it began with.
//! 2. **The kernel's rules** are exchanged ([`firewall::Installed::replace`]). If that fails, or if
//!    the new rules do not capture, the old dispatcher and the old rules come back.
//!    What names taught is forgotten and told anew if the rules for names are others.
//! 3. **The resolver** gets its settings; queries in flight are answered by the old ones. It is the
//!    last, since its answers teach router and kernel, and a failure before leaves it as it is.
//!
//! What goes on: listeners, connections, the heartbeat; proxies whose entry is the same, with what
//! is known of their health; plugins of the same program, options and server; addresses of servers
//! that are known; what names taught if the rules for names are the same ([`build::dispatcher`]);
//! answers and verdicts if they would be the same ([`dns::Settings`]).
//!
//! What is bound, or chosen once, cannot change: see [`needs_restart`].

use super::arrival::Arrival;
use super::build;
use super::error::{Error, step};
use super::generation::{Generation, Parts};
use super::proof::{CaptureWay, Finding, Proof};
use super::shared_rules::TeachKernel;
use crate::config::{self, BackendChoice, Config, Mode, Purpose};
use crate::dispatch::Dispatcher;
use crate::dns::bootstrap::Bootstrap;
use crate::family::Family;
use crate::fault::{self, Step};
use crate::firewall::{self, Ruleset};
use crate::plugin::child;
use crate::task;
use crate::{dns, exit};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tracing::{error, info};

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReloadError {
    /// The file.
    #[error("{0}")]
    Config(config::Error),
    /// Keys that only a start reads.
    #[error("the file changes {}, which only a start reads: restart snet", .0.join(", "))]
    Fixed(Vec<&'static str>),
    /// The rest.
    #[error(transparent)]
    Daemon(#[from] Error),
}

impl ReloadError {
    /// What the command that asked for it exits with.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            ReloadError::Config(_) => exit::CONFIG,
            ReloadError::Fixed(_) => exit::UNAVAILABLE,
            ReloadError::Daemon(error) => error.exit_code(),
        }
    }
}

/// What the next generation is made of.
pub(super) enum WantedConfig<'a> {
    /// The file, which is read again.
    File {
        /// Bodies of subscriptions that no file has.
        unkept: &'a [Arrival],
    },
    /// The present configuration with other servers: the file may be in the middle of an edit.
    With(Box<Config>),
    /// The present configuration with the lists that their files have now.
    Lists,
}

/// Puts the next generation into the present one's place. Returns it, and what keeps the addresses
/// of its servers fresh.
///
/// # Errors
/// Nothing has changed, and why; but for [`Error::Died`]: the kernel may have rules of either.
pub(super) async fn reload(
    parts: &Parts,
    present: &Generation,
    wanted: WantedConfig<'_>,
) -> Result<(Generation, Bootstrap), ReloadError> {
    step(Step::Reload)?;
    let config = build::possible(match wanted {
        WantedConfig::File { unkept } => with_bodies(load(parts).await?, unkept),
        WantedConfig::With(config) => *config,
        WantedConfig::Lists => with_lists(&present.config).await?,
    });
    let mut fixed = needs_restart(&present.config, &config);
    let captures_datagrams = config.datagrams().captures();
    let has_rules = parts.firewall.captures().contains(&true);
    if has_rules && captures_datagrams && parts.datagrams_by_source.is_none() {
        // It needs a listener, and a right that the start has given up.
        fixed.push("firewall.udp or firewall.quic (from no capture to \"proxy\")");
    }
    if !fixed.is_empty() {
        return Err(ReloadError::Fixed(fixed));
    }
    let former = parts.current.load();
    let running = build::Running {
        config: &present.config,
        endpoints: &present.endpoints,
        plugins: &present.plugins,
        dispatcher: &former,
    };
    let endpoints = build::endpoints(&config, Some(&running));
    let plugins = build::plugins(&config, &endpoints, Some(&running));
    let dispatcher =
        build::dispatcher(&config, &parts.outbound, &endpoints, &plugins, Some(&running));
    let next = Generation { config, endpoints, plugins };
    let bootstrap = next.bootstrap(&parts.outbound, &parts.firewall).await;
    exchange(parts, present, &next, Arc::new(dispatcher), &former).await?;
    former.is_succeeded_by(&parts.current.load());
    next.start_plugins();
    // A resolver that died ends the daemon elsewhere.
    let settings = build::dns(&next.config, &parts.listening, Some(&parts.token));
    let _ = parts.orders.send(dns::Order::Settings(Box::new(settings)));
    let by_source = next.config.mode == Mode::Router;
    parts.inbound.share_by_source(by_source);
    if let Some(shared) = &parts.datagrams_by_source {
        shared.store(by_source, Ordering::Relaxed);
    }
    parts.source.taken(&next.config);
    Ok((next, bootstrap))
}

/// The same with these bodies, as far as they are of use to it.
fn with_bodies(mut config: Config, unkept: &[Arrival]) -> Config {
    for Arrival { name, body, .. } in unkept {
        config = config.with_body(name, body).unwrap_or(config);
    }
    config
}

/// A list of a hundred thousand names is not read on a thread that serves connections.
async fn load(parts: &Parts) -> Result<Config, ReloadError> {
    let source = Arc::clone(&parts.source);
    read(move || source.load()).await
}

/// The same with the lists as they are now.
async fn with_lists(present: &Config) -> Result<Config, ReloadError> {
    let present = present.clone();
    let config = read(move || present.with_lists()).await?;
    for list in &config.rules.lists {
        info!("list {list}");
    }
    Ok(config)
}

async fn read(
    reading: impl FnOnce() -> Result<Config, config::Error> + Send + 'static,
) -> Result<Config, ReloadError> {
    task::spawn_blocking(reading)
        .await
        .map_err(|_| Error::Died("the reading of the configuration"))?
        .map_err(ReloadError::Config)
}

/// Swaps the dispatcher and exchanges the kernel's rules, or leaves both as they were.
async fn exchange(
    parts: &Parts,
    present: &Generation,
    next: &Generation,
    dispatcher: Arc<Dispatcher>,
    former: &Arc<Dispatcher>,
) -> Result<(), Error> {
    let Parts { current, firewall, purpose, .. } = parts;
    let is_captured =
        *purpose == Purpose::Daemon && next.config.firewall.backend != BackendChoice::None;
    let rules = is_captured.then(|| ruleset(parts, next)).transpose()?;
    let before = captured(parts).await;
    step(Step::Rebuilt)?;
    current.swap(Arc::clone(&dispatcher));
    fault::pass(Step::Swapped);
    if let Some(rules) = rules
        && let Err(error) = firewall.replace(rules).await
    {
        current.swap(Arc::clone(former));
        return Err(error);
    }
    fault::pass(Step::Turned);
    if is_captured && let Some(why) = lost_by(parts, before).await {
        current.swap(Arc::clone(former));
        let back = match ruleset(parts, present) {
            Ok(rules) => firewall.replace(rules).await,
            Err(error) => Err(error),
        };
        if let Err(error) = back {
            error!("reload: the way back failed: {error}");
            return Err(Error::Died("the way back of a reload"));
        }
        return Err(Error::NotCaptured(why));
    }
    if !Arc::ptr_eq(dispatcher.learned(), former.learned()) {
        // First, so that an address which the former one is just teaching does not come after
        // `forget`.
        former.learned().disconnect_kernel();
        firewall.with(firewall::Installed::forget);
        if is_captured {
            let kernel = TeachKernel(Arc::clone(firewall));
            dispatcher.learned().connect_kernel(Box::new(kernel));
        }
    }
    Ok(())
}

fn ruleset(parts: &Parts, generation: &Generation) -> Result<Ruleset, Error> {
    let Generation { config, endpoints, .. } = generation;
    Ok(build::ruleset(config, &parts.listening, endpoints)?)
}

/// What the rules capture: the families, IPv4 first, of each way.
fn captures(parts: &Parts) -> [(CaptureWay, [bool; 2]); 2] {
    [
        (CaptureWay::Redirect, parts.firewall.captures()),
        (CaptureWay::Datagrams, parts.firewall.captures_datagrams()),
    ]
}

/// What arrives at this moment: the families, IPv4 first, of each way.
async fn captured(parts: &Parts) -> [[bool; 2]; 2] {
    let proof = Proof::new(parts.token.clone(), Arc::clone(&parts.inbound));
    let of = async |(way, captures): (CaptureWay, [bool; 2]), place: usize| {
        let family = Family::ALL[place];
        captures[place] && matches!(proof.of(way, family).await, Finding::Captured)
    };
    let [redirect, datagrams] = captures(parts);
    let (v4, v6, udp4, udp6) =
        tokio::join!(of(redirect, 0), of(redirect, 1), of(datagrams, 0), of(datagrams, 1));
    [[v4, v6], [udp4, udp6]]
}

/// What the new rules no longer capture and the old ones did. A family without a listener is not
/// looked at.
async fn lost_by(parts: &Parts, before: [[bool; 2]; 2]) -> Option<String> {
    let proof = Proof::new(parts.token.clone(), Arc::clone(&parts.inbound));
    for ((way, captures), before) in captures(parts).into_iter().zip(before) {
        for (place, family) in Family::ALL.into_iter().enumerate() {
            if !before[place] || !captures[place] {
                continue;
            }
            // A single answer may be late.
            for last in [false, true] {
                match proof.of(way, family).await {
                    Finding::Broken(broken) if last => return Some(format!("{family}: {broken}")),
                    Finding::Broken(_) => {}
                    Finding::Captured | Finding::NoRoute | Finding::Unprovable(_) => break,
                }
            }
        }
    }
    None
}

/// Root's rights for a plugin are kept by a start that has one, and are gone after any other.
fn has_plugin(config: &Config) -> bool {
    config.proxies.iter().any(|proxy| proxy.kind.plugin().is_some())
}

/// The keys that differ and that only a start reads.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let keys = [
        ("listen.address", old.listen.addresses != new.listen.addresses),
        ("listen.tcp-port", old.listen.tcp_port != new.listen.tcp_port),
        ("listen.dns-port", old.listen.dns_port != new.listen.dns_port),
        ("household.dns", old.household.plain != new.household.plain),
        ("household.dns-over-tls", old.household.tls != new.household.tls),
        ("household.dns-over-https", old.household.https != new.household.https),
        ("firewall.backend", old.firewall.backend != new.firewall.backend),
        ("firewall.on-failure", old.firewall.on_failure != new.firewall.on_failure),
        ("control.socket", old.control_socket != new.control_socket),
        ("control.http", old.control_http != new.control_http),
        ("plugin", !has_plugin(old) && has_plugin(new) && !child::can_drop_root()),
    ];
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mark::Fwmark;
    use crate::net::{Outbound, Refusal};
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    const FIRST: &str = "[[proxy]]
name = \"one\"
type = \"http\"
server = \"one.example:8080\"
[[proxy]]
name = \"two\"
type = \"http\"
server = \"two.example:8080\"
";

    fn config(text: &str) -> Config {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("snet-reload-{}-{number}", std::process::id());
        let path: PathBuf = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        let loaded = Config::load(&path, Purpose::Daemon);
        std::fs::remove_file(&path).unwrap();
        loaded.unwrap().config
    }

    #[test]
    fn what_is_bound_or_chosen_once_needs_a_restart() {
        let old = config(FIRST);
        assert_eq!(needs_restart(&old, &config(FIRST)), [] as [&str; 0]);
        let other = format!(
            "mode = \"router\"\n[listen]\ntcp-port = 2\ndns-port = 3\n[firewall]\n\
             backend = \"none\"\n[control]\nsocket = \"/run/other\"\n{FIRST}"
        );
        let expected = [
            "listen.address",
            "listen.tcp-port",
            "listen.dns-port",
            "firewall.backend",
            "control.socket",
        ];
        assert_eq!(needs_restart(&old, &config(&other)), expected);
        let harmless = format!("scope = \"global\"\n[firewall]\nquic = \"direct\"\n{FIRST}");
        assert_eq!(needs_restart(&old, &config(&harmless)), [] as [&str; 0]);
    }

    #[test]
    fn what_did_not_change_goes_on() {
        let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
        let old = config(FIRST);
        let endpoints = build::endpoints(&old, None);
        let plugins = build::plugins(&old, &endpoints, None);
        let dispatcher = build::dispatcher(&old, &outbound, &endpoints, &plugins, None);
        let running = build::Running {
            config: &old,
            endpoints: &endpoints,
            plugins: &plugins,
            dispatcher: &dispatcher,
        };
        // The first one has another port, the second one stays, and comes first.
        let (one, two) = FIRST.split_at(FIRST.rfind("[[proxy]]").unwrap());
        let new = config(&format!("{two}{}", one.replace("8080", "8081")));
        let next = build::endpoints(&new, Some(&running));
        assert!(Arc::ptr_eq(&next[0], &endpoints[1]));
        assert!(!next.iter().any(|endpoint| Arc::ptr_eq(endpoint, &endpoints[0])));
        let after = build::dispatcher(&new, &outbound, &next, &[None, None], Some(&running));
        let same = |name| {
            let (old, new) = (dispatcher.upstream(name).unwrap(), after.upstream(name).unwrap());
            Arc::ptr_eq(old, new)
        };
        assert!(same("two") && !same("one"));
        assert!(Arc::ptr_eq(after.learned(), dispatcher.learned()));
        // Other rules for names: what they taught is void.
        let rules = config(&format!("[rules]\ndirect = [\"example.com\"]\n{FIRST}"));
        let after = build::dispatcher(&rules, &outbound, &endpoints, &plugins, Some(&running));
        assert!(!Arc::ptr_eq(after.learned(), dispatcher.learned()));
    }
    #[test]
    fn a_plugin_goes_on_while_its_keys_are_the_same() {
        const PLUGIN: &str = "[[proxy]]
type = \"shadowsocks\"
server = \"192.0.2.1:1\"
method = \"aes-128-gcm\"
password = \"a\"
plugin = \"obfs-local\"
plugin-options = \"obfs=http\"
";
        let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
        let old = config(PLUGIN);
        let endpoints = build::endpoints(&old, None);
        let plugins = build::plugins(&old, &endpoints, None);
        let dispatcher = build::dispatcher(&old, &outbound, &endpoints, &plugins, None);
        let running = build::Running {
            config: &old,
            endpoints: &endpoints,
            plugins: &plugins,
            dispatcher: &dispatcher,
        };
        let goes_on = |text: &str| {
            let new = config(text);
            let endpoints = build::endpoints(&new, Some(&running));
            let next = build::plugins(&new, &endpoints, Some(&running));
            let [Some(old), Some(new)] = [&plugins[0], &next[next.len() - 1]] else { panic!() };
            Arc::ptr_eq(old, new)
        };
        assert!(goes_on(&PLUGIN.replace("\"a\"", "\"b\"")));
        assert!(goes_on(&format!("{FIRST}{PLUGIN}")));
        for (key, other) in [("=http", "=tls"), ("obfs-local", "v2ray-plugin"), ("2.1:1", "2.1:2")]
        {
            assert!(!goes_on(&PLUGIN.replace(key, other)), "{other}");
        }
    }
}
