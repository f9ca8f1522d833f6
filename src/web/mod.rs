//! `control.http`: what the running snet shows, over HTTP. The Clash API, as dashboards use it
//! ([`clash`]), OpenMetrics ([`metrics`]), and the statistics of SNET ([`snet_stats`]).
//!
//! Nothing is answered without the secret ([`guard`]), `/version` included: other users of this
//! machine, web pages in its browsers and other hosts reach this port. The secret is never sent by
//! a browser on its own, so that a page of another origin has no use for one that is stored.
//!
//! Bounds: connections ([`MOST_CLIENTS`]), headers, bodies, and the time that each of them and
//! each write may take. What is shown is put together when it is asked for.

mod clash;
mod guard;
mod log_stream;
mod metrics;
mod respond;
mod snet_stats;
mod streams;
mod visit;

use crate::log::{LogFollower, LogLevel};
use crate::net::listen::Errors;
use crate::secret::Secret;
use crate::view::{ExplainView, FlowView, RuleView, StatusView};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use respond::respond;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tracing::debug;
use visit::WebVisit;

/// So many connections are served at a time; a browser with a dashboard has about ten.
pub const MOST_CLIENTS: usize = 64;

/// How long the headers of a request may take.
const PATIENCE: Duration = Duration::from_secs(10);

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
}

/// The server, as all its connections share it.
pub struct Web {
    insight: Box<dyn Insight>,
    secret: Secret,
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
        Web { insight, secret, patience: PATIENCE }
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
        let places = Arc::new(Semaphore::new(MOST_CLIENTS));
        let mut errors = Errors::default();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    errors.over();
                    // Beyond that newcomers are closed at once: a page that is open goes on.
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                    let visit = WebVisit { web: Arc::clone(&self), _place: Arc::new(place) };
                    tokio::spawn(converse(visit, stream, stop.clone()));
                }
                Err(error) => {
                    errors.after(error, "control.http: cannot accept", String::new).await?
                }
            }
        }
    }
}

async fn converse(visit: WebVisit, stream: TcpStream, mut stop: watch::Receiver<bool>) {
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
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            debug!("a client of control.http: {error}");
        },
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

#[cfg(test)]
mod tests;
