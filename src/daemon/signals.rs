//! The signals that ask the daemon to stop.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

/// Handlers are in place from [`Signals::new`] on: a signal during the start is kept until somebody
/// waits for it.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal that asks to stop and names it.
    pub(super) async fn stop(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.quit.recv() => return "SIGQUIT",
                _ = self.hangup.recv() => {
                    warn!("SIGHUP: a running snet cannot reload its configuration yet; restart it");
                }
            }
        }
    }
}
