//! The installed rules: whoever holds the [`Handle`] is responsible for them.

use super::error::Error;
use super::ipset_netlink::{Change, Connection};
use super::iptables;
use super::leftover;
use super::monitor::Monitor;
use super::reconcile::{cleanup, detach, withdraw};
use super::ruleset::{Family, Ipv6, Ruleset};
use super::sets::{self, Entry, Set};
use super::tools::{Ipset, Iptables, kernel_has};
use crate::route::Route;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing::{debug, info, warn};

/// The rules while they are installed. Its drop removes them.
#[derive(Debug)]
pub struct Handle {
    sets: Arc<Sets>,
    /// Follows the network; `None` if that could not be started.
    monitor: Option<Monitor>,
    installed: bool,
}

impl Handle {
    /// Removes what any earlier start left behind, then installs these rules and looks whether
    /// they are there. After an error nothing of ours is left.
    ///
    /// A machine without IPv6, or whose IPv6 cannot be filtered, gets the IPv4 rules and a
    /// warning.
    ///
    /// # Errors
    /// [`Error::Missing`] before anything is touched; else what the tools say.
    pub fn install(ruleset: Ruleset) -> Result<Handle, Error> {
        let ipset = Ipset::find()?;
        let tools = every_tool(&ruleset)?;
        if let Some(lan) = &ruleset.lan {
            info!("the LAN side: {}", lan.describe());
            lan.doubts().iter().for_each(|doubt| warn!("{doubt}"));
        }
        match Self::attempt(&ruleset, &ipset, &tools) {
            // A tool outlives a snet that is killed, and may finish its work after we looked.
            Err(error) if error.is_interference() => {
                info!("trying once more: {error}");
                Self::attempt(&ruleset, &ipset, &tools)
            }
            result => result,
        }
    }

    fn attempt(
        ruleset: &Ruleset,
        ipset: &Ipset,
        tools: &[(Family, Iptables)],
    ) -> Result<Handle, Error> {
        let left = cleanup()?;
        if !left.is_empty() {
            info!("rules of an earlier run were left: {left}");
        }
        let connection = Connection::open().map_err(|source| Error::Netlink { source })?;
        let families: Vec<Family> = tools.iter().map(|(family, _)| *family).collect();
        let mut sets = Sets { connection, families, complained: AtomicBool::new(false) };
        // From here on a failure is cleaned up after.
        let unfinished = Unfinished;
        ipset.restore(&sets::restore(ruleset, &sets.families))?;
        for (family, iptables) in tools {
            match put(ruleset, *family, iptables) {
                Err(error) if *family == Family::V6 && error.is_unsupported() => {
                    warn_unfiltered(ruleset, &error);
                    // Tables are committed one by one: some of them may be in place.
                    withdraw(iptables)?;
                    sets.families.retain(|known| known != family);
                }
                result => result?,
            }
        }
        let sets = Arc::new(sets);
        let followed = Monitor::start(ruleset.clone(), {
            let sets = Arc::clone(&sets);
            move |before, after| sets.change(sets::changes(before, after, &sets.families))
        });
        let monitor = match followed {
            Ok(monitor) => Some(monitor),
            Err(error) => {
                warn!("changes of the network are not followed: {error}");
                None
            }
        };
        std::mem::forget(unfinished);
        Ok(Handle { sets, monitor, installed: true })
    }

    /// Adds addresses of upstream servers to those that are never captured.
    pub fn exempt(&self, servers: Vec<IpAddr>) {
        let add = |address: IpAddr| {
            let address = address.to_canonical();
            let family = Family::of(address);
            let (set, entry) = (Set::Servers.name(family), Entry::Address(address));
            Change::Add { set, family, entry, timeout: None }
        };
        self.sets.change(servers.into_iter().map(add).collect());
    }

    /// For `ttl`, connections to this address take this route. What was learned of it before is
    /// forgotten. The operator's rules by address are stronger, as in [`crate::route`].
    pub fn learn(&self, address: IpAddr, route: Route, ttl: Duration) {
        let address = address.to_canonical();
        let family = Family::of(address);
        let entry = Entry::Address(address);
        let set = |route| Set::learned(route).name(family);
        let mut changes =
            vec![Change::Add { set: set(route), family, entry: entry.clone(), timeout: Some(ttl) }];
        for other in [Route::Block, Route::Proxy, Route::Direct] {
            if other != route {
                changes.push(Change::Delete { set: set(other), family, entry: entry.clone() });
            }
        }
        self.sets.change(changes);
    }

    /// The first half of a stop: from now on nothing that begins is captured, and what was
    /// captured goes on until the handle is removed or dropped.
    ///
    /// A machine without a stateful firewall has nobody else who needs conntrack: with our last
    /// rule it leaves the path of packets (nf_ct_netns_put), and with it the translation of the
    /// addresses of living connections. So the chains stay for as long as they are drained.
    ///
    /// # Errors
    /// What the tools say.
    pub fn release(&self) -> Result<(), Error> {
        detach()
    }

    /// Removes the rules and sets. Connections that were captured may end here; see
    /// [`release`](Self::release).
    ///
    /// # Errors
    /// What the tools say; `snet cleanup` can be tried later.
    pub fn remove(mut self) -> Result<(), Error> {
        self.installed = false;
        self.monitor = None;
        // Not inside the macro: where debug is off its arguments are not evaluated.
        let cleaned = cleanup()?;
        debug!("{cleaned}");
        Ok(())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // First of all, so that nothing is changed while it is removed.
        self.monitor = None;
        if self.installed {
            drop(Unfinished);
        }
    }
}

/// Its drop removes what is there of ours.
struct Unfinished;

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Err(error) = cleanup() {
            warn!("the rules could not be removed ({error}); run `snet cleanup`");
        }
    }
}

/// The sets in the kernel, while the rules are installed.
#[derive(Debug)]
struct Sets {
    connection: Connection,
    families: Vec<Family>,
    /// A set that is gone, or full, is told once and not with every answer.
    complained: AtomicBool,
}

impl Sets {
    fn change(&self, mut changes: Vec<Change>) {
        // A family without rules has no sets.
        changes.retain(|change| {
            let (Change::Add { family, .. } | Change::Delete { family, .. }) = change;
            self.families.contains(family)
        });
        if let Err(error) = self.connection.apply(&changes)
            && !self.complained.swap(true, Ordering::Relaxed)
        {
            warn!(
                "cannot change the sets of the firewall: {error} ({changes:?}); if another program \
                 removed them, restart snet",
            );
        }
    }
}

/// The tools of each family that is there.
fn every_tool(ruleset: &Ruleset) -> Result<Vec<(Family, Iptables)>, Error> {
    let mut tools = Vec::new();
    for family in Family::ALL {
        if !kernel_has(family) {
            info!("this kernel has no {family}: only the other family is captured");
            continue;
        }
        match Iptables::of_system(family) {
            Err(error) if family == Family::V6 => {
                warn_unfiltered(ruleset, &error);
                continue;
            }
            found => tools.push((family, found?)),
        }
        if let Some(why) = ruleset.uncaptured(family) {
            warn!("{why}");
        }
    }
    Ok(tools)
}

fn warn_unfiltered(ruleset: &Ruleset, error: &Error) {
    let what = match ruleset.ipv6 {
        Ipv6::Block => "foreign IPv6 is NOT blocked",
        Ipv6::Proxy | Ipv6::Direct => "IPv6 is not captured",
    };
    warn!("{what}: {error}");
}

/// Installs the rules of one family and compares what is there with what should be.
fn put(ruleset: &Ruleset, family: Family, iptables: &Iptables) -> Result<(), Error> {
    if let Some(part) = leftover::unreadable(&iptables.save()?).first() {
        return Err(Error::Foreign { family: family.to_string(), table: part.table() });
    }
    iptables.restore(&iptables::restore(ruleset, family))?;
    let found = leftover::find(&iptables.save()?);
    let missing = leftover::of(&iptables::tables(ruleset, family)).into_iter().find(|wanted| {
        !found.iter().any(|there| {
            there.table == wanted.table
                && there.jumps.len() == wanted.jumps.len()
                && wanted.chains.iter().all(|chain| there.chains.contains(chain))
        })
    });
    match missing {
        None => Ok(()),
        Some(table) => Err(Error::Unverified {
            family: family.to_string(),
            command: iptables::command(family),
            missing: format!("table {}", table.table),
        }),
    }
}
