//! Ends the threads of a test together with it, also when it fails.

use std::sync::atomic::{AtomicBool, Ordering};

/// Sets the flag when it is dropped.
pub struct Stop<'a>(pub &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
