//! Keeps the bodies of the subscriptions fresh: fetches one when it is old, or at once after a
//! reload, and hands it to the supervisor if snet can use a server of it.
//!
//! Each subscription has a task of its own. Whatever fails leaves the last good body in force: no
//! way to the provider, a web page, a body without servers. It is tried again after a rest that
//! grows.

use super::build;
use super::generation::{Generation, Parts};
use crate::config::{BodyOrigin, Config, FetchVia, KEPT_FOLDER, SubscriptionConfig};
use crate::dispatch::Current;
use crate::dns;
use crate::net::Outbound;
use crate::proxy::tls::Tls;
use crate::subscription::fetch::{Fetched, Way, Ways};
use crate::subscription::kept::{self, KeptBody};
use crate::subscription::url::ProviderUrl;
use crate::task::{JoinSet, spawn_blocking};
use crate::warnings::Complaint;
use std::collections::HashMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::sleep;
use tracing::{debug, info, warn};

/// The rest after a failed fetch doubles from the first to the last.
const SOONEST: Duration = Duration::from_secs(10);
const LATEST: Duration = Duration::from_secs(3600);

/// A body that snet can use a server of.
pub(super) struct Arrival {
    /// Of the subscription.
    pub(super) name: String,
    pub(super) body: KeptBody,
    /// Whether the next reading of the configuration finds it in its file.
    pub(super) is_kept: bool,
}

/// Fetches, until it is dropped.
pub(super) struct Fetching {
    tasks: JoinSet<()>,
    /// Another network: what failed is tried at once.
    nudge: Arc<Notify>,
    arrivals: mpsc::Sender<Arrival>,
    /// To the task of each subscription.
    orders: HashMap<String, mpsc::Sender<FetchOrder>>,
}

/// Somebody wants the body now, and what came of it.
pub(super) type FetchOrder = oneshot::Sender<Result<(), String>>;

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
        if cfg!(not(feature = "tls")) {
            return;
        }
        let config = Arc::new(generation.config.clone());
        for subscription in &config.subscriptions {
            let BodyOrigin::Url(url) = &subscription.origin else { continue };
            let (ordering, orders) = mpsc::channel(1);
            self.orders.insert(subscription.name.clone(), ordering);
            let task = Task {
                url: url.clone(),
                subscription: subscription.clone(),
                config: Arc::clone(&config),
                current: parts.current.clone(),
                outbound: parts.outbound.clone(),
                names: build::dns(&config, &[], None),
                nudge: Arc::clone(&self.nudge),
                arrivals: self.arrivals.clone(),
            };
            self.tasks.spawn(task.run(at_once, orders));
        }
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

/// What keeps one subscription fresh.
struct Task {
    subscription: SubscriptionConfig,
    url: ProviderUrl,
    /// To see whether a body is of use.
    config: Arc<Config>,
    current: Current,
    outbound: Outbound,
    names: dns::Settings,
    nudge: Arc<Notify>,
    arrivals: mpsc::Sender<Arrival>,
}

impl Task {
    async fn run(self, at_once: bool, mut orders: mpsc::Receiver<FetchOrder>) {
        let mut kept = self.kept().await;
        let mut due = match &kept {
            Some(kept) if !at_once && kept.is_of(&self.url) => {
                self.subscription.update.saturating_sub(kept::age(kept.fetched))
            }
            _ => Duration::ZERO,
        };
        let (mut rest, mut failing) = (SOONEST, Complaint::default());
        loop {
            // A nudge is for what failed.
            let has_failed = failing.holds();
            let mut order = None;
            tokio::select! {
                () = sleep(due) => {}
                () = self.nudge.notified(), if has_failed => {}
                Some(given) = orders.recv() => order = Some(given),
            }
            let fetched = self.fetch(kept.as_ref()).await;
            if let Some(order) = order {
                // Who asked may have left.
                let _ = order.send(fetched.as_ref().map(drop).map_err(String::clone));
            }
            match fetched {
                Ok(fetched) => {
                    if has_failed {
                        info!("subscription {:?}: the provider answers again", self.name());
                    }
                    failing.clear();
                    (rest, due) = (SOONEST, self.subscription.update);
                    kept = Some(fetched);
                }
                Err(why) => {
                    let stays = match self.subscription.is_awaited() && kept.is_none() {
                        true => "no server of it is known yet",
                        false => "its last servers stay",
                    };
                    let line = format!("subscription {:?}: {stays}: {why}", self.name());
                    debug!("{line}");
                    failing.set(Some(line));
                    due = rest.min(self.subscription.update);
                    rest = (rest * 2).min(LATEST);
                }
            }
        }
    }

    fn name(&self) -> &str {
        &self.subscription.name
    }

    /// The last good body.
    async fn kept(&self) -> Option<KeptBody> {
        let path = self.subscription.kept_in.clone()?;
        // What is wrong with it was said when the configuration was read.
        spawn_blocking(move || KeptBody::read(&path).ok().flatten()).await.ok()?
    }

    /// Fetches once, by each way that is allowed.
    async fn fetch(&self, kept: Option<&KeptBody>) -> Result<KeptBody, String> {
        let ways: &[Way] = match self.subscription.via {
            FetchVia::Auto if self.config.proxies.is_empty() => &[Way::Direct],
            FetchVia::Auto => &[Way::Proxy, Way::Direct],
            FetchVia::Proxy => &[Way::Proxy],
            FetchVia::Direct => &[Way::Direct],
        };
        let mut causes = Vec::new();
        for way in ways {
            let name = match way {
                Way::Proxy => "through a proxy",
                Way::Direct => "directly",
            };
            let all = Ways {
                dispatcher: self.current.load(),
                outbound: self.outbound.clone(),
                names: self.names.clone(),
                tls: Tls::default(),
            };
            let fetched = all.fetch(*way, &self.url, &self.subscription.user_agent, kept).await;
            let taken = match fetched {
                Ok(Fetched::Unchanged(body)) => {
                    info!("subscription {:?}: unchanged, asked {name}", self.name());
                    self.write(&body).await;
                    return Ok(body);
                }
                Ok(Fetched::New(body)) => self.take(body).await,
                Err(error) => Err(error.to_string()),
            };
            match taken {
                Ok(body) => {
                    debug!("subscription {:?}: fetched {name}", self.name());
                    return Ok(body);
                }
                // A provider may answer another way otherwise: with a page for this country.
                Err(why) => causes.push(format!("{name}: {why}")),
            }
        }
        Err(causes.join("; "))
    }

    /// Hands on a body that is of use.
    async fn take(&self, body: KeptBody) -> Result<KeptBody, String> {
        let (config, name) = (Arc::clone(&self.config), self.name().to_owned());
        let looked_at = spawn_blocking(move || {
            let taken = config.with_body(&name, &body).map(drop);
            (taken, body)
        });
        let (taken, body) = looked_at.await.map_err(|panic| panic.to_string())?;
        taken?;
        let is_kept = self.write(&body).await;
        let arrival = Arrival { name: self.name().to_owned(), body: body.clone(), is_kept };
        // A supervisor that is gone stops everything.
        let _ = self.arrivals.send(arrival).await;
        Ok(body)
    }

    /// Whether the body is on the disk.
    async fn write(&self, body: &KeptBody) -> bool {
        let Some(path) = self.subscription.kept_in.clone() else { return false };
        let (at, body) = (path.clone(), body.clone());
        let writing = spawn_blocking(move || {
            if at.parent() == Some(Path::new(KEPT_FOLDER)) {
                make_folder()?;
            }
            body.write(&at)
        });
        match writing.await.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            Ok(()) => true,
            Err(error) => {
                warn!(
                    "subscription {:?}: the body is not kept, cannot write {}: {error}; \
                     cache-file names another place",
                    self.name(),
                    path.display()
                );
                false
            }
        }
    }
}

/// The unit has made it; elsewhere it may be missing.
fn make_folder() -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(KEPT_FOLDER)
}
