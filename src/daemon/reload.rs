//! Another configuration while the daemon runs.
//!
//! Theory of operation. The new world is built beside the old one: read, checked, names of new servers
//! resolved, the LAN side looked at. Nothing has changed until then, and whatever is wrong is told and
//! leaves it so. Then, in this order:
//!
//! 1. **The dispatcher** is swapped. A connection that is captured from now on is judged by the new
//!    rules, whichever rules captured it; what is being relayed keeps the dispatcher it began with.
//! 2. **The kernel's rules** are turned ([`firewall::Installed::replace`]). If that fails the old
//!    dispatcher comes back, and nothing has changed.
//! 3. **The resolver** gets its settings; queries in flight are answered by the old ones.
//!
//! What goes on: listeners, connections, the pulse; proxies whose entry is the same, with what is known
//! of their health; addresses of servers that are known; what names taught if the rules for names are
//! the same ([`build::dispatcher`]); answers and verdicts if they would be the same
//! ([`dns::Settings`]).
//!
//! What is bound, or chosen once, cannot change: see [`needs_restart`].

use super::control::Answer;
use super::installed::TeachKernel;
use super::proof::{Found, Proof};
use super::surroundings::Moved;
use super::{Daemon, Error, Source, bootstrap, build, notify, step, supervised};
use crate::config::{self, Backend, Config, Mode, Purpose};
use crate::dispatch::Current;
use crate::dns;
use crate::dns::bootstrap::Bootstrap;
use crate::fault::{self, Step};
use crate::firewall::{self, Family};
use crate::inbound::token::Token;
use crate::net::Outbound;
use crate::proxy::endpoint::Endpoint;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

/// What a configuration has become.
pub(super) struct World {
    pub(super) config: Config,
    pub(super) purpose: Purpose,
    pub(super) source: Arc<dyn Source>,
    pub(super) outbound: Outbound,
    /// What the daemon's own proof is answered with.
    pub(super) token: Token,
    /// The addresses that are really listened on.
    pub(super) families: Vec<IpAddr>,
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    pub(super) current: Current,
    /// To the resolver.
    pub(super) orders: mpsc::UnboundedSender<dns::Order>,
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
enum Refused {
    /// The file.
    #[error("{0}")]
    Config(config::Error),
    /// Keys that only a start reads.
    #[error("{} cannot change while snet runs; restart it", .0.join(", "))]
    Fixed(Vec<&'static str>),
    /// The rest.
    #[error(transparent)]
    Daemon(#[from] Error),
}

impl World {
    /// For the log line that says "ready".
    pub(super) fn describe(&self) -> String {
        match self.purpose {
            Purpose::Daemon => build::describe(&self.config, &self.families),
            Purpose::DnsOnly => build::describe_dns(&self.config),
        }
    }
}

impl Daemon {
    /// Reloads, and tells the log, the service manager and the caller what came of it.
    ///
    /// # Errors
    /// [`Error::Died`]: it broke off somewhere, and nobody knows in which world the kernel is.
    pub(super) async fn reload(&mut self) -> (Answer, Result<(), Error>) {
        notify::reloading();
        let result = self.try_reload().await;
        let now = self.world.describe();
        let answer = match result {
            Ok(()) => {
                info!("reloaded: {now}");
                Answer::Done(now.clone())
            }
            Err(Refused::Daemon(error @ Error::Died(_))) => {
                let answer = Answer::Refused(error.kind().exit_code(), error.to_string());
                return (answer, Err(error));
            }
            Err(refused) => {
                let code = refused.exit_code();
                let why = format!("nothing has changed: {refused}");
                match refused {
                    Refused::Daemon(_) => error!("reload: {why}"),
                    Refused::Config(_) | Refused::Fixed(_) => warn!("reload: {why}"),
                }
                Answer::Refused(code, why)
            }
        };
        notify::ready(&now);
        (answer, Ok(()))
    }

    async fn try_reload(&mut self) -> Result<(), Refused> {
        let World { purpose, outbound, token, families, current, .. } = &self.world;
        step(Step::Reload)?;
        let config = build::possible(self.world.load().await?);
        let fixed = needs_restart(&self.world.config, &config);
        if !fixed.is_empty() {
            return Err(Refused::Fixed(fixed));
        }
        let old = current.load();
        let running = Some(&build::Running {
            config: &self.world.config,
            endpoints: &self.world.endpoints,
            dispatcher: &old,
        });
        let endpoints = build::endpoints(&config, running);
        let new = Arc::new(build::dispatcher(&config, outbound, &endpoints, running));
        let bootstrap = bootstrap(&config, &endpoints, outbound, &self.firewall).await;
        let is_captured = *purpose == Purpose::Daemon && config.firewall.backend != Backend::None;
        let ruleset = is_captured
            .then(|| build::ruleset(&config, families, &endpoints).map_err(Error::from))
            .transpose()?;

        let before = self.captured().await;
        step(Step::Rebuilt)?;
        current.swap(Arc::clone(&new));
        fault::pass(Step::Swapped);
        if let Some(ruleset) = ruleset
            && let Err(error) = self.firewall.replace(ruleset).await
        {
            current.swap(old);
            return Err(error.into());
        }
        fault::pass(Step::Turned);
        if is_captured && let Some(why) = self.lost_by(before).await {
            current.swap(old);
            let back = build::ruleset(&self.world.config, families, &self.world.endpoints);
            let back = match back.map_err(Error::from) {
                Ok(back) => self.firewall.replace(back).await,
                Err(error) => Err(error),
            };
            if let Err(error) = back {
                error!("reload: the way back failed: {error}");
                return Err(Error::Died("the way back of a reload").into());
            }
            return Err(Error::NotCaptured(why).into());
        }
        if !Arc::ptr_eq(new.learned(), old.learned()) {
            // Whoever is just telling the kernel of the old ones has to stop first.
            old.learned().disconnect_kernel();
            self.firewall.with(firewall::Installed::forget);
            if is_captured {
                let kernel = TeachKernel(Arc::clone(&self.firewall));
                new.learned().connect_kernel(Box::new(kernel));
            }
        }
        // A resolver that died ends the daemon elsewhere.
        let settings = Box::new(build::dns(&config, families, Some(token)));
        let _ = self.world.orders.send(dns::Order::Settings(settings));
        self.keep_fresh(bootstrap);
        self.inbound.share_by_source(config.mode == Mode::Router);
        self.world.source.taken(&config);
        self.world.endpoints = endpoints;
        self.world.config = config;
        fault::pass(Step::Reloaded);
        Ok(())
    }
}

impl Daemon {
    /// The families, IPv4 first, whose connections and queries arrive at this moment.
    async fn captured(&self) -> [bool; 2] {
        let proof = Proof::new(self.world.token.clone(), Arc::clone(&self.inbound));
        let redirected = self.firewall.captures();
        let of = async |place: usize, family| {
            redirected[place] && matches!(proof.of(family).await, Found::Captured)
        };
        let (v4, v6) = tokio::join!(of(0, Family::V4), of(1, Family::V6));
        [v4, v6]
    }

    /// What the new rules no longer capture and the old ones did; a family that nobody listens for is
    /// none of it.
    async fn lost_by(&self, before: [bool; 2]) -> Option<String> {
        let proof = Proof::new(self.world.token.clone(), Arc::clone(&self.inbound));
        for (place, family) in Family::ALL.into_iter().enumerate() {
            if !before[place] || !self.firewall.captures()[place] {
                continue;
            }
            // One late answer is none.
            for last in [false, true] {
                match proof.of(family).await {
                    Found::Broken(broken) if last => return Some(format!("{family}: {broken}")),
                    Found::Broken(_) => {}
                    Found::Captured | Found::NoRoute | Found::Unprovable(_) => break,
                }
            }
        }
        None
    }

    /// In another network, or after a sleep, the present world begins anew: connections to name servers
    /// are dialled again, proxies are asked again at once, and their names too. Connections of programs
    /// are theirs: keepalive ends those that are dead.
    pub(super) async fn moved(&mut self, Moved { slept }: Moved) {
        let World { config, outbound, endpoints, current, orders, .. } = &self.world;
        current.load().wake();
        // A resolver that died ends the daemon elsewhere.
        let _ = orders.send(dns::Order::Moved { slept });
        let bootstrap = bootstrap(config, endpoints, outbound, &self.firewall).await;
        self.keep_fresh(bootstrap);
    }

    fn keep_fresh(&mut self, bootstrap: Bootstrap) {
        let keeping = bootstrap.keep_fresh(self.stop.subscribe());
        self.bootstrap.abort();
        self.bootstrap = self.tasks.spawn(supervised("bootstrap", keeping));
    }
}

impl World {
    /// A list of a hundred thousand names is not read on a thread that serves connections.
    async fn load(&self) -> Result<Config, Refused> {
        let source = Arc::clone(&self.source);
        let loading = tokio::task::spawn_blocking(move || source.load());
        loading
            .await
            .map_err(|_| Error::Died("the reading of the configuration"))?
            .map_err(Refused::Config)
    }
}

impl Refused {
    fn exit_code(&self) -> u8 {
        match self {
            Refused::Config(_) => super::CONFIG,
            Refused::Fixed(_) => super::UNAVAILABLE,
            Refused::Daemon(error) => error.kind().exit_code(),
        }
    }
}

/// The keys that differ and that only a start reads.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let keys = [
        ("listen.address", old.listen.addresses != new.listen.addresses),
        ("listen.tcp-port", old.listen.tcp_port != new.listen.tcp_port),
        ("listen.dns-port", old.listen.dns_port != new.listen.dns_port),
        ("firewall.backend", old.firewall.backend != new.firewall.backend),
        ("firewall.on-failure", old.firewall.on_failure != new.firewall.on_failure),
        ("control.socket", old.control_socket != new.control_socket),
    ];
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("purpose", &self.purpose).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mark::Fwmark;
    use crate::net::Refusal;
    use std::path::PathBuf;

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
        let name = format!("snet-reload-{}-{:p}", std::process::id(), text);
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
        let dispatcher = build::dispatcher(&old, &outbound, &endpoints, None);
        let running =
            build::Running { config: &old, endpoints: &endpoints, dispatcher: &dispatcher };
        // The first one has another port, the second one stays, and comes first.
        let (one, two) = FIRST.split_at(FIRST.rfind("[[proxy]]").unwrap());
        let new = config(&format!("{two}{}", one.replace("8080", "8081")));
        let next = build::endpoints(&new, Some(&running));
        assert!(Arc::ptr_eq(&next[0], &endpoints[1]));
        assert!(!next.iter().any(|endpoint| Arc::ptr_eq(endpoint, &endpoints[0])));
        let after = build::dispatcher(&new, &outbound, &next, Some(&running));
        let same = |name| {
            let (old, new) = (dispatcher.upstream(name).unwrap(), after.upstream(name).unwrap());
            Arc::ptr_eq(old, new)
        };
        assert!(same("two") && !same("one"));
        assert!(Arc::ptr_eq(after.learned(), dispatcher.learned()));
        // Other rules for names: what they taught is void.
        let rules = config(&format!("[rules]\ndirect = [\"example.com\"]\n{FIRST}"));
        let after = build::dispatcher(&rules, &outbound, &endpoints, Some(&running));
        assert!(!Arc::ptr_eq(after.learned(), dispatcher.learned()));
    }
}
