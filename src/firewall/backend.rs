//! Which backend, and the installed rules whichever it is.

use super::bound;
use super::error::Error;
use super::handle::Handle;
use super::nftables::{self, Followed, Owner};
use super::reconcile;
use super::ruleset::{self, Ruleset};
use super::tools::has_tools;
use crate::route::Route;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;
use tracing::{debug, info, warn};

/// Who installs rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The tools iptables and ipset.
    Iptables,
    /// nf_tables over netlink; needs no tool.
    Nftables,
}

impl Backend {
    /// iptables where iptables and ipset are installed, else nftables.
    pub fn of_system() -> Self {
        if has_tools() { Backend::Iptables } else { Backend::Nftables }
    }

    /// Gets ready. Before any other descriptor is opened, see [`Owner`].
    ///
    /// # Errors
    /// [`Error::Nftables`]: the kernel has none.
    pub fn prepare(self) -> Result<Prepared, Error> {
        debug!("the rules go in through {self}");
        Ok(match self {
            Backend::Iptables => Prepared::Iptables,
            Backend::Nftables => Prepared::Nftables(Owner::open()?),
        })
    }
}

/// As it is displayed.
impl FromStr for Backend {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        let known = [Backend::Iptables, Backend::Nftables];
        known.into_iter().find(|backend| backend.to_string() == word).ok_or(())
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backend::Iptables => "iptables",
            Backend::Nftables => "nftables",
        })
    }
}

/// A backend, ready to install.
#[derive(Debug)]
pub enum Prepared {
    /// It needs nothing.
    Iptables,
    /// The socket that the table will belong to.
    Nftables(Owner),
}

impl Prepared {
    /// Removes what an earlier run left behind, by either backend, then installs these rules.
    /// After an error nothing of ours is left.
    ///
    /// # Errors
    /// As [`Handle::install`]; [`Error::Nftables`].
    pub fn install(self, ruleset: Ruleset) -> Result<Installed, Error> {
        match self {
            Prepared::Iptables => {
                if remove_table()? {
                    info!("an nftables table of an earlier run was left");
                }
                Ok(Installed(Rules::Iptables(Handle::install(ruleset)?)))
            }
            Prepared::Nftables(owner) => {
                match reconcile::cleanup() {
                    Ok(left) if left.is_empty() => {}
                    Ok(left) => info!("rules of an earlier run were left: {left}"),
                    // Rules that nobody keeps alive let everything pass.
                    Err(error) => warn!("iptables rules of an earlier run may be left: {error}"),
                }
                Ok(Installed(Rules::Nftables(Followed::install(owner, ruleset)?)))
            }
        }
    }
}

/// The rules while they are installed. Their drop removes them.
#[derive(Debug)]
pub struct Installed(Rules);

#[derive(Debug)]
enum Rules {
    Iptables(Handle),
    Nftables(Followed),
}

impl Installed {
    /// Adds addresses of upstream servers to those that are never captured.
    pub fn exempt(&self, servers: Vec<IpAddr>) {
        match &self.0 {
            Rules::Iptables(handle) => handle.exempt(servers),
            Rules::Nftables(handle) => handle.exempt(servers),
        }
    }

    /// For `ttl`, connections to this address take this route; see [`Handle::learn`].
    pub fn learn(&self, address: IpAddr, route: Route, ttl: Duration) {
        match &self.0 {
            Rules::Iptables(handle) => handle.learn(address, route, ttl),
            Rules::Nftables(handle) => handle.learn(address, route, ttl),
        }
    }

    /// Other rules instead, for the same ports, without a moment in which foreign traffic leaves
    /// directly or domestic traffic is captured; see [`Handle::replace`].
    ///
    /// # Errors
    /// What the tools or the kernel say; then the old rules are in force.
    pub fn replace(&self, ruleset: Ruleset) -> Result<(), Error> {
        match &self.0 {
            Rules::Iptables(handle) => handle.replace(ruleset),
            Rules::Nftables(handle) => handle.replace(ruleset),
        }
    }

    /// Forgets all that was learned, in the kernel.
    pub fn forget(&self) {
        match &self.0 {
            Rules::Iptables(handle) => handle.forget(),
            Rules::Nftables(handle) => handle.forget(),
        }
    }

    /// Whether what was learned has to be told again, since somebody emptied the sets. Says so once.
    pub fn forgot(&self) -> bool {
        match &self.0 {
            Rules::Iptables(handle) => handle.forgot(),
            Rules::Nftables(handle) => handle.forgot(),
        }
    }

    /// Keeps the rules acting for another [`PULSE`](super::PULSE); see [`Handle::beat`].
    ///
    /// # Errors
    /// The rules are gone, or the kernel does not let us.
    pub fn beat(&self) -> Result<(), Error> {
        match &self.0 {
            Rules::Iptables(handle) => handle.beat(),
            Rules::Nftables(handle) => Ok(handle.beat()?),
        }
    }

    /// The first half of a stop: nothing that begins is captured; see [`Handle::release`].
    ///
    /// # Errors
    /// What the tools or the kernel say.
    pub fn release(&self) -> Result<(), Error> {
        match &self.0 {
            Rules::Iptables(handle) => handle.release(),
            Rules::Nftables(handle) => Ok(handle.release()?),
        }
    }

    /// Removes the rules and sets.
    ///
    /// # Errors
    /// What the tools or the kernel say; `snet cleanup` can be tried later.
    pub fn remove(self) -> Result<(), Error> {
        match self.0 {
            Rules::Iptables(handle) => handle.remove(),
            Rules::Nftables(handle) => Ok(handle.remove()?),
        }
    }
}

/// Exactly what an installation of these rules gives to the tools or to the kernel. Asks neither.
pub fn render(backend: Backend, ruleset: &Ruleset) -> String {
    match backend {
        Backend::Iptables => ruleset::render(ruleset),
        Backend::Nftables => nftables::render(ruleset),
    }
}

/// What [`cleanup`] found and removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleaned {
    rules: reconcile::Cleaned,
    table: bool,
    routes: usize,
}

impl fmt::Display for Cleaned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table.then(|| "removed the nftables table inet snet".to_string());
        let routes = match self.routes {
            0 => None,
            count => Some(format!("removed {count} local routes to loopback addresses")),
        };
        let rules = (!self.rules.is_empty()).then(|| self.rules.to_string());
        let lines: Vec<String> = [table, routes, rules].into_iter().flatten().collect();
        if lines.is_empty() { self.rules.fmt(f) } else { f.write_str(&lines.join("\n")) }
    }
}

/// Removes everything that any snet left in the kernel, by either backend. Needs neither
/// configuration nor memory.
///
/// # Errors
/// What the tools or the kernel say; a table that a living process has is not removed.
pub fn cleanup() -> Result<Cleaned, Error> {
    // One backend that fails must not keep the other from its work.
    let table = remove_table();
    let rules = reconcile::cleanup();
    // They lead to us only as long as there are rules.
    let routes = bound::remove().map_err(|source| Error::Routes { source });
    Ok(Cleaned { rules: rules?, table: table?, routes: routes? })
}

/// A kernel without nf_tables cannot have a table of ours.
fn remove_table() -> Result<bool, Error> {
    match nftables::cleanup() {
        Err(nftables::Error::Absent { .. }) => Ok(false),
        result => Ok(result?),
    }
}
