//! What the operator wants: [`Config`], total and typed.
//!
//! Parse, don't validate: whoever holds a `Config` need not check anything. The file format
//! (section 7 of the design; every key is in `config.example.toml`) is known in this folder only.

mod address;
mod dns;
mod file;
mod item;
mod kernel;
mod keys;
mod listen;
mod proxy;
mod read;
mod rules;
mod section;
mod source;
mod summary;
mod value;

use crate::dns::settings::{AnswerSettings, CacheSettings, PrivacySettings, ServerSettings};
use crate::firewall;
use crate::ipset::IpSet;
use crate::net::dial::Manner;
use crate::proxy::shadowsocks::cipher::Method;
use crate::route;
use crate::secret::Secret;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The default of `control.socket`.
pub use read::CONTROL_SOCKET;

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// `mode`
    pub mode: Mode,
    /// `scope`
    pub scope: Scope,
    /// `[listen]`
    pub listen: Listen,
    /// `[[proxy]]`, in order of preference.
    pub proxies: Vec<Proxy>,
    /// `[dns]`
    pub dns: Dns,
    /// `[rules]`, the lists in files included.
    pub rules: Rules,
    /// `[firewall]`
    pub firewall: Firewall,
    /// `log.level`
    pub log_level: LogLevel,
    /// `control.socket`
    pub control_socket: PathBuf,
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

/// Where the daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// `listen.address`; not empty, no duplicates.
    pub addresses: Vec<IpAddr>,
    /// `listen.tcp-port`; differs from the next.
    pub tcp_port: u16,
    /// `listen.dns-port`
    pub dns_port: u16,
}

/// One `[[proxy]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Unique; by default the server as written, made unique by `#2`, `#3`, ...
    pub name: String,
    /// Host name or address literal, without brackets.
    pub host: String,
    /// Port of the server.
    pub port: u16,
    /// How long a dial may take.
    pub connect_timeout: Duration,
    /// How connections to it are made: `fast-open`, `multipath`.
    pub manner: Manner,
    /// The protocol and what it needs.
    pub kind: ProxyKind,
}

/// The protocol of a `[[proxy]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyKind {
    /// `type = "shadowsocks"`
    Shadowsocks {
        /// The cipher.
        method: Method,
        /// The password, from `password` or the first line of `password-file`.
        password: Secret,
    },
    /// `type = "http"`
    Http {
        /// User name and password; both or none.
        credentials: Option<(String, Secret)>,
    },
}

/// `[dns]`
#[derive(Debug, Clone)]
pub struct Dns {
    /// Which name servers are asked.
    pub servers: ServerSettings,
    /// Which answers are kept, and for how long.
    pub cache: CacheSettings,
    /// Who hears of a query.
    pub privacy: PrivacySettings,
    /// What a client is answered.
    pub answers: AnswerSettings,
}

/// `[rules]`
#[derive(Debug, Clone)]
pub struct Rules {
    /// Addresses and names by route, the lists in files included.
    pub routes: Arc<route::Rules>,
    /// `rules.direct-sources`
    pub direct_sources: IpSet,
    /// `rules.direct-users` and `rules.direct-cgroups`
    pub left_alone: firewall::LeftAlone,
}

/// `[firewall]`
#[derive(Debug, Clone)]
pub struct Firewall {
    /// `firewall.backend`
    pub backend: Backend,
    /// `firewall.interfaces`: names or globs.
    pub interfaces: Vec<String>,
    /// `firewall.ipv6`
    pub ipv6: firewall::Ipv6,
    /// `firewall.quic`
    pub quic: firewall::Quic,
    /// `firewall.on-failure`
    pub on_failure: firewall::OnFailure,
}

/// Which firewall tool installs the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// iptables where iptables and ipset are installed, else nftables.
    Auto,
    /// iptables and ipset.
    Iptables,
    /// nftables.
    Nftables,
    /// Nobody: just listen.
    None,
}

/// `log.level`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Only what is broken.
    Error,
    /// And what the operator can mend.
    Warn,
    /// And one line a connection.
    Info,
    /// And the peers' faults.
    Debug,
    /// And everything else.
    Trace,
}

/// What the configuration is read for. A key that only matters elsewhere is still checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The whole daemon: at least one `[[proxy]]` is needed.
    Daemon,
    /// `--dns-only`: a `[[proxy]]` is needed only with `trusted-via = "proxy"`.
    DnsOnly,
}

/// A configuration, and what is odd about it without being wrong.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// One line each, for the log.
    pub warnings: Vec<String>,
}

/// Everything that is wrong with a configuration file; at least one problem.
#[derive(Debug, thiserror::Error)]
#[error("{}", .problems.join("\n"))]
pub struct Error {
    /// One line each: file, line, key, what was found, what is accepted.
    pub problems: Vec<String>,
}

impl Config {
    /// Reads and checks a configuration file and the files it names.
    ///
    /// # Errors
    /// All problems at once.
    pub fn load(path: &Path, purpose: Purpose) -> Result<Loaded, Error> {
        read::load(path, purpose)
    }
}

#[cfg(test)]
mod tests;
