//! What the operator wants: [`Config`], total and typed.
//!
//! Parse, don't validate: code that holds a `Config` need not check anything. The file format
//! (every key is in `config.example.toml`) is known in this folder only.
//!
//! A section of the file is a file here: its type, its default and the reading of its keys. One
//! call reads a key, `section.key("timeout", &mut servers.timeout, read)`. It says the name, where
//! the value goes (the default is there already) and what is accepted; with it the key is known,
//! is hinted at when it is misspelled, and stands in the summary when it is not the default.
//!
//! A new key thus is: that call; a field with its default in the settings of the part that uses
//! it; a line in `config.example.toml`. A new section is also a file here, with a line in
//! [`read`]'s `config` and a field of [`Config`]. `tests/keys.rs` walks all keys and fails for one
//! that the summary or the example lacks.

mod address;
mod control;
mod difference;
mod dns;
mod error;
mod excerpt;
mod file;
mod firewall;
mod foreign;
mod group;
mod household;
mod import;
mod item;
mod keys;
mod link;
mod list_files;
mod listen;
mod log;
mod method;
mod name_servers;
mod placeholder;
mod plugin;
mod provided;
mod proxy;
mod proxy_kind;
mod proxy_text;
mod quantity;
mod read;
mod record_type;
mod rules;
mod section;
mod shown;
mod source;
mod subscription;
mod summary;
mod tls;

use crate::dns::household::Household;
use crate::log::LogSettings;
use crate::subscription::kept::KeptBody;
use provided::BodyReading;
use read::ConfigText;
use shown::ShownSettings;
use std::path::{Path, PathBuf};

pub use control::{CONTROL_SOCKET, HttpAccess};
pub use dns::DnsConfig;
pub use error::{Error, Excerpt};
pub use firewall::{BackendChoice, DatagramPolicy, FirewallConfig, Offload};
pub use group::GroupConfig;
pub use import::{ImportedConfig, import};
pub use listen::ListenConfig;
pub use provided::Provided;
pub use proxy::ProxyConfig;
pub use proxy_kind::ProxyKind;
pub use proxy_text::proxy_of_link;
pub use rules::RulesConfig;
pub use subscription::{BodyOrigin, FetchVia, KEPT_FOLDER, SubscriptionConfig};

/// The configuration that is taken if no other is named.
pub const CONFIG_FILE: &str = "/etc/snet/config.toml";

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// `mode`
    pub mode: Mode,
    /// `scope`
    pub scope: Scope,
    /// `[listen]`
    pub listen: ListenConfig,
    /// `[[proxy]]`, in order of preference, and behind them what the subscriptions give.
    pub proxies: Vec<ProxyConfig>,
    /// How many of these are the operator's own.
    own_proxies: usize,
    /// `[[group]]`, and those that rules imply; at least one, which carries what no rule gives to
    /// another.
    pub groups: Vec<GroupConfig>,
    /// `[[subscription]]`
    pub subscriptions: Vec<SubscriptionConfig>,
    /// `[household]`
    pub household: Household,
    /// `[dns]`
    pub dns: DnsConfig,
    /// `[rules]`, the lists in files included.
    pub rules: RulesConfig,
    /// `[firewall]`
    pub firewall: FirewallConfig,
    /// `[log]`
    pub log: LogSettings,
    /// `control.socket`
    pub control_socket: PathBuf,
    /// `control.http`
    pub control_http: Option<HttpAccess>,
    /// What `snet check` shows of its keys.
    settings: ShownSettings,
    /// What this was read from, with `rules.watch`.
    text: Option<ConfigText>,
}

/// Whose connections are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Those of this machine.
    Local,
    /// Those of this machine, of LAN hosts and of containers.
    Router,
}

/// What counts as domestic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The China list.
    BypassChina,
    /// Nothing.
    Global,
}

/// What the configuration is read for. A key that only matters elsewhere is still checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The whole daemon: at least one `[[proxy]]` is needed.
    Daemon,
    /// `--dns-only`: a `[[proxy]]` is needed only with `trusted-via = "proxy"`.
    DnsOnly,
}

/// A configuration, and what was noticed while it was read.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is odd without being wrong: one line each, for the log.
    pub warnings: Vec<String>,
    /// The keys that differ from their defaults, as `key = value`, in the order of the file; for
    /// [`Loaded::summary`]. Never a secret.
    changes: Vec<String>,
}

impl Config {
    /// Reads and checks a configuration file and the files it names.
    ///
    /// # Errors
    /// All problems at once.
    pub fn load(path: &Path, purpose: Purpose) -> Result<Loaded, Error> {
        read::load(path, purpose)
    }

    /// The same with another body of the subscription of this name.
    ///
    /// # Errors
    /// There is none of this name, what the body is instead, or why none of its servers can be
    /// used.
    pub fn with_body(&self, name: &str, body: &KeptBody) -> Result<Config, String> {
        let mut config = self.clone();
        config.proxies.truncate(self.own_proxies);
        let own = config.proxies.iter().map(|proxy| proxy.name.clone()).collect();
        let mut named = config.subscriptions.iter_mut().filter(|it| it.name == name);
        let subscription = named.next().ok_or("a subscription that is no longer there")?;
        let (name, names) = (&subscription.name, &subscription.names);
        let (plugins, warm, listen) = (subscription.plugins, subscription.warm, &self.listen);
        let reading = BodyReading { name, names, plugins, warm, listen, own: &own };
        subscription.provided = Provided::of(body, reading)?;
        config.take_provided();
        Ok(config)
    }

    /// The same with the lists that their files have now, if `rules.watch` is set. Nothing else is
    /// read again: the file of the configuration may be in the middle of an edit.
    ///
    /// # Errors
    /// All that is wrong with these files.
    pub fn with_lists(&self) -> Result<Config, Error> {
        let rules = match &self.text {
            Some(text) => text.rules(self.mode, self.scope)?,
            None => self.rules.clone(),
        };
        Ok(Config { rules, ..self.clone() })
    }

    /// Whether there is a subscription of this name.
    pub fn subscribes(&self, name: &str) -> bool {
        self.subscriptions.iter().any(|subscription| subscription.name == name)
    }

    /// Puts what the subscriptions give behind the operator's own proxies.
    fn take_provided(&mut self) {
        let provided = self.subscriptions.iter().flat_map(|it| it.provided.proxies.clone());
        self.proxies.extend(provided);
    }

    /// What becomes of foreign datagrams. As long as a subscription has not said what its servers
    /// carry, they count as carrying them: nothing goes directly meanwhile.
    pub fn datagrams(&self) -> DatagramPolicy {
        let is_awaited = self.subscriptions.iter().any(SubscriptionConfig::is_awaited);
        let carried = is_awaited || self.proxies.iter().any(|proxy| proxy.udp);
        self.firewall.datagrams(carried)
    }

    /// Whether foreign datagrams are captured, or may be once a subscription brings other servers.
    pub fn may_capture_datagrams(&self) -> bool {
        let may_change = !self.subscriptions.is_empty();
        self.datagrams().captures() || may_change && self.firewall.datagrams(true).captures()
    }
}

#[cfg(test)]
mod tests;
