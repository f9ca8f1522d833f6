//! `control.http`: what the running snet shows, over HTTP. The Clash API, as dashboards use it
//! ([`clash`]), OpenMetrics ([`metrics`]), and the statistics of SNET ([`snet_stats`]).
//!
//! Nothing of snet is told without the secret ([`guard`]), `/version` included: other users of this
//! machine, web pages in its browsers and other hosts reach this port. The secret is never sent by
//! a browser on its own, so that a page of another origin has no use for one that is stored, and
//! none is served because of the name by which it calls this host. Only the files of a dashboard
//! ([`files`]) are everybody's, as they are where they were published.
//!
//! Bounds: connections ([`admission`]: who has shown the secret is never in want of a place because
//! of those who have not), headers, bodies, and the time that each of them and each write may take.
//! What is shown is put together when it is asked for.

mod admission;
mod changes;
mod clash;
mod clash_proxies;
mod delays;
mod files;
mod guard;
mod log_stream;
mod metrics;
mod reply;
mod respond;
mod snet_stats;
mod streams;
mod visit;

use crate::log::{LogFollower, LogLevel};
use crate::net::listen::Errors;
use crate::secret::Secret;
use crate::task;
use crate::view::{DelayAsk, DelayView, ExplainView, FlowView, RuleView, StatusView};
use admission::Admission;
pub use admission::MOST_DESCRIPTORS;
use files::UiFolder;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use respond::respond;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tracing::debug;
use visit::WebVisit;

/// How long the headers of a request may take, and a body.
const PATIENCE: Duration = Duration::from_secs(5);

/// All headers of a request together.
const LARGEST_HEADER: usize = 16 * 1024;

/// An answer of the daemon, later.
pub type Told<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the daemon tells, and does. `None`: it is stopping.
pub trait Insight: Send + Sync + 'static {
    /// How it is.
    fn status(&self) -> Told<'_, Option<StatusView>>;

    /// What lives.
    fn flows(&self) -> Vec<FlowView>;

    /// The rules of the present configuration.
    fn rules(&self) -> Told<'_, Option<Vec<RuleView>>>;

    /// Why a name goes where it goes.
    fn explain(&self, name: &str) -> Told<'_, Option<ExplainView>>;

    /// What is logged from now on, at this level and graver.
    fn follow(&self, level: LogLevel) -> LogFollower;

    /// Ends one connection; `None`: all of them.
    fn close(&self, id: Option<u64>);

    /// Reads the configuration again.
    ///
    /// # Errors
    /// Why nothing has changed, in words.
    fn reload(&self) -> Told<'_, Result<(), String>>;

    /// Pins a member of a group; `None`: its policy chooses.
    ///
    /// # Errors
    /// Why not, in words.
    fn pin<'a>(&'a self, group: &'a str, member: Option<&'a str>) -> Told<'a, Result<(), String>>;

    /// Tests proxies.
    ///
    /// # Errors
    /// What of it is no such thing, in words.
    fn delays(&self, ask: DelayAsk) -> Told<'_, Result<Vec<DelayView>, String>>;

    /// Fetches a subscription now, and waits for it.
    ///
    /// # Errors
    /// Why there is nothing new, in words.
    fn update<'a>(&'a self, subscription: &'a str) -> Told<'a, Result<(), String>>;
}

/// The server, as all its connections share it.
pub struct Web {
    insight: Box<dyn Insight>,
    secret: Secret,
    ui: Option<UiFolder>,
    /// A client that sends no header for so long is not listened to.
    patience: Duration,
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Web(..)")
    }
}

impl Web {
    /// Shows this to whoever has the secret.
    pub fn new(insight: Box<dyn Insight>, secret: Secret) -> Self {
        Web { insight, secret, ui: None, patience: PATIENCE }
    }

    /// The same beside the files of this folder.
    #[must_use]
    pub fn beside(self, ui: Option<PathBuf>) -> Self {
        Web { ui: ui.map(UiFolder::new), ..self }
    }

    /// Serves until `stop` turns true. Returns true.
    ///
    /// # Errors
    /// The listener itself is broken.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        mut stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let admission = Arc::new(Admission::default());
        let mut errors = Errors::default();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, from)) => {
                    errors.over();
                    self.admit(&admission, stream, from.ip(), &stop).await;
                }
                Err(error) => {
                    errors.after(error, "control.http: cannot accept", String::new).await?
                }
            }
        }
    }

    async fn admit(
        self: &Arc<Self>,
        admission: &Arc<Admission>,
        stream: TcpStream,
        from: IpAddr,
        stop: &watch::Receiver<bool>,
    ) {
        let (place, displaced) = admission.enter(from).await;
        let visit = WebVisit { web: Arc::clone(self), place: Arc::new(place) };
        let (conversation, mut stop) = (converse(visit, stream), stop.clone());
        task::spawn(async move {
            tokio::select! {
                () = conversation => {}
                () = displaced => debug!("a client of control.http makes room for another"),
                _ = stop.wait_for(|stop| *stop) => {}
            }
        });
    }
}

async fn converse(visit: WebVisit, stream: TcpStream) {
    let service = service_fn(|request| {
        let visit = visit.clone();
        async move { Ok::<_, Infallible>(respond(&visit, request).await) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(visit.web.patience)
        .max_buf_size(LARGEST_HEADER);
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    if let Err(error) = connection.await {
        debug!("a client of control.http: {error}");
    }
}

#[cfg(test)]
mod tests;
