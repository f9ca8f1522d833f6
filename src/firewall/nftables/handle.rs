//! The installed rules of this backend: a table in the kernel, followed and kept up to date.

use super::error::Error;
use super::follow::{TableFollower, every_tool};
use super::kernel_table::KernelTable;
use super::owner::TableOwner;
use super::reconcile;
use crate::family::Family;
use crate::fault::{self, Step};
use crate::firewall::change_listener::ChangeListener;
use crate::firewall::conflicts;
use crate::firewall::device_routes;
use crate::firewall::direct::DirectCounts;
use crate::firewall::flow::Flow;
use crate::firewall::installed::Installed;
use crate::firewall::iptables::admission::Admission;
use crate::firewall::look_up::{self, KernelAnswer};
use crate::firewall::monitor::Monitor;
use crate::firewall::older_flows;
use crate::firewall::policy::Policy;
use crate::firewall::policy_routes::PolicyRoutes;
use crate::firewall::ruleset::Ruleset;
use crate::firewall::switch::{OnFailure, Switches};
use crate::route::Route;
use crate::sync::lock;
use crate::warnings::{Complaint, Complaints};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::{info, warn};

/// A [`KernelTable`] that is kept up to date. Its drop removes the table.
#[derive(Debug)]
pub(in crate::firewall) struct NftablesRules {
    // Dropped before the table, so that nothing is changed while it is removed.
    /// `None` if it could not be started, or after the release.
    monitor: Mutex<Option<Monitor>>,
    table: Arc<KernelTable>,
    /// What is in force; the follower writes it too.
    now: Arc<Mutex<Ruleset>>,
    /// A failure leaves the table, which is closed.
    leave_closed: AtomicBool,
    listener: Arc<ChangeListener>,
    // Dropped behind the rules.
    _routes: device_routes::Routes,
    policy_routes: PolicyRoutes,
    admission: Arc<Admission>,
    conflicts: Arc<Mutex<Complaints>>,
}

impl NftablesRules {
    /// As [`KernelTable::install`].
    pub(in crate::firewall) fn install(
        owner: TableOwner,
        ruleset: Ruleset,
    ) -> Result<Self, crate::firewall::Error> {
        let ruleset = possible(ruleset)?;
        if ruleset.policy.lan.is_some() {
            info!("the LAN side: {}", ruleset.environment.lan.describe());
        }
        ruleset.environment.offload.describe().iter().for_each(|told| info!("{told}"));
        ruleset.environment.absent_cgroups().for_each(|why| warn!("{why}"));
        let admission = Arc::<Admission>::default();
        admission.follow(&ruleset);
        let mut conflicts = Complaints::default();
        conflicts.set(conflicts::all(&ruleset, &every_tool(), false));
        let is_closed = ruleset.policy.on_failure == OnFailure::Closed;
        let stays_closed = is_closed && reconcile::is_closed()?;
        let routes = device_routes::Routes::put(&ruleset.policy);
        let policy_routes = PolicyRoutes::put(&ruleset.policy)?;
        let table = Arc::new(KernelTable::install(owner, ruleset.clone())?);
        let installed = NftablesRules {
            monitor: Mutex::new(None),
            table,
            now: Arc::new(Mutex::new(ruleset)),
            leave_closed: AtomicBool::new(stays_closed),
            listener: Arc::default(),
            _routes: routes,
            policy_routes,
            admission,
            conflicts: Arc::new(Mutex::new(conflicts)),
        };
        fault::at(Step::Follow).map_err(|source| Error::Netlink { source })?;
        installed.watch();
        Ok(installed)
    }

    fn watch(&self) {
        let now = lock(&self.now).clone();
        let follower = TableFollower {
            table: Arc::clone(&self.table),
            admission: Arc::clone(&self.admission),
            now: Arc::clone(&self.now),
            listener: Arc::clone(&self.listener),
            behind: Complaint::default(),
            conflicts: Arc::clone(&self.conflicts),
        };
        *lock(&self.monitor) = Monitor::start(now, follower)
            .inspect_err(|error| warn!("changes of the network are not followed: {error}"))
            .ok();
    }

    fn unwatch(&self) {
        let monitor = lock(&self.monitor).take();
        drop(monitor);
    }
}

impl Installed for NftablesRules {
    fn exempt(&self, servers: Vec<IpAddr>) {
        lock(&self.now).environment.add_servers(&servers);
        self.table.exempt(servers);
    }

    fn exempt_flows(&self, flows: &[Flow]) {
        self.table.exempt_flows(flows);
    }

    fn learn(&self, address: IpAddr, route: Route, ttl: Duration) {
        self.table.learn(address, route, ttl);
    }

    fn replace(&self, new: Ruleset) -> Result<(), crate::firewall::Error> {
        self.unwatch();
        let old = lock(&self.now).clone();
        let result = new.succeeding(&old).and_then(|new| {
            let new = possible(new)?;
            self.policy_routes.precede(&new.policy)?;
            let (known, first) = older_flows::at_reload(&old, &new);
            self.exempt_flows(&known);
            self.table.replace(&new, &first)?;
            self.policy_routes.succeed(&new.policy);
            self.admission.follow(&new);
            lock(&self.conflicts).add(conflicts::between(&old, &new, &every_tool(), false));
            *lock(&self.now) = new;
            Ok(())
        });
        self.watch();
        result
    }

    fn forget(&self) {
        self.table.forget();
    }

    fn forgot(&self) -> bool {
        self.table.forgot()
    }

    fn beat(&self, switches: Switches) -> Result<(), crate::firewall::Error> {
        Ok(self.table.beat(switches)?)
    }

    fn on_change(&self, listener: Box<dyn Fn() + Send + Sync>) {
        self.listener.connect(listener);
    }

    fn direct(&self) -> Option<Result<DirectCounts, crate::firewall::Error>> {
        let counts = lock(&self.now).policy.counts_direct;
        counts.then(|| Ok(self.table.direct()?))
    }

    fn look_up(&self, address: IpAddr) -> Result<KernelAnswer, crate::firewall::Error> {
        let now = lock(&self.now).clone();
        let address = address.to_canonical();
        look_up::answer(&now, address, |set| Ok(self.table.holds(set, address)?))
    }

    fn captures(&self, family: Family) -> bool {
        lock(&self.now).policy.listens(family)
    }

    fn captures_datagrams(&self, family: Family) -> bool {
        lock(&self.now).captures_datagrams(family)
    }

    fn commit(&self) {
        let is_closed = lock(&self.now).policy.on_failure == OnFailure::Closed;
        self.leave_closed.fetch_or(is_closed, Ordering::Relaxed);
    }

    fn abandon(&self) -> bool {
        self.unwatch();
        // The kernel does it by itself within seconds.
        let _ = self.table.release();
        self.leave_closed.load(Ordering::Relaxed)
    }

    fn release(&self) -> Result<(), crate::firewall::Error> {
        self.unwatch();
        self.leave_closed.store(false, Ordering::Relaxed);
        let mut now = lock(&self.now);
        if now.policy.on_failure == OnFailure::Closed {
            // Once nothing is captured any more these rules reject: they change first.
            now.policy = Arc::new(Policy { on_failure: OnFailure::Open, ..(*now.policy).clone() });
            self.table.replace(&now, &[])?;
        }
        Ok(self.table.release()?)
    }

    fn remove(self: Box<Self>) -> Result<(), crate::firewall::Error> {
        self.unwatch();
        self.leave_closed.store(false, Ordering::Relaxed);
        self.table.delete()?;
        self.table.keep();
        Ok(())
    }
}

impl Drop for NftablesRules {
    fn drop(&mut self) {
        self.unwatch();
        if self.leave_closed.load(Ordering::Relaxed) {
            // The kernel does it by itself within seconds.
            let _ = self.table.release();
            self.table.keep();
            warn!("the network stays closed, as firewall.on-failure says: `snet cleanup` opens it");
        }
    }
}

/// These rules as far as the kernel can: where it has no TPROXY nothing else is lost, and UDP that
/// was to be captured is rejected; where it has no flowtables, nothing is offloaded.
pub(in crate::firewall) fn possible(mut ruleset: Ruleset) -> Result<Ruleset, Error> {
    if ruleset.policy.offloads()
        && let Err(error) = reconcile::offload_available()
    {
        ruleset.environment.offload.without(&without_flowtables(&error));
    }
    if ruleset.policy.counts_direct
        && let Err(error) = reconcile::counters_available()
    {
        info!("what the kernel sends directly is not counted: {error}");
        ruleset = ruleset.without_counters();
    }
    if !Family::ALL.into_iter().any(|family| ruleset.captures_datagrams(family)) {
        return Ok(ruleset);
    }
    match reconcile::datagrams_available() {
        Err(error @ Error::Unsupported { .. }) => {
            ruleset.environment.datagrams.without(&Family::ALL, &error);
        }
        result => result?,
    }
    Ok(ruleset)
}

/// Why nothing can be offloaded.
fn without_flowtables(error: &Error) -> String {
    match error {
        Error::Unsupported { source, .. } => format!(
            "this kernel has no flowtables ({source}); try `modprobe -a nf_flow_table \
             nf_flow_table_inet nft_flow_offload`; on OpenWrt the package is kmod-nft-offload"
        ),
        error => error.to_string(),
    }
}
