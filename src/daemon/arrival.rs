//! What the task of a subscription sends to the daemon, and the order that it takes.

use crate::subscription::kept::KeptBody;
use tokio::sync::oneshot;

/// A body that snet can use a server of.
pub(super) struct Arrival {
    /// Of the subscription.
    pub(super) name: String,
    pub(super) body: KeptBody,
    /// Whether the next reading of the configuration finds it in its file.
    pub(super) is_kept: bool,
}

/// Somebody wants the body now, and what came of it.
pub(super) type FetchOrder = oneshot::Sender<Result<(), String>>;
