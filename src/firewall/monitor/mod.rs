//! Follows the network while the rules are installed: addresses, routes and interfaces come and go,
//! and with them the prefixes on the links and the interfaces of the LAN side; other programs
//! change the firewall, and may take our rules with them.
//!
//! A thread of its own, which waits for notifications from the kernel and then looks anew. It knows
//! no backend: that one [`Follow`]s.

pub(super) mod backoff;

use super::device_routes;
use super::environment::Environment;
use super::netlink::route::Changes;
use super::netlink::tables::TableChanges;
use super::policy::Policy;
use super::policy_routes::PolicyRouteFollower;
use super::ruleset::Ruleset;
use super::tools::has_silent_tables;
use crate::exempt_programs::CgroupEvents;
use crate::family::Family;
use crate::warnings::Complaint;
use backoff::RepairBackoff;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tracing::{info, warn};

pub(super) use backoff::Repair;

/// An interface comes up in steps: link, address, route; a firewall is loaded in pieces. It is
/// looked at when all has been quiet for so long, so that an uplink is not taken for LAN side
/// while it waits for its default route.
const QUIET: Duration = Duration::from_millis(300);

/// But not later than that after the first event.
const LATEST: Duration = Duration::from_secs(2);

/// How often third-party forwarding rules are read where no notification tells of changes
/// (iptables-legacy).
const UNNOTIFIED: Duration = Duration::from_secs(10);

/// How often it is asked there whether a conflict has ended.
const UNNOTIFIED_CONFLICT: Duration = Duration::from_secs(60);

/// What a backend does about changes.
pub(super) trait Follow: Send {
    /// The network is no longer as in `before`; adapts the sets.
    fn environment(&mut self, before: &Environment, after: &Environment);

    /// Checks whether the rules are still in place, and puts back whatever can be.
    fn repair(&mut self) -> Repair;

    /// Looks again for what will not work together with the rules.
    fn look_for_conflicts(&mut self);

    /// Whether something was found.
    fn has_conflicts(&self) -> bool;

    /// Whether the kernel notifies of changes of our own rules (nf_tables does).
    fn sends_notifications(&self) -> bool;

    /// Whether something is damaged that no notification tells of, and that costs little to ask
    /// every few seconds.
    fn is_disturbed(&self) -> bool;
}

/// The thread. Its drop ends it.
#[derive(Debug)]
pub(super) struct Monitor {
    /// The thread ends when this end is closed.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Monitor {
    /// Follows the network namespace of the calling thread from now on.
    ///
    /// # Errors
    /// No netlink socket, no thread.
    pub(super) fn start(ruleset: Ruleset, follow: impl Follow + 'static) -> io::Result<Self> {
        let Ruleset { policy, environment } = ruleset;
        let (stop, stopped) = UnixStream::pair()?;
        let tables = match TableChanges::subscribe() {
            Err(error) if follow.sends_notifications() => return Err(error),
            tables => tables.ok(),
        };
        let has_cgroups = !policy.exempt.cgroups.is_empty();
        let cgroups = has_cgroups.then(CgroupEvents::new).transpose()?;
        let watch = Watch { policy, stopped, network: Changes::subscribe()?, tables, cgroups };
        let thread = thread::Builder::new().name("snet-network".into()).spawn(move || {
            if let Err(error) = watch.follow(environment, follow) {
                warn!("changes of the network are no longer followed: {error}; restart snet");
            }
        })?;
        Ok(Monitor { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

/// What the thread waits for.
struct Watch {
    policy: Arc<Policy>,
    stopped: UnixStream,
    network: Changes,
    /// `None`: the kernel has no nf_tables.
    tables: Option<TableChanges>,
    /// `None`: there are none to be followed.
    cgroups: Option<CgroupEvents>,
}

/// What has changed.
#[derive(Clone, Copy, Debug, Default)]
struct Changed {
    network: bool,
    /// Third-party rules, or ours of iptables-nft.
    rules: bool,
}

impl Watch {
    fn follow(&self, mut now: Environment, mut follow: impl Follow) -> io::Result<()> {
        let policy = &*self.policy;
        let mut told = Complaint::default();
        // The rules have just been checked; the network, a moment before the subscription.
        let mut checked = Instant::now();
        let mut until = QUIET;
        let mut backoff = RepairBackoff::default();
        let mut routes = device_routes::RouteFollower::default();
        let mut policy_routes = PolicyRouteFollower::default();
        let captures_datagrams = Family::ALL.iter().any(|of| policy.proxies_datagrams(*of));
        // All may have changed before the subscription.
        let (mut network, mut rules, mut third_party) = (true, true, true);
        let mut read = Instant::now();
        let (mut looks, mut looked) = (true, Instant::now());
        routes.update(policy);
        self.listen();
        policy_routes.update(policy);
        while let Some(changed) = self.wait(until, || {
            routes.update(policy);
            policy_routes.update_at_once(policy);
        })? {
            network |= changed.network;
            rules |= changed.rules || !follow.sends_notifications();
            third_party |= changed.rules;
            looks |= changed.rules;
            let mut next = now.clone();
            // Router mode asks what third-party rules forward, UDP what they drop; like our own
            // rules not more often than that.
            let is_time = checked.elapsed() >= backoff.rest(Instant::now());
            let unnotified = || read.elapsed() >= UNNOTIFIED && has_silent_tables();
            let asks = policy.lan.is_some() || captures_datagrams;
            if asks && is_time && (third_party || unnotified()) {
                next.forget_third_party();
                (network, third_party, read) = (true, false, Instant::now());
            }
            // The routes of a large router are not read every few seconds.
            let updated = if std::mem::take(&mut network) { next.update(policy) } else { Ok(()) };
            if self.cgroups.is_some() {
                self.listen();
                next.cgroups = policy.exempt.observe();
            }
            match updated {
                Ok(()) if next == now => {}
                Ok(()) => {
                    follow.environment(&now, &next);
                    say(policy, &now, &next);
                    now = next;
                    looks = true;
                    told.clear();
                }
                // What was known stays in force, for instance while the only uplink is redialled.
                Err(error) => {
                    // And it is looked at again, whether there is an event or not.
                    network = true;
                    told.set(Some(format!("the rules stay as they are: {error}")));
                }
            }
            let rest = backoff.rest(Instant::now()).saturating_sub(checked.elapsed());
            if rest > Duration::ZERO {
                until = rest;
                continue;
            }
            if std::mem::take(&mut rules) || follow.is_disturbed() {
                let repair = follow.repair();
                backoff.record(Instant::now(), repair);
            }
            let unnotified = || looked.elapsed() >= UNNOTIFIED_CONFLICT && has_silent_tables();
            if std::mem::take(&mut looks) || follow.has_conflicts() && unnotified() {
                follow.look_for_conflicts();
                looked = Instant::now();
            }
            backoff.look(Instant::now());
            policy_routes.update(policy);
            checked = Instant::now();
            until = backoff.rest(checked);
        }
        Ok(())
    }

    fn listen(&self) {
        if let Some(cgroups) = &self.cgroups {
            cgroups.listen(&self.policy.exempt);
        }
    }

    /// Waits for a change and for quiet after it, or so long. Returns what has changed; `None`: it
    /// is time to end. What cannot wait for quiet is done `at_once`.
    fn wait(&self, limit: Duration, mut at_once: impl FnMut()) -> io::Result<Option<Changed>> {
        let mut changed = Changed::default();
        let mut latest = None;
        let mut deadline = Instant::now() + limit;
        loop {
            let mut ready = vec![
                PollFd::new(self.stopped.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.network.as_fd(), PollFlags::POLLIN),
            ];
            let tables = self.tables.as_ref();
            let cgroups = self.cgroups.as_ref();
            ready.extend(cgroups.map(|events| PollFd::new(events.as_fd(), PollFlags::POLLIN)));
            ready.extend(tables.map(|tables| PollFd::new(tables.as_fd(), PollFlags::POLLIN)));
            let left = deadline.saturating_duration_since(Instant::now());
            // poll(2) counts whole milliseconds.
            let left = left + Duration::from_millis(u64::from(!left.is_zero()));
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let count = match poll(&mut ready, timeout) {
                Err(Errno::EINTR) => continue,
                count => count?,
            };
            if ready[0].any() != Some(false) {
                return Ok(None);
            }
            if count == 0 {
                return Ok(Some(changed));
            }
            if let Some(cgroups) = cgroups
                && ready[2].any() != Some(false)
            {
                // Its first program is about to run: not when all is quiet, but now.
                cgroups.drain();
                return Ok(Some(changed));
            }
            let network = ready[1].any() != Some(false);
            if self.network.drain()? {
                at_once();
            }
            let rules = self.tables.as_ref().map_or(Ok(false), TableChanges::drain)?;
            // Elements of sets are no change of rules, and do not prolong the waiting for one.
            if network || rules {
                let now = Instant::now();
                let latest = *latest.get_or_insert(now + LATEST);
                deadline = latest.min(now + QUIET);
                changed =
                    Changed { network: changed.network || network, rules: changed.rules || rules };
            } else if Instant::now() >= deadline {
                return Ok(Some(changed));
            }
        }
    }
}

fn say(policy: &Policy, before: &Environment, after: &Environment) {
    let cgroups = before.cgroups.iter().zip(&after.cgroups);
    for (_, now) in cgroups.filter(|(before, now)| before.id != now.id) {
        match now.id {
            Some(_) => info!("cgroup {} is there, and left alone", now.path),
            None => info!("cgroup {} is gone", now.path),
        }
    }
    let offload = &after.offload;
    if offload.describe() != before.offload.describe() {
        offload.describe().iter().for_each(|now| info!("{now}"));
    }
    if policy.lan.is_none() {
        return;
    }
    let (before, after) = (&before.lan, &after.lan);
    if before.describe() != after.describe() {
        info!("the LAN side is now: {}", after.describe());
    }
}
