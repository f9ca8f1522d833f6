//! The installed table in a network that changes: the prefixes on the links are followed, and a
//! table without an owner is put back when another program damaged it.

use super::error::Error;
use super::handle::Handle;
use super::owner::Owner;
use super::reconcile;
use crate::fault::{self, Step};
use crate::firewall::change_listener::Bell;
use crate::firewall::conflicts;
use crate::firewall::device_routes;
use crate::firewall::family::Family;
use crate::firewall::monitor::{Follow, Look, Monitor};
use crate::firewall::ruleset::Ruleset;
use crate::firewall::switch::OnFailure;
use crate::firewall::tools::Iptables;
use crate::sync::lock;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tracing::{info, warn};

/// A [`Handle`] that is kept up to date. Its drop removes the table.
#[derive(Debug)]
pub(in crate::firewall) struct Followed {
    // Dropped before the handle, so that nothing is changed while it is removed.
    /// `None` if it could not be started, or after the release.
    monitor: Mutex<Option<Monitor>>,
    handle: Arc<Handle>,
    /// What is in force; the follower writes it too.
    now: Arc<Mutex<Ruleset>>,
    /// A failure leaves the table, which is closed.
    leave_closed: AtomicBool,
    bell: Arc<Bell>,
    // Dropped behind the rules.
    _bound: device_routes::Routes,
}

impl Followed {
    /// As [`Handle::install`].
    pub(in crate::firewall) fn install(owner: Owner, ruleset: Ruleset) -> Result<Self, Error> {
        if let Some(lan) = &ruleset.lan {
            info!("the LAN side: {}", lan.describe());
        }
        ruleset.left_alone.absent().for_each(|why| warn!("{why}"));
        conflicts::all(&ruleset, &every_tool(), false).iter().for_each(|doubt| warn!("{doubt}"));
        let stays_closed = ruleset.on_failure == OnFailure::Closed && reconcile::is_closed()?;
        let bound = device_routes::Routes::put(&ruleset);
        let handle = Arc::new(Handle::install(owner, ruleset.clone())?);
        let now = Arc::new(Mutex::new(ruleset));
        let leave_closed = AtomicBool::new(stays_closed);
        let followed = Followed {
            monitor: Mutex::new(None),
            handle,
            now,
            leave_closed,
            bell: Arc::default(),
            _bound: bound,
        };
        fault::at(Step::Follow).map_err(|source| Error::Netlink { source })?;
        followed.watch();
        Ok(followed)
    }

    /// As [`Handle::replace`].
    pub(in crate::firewall) fn replace(
        &self,
        mut new: Ruleset,
    ) -> Result<(), crate::firewall::Error> {
        self.unwatch();
        let old = lock(&self.now).clone();
        let result = new.keep_uplinks(&old).and_then(|()| Ok(self.handle.replace(&new)?));
        if result.is_ok() {
            conflicts::between(&old, &new, &every_tool(), false)
                .iter()
                .for_each(|doubt| warn!("{doubt}"));
            *lock(&self.now) = new;
        }
        self.watch();
        result
    }

    /// As [`Handle::exempt`].
    pub(in crate::firewall) fn exempt(&self, servers: Vec<IpAddr>) {
        lock(&self.now).know_servers(&servers);
        self.handle.exempt(servers);
    }

    fn watch(&self) {
        let now = lock(&self.now).clone();
        let follower = Follower {
            handle: Arc::clone(&self.handle),
            now: Arc::clone(&self.now),
            bell: Arc::clone(&self.bell),
            behind: None,
        };
        *lock(&self.monitor) = Monitor::start(now, follower)
            .inspect_err(|error| warn!("changes of the network are not followed: {error}"))
            .ok();
    }

    /// Calls `listener` each time others have damaged our rules and they were put back.
    pub(in crate::firewall) fn on_change(&self, listener: Box<dyn Fn() + Send + Sync>) {
        self.bell.connect(listener);
    }

    /// Whether what is captured in this family is redirected.
    pub(in crate::firewall) fn captures(&self, family: Family) -> bool {
        lock(&self.now).listens(family)
    }

    /// The rules are proven and in use: from now on a failure leaves them closed, where they are so.
    pub(in crate::firewall) fn commit(&self) {
        let is_closed = lock(&self.now).on_failure == OnFailure::Closed;
        self.leave_closed.fetch_or(is_closed, Ordering::Relaxed);
    }

    /// As [`Handle::release`]; nothing is followed from now on.
    pub(in crate::firewall) fn release(&self) -> Result<(), Error> {
        self.unwatch();
        self.leave_closed.store(false, Ordering::Relaxed);
        let mut now = lock(&self.now);
        if now.on_failure == OnFailure::Closed {
            // Once nobody captures any more these rules reject: they change first.
            now.on_failure = OnFailure::Open;
            self.handle.replace(&now)?;
        }
        self.handle.release()
    }

    /// Nobody stands behind the rules any more. Returns whether they stay, because they are closed.
    pub(in crate::firewall) fn abandon(&self) -> bool {
        self.unwatch();
        // The kernel does it by itself within seconds.
        let _ = self.handle.release();
        self.leave_closed.load(Ordering::Relaxed)
    }

    /// As [`Handle::remove`].
    pub(in crate::firewall) fn remove(self) -> Result<(), Error> {
        self.unwatch();
        self.leave_closed.store(false, Ordering::Relaxed);
        self.handle.delete()?;
        self.handle.keep();
        Ok(())
    }

    fn unwatch(&self) {
        let monitor = lock(&self.monitor).take();
        drop(monitor);
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.unwatch();
        if self.leave_closed.load(Ordering::Relaxed) {
            // The kernel does it by itself within seconds.
            let _ = self.handle.release();
            self.handle.keep();
            warn!("the network stays closed, as firewall.on-failure says: `snet cleanup` opens it");
        }
    }
}

/// iptables is others' here.
fn every_tool() -> Vec<(Family, Iptables)> {
    let tools = |family| Iptables::every(family).into_iter().map(move |tools| (family, tools));
    Family::ALL.into_iter().flat_map(tools).collect()
}

impl Deref for Followed {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

struct Follower {
    handle: Arc<Handle>,
    now: Arc<Mutex<Ruleset>>,
    bell: Arc<Bell>,
    /// A change of the network could not be followed, and why: it is said once, and made up for.
    behind: Option<String>,
}

impl Follower {
    fn tell(&mut self, result: Result<(), Error>) {
        let complaint = result.err().map(|error| error.to_string());
        if let Some(complaint) = &complaint
            && self.behind.as_ref() != Some(complaint)
        {
            warn!(
                "the nftables table does not follow the network: {complaint}; it is tried again within seconds"
            );
        }
        self.behind = complaint;
    }
}

impl Follow for Follower {
    fn network(&mut self, _before: &Ruleset, after: &Ruleset) {
        let now = {
            let mut now = lock(&self.now);
            now.look_like(after);
            now.clone()
        };
        let result = self.handle.replace(&now);
        self.tell(result);
    }

    fn rules(&mut self, _now: &Ruleset) -> Look {
        let mend = || {
            let intact = self.handle.is_intact()?;
            if !intact {
                self.handle.restore()?;
            }
            // What it missed of the network while it was gone.
            if !intact || self.behind.is_some() {
                self.handle.replace(&lock(&self.now).clone())?;
            }
            Ok::<_, Error>((!intact).then(|| "rules of the nftables table were gone".into()))
        };
        let mended = mend();
        if mended.is_ok() {
            self.behind = None;
        }
        let mut look = Look::default();
        look.note(mended);
        if !look.mended.is_empty() {
            self.bell.ring();
        }
        look
    }

    /// It does, of every beat and every learned address as well. So it is looked every now and
    /// then, which costs three questions to the kernel.
    fn has_word(&self) -> bool {
        false
    }

    /// [`rules`](Self::rules) looks at everything anyway.
    fn is_disturbed(&self, _now: &Ruleset) -> bool {
        false
    }
}
