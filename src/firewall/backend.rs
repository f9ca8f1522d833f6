//! Which backend: it is chosen, prepared and installed here.

use super::device_routes;
use super::error::Error;
use super::installed::Installed;
use super::iptables::families::{has_tools, unreadable_tables};
use super::iptables::parts;
use super::iptables::reconcile;
use super::iptables::{self, IptablesRules, adopt};
use super::netlink::ipset::IpsetConnection;
use super::nftables;
use super::nftables::translation;
use super::nftables::translation::Translation;
use super::nftables::{NftablesRules, TableOwner};
use super::older_flows;
use super::policy_routes;
use super::ruleset::Ruleset;
use super::saved_files;
use super::switch::OnFailure;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::thread;
use std::time::Instant;
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
    /// iptables where iptables and ipset are installed, the kernel has sets, and they can work with
    /// the tables that are there, else nftables. It says so if it is the kernel or the tables.
    pub fn of_system() -> Self {
        if !has_tools() {
            return Backend::Nftables;
        }
        if IpsetConnection::is_absent() {
            warn!(
                "this kernel has no ipset (module ip_set; on OpenWrt: kmod-ipt-ipset), so the \
                 rules go in through nftables; to say so yourself: firewall.backend = \"nftables\""
            );
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

    /// Gets ready. Before any other descriptor is opened, see [`TableOwner`].
    ///
    /// # Errors
    /// [`Error::Nftables`]: the kernel has none.
    pub fn prepare(self) -> Result<Prepared, Error> {
        debug!("the rules go in through {self}");
        Ok(match self {
            // It goes without.
            Backend::Iptables => Prepared::Iptables(TableOwner::open().ok()),
            Backend::Nftables => Prepared::Nftables(TableOwner::open()?),
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
    /// The socket of the table that keeps connections translated; `None`: the kernel has no
    /// nf_tables.
    Iptables(Option<TableOwner>),
    /// The socket that the table will belong to.
    Nftables(TableOwner),
}

impl Prepared {
    /// Removes what an earlier run left behind, by either backend, then installs these rules.
    /// After an error nothing of ours is left.
    ///
    /// # Errors
    /// [`Error::Missing`] before anything is touched; else what the tools or the kernel say.
    pub fn install(self, ruleset: Ruleset) -> Result<Box<dyn Installed>, Error> {
        saved_files::told(Path::new("/")).iter().for_each(|told| warn!("{told}"));
        // By whichever backend, and asked before anything is touched.
        let was_closed = ruleset.policy.on_failure == OnFailure::Closed && is_closed()?;
        let now = (!was_closed).then(|| ruleset.clone());
        let learning = older_flows::learning(&ruleset);
        let installed = self.put(ruleset)?;
        let began = Instant::now();
        // They learn from packets since now; of silent flows they are told before the first beat.
        if let Some(now) = now {
            installed.exempt_flows(&older_flows::older(&now));
            thread::sleep(learning.saturating_sub(began.elapsed()));
        }
        if was_closed {
            installed.commit();
        }
        Ok(installed)
    }

    fn put(self, ruleset: Ruleset) -> Result<Box<dyn Installed>, Error> {
        let stays_closed = ruleset.policy.on_failure == OnFailure::Closed;
        match self {
            // What is closed stays so: what the other backend left goes once ours stand.
            Prepared::Iptables(owner) if stays_closed => {
                let rules = IptablesRules::install(ruleset)?;
                clean_nftables()?;
                Ok(Box::new(rules.dropping_last(hold(owner))))
            }
            Prepared::Nftables(owner) if stays_closed => {
                let rules = NftablesRules::install(owner, ruleset)?;
                clean_iptables();
                Ok(Box::new(rules))
            }
            Prepared::Iptables(owner) => {
                clean_nftables()?;
                let held = hold(owner);
                Ok(Box::new(IptablesRules::install(ruleset)?.dropping_last(held)))
            }
            Prepared::Nftables(owner) => {
                clean_iptables();
                Ok(Box::new(NftablesRules::install(owner, ruleset)?))
            }
        }
    }
}

/// What keeps translations while others flush; without it everything else works.
fn hold(owner: Option<TableOwner>) -> Option<Translation> {
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

/// Exactly what an installation of these rules gives to the tools or to the kernel. Asks neither.
pub fn render(backend: Backend, ruleset: &Ruleset) -> String {
    let text = match backend {
        Backend::Iptables => format!(
            "{}\n# As with `nft -f -`, where the kernel has nf_tables: connections stay translated while \
             others flush their rules\n{}",
            iptables::render(ruleset),
            translation::render()
        ),
        Backend::Nftables => nftables::render(ruleset),
    };
    text + &policy_routes::render(ruleset)
}

/// What [`cleanup`] found and removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleaned {
    rules: reconcile::CleanedRules,
    table: bool,
    routes: usize,
    policy_routes: usize,
}

impl fmt::Display for Cleaned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table.then(|| "removed the nftables table inet snet".to_string());
        let routes = match self.routes {
            0 => None,
            count => Some(format!("removed {count} local routes to loopback addresses")),
        };
        let policy_routes = (self.policy_routes > 0).then(|| {
            format!("removed {} routes and routing rules of captured UDP", self.policy_routes)
        });
        let rules = (!self.rules.is_empty()).then(|| self.rules.to_string());
        let lines: Vec<String> =
            [table, routes, policy_routes, rules].into_iter().flatten().collect();
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
    let policy_routes = policy_routes::remove().map_err(|source| Error::Routes { source });
    Ok(Cleaned { rules: rules?, table: table?, routes: routes?, policy_routes: policy_routes? })
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

/// Whether this kernel, and our rights, suffice for all that a table of nf_tables may hold: it is
/// tried and taken back.
///
/// # Errors
/// [`Error::Nftables`] with the first thing that is missing.
pub fn try_nftables() -> Result<(), Error> {
    Ok(nftables::available()?)
}

/// What this machine cannot do of what these rules want, one line each: capture UDP, offload flows.
/// What is made for a trial is removed; without the rights to change rules the kernel tells less.
pub fn shortfalls(backend: Backend, ruleset: Ruleset) -> Vec<String> {
    let Ruleset { policy, environment } = possible(backend, ruleset);
    environment.datagrams.told(&policy).chain(environment.offload.told(&policy)).collect()
}

/// Which forwarded flows are offloaded on this machine with these rules, in words; `None`: none. As
/// [`shortfalls`].
pub fn offloaded(backend: Backend, ruleset: Ruleset) -> Option<String> {
    let Ruleset { policy, environment } = possible(backend, ruleset);
    environment.offload.describe().filter(|_| policy.offloads())
}

fn possible(backend: Backend, ruleset: Ruleset) -> Ruleset {
    match backend {
        Backend::Iptables => parts::possible_here(ruleset.without_flowtables()),
        Backend::Nftables => nftables::possible(ruleset.clone()).unwrap_or(ruleset),
    }
}

/// Whether nf_tables holds a table of ours, whichever process has it.
///
/// # Errors
/// What the kernel says.
pub fn has_table() -> Result<bool, Error> {
    Ok(nftables::is_there()?)
}

/// A kernel without nf_tables cannot have a table of ours.
fn remove_table() -> Result<bool, Error> {
    match nftables::cleanup() {
        Err(nftables::Error::Absent { .. }) => Ok(false),
        result => Ok(result?),
    }
}
