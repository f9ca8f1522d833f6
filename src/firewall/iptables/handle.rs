//! The installed rules: their owner holds an [`IptablesRules`].

use super::adopt;
use super::direct;
use super::families::{of_families, warn_unfiltered};
use super::follow::{RulesFollower, Sets};
use super::old_nat;
use super::parts;
use super::place;
use super::reconcile::{cleanup, detach, withdraw};
use super::sets;
use crate::family::Family;
use crate::fault::{self, Step};
use crate::firewall::conflicts;
use crate::firewall::device_routes;
use crate::firewall::direct::DirectCounts;
use crate::firewall::entry::Entry;
use crate::firewall::error::Error;
use crate::firewall::flow::Flow;
use crate::firewall::installed::Installed;
use crate::firewall::look_up::{self, KernelAnswer};
use crate::firewall::monitor::Monitor;
use crate::firewall::netlink::ipset::{Change, IpsetConnection};
use crate::firewall::older_flows;
use crate::firewall::policy_routes::PolicyRoutes;
use crate::firewall::ruleset::Ruleset;
use crate::firewall::sets::MOST_INTERFACES;
use crate::firewall::sets::Set;
use crate::firewall::switch::{OnFailure, Switches};
use crate::firewall::tools::{Ipset, Iptables};
use crate::route::Route;
use crate::sync::lock;
use crate::warnings::Complaints;
use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::{debug, info, warn};

/// The rules while they are installed. Its drop removes them.
#[derive(Debug)]
pub(in crate::firewall) struct IptablesRules {
    pub(super) sets: Arc<Sets>,
    pub(super) ipset: Ipset,
    /// Of the families that have rules.
    pub(super) tools: Vec<(Family, Iptables)>,
    /// What is in force; the follower of the network writes it too.
    now: Arc<Mutex<Ruleset>>,
    /// Follows the network; `None` if that could not be started, or after the release.
    monitor: Mutex<Option<Monitor>>,
    heartbeat: Mutex<SwitchConnection>,
    at_drop: Mutex<AtDrop>,
    conflicts: Arc<Mutex<Complaints>>,
    // Dropped after the rules are removed.
    _routes: device_routes::Routes,
    policy_routes: PolicyRoutes,
    last: Option<Box<dyn Debug + Send + Sync>>,
}

/// What keeps the rules acting. Its connection is its own: a beat waits for nobody's long list.
#[derive(Debug)]
struct SwitchConnection {
    connection: IpsetConnection,
    /// No beat counts any more.
    released: bool,
}

/// What becomes of the rules when the handle is dropped, or could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtDrop {
    /// They are removed.
    Remove,
    /// Nobody keeps them active any more, and they reject what is foreign
    /// ([`OnFailure::Closed`](super::OnFailure::Closed)).
    LeaveClosed,
    /// They are gone already.
    Nothing,
}

impl IptablesRules {
    /// Removes what any earlier start left behind, then installs these rules and looks whether
    /// they are there. After an error nothing of ours is left. They do not act before the first
    /// [`beat`](Self::beat).
    ///
    /// Rules that an earlier run left closed stay so if these are closed as well: they are turned
    /// into the new ones, and not one foreign packet passes in between, whatever fails.
    ///
    /// A machine without IPv6, or whose IPv6 cannot be filtered, gets the IPv4 rules and a
    /// warning.
    ///
    /// # Errors
    /// [`Error::Missing`] before anything is touched; else what the tools say.
    pub(in crate::firewall) fn install(ruleset: Ruleset) -> Result<IptablesRules, Error> {
        let ruleset = ruleset.without_flowtables();
        let ipset = Ipset::find()?;
        let count = ruleset.environment.lan.interfaces.len();
        if count > MOST_INTERFACES {
            return Err(Error::TooManyInterfaces { count });
        }
        let tools = of_families(&ruleset.policy)?;
        let ruleset = direct::possible(old_nat::possible(ruleset, &tools), &tools);
        if ruleset.policy.lan.is_some() {
            info!("the LAN side: {}", ruleset.environment.lan.describe());
        }
        ruleset.environment.absent_cgroups().for_each(|why| warn!("{why}"));
        let conflicts = Arc::<Mutex<Complaints>>::default();
        lock(&conflicts).set(conflicts::all(&ruleset, &tools, true));
        // What the kernel refuses may be wanted for UDP alone.
        let has_datagrams = Family::ALL.into_iter().any(|it| ruleset.captures_datagrams(it));
        let attempt = || Self::attempt(&ruleset, &ipset, &tools, !has_datagrams, &conflicts);
        match attempt() {
            // A tool outlives a snet that is killed, and may finish its work after we looked.
            Err(error) if error.is_interference() => {
                info!("trying once more: {error}");
                attempt()
            }
            Err(error @ Error::Failed { .. }) if has_datagrams => {
                debug!("trying what is possible: {error}");
                let possible = parts::possible(ruleset.clone(), &ipset, &tools);
                lock(&conflicts).add(possible.environment.datagrams.told(&possible.policy));
                Self::attempt(&possible, &ipset, &tools, true, &conflicts)
            }
            result => result,
        }
    }

    /// Drops this one behind everything else.
    pub(in crate::firewall) fn dropping_last(
        mut self,
        last: Option<impl Debug + Send + Sync + 'static>,
    ) -> Self {
        self.last = last.map(|last| Box::new(last) as _);
        self
    }

    fn attempt(
        ruleset: &Ruleset,
        ipset: &Ipset,
        tools: &[(Family, Iptables)],
        may_lose_ipv6: bool,
        conflicts: &Arc<Mutex<Complaints>>,
    ) -> Result<IptablesRules, Error> {
        let stays_closed =
            ruleset.policy.on_failure == OnFailure::Closed && adopt::is_anything_closed()?;
        let unfinished = if stays_closed {
            info!("the network was left closed by an earlier run, and stays so");
            None
        } else {
            let left = cleanup()?;
            if !left.is_empty() {
                info!("rules of an earlier run were left: {left}");
            }
            // From here on a failure is cleaned up after.
            Some(Unfinished)
        };
        let heartbeat = SwitchConnection { connection: open()?, released: false };
        let families: Vec<Family> = tools.iter().map(|(family, _)| *family).collect();
        let mut sets = Sets::new(open()?, families);
        let routes = device_routes::Routes::put(&ruleset.policy);
        let policy_routes = PolicyRoutes::put(&ruleset.policy)?;
        step(Step::MakeSets)?;
        if stays_closed {
            adopt::sets(ruleset, &sets.families, ipset)?;
        } else {
            ipset.restore(&sets::restore(ruleset, &sets.families))?;
        }
        for (family, iptables) in tools {
            let put = if stays_closed { place::turn } else { place::put };
            match put(ruleset, *family, iptables) {
                Err(error)
                    if *family == Family::V6
                        && ruleset.policy.on_failure == OnFailure::Open
                        && may_lose_ipv6
                        && error.is_unsupported() =>
                {
                    warn_unfiltered(&ruleset.policy, &error);
                    // Tables are committed one by one: some of them may be in place.
                    withdraw(iptables)?;
                    sets.families.retain(|known| known != family);
                }
                result => result?,
            }
        }
        if stays_closed {
            adopt::remove_others(ruleset, tools, ipset);
        }
        let tools = tools.iter().filter(|(family, _)| sets.families.contains(family));
        let at_drop = if stays_closed { AtDrop::LeaveClosed } else { AtDrop::Remove };
        let handle = IptablesRules {
            tools: tools.cloned().collect(),
            sets: Arc::new(sets),
            ipset: ipset.clone(),
            now: Arc::new(Mutex::new(ruleset.clone())),
            monitor: Mutex::new(None),
            heartbeat: Mutex::new(heartbeat),
            at_drop: Mutex::new(at_drop),
            conflicts: Arc::clone(conflicts),
            _routes: routes,
            policy_routes,
            last: None,
        };
        std::mem::forget(unfinished);
        step(Step::Follow)?;
        handle.watch();
        Ok(handle)
    }

    /// Follows the network and the rules from now on.
    fn watch(&self) {
        let follower = RulesFollower {
            sets: Arc::clone(&self.sets),
            ipset: self.ipset.clone(),
            tools: self.tools.clone(),
            now: Arc::clone(&self.now),
            conflicts: Arc::clone(&self.conflicts),
        };
        let now = lock(&self.now).clone();
        match Monitor::start(now, follower) {
            Ok(monitor) => *lock(&self.monitor) = Some(monitor),
            Err(error) => warn!("changes of the network are not followed: {error}"),
        }
    }

    /// iptables-legacy gives whole tables to the kernel, which takes none that names a cgroup that
    /// is gone: nobody could take our jumps out (seen, with a service that had just ended).
    fn drop_stale_cgroups(&self) {
        let now = lock(&self.now).clone();
        let mut next = now.clone();
        next.environment.cgroups = now.policy.exempt.observe();
        if next == now {
            return;
        }
        match self.turn_tables(&now, &next) {
            Ok(()) => *lock(&self.now) = next,
            Err(error) => debug!("{error}"),
        }
    }

    fn switch_off(&self) {
        let mut heartbeat = lock(&self.heartbeat);
        heartbeat.released = true;
        self.sets.remember(Switches::OFF);
        let off = |family: &Family| {
            [Set::Alive, Set::Rejected, Set::AliveDatagrams, Set::RejectedDatagrams]
                .map(|set| Change::Flush { set: set.name(*family), family: *family })
        };
        self.sets.change(self.sets.families.iter().flat_map(off).collect());
    }

    /// Nothing is put back from now on.
    fn unwatch(&self) {
        let monitor = lock(&self.monitor).take();
        drop(monitor);
    }
}

impl Installed for IptablesRules {
    fn exempt(&self, servers: Vec<IpAddr>) {
        lock(&self.now).environment.add_servers(&servers);
        let add = |address: IpAddr| {
            let address = address.to_canonical();
            let family = Family::of(address);
            let (set, entry) = (Set::Servers.name(family), Entry::Address(address));
            Change::Add { set, family, entry, timeout: None }
        };
        self.sets.change(servers.into_iter().map(add).collect());
    }

    fn exempt_flows(&self, flows: &[Flow]) {
        let ruleset = lock(&self.now).clone();
        self.note_older(flows, &ruleset);
    }

    fn learn(&self, address: IpAddr, route: Route, ttl: Duration) {
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

    fn replace(&self, new: Ruleset) -> Result<(), Error> {
        // Two must not change the same things.
        self.unwatch();
        let old = lock(&self.now).clone();
        let result = new.succeeding(&old).and_then(|new| {
            let new = new.without_flowtables();
            let new = old_nat::possible(new, &self.tools);
            let new = parts::possible(new, &self.ipset, &self.tools);
            let new = match old.policy.counts_direct {
                true => new,
                false => direct::possible(new, &self.tools),
            };
            self.policy_routes.precede(&new.policy)?;
            let (known, first) = older_flows::at_reload(&old, &new);
            self.exempt_flows(&known);
            self.turn(&old, &new, &first)?;
            self.policy_routes.succeed(&new.policy);
            lock(&self.conflicts).add(conflicts::between(&old, &new, &self.tools, true));
            *lock(&self.now) = new;
            Ok(())
        });
        // It looks at the network and at the rules, and repairs what a failure left.
        self.watch();
        result
    }

    fn forget(&self) {
        let flush = |family: Family| {
            [Route::Block, Route::Proxy, Route::Direct]
                .map(|route| Change::Flush { set: Set::learned(route).name(family), family })
        };
        self.sets.change(Family::ALL.into_iter().flat_map(flush).collect());
    }

    fn forgot(&self) -> bool {
        self.sets.forgot()
    }

    fn beat(&self, switches: Switches) -> Result<(), Error> {
        let heartbeat = lock(&self.heartbeat);
        if heartbeat.released {
            return Ok(());
        }
        let changes = self.sets.switched(switches);
        // Also where the sets are gone: whoever makes them anew does not wait for the next beat.
        self.sets.remember(switches);
        heartbeat.connection.apply(&changes).map_err(|source| Error::Netlink { source })
    }

    fn on_change(&self, listener: Box<dyn Fn() + Send + Sync>) {
        self.sets.listener.connect(listener);
    }

    fn direct(&self) -> Option<Result<DirectCounts, Error>> {
        let counts = lock(&self.now).policy.counts_direct;
        counts.then(|| direct::counted(&self.tools))
    }

    fn look_up(&self, address: IpAddr) -> Result<KernelAnswer, Error> {
        let now = lock(&self.now).clone();
        let (address, family) = (address.to_canonical(), Family::of(address.to_canonical()));
        let entry = Entry::Address(address);
        look_up::answer(&now, address, |set| {
            let held = self.sets.connection.holds(&set.name(family), family, &entry);
            held.map_err(|source| Error::Netlink { source })
        })
    }

    fn captures(&self, family: Family) -> bool {
        self.sets.families.contains(&family) && lock(&self.now).policy.listens(family)
    }

    fn captures_datagrams(&self, family: Family) -> bool {
        let is_there = self.sets.families.contains(&family);
        is_there && lock(&self.now).captures_own_datagrams_in_mangle(family)
    }

    fn commit(&self) {
        if lock(&self.now).policy.on_failure == OnFailure::Closed {
            *lock(&self.at_drop) = AtDrop::LeaveClosed;
        }
    }

    fn abandon(&self) -> bool {
        self.unwatch();
        self.switch_off();
        *lock(&self.at_drop) == AtDrop::LeaveClosed
    }

    fn release(&self) -> Result<(), Error> {
        self.unwatch();
        self.drop_stale_cgroups();
        if lock(&self.now).policy.on_failure == OnFailure::Closed {
            // Once nobody captures any more these rules reject: the jumps go first.
            *lock(&self.at_drop) = AtDrop::Remove;
            let detached = step(Step::Detach).and_then(|()| detach());
            self.switch_off();
            return detached;
        }
        // At once, whatever the tools then say; and no beat comes after it.
        self.switch_off();
        step(Step::Detach)?;
        detach()
    }

    fn remove(self: Box<Self>) -> Result<(), Error> {
        self.unwatch();
        // Not inside the macro: where debug is off its arguments are not evaluated. After an error
        // the drop tries once more.
        let cleaned = cleanup()?;
        *lock(&self.at_drop) = AtDrop::Nothing;
        debug!("{cleaned}");
        Ok(())
    }
}

impl Drop for IptablesRules {
    fn drop(&mut self) {
        // First of all, so that nothing is changed while it is removed.
        self.unwatch();
        match *lock(&self.at_drop) {
            AtDrop::Remove => drop(Unfinished),
            AtDrop::LeaveClosed => {
                self.switch_off();
                warn!(
                    "the network stays closed, as firewall.on-failure says: `snet cleanup` opens it"
                );
            }
            AtDrop::Nothing => {}
        }
    }
}

pub(super) fn open() -> Result<IpsetConnection, Error> {
    IpsetConnection::open().map_err(|source| Error::Netlink { source })
}

pub(super) fn step(step: Step) -> Result<(), Error> {
    fault::at(step).map_err(|source| Error::Netlink { source })
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
