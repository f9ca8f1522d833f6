//! The resolver of the present moment, and how one with other settings takes its place.
//!
//! Listeners and sockets stay; each query is answered to its end by the resolver that took it.
//! Answers and verdicts go over to the next one if the new settings would give the same
//! ([`Settings::answer_like`]); connections to name servers are dialled anew.

use super::forged_addresses::ForgedAddresses;
use super::resolver::Resolver;
use super::rewriting;
use super::settings::Settings;
use crate::proxy::tls::Tls;
use crate::task::spawn_local;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Mutex;
use tracing::debug;

/// Shared by all listeners of the thread.
pub(super) struct Present {
    resolver: RefCell<Rc<Resolver>>,
    /// The cache's file has been read.
    pub(super) restored: Cell<bool>,
    /// Held by who reads or writes it.
    pub(super) saving: Mutex<()>,
}

impl Present {
    /// Begins with this one, and starts what it does beside answering.
    pub(super) fn new(resolver: Rc<Resolver>) -> Rc<Self> {
        begin(&resolver, true);
        Rc::new(Present {
            resolver: RefCell::new(resolver),
            restored: Cell::new(false),
            saving: Mutex::new(()),
        })
    }

    /// The one for a query that comes now.
    pub(super) fn load(&self) -> Rc<Resolver> {
        Rc::clone(&self.resolver.borrow())
    }

    /// From now on, one with these settings.
    pub(super) fn reload(&self, settings: Settings) {
        let old = self.load();
        let same_servers = settings.servers.china == old.policy.settings.servers.china;
        let next = old.succeed(settings, Tls::default());
        next.memory.patience.swap(&old.memory.patience);
        let kept = next.memory.cache.borrow().len();
        debug!("the resolver has new settings; {kept} answers are kept");
        begin(&next, !same_servers);
        *self.resolver.borrow_mut() = next;
    }

    /// From now on, one that knows nothing of the network of before: its connections are dialled
    /// anew, and whether the domestic side is there, or rewrites, is found out again. Answers stay,
    /// and are older by the time that was slept.
    pub(super) fn network_changed(&self, slept: Duration) {
        let old = self.load();
        let next = old.succeed(old.policy.settings.clone(), Tls::default());
        next.memory.cache.borrow_mut().age(slept);
        let configured = ForgedAddresses::new(&next.policy.settings.answers.bogus);
        *next.memory.bogus.borrow_mut() = configured;
        next.memory.trust().acquit(None);
        next.memory.suspicions.take();
        begin(&next, true);
        *self.resolver.borrow_mut() = next;
    }
}

fn begin(resolver: &Rc<Resolver>, servers_are_new: bool) {
    let (upstreams, memory) = (&resolver.upstreams, &resolver.memory);
    let finds_bogus = resolver.policy.settings.answers.finds_bogus;
    if finds_bogus && (servers_are_new || !memory.looked_for_bogus.get()) {
        spawn_local(rewriting::detect(Rc::clone(upstreams), Rc::clone(memory)));
    }
}
