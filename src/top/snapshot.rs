//! What the daemon said at one time, and what refers to it.

use crate::view::{FlowView, StatusView};
use std::time::Duration;

/// The whole daemon and its connections.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    /// When, since some moment before the first one.
    pub(super) at: Duration,
    pub(super) status: StatusView,
    /// The oldest first.
    pub(super) flows: Vec<FlowView>,
}

/// Connections that are to be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Closing {
    /// The process that numbered them: another one has other numbers.
    pub(super) pid: u32,
    /// Their numbers.
    pub(super) ids: Vec<u64>,
}
