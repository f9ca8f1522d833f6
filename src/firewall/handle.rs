//! The installed rules: whoever holds the [`Handle`] is responsible for them.

use super::PULSE;
use super::error::Error;
use super::ipset_netlink::{Change, Connection};
use super::iptables;
use super::leftover;
use super::reconcile::{cleanup, detach, withdraw};
use super::ruleset::{Family, Ipv6, Ruleset};
use super::sets::{self, Set};
use super::tools::{Ipset, Iptables, kernel_has};
use crate::route::Route;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing::{debug, info, warn};

/// The rules while they are installed. Its drop removes them.
#[derive(Debug)]
pub struct Handle {
    sets: Connection,
    families: Vec<Family>,
    /// A set that is gone, or full, is told once and not with every answer.
    complained: AtomicBool,
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
        let mut handle = Handle {
            sets: connection,
            families: families.clone(),
            complained: AtomicBool::new(false),
            // From here on the drop cleans up after a failure.
            installed: true,
        };
        ipset.restore(&sets::restore(ruleset, &families))?;
        for (family, iptables) in tools {
            match put(ruleset, *family, iptables) {
                Err(error) if *family == Family::V6 && error.is_unsupported() => {
                    warn_unfiltered(ruleset, &error);
                    // Tables are committed one by one: some of them may be in place.
                    withdraw(iptables)?;
                    handle.families.retain(|known| known != family);
                }
                result => result?,
            }
        }
        Ok(handle)
    }

    /// Adds addresses of upstream servers to those that are never captured.
    pub fn exempt(&self, servers: Vec<IpAddr>) {
        self.change(servers.into_iter().map(|address| {
            let address = address.to_canonical();
            let set = Set::Servers.name(Family::of(address));
            Change::Add { set, address, timeout: None }
        }));
    }

    /// For `ttl`, connections to this address take this route. What was learned of it before is
    /// forgotten. The operator's rules by address are stronger, as in [`crate::route`].
    pub fn learn(&self, address: IpAddr, route: Route, ttl: Duration) {
        let address = address.to_canonical();
        let family = Family::of(address);
        let add =
            Change::Add { set: Set::learned(route).name(family), address, timeout: Some(ttl) };
        let others =
            [Route::Block, Route::Proxy, Route::Direct].into_iter().filter(|r| *r != route);
        let delete =
            others.map(|other| Change::Delete { set: Set::learned(other).name(family), address });
        self.change(std::iter::once(add).chain(delete));
    }

    /// Keeps the rules acting for another [`PULSE`]. Whoever calls this vouches for whom the rules
    /// lead to.
    ///
    /// # Errors
    /// The sets are gone, or the kernel does not let us.
    pub fn beat(&self) -> Result<(), Error> {
        let renew = |family: Family| {
            let set = Set::Alive.name(family);
            let halves = sets::everything(family).into_iter();
            halves.map(move |net| Change::Renew { set: set.clone(), net, timeout: PULSE })
        };
        let changes: Vec<Change> = self.families.iter().copied().flat_map(renew).collect();
        self.sets.apply(&changes).map_err(|source| Error::Netlink { source })
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
        // Not inside the macro: where debug is off its arguments are not evaluated.
        let cleaned = cleanup()?;
        debug!("{cleaned}");
        Ok(())
    }

    fn change(&self, changes: impl Iterator<Item = Change>) {
        // A family without rules has no sets.
        let known = |change: &Change| {
            let address = match change {
                Change::Add { address, .. } | Change::Delete { address, .. } => *address,
                Change::Renew { net, .. } => net.addr(),
            };
            self.families.contains(&Family::of(address))
        };
        let changes: Vec<Change> = changes.filter(known).collect();
        if let Err(error) = self.sets.apply(&changes)
            && !self.complained.swap(true, Ordering::Relaxed)
        {
            warn!(
                "cannot change the sets of the firewall: {error} ({:?}); if another program \
                 removed them, restart snet",
                changes
            );
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.installed
            && let Err(error) = cleanup()
        {
            warn!("the rules could not be removed ({error}); run `snet cleanup`");
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
