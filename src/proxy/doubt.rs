//! Whether the server behind a plugin is still there.
//!
//! A plugin takes a connection before it has one to its server. When that fails it ends ours, and
//! so does a server that does not reach the destination: from here the two look the same. So an end
//! without a byte is no verdict, only a doubt: the next dial first connects to the server itself,
//! sends nothing, and fails as it would without a plugin. A server that was there a moment ago is
//! not asked again for every dead destination, since a connection past the plugin can be seen.

use crate::sync::lock;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// So long a server that was there is believed to be.
const BELIEVED: Duration = Duration::from_secs(10);

/// What is thought of the server.
#[derive(Debug, Default)]
pub(super) struct ServerDoubt(Mutex<Thought>);

#[derive(Debug, Default)]
struct Thought {
    is_doubted: bool,
    last_seen: Option<Instant>,
}

impl ServerDoubt {
    /// A connection has ended without a byte.
    pub(super) fn raise(&self, now: Instant) {
        let mut thought = lock(&self.0);
        let is_believed = thought.last_seen.is_some_and(|seen| now < seen + BELIEVED);
        thought.is_doubted |= !is_believed;
    }

    /// Whether the server is to be asked before the next dial.
    pub(super) fn is_raised(&self) -> bool {
        lock(&self.0).is_doubted
    }

    /// It is there.
    pub(super) fn settle(&self, now: Instant) {
        *lock(&self.0) = Thought { is_doubted: false, last_seen: Some(now) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_was_there_is_believed_for_a_while() {
        let (doubt, now) = (ServerDoubt::default(), Instant::now());
        assert!(!doubt.is_raised());
        doubt.raise(now);
        assert!(doubt.is_raised());
        doubt.settle(now);
        doubt.raise(now + BELIEVED / 2);
        assert!(!doubt.is_raised());
        doubt.raise(now + BELIEVED);
        assert!(doubt.is_raised());
    }
}
