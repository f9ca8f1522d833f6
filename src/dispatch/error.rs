//! Why nothing was connected.

use crate::proxy;
use std::time::Duration;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule says no.
    #[error("blocked by rule")]
    Blocked,
    /// The direct dial failed.
    #[error("{0}")]
    Direct(proxy::Error),
    /// The direct dial took too long.
    #[error("no answer from {target} within {} s", .after.as_secs())]
    DirectTimeout {
        /// Where to.
        target: String,
        /// The limit.
        after: Duration,
    },
    /// Every proxy failed; the causes, in the order of the attempts.
    #[error("no proxy could connect: {}", .0.join("; "))]
    AllProxiesFailed(Vec<String>),
    /// The proxies work, and none connects to this target: at least one of them does not allow it;
    /// the causes, in the order of the attempts.
    #[error("no proxy connects to it: {}", .0.join("; "))]
    Refused(Vec<String>),
    /// No proxy is said to carry UDP.
    #[error("no proxy carries UDP")]
    NoDatagrams,
    /// Every proxy is known to be down and none is due for another attempt.
    #[error("all proxies are down")]
    AllProxiesDown,
}
