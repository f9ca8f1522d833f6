//! Keeps the bodies of the subscriptions fresh: fetches one when it is old, or at once after a
//! reload, and hands it to the supervisor if snet can use a server of it.
//!
//! Each subscription has a task of its own, see [`subscription_task`](super::subscription_task).

use super::arrival::{Arrival, FetchOrder};
use super::generation::{Generation, Parts};
#[cfg(feature = "tls")]
use super::subscription_task::SubscriptionTask;
#[cfg(feature = "tls")]
use crate::config::BodyOrigin;
use crate::task::JoinSet;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{Notify, mpsc, oneshot};

/// Fetches, until it is dropped.
pub(super) struct Fetching {
    tasks: JoinSet<()>,
    /// Another network: what failed is tried at once.
    nudge: Arc<Notify>,
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "nothing is fetched"))]
    arrivals: mpsc::Sender<Arrival>,
    /// To the task of each subscription.
    orders: HashMap<String, mpsc::Sender<FetchOrder>>,
}

impl Fetching {
    /// Nothing is fetched before [`begin`](Self::begin); what comes goes to the receiver.
    pub(super) fn new() -> (Self, mpsc::Receiver<Arrival>) {
        let (arrivals, arrived) = mpsc::channel(1);
        let (tasks, nudge, orders) = (JoinSet::new(), Arc::default(), HashMap::new());
        (Fetching { tasks, nudge, arrivals, orders }, arrived)
    }

    /// Fetches for this generation, instead of a former one: what is old, or everything at once.
    pub(super) fn begin(&mut self, generation: &Generation, parts: &Parts, at_once: bool) {
        self.tasks = JoinSet::new();
        self.orders.clear();
        #[cfg(feature = "tls")]
        {
            let config = Arc::new(generation.config.clone());
            for subscription in &config.subscriptions {
                let BodyOrigin::Url(url) = &subscription.origin else { continue };
                let (ordering, orders) = mpsc::channel(1);
                self.orders.insert(subscription.name.clone(), ordering);
                let task = SubscriptionTask {
                    url: url.clone(),
                    subscription: subscription.clone(),
                    config: Arc::clone(&config),
                    current: parts.current.clone(),
                    outbound: parts.outbound.clone(),
                    names: super::build::dns(&config, &[], None),
                    nudge: Arc::clone(&self.nudge),
                    arrivals: self.arrivals.clone(),
                };
                self.tasks.spawn(task.run(at_once, orders));
            }
        }
        #[cfg(not(feature = "tls"))]
        let _ = (generation, parts, at_once);
    }

    /// Has a subscription fetched now, whatever its age; in words why not, and how it went.
    pub(super) fn fetch_now(
        &self,
        name: &str,
    ) -> Result<oneshot::Receiver<Result<(), String>>, String> {
        let Some(task) = self.orders.get(name) else {
            let known: Vec<_> = self.orders.keys().map(String::as_str).collect();
            return Err(format!(
                "found {name:?}, which is no subscription with a URL; accepted: {}",
                if known.is_empty() {
                    "none, there is no such one".into()
                } else {
                    known.join(", ")
                }
            ));
        };
        let (order, done) = oneshot::channel();
        match task.try_send(order) {
            Ok(()) => Ok(done),
            Err(_) => Err(format!("subscription {name:?} is being fetched already")),
        }
    }

    /// Whether anything is fetched.
    pub(super) fn is_at_work(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// On another network, what failed is tried at once.
    pub(super) fn network_changed(&self) {
        self.nudge.notify_waiters();
    }
}
