//! Rung after others have changed rules and ours have been looked at: whoever vouches for the rules
//! then looks whether they capture, and does not wait for the next beat.

use std::fmt;
use std::sync::OnceLock;

/// Rings for one who listens, or for nobody.
#[derive(Default)]
pub(super) struct Bell(OnceLock<Box<dyn Fn() + Send + Sync>>);

impl Bell {
    /// Calls `listener` each time. The first one stays.
    pub(super) fn connect(&self, listener: Box<dyn Fn() + Send + Sync>) {
        // A second listener would be a second daemon.
        let _ = self.0.set(listener);
    }

    pub(super) fn ring(&self) {
        if let Some(listener) = self.0.get() {
            listener();
        }
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bell")
    }
}
