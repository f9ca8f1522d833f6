//! Which backend, and the installed rules whichever it is.

use super::device_routes;
use super::error::Error;
use super::family::Family;
use super::iptables::Handle;
use super::iptables::families::{has_tools, unreadable_tables};
use super::iptables::reconcile;
use super::iptables::{self, adopt};
use super::nftables;
use super::nftables::translation;
use super::nftables::translation::Translation;
use super::nftables::{Followed, Owner};
use super::ruleset::Ruleset;
use super::saved_files;
use super::switch::{OnFailure, Switches};
use crate::route::Route;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
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
    /// iptables where iptables and ipset are installed and can work with the tables that are there, else
    /// nftables. It says so if it is the tables.
    pub fn of_system() -> Self {
        if !has_tools() {
            return Backend::Nftables;
        }
        match unreadable_tables().as_slice() {
            [] => Backend::Iptables,
            tables => {
                warn!(
                    "iptables cannot work with {}, which holds native nft rules, so the rules go in \
                     through nftables; to say so yourself: firewall.backend = \"nftables\"",
                    tables.join(", ")
                );
                Backend::Nftables
            }
        }
    }

    /// Gets ready. Before any other descriptor is opened, see [`Owner`].
    ///
    /// # Errors
    /// [`Error::Nftables`]: the kernel has none.
    pub fn prepare(self) -> Result<Prepared, Error> {
        debug!("the rules go in through {self}");
        Ok(match self {
            // It goes without.
            Backend::Iptables => Prepared::Iptables(Owner::open().ok()),
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
    /// The socket of the table that keeps connections translated; `None`: the kernel has no nf_tables.
    Iptables(Option<Owner>),
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
        saved_files::told(Path::new("/")).iter().for_each(|told| warn!("{told}"));
        // By whichever backend, and asked before anything is touched.
        let was_closed = ruleset.on_failure == OnFailure::Closed && is_closed()?;
        let installed = self.put(ruleset)?;
        if was_closed {
            installed.commit();
        }
        Ok(installed)
    }

    fn put(self, ruleset: Ruleset) -> Result<Installed, Error> {
        match self {
            // What is closed stays so: what the other backend left goes once ours stand.
            Prepared::Iptables(owner) if ruleset.on_failure == OnFailure::Closed => {
                let handle = Handle::install(ruleset)?;
                clean_nftables()?;
                Ok(Installed(Rules::Iptables(handle, hold(owner))))
            }
            Prepared::Nftables(owner) if ruleset.on_failure == OnFailure::Closed => {
                let handle = Followed::install(owner, ruleset)?;
                clean_iptables();
                Ok(Installed(Rules::Nftables(handle)))
            }
            Prepared::Iptables(owner) => {
                clean_nftables()?;
                let held = hold(owner);
                Ok(Installed(Rules::Iptables(Handle::install(ruleset)?, held)))
            }
            Prepared::Nftables(owner) => {
                clean_iptables();
                Ok(Installed(Rules::Nftables(Followed::install(owner, ruleset)?)))
            }
        }
    }
}

/// What keeps translations while others flush; without it everything else works.
fn hold(owner: Option<Owner>) -> Option<Translation> {
    let held = owner.map(Translation::hold).transpose();
    held.inspect_err(|error| debug!("a flush by others will cut: {error}")).ok().flatten()
}

fn clean_nftables() -> Result<(), Error> {
    if remove_table()? {
        info!("an nftables table of an earlier run was left");
    }
    Ok(())
}

fn clean_iptables() {
    match reconcile::cleanup() {
        Ok(left) if left.is_empty() => {}
        Ok(left) => info!("rules of an earlier run were left: {left}"),
        // Rules that nobody keeps alive let everything pass.
        Err(error) => warn!("iptables rules of an earlier run may be left: {error}"),
    }
}

/// The rules while they are installed. Their drop removes them.
#[derive(Debug)]
pub struct Installed(Rules);

#[derive(Debug)]
enum Rules {
    /// Dropped in this order: what is translated goes on to the end.
    Iptables(Handle, Option<Translation>),
    Nftables(Followed),
}

impl Installed {
    /// Adds addresses of upstream servers to those that are never captured.
    pub fn exempt(&self, servers: Vec<IpAddr>) {
        match &self.0 {
            Rules::Iptables(handle, _) => handle.exempt(servers),
            Rules::Nftables(handle) => handle.exempt(servers),
        }
    }

    /// For `ttl`, connections to this address take this route; see [`Handle::learn`].
    pub fn learn(&self, address: IpAddr, route: Route, ttl: Duration) {
        match &self.0 {
            Rules::Iptables(handle, _) => handle.learn(address, route, ttl),
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
            Rules::Iptables(handle, _) => handle.replace(ruleset),
            Rules::Nftables(handle) => handle.replace(ruleset),
        }
    }

    /// Forgets all that was learned, in the kernel.
    pub fn forget(&self) {
        match &self.0 {
            Rules::Iptables(handle, _) => handle.forget(),
            Rules::Nftables(handle) => handle.forget(),
        }
    }

    /// Whether what was learned has to be told again, since somebody emptied the sets. Says so once.
    pub fn forgot(&self) -> bool {
        match &self.0 {
            Rules::Iptables(handle, _) => handle.forgot(),
            Rules::Nftables(handle) => handle.forgot(),
        }
    }

    /// Sets the switches for another [`PULSE`](super::PULSE); see [`Handle::beat`].
    ///
    /// # Errors
    /// The rules are gone, or the kernel does not let us.
    pub fn beat(&self, switches: Switches) -> Result<(), Error> {
        match &self.0 {
            Rules::Iptables(handle, _) => handle.beat(switches),
            Rules::Nftables(handle) => Ok(handle.beat(switches)?),
        }
    }

    /// Calls `listener` each time others have changed rules and ours were looked at.
    pub fn on_change(&self, listener: Box<dyn Fn() + Send + Sync>) {
        match &self.0 {
            Rules::Iptables(handle, _) => handle.on_change(listener),
            Rules::Nftables(handle) => handle.on_change(listener),
        }
    }

    /// Whether rules of this family are installed and redirect what is captured.
    pub fn captures(&self, family: Family) -> bool {
        match &self.0 {
            Rules::Iptables(handle, _) => handle.captures(family),
            Rules::Nftables(handle) => handle.captures(family),
        }
    }

    /// The rules are proven and in use: from now on a failure leaves them closed, where they are so
    /// ([`OnFailure::Closed`]).
    pub fn commit(&self) {
        match &self.0 {
            Rules::Iptables(handle, _) => handle.commit(),
            Rules::Nftables(handle) => handle.commit(),
        }
    }

    /// Nobody stands behind the rules any more, because the daemon fails. Returns whether they stay,
    /// because they are closed; else they are to be removed.
    pub fn abandon(&self) -> bool {
        match &self.0 {
            Rules::Iptables(handle, _) => handle.abandon(),
            Rules::Nftables(handle) => handle.abandon(),
        }
    }

    /// The first half of a stop: nothing that begins is captured; see [`Handle::release`].
    ///
    /// # Errors
    /// What the tools or the kernel say.
    pub fn release(&self) -> Result<(), Error> {
        match &self.0 {
            Rules::Iptables(handle, _) => handle.release(),
            Rules::Nftables(handle) => Ok(handle.release()?),
        }
    }

    /// Removes the rules and sets.
    ///
    /// # Errors
    /// What the tools or the kernel say; `snet cleanup` can be tried later.
    pub fn remove(self) -> Result<(), Error> {
        match self.0 {
            Rules::Iptables(handle, _held) => handle.remove(),
            Rules::Nftables(handle) => Ok(handle.remove()?),
        }
    }
}

/// Exactly what an installation of these rules gives to the tools or to the kernel. Asks neither.
pub fn render(backend: Backend, ruleset: &Ruleset) -> String {
    match backend {
        Backend::Iptables => format!(
            "{}\n# As with `nft -f -`, where the kernel has nf_tables: connections stay translated while \
             others flush their rules\n{}",
            iptables::render(ruleset),
            translation::render()
        ),
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
    let routes = device_routes::remove().map_err(|source| Error::Routes { source });
    Ok(Cleaned { rules: rules?, table: table?, routes: routes? })
}

/// Whether an earlier run, which is dead, left the network closed ([`OnFailure::Closed`]).
///
/// # Errors
/// What the tools or the kernel say.
pub fn is_closed() -> Result<bool, Error> {
    match nftables::is_closed() {
        Err(nftables::Error::Absent { .. }) => adopt::is_anything_closed(),
        Ok(false) => adopt::is_anything_closed(),
        closed => Ok(closed?),
    }
}

/// A kernel without nf_tables cannot have a table of ours.
fn remove_table() -> Result<bool, Error> {
    match nftables::cleanup() {
        Err(nftables::Error::Absent { .. }) => Ok(false),
        result => Ok(result?),
    }
}
