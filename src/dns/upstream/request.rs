//! What a persistent connection is given and gives back, whatever is spoken on it.

use crate::dns::wire::Query;
use std::io;
use std::time::Duration;
use tokio::sync::oneshot;

/// A connection that answers nothing for so long has died in silence. Short enough for one more
/// try within a query's time.
pub(super) const STALL: Duration = Duration::from_millis(2000);

/// After so long without a message it is asked whether it lives.
pub(super) const WORRY: Duration = Duration::from_millis(1000);

/// A query that waits for its reply on a connection.
#[derive(Debug)]
pub(super) struct UpstreamRequest {
    pub(super) query: Query,
    pub(super) reply: oneshot::Sender<Result<Vec<u8>, Unanswered>>,
}

/// Why a request has no reply.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// No connection could be made, or the server does not want to answer.
    Failed(io::Error),
    /// The connection ended first. `useful`: it had answered other queries.
    Ended { useful: bool },
}

/// What a connection carried, in bytes, and why it ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) cause: io::Error,
    pub(super) sent: u64,
    pub(super) received: u64,
}
