//! Called after other programs have changed rules and ours have been checked: the heartbeat then
//! proves at once that the rules capture, and does not wait for its next round.

use std::fmt;
use std::sync::OnceLock;

/// At most one listener.
#[derive(Default)]
pub(super) struct ChangeListener(OnceLock<Box<dyn Fn() + Send + Sync>>);

impl ChangeListener {
    /// Calls `listener` each time. The first one stays.
    pub(super) fn connect(&self, listener: Box<dyn Fn() + Send + Sync>) {
        // A second listener would be a second daemon.
        let _ = self.0.set(listener);
    }

    pub(super) fn notify(&self) {
        if let Some(listener) = self.0.get() {
            listener();
        }
    }
}

impl fmt::Debug for ChangeListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChangeListener")
    }
}
