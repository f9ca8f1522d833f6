//! Keeps the body of one subscription fresh. Whatever fails leaves the last good body in force: no
//! way to the provider, a web page, a body without servers. It is tried again after a rest that
//! grows.

use super::arrival::{Arrival, FetchOrder};
use crate::config::{Config, FetchVia, KEPT_FOLDER, SubscriptionConfig};
use crate::dispatch::Current;
use crate::dns;
use crate::net::Outbound;
use crate::proxy::tls::Tls;
use crate::subscription::fetch::{Fetched, Way, Ways};
use crate::subscription::kept::{self, KeptBody};
use crate::subscription::url::ProviderUrl;
use crate::task::spawn_blocking;
use crate::warnings::Complaint;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;
use tracing::{debug, info, warn};

/// The rest after a failed fetch doubles from the first to the last.
const SOONEST: Duration = Duration::from_secs(10);
const LATEST: Duration = Duration::from_secs(3600);

/// What keeps one subscription fresh.
pub(super) struct SubscriptionTask {
    pub(super) subscription: SubscriptionConfig,
    pub(super) url: ProviderUrl,
    /// To see whether a body is of use.
    pub(super) config: Arc<Config>,
    pub(super) current: Current,
    pub(super) outbound: Outbound,
    pub(super) names: dns::Settings,
    pub(super) nudge: Arc<Notify>,
    pub(super) arrivals: mpsc::Sender<Arrival>,
}

impl SubscriptionTask {
    /// Until it is dropped.
    pub(super) async fn run(self, at_once: bool, mut orders: mpsc::Receiver<FetchOrder>) {
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
