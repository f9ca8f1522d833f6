//! What a configuration becomes in the running daemon, and what stays the same under all of them.
//!
//! A [`Generation`] is what a reload exchanges. [`Parts`] are bound, chosen or begun once, at the
//! start. A reload turns the present generation and the parts into the next generation; nothing
//! else of the daemon knows of it.

use super::build;
use super::capture_board::CaptureBoard;
use super::reload_history::ReloadHistory;
use super::shared_rules::{ExemptServers, RulesOwner};
use super::today::DayLedger;
use crate::config::{self, Config, Purpose};
use crate::dispatch::Current;
use crate::dns;
use crate::dns::bootstrap::Bootstrap;
use crate::inbound::tcp::Inbound;
use crate::inbound::token::Token;
use crate::log::Log;
use crate::net::Outbound;
use crate::plugin::Plugin;
use crate::proxy::endpoint::Endpoint;
use crate::stats::Stats;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

/// How long a stop waits for a plugin; it is killed after a second.
const PLUGIN_END: Duration = Duration::from_secs(2);

/// Where the configuration comes from, also for a reload, and what else follows it.
pub trait ConfigSource: Send + Sync {
    /// Reads it again.
    ///
    /// # Errors
    /// All that is wrong with it.
    fn load(&self) -> Result<Config, config::Error>;

    /// The log, whose level it says.
    fn log(&self) -> &Log;

    /// It is in force now.
    fn taken(&self, config: &Config);

    /// Called once, at the start: a thread that is started now has no right that the daemon does
    /// not keep.
    ///
    /// # Errors
    /// No thread can be had.
    fn rights_are_given_up(&self) -> io::Result<()>;
}

/// A configuration, and what was made of it.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) config: Config,
    /// One for each `[[proxy]]`.
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    /// One for each `[[proxy]]` that has one.
    pub(super) plugins: Vec<Option<Arc<Plugin>>>,
}

/// What every generation uses.
pub(super) struct Parts {
    pub(super) purpose: Purpose,
    pub(super) source: Arc<dyn ConfigSource>,
    pub(super) outbound: Outbound,
    /// The health check's proof of capture is answered with it.
    pub(super) token: Token,
    /// The addresses that are really listened on.
    pub(super) listening: Vec<IpAddr>,
    /// The dispatcher of the present generation.
    pub(super) current: Current,
    pub(super) inbound: Arc<Inbound>,
    /// Whether UDP sessions are shared among sources; `None`: no captured UDP is relayed.
    pub(super) datagrams_by_source: Option<Arc<AtomicBool>>,
    pub(super) stats: Arc<Stats>,
    /// What the heartbeat found last.
    pub(super) board: Arc<CaptureBoard>,
    /// The start.
    pub(super) began: Instant,
    pub(super) reloads: ReloadHistory,
    /// What today began with.
    pub(super) today: Arc<DayLedger>,
    /// To the resolver.
    pub(super) orders: mpsc::UnboundedSender<dns::Order>,
    pub(super) firewall: RulesOwner,
}

impl Generation {
    /// Whether foreign datagrams go through a proxy, where rules are installed.
    pub(super) fn captures_datagrams(&self) -> bool {
        self.config.datagrams().captures()
    }

    /// A plugin that cannot work is told at once, and not when its proxy is needed.
    pub(super) fn start_plugins(&self) {
        self.plugins.iter().flatten().for_each(|plugin| plugin.start());
    }

    /// Ends all of them. Their last connections are cut by then.
    pub(super) async fn stop_plugins(&self) {
        self.plugins.iter().flatten().for_each(|plugin| plugin.stop());
        for plugin in self.plugins.iter().flatten() {
            // What is left of one is killed with this process.
            let _ = timeout(PLUGIN_END, plugin.is_gone()).await;
        }
    }

    /// For the log line that says "ready".
    pub(super) fn describe(&self, parts: &Parts) -> String {
        match parts.purpose {
            Purpose::Daemon => build::describe(&self.config, &parts.listening),
            Purpose::DnsOnly => build::describe_dns(&self.config),
        }
    }

    /// Resolves the names of the proxies' servers, for a bounded time. Their addresses join the
    /// kernel's set of servers, if rules are installed by then.
    pub(super) async fn bootstrap(&self, outbound: &Outbound, firewall: &RulesOwner) -> Bootstrap {
        let exempt = Box::new(ExemptServers(Arc::clone(firewall)));
        let settings = build::dns(&self.config, &[], None);
        dns::bootstrap::start(self.endpoints.clone(), settings, outbound.clone(), exempt).await
    }
}
