//! Which side of a connection is known to be broken.
//!
//! The kernel tells an error of a connection once (net/core/sock.c, sock_error): a write to a
//! connection that was reset may take the error away, and the half that reads it then sees a mere
//! end. So the half that writes tells the other one.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the half that writes to a side found out about it, for the half that reads it.
#[derive(Debug, Default)]
pub(super) struct Broken(AtomicBool);

impl Broken {
    /// Writing to the side failed. EPIPE says that its FIN had come before its reset
    /// (net/ipv4/tcp_input.c, tcp_reset): then its end is a true one.
    pub(super) fn by(&self, error: &io::Error) {
        if error.kind() != io::ErrorKind::BrokenPipe {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Whether an end of this side is the trace of a reset.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Both sides of a connection.
#[derive(Debug, Default)]
pub(super) struct Sides {
    pub(super) client: Broken,
    pub(super) upstream: Broken,
}
