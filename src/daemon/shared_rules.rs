//! The installed rules, shared with the tasks that add addresses to their sets: the daemon's side
//! of the small traits that lower layers own.

use super::error::Error;
use crate::dns::bootstrap::Exempt;
use crate::family::Family;
use crate::firewall::{self, DirectCounts, DirectSums, Installed, KernelAnswer, Ruleset, Switches};
use crate::route::{Route, Teach};
use crate::sync::lock;
use crate::task;
use crate::warnings::Complaint;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tracing::{debug, info};

/// A removal waits so long for a task that is just adding an address.
const BUSY: Duration = Duration::from_secs(1);

/// Nothing, until rules are installed.
#[derive(Debug, Default)]
pub(super) struct SharedRules {
    handle: Mutex<Option<Arc<Box<dyn Installed>>>>,
    /// Switches cannot be set; said once.
    fails: Mutex<Complaint>,
    direct: Mutex<DirectLedger>,
}

/// What the kernel sent directly, and when it was last looked at.
#[derive(Debug, Default)]
struct DirectLedger {
    sums: DirectSums,
    looked: Option<Instant>,
    is_counted: bool,
}

impl DirectLedger {
    /// The counters say this now. Where they cannot be read they go on all the same: what they say
    /// next counts from where they were.
    fn look(&mut self, now: Option<Result<DirectCounts, firewall::Error>>) {
        self.is_counted = now.is_some();
        match now {
            Some(Ok(now)) => drop(self.sums.take(&now)),
            Some(Err(error)) => debug!("counters: {error}"),
            None => self.sums.begin_anew(),
        }
    }
}

/// The counters are not read again before that: a page may ask each second, and a tool may have to
/// be started.
const FRESH: Duration = Duration::from_secs(2);

/// The installed rules, whichever backend has installed them.
type InstalledRules = dyn Installed + 'static;

impl SharedRules {
    pub(super) fn hold(&self, handle: Box<dyn Installed>) {
        *lock(&self.handle) = Some(Arc::new(handle));
    }

    /// Acts on the rules, if there are some. The lock is not held meanwhile: a tool that waits
    /// for its own must not hold up the resolver.
    pub(super) fn with<T>(&self, act: impl FnOnce(&InstalledRules) -> T) -> Option<T> {
        let handle = lock(&self.handle).clone();
        handle.map(|handle| act(&**handle))
    }

    /// Takes the rules away from all tasks, and waits for those that are just using them. `None`:
    /// there are none, or a task that still has them removes them by dropping them.
    fn take(&self) -> Option<Box<dyn Installed>> {
        let mut handle = lock(&self.handle).take()?;
        let tries = 100;
        for _ in 0..tries {
            match Arc::try_unwrap(handle) {
                Ok(handle) => return Some(handle),
                Err(shared) => handle = shared,
            }
            std::thread::sleep(BUSY / tries);
        }
        None
    }

    /// Sets the switches of the rules until the next heartbeat. Returns whether they are set.
    pub(super) async fn set_switches(self: &Arc<Self>, switches: Switches) -> bool {
        let failure = match self.blocking(move |handle| handle.beat(switches)).await {
            Ok(()) => {
                if lock(&self.fails).clear() {
                    info!("firewall: the rules are kept active again");
                }
                return true;
            }
            Err(failure) => failure,
        };
        let mut fails = lock(&self.fails);
        if !fails.holds() {
            fails.set(Some(format!(
                "firewall: cannot keep the rules active, so nothing is captured: {failure}"
            )));
        }
        false
    }

    /// The families, IPv4 first, that the rules redirect.
    pub(super) fn captures(&self) -> [bool; 2] {
        Family::ALL.map(|family| self.with(|handle| handle.captures(family)).unwrap_or(false))
    }

    /// The families, IPv4 first, of which the rules capture foreign UDP.
    pub(super) fn captures_datagrams(&self) -> [bool; 2] {
        let captures = |family| self.with(|handle| handle.captures_datagrams(family));
        Family::ALL.map(|family| captures(family).unwrap_or(false))
    }

    /// The daemon fails: nothing answers what the rules capture any more. They stay where they are
    /// closed ([`firewall::OnFailure`]); else they are removed.
    pub(super) async fn abandon(self: &Arc<Self>) {
        let installed = Arc::clone(self);
        let abandoned = task::spawn_blocking(move || {
            if installed.with(Installed::abandon) == Some(false) {
                let _ = installed.with(Installed::release);
            }
        });
        // It panicked: the drop does what is left.
        let _ = abandoned.await;
    }

    /// Whether what was learned has to be told again; see [`Installed::forgot`].
    pub(super) fn forgot(&self) -> bool {
        self.with(Installed::forgot).unwrap_or(false)
    }

    /// What the kernel sent directly since the start; `None`: it is not counted. Reads the counters
    /// unless somebody has just done so.
    pub(super) async fn direct(self: &Arc<Self>) -> Option<DirectCounts> {
        let installed = Arc::clone(self);
        let looking = task::spawn_blocking(move || installed.look_at_counters(FRESH));
        looking.await.ok().flatten()
    }

    /// What the kernel makes of these addresses, each of them; `None`: no rules are installed.
    pub(super) async fn look_up(
        self: &Arc<Self>,
        addresses: Vec<IpAddr>,
    ) -> Option<Result<Vec<KernelAnswer>, Error>> {
        let installed = Arc::clone(self);
        let looking = task::spawn_blocking(move || {
            installed.with(|handle| {
                let answers = addresses.into_iter().map(|address| handle.look_up(address));
                Ok(answers.collect::<Result<_, _>>()?)
            })
        });
        looking.await.unwrap_or(Some(Err(Error::Died("firewall"))))
    }

    fn look_at_counters(&self, fresh: Duration) -> Option<DirectCounts> {
        let mut ledger = lock(&self.direct);
        if ledger.looked.is_none_or(|looked| looked.elapsed() >= fresh) {
            let now = self.with(Installed::direct).flatten();
            ledger.looked = Some(Instant::now());
            ledger.look(now);
        }
        ledger.is_counted.then(|| ledger.sums.sums().clone())
    }

    /// Other rules, if there are some. Their counters may begin anew: they are read before, and at
    /// once afterwards, when those that did are small.
    pub(super) async fn replace(self: &Arc<Self>, ruleset: Ruleset) -> Result<(), Error> {
        let installed = Arc::clone(self);
        self.blocking(move |handle| {
            installed.look_at_counters(Duration::ZERO);
            let result = handle.replace(ruleset);
            installed.look_at_counters(Duration::ZERO);
            result
        })
        .await
    }

    /// Captures nothing more; what was captured goes on until [`remove`](Self::remove).
    pub(super) async fn release(self: &Arc<Self>) -> Result<(), Error> {
        self.blocking(Installed::release).await
    }

    pub(super) async fn remove(self: &Arc<Self>) -> Result<(), Error> {
        let installed = Arc::clone(self);
        let removal = task::spawn_blocking(move || match installed.take() {
            Some(handle) => handle.remove(),
            None => Ok(()),
        });
        Ok(removal.await.map_err(|_| Error::Died("firewall"))??)
    }

    /// Tools and the kernel take their time: not on a thread that serves connections.
    async fn blocking(
        self: &Arc<Self>,
        act: impl FnOnce(&InstalledRules) -> Result<(), firewall::Error> + Send + 'static,
    ) -> Result<(), Error> {
        let installed = Arc::clone(self);
        let acting = task::spawn_blocking(move || installed.with(act).unwrap_or(Ok(())));
        Ok(acting.await.map_err(|_| Error::Died("firewall"))??)
    }
}

/// The owner of the rules. When it is dropped they are removed, and not later: the
/// other owners live in tasks, and those may end after the process.
#[derive(Debug, Default)]
pub(super) struct RulesOwner(Arc<SharedRules>);

impl Deref for RulesOwner {
    type Target = Arc<SharedRules>;

    fn deref(&self) -> &Arc<SharedRules> {
        &self.0
    }
}

impl Drop for RulesOwner {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}

/// New addresses of an upstream server's name go to the kernel before the proxy dials them.
#[derive(Debug)]
pub(super) struct ExemptServers(pub(super) Arc<SharedRules>);

impl Exempt for ExemptServers {
    fn exempt(&self, addresses: Vec<IpAddr>) {
        self.0.with(|handle| handle.exempt(addresses));
    }
}

/// Learned addresses go to the kernel's sets.
#[derive(Debug)]
pub(super) struct TeachKernel(pub(super) Arc<SharedRules>);

impl Teach for TeachKernel {
    fn teach(&self, address: IpAddr, route: Route, ttl: Duration) {
        self.0.with(|handle| handle.learn(address, route, ttl));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::DirectReason;

    #[test]
    fn counters_that_cannot_be_read_for_once_go_on() {
        let counts = |up| {
            let mut counts = DirectCounts::default();
            counts.at(DirectReason::Rule, Family::V4).up = up;
            Some(Ok(counts))
        };
        let failure = firewall::Error::Missing { tool: "iptables-save".into() };
        let mut ledger = DirectLedger::default();
        let mut sums = Vec::new();
        for now in [counts(1000), Some(Err(failure)), counts(1500), None, counts(30)] {
            ledger.look(now);
            sums.push(ledger.sums.sums().of(DirectReason::Rule, Family::V4).up);
        }
        assert_eq!(sums, [1000, 1000, 1500, 1500, 1530]);
    }
}
