//! The line that a connection or a UDP session leaves in the log: one form for all of them, with
//! the same fields in the same order.

use super::LiveFlow;
use crate::log::CONNECTIONS;
use std::fmt;
use std::net::SocketAddr;
use tracing::{Level, debug, enabled, info};

/// What stands as the proxy of a flow that has none. No proxy has this name.
const DIRECT: &str = "direct";

impl LiveFlow {
    /// It has ended, in these words.
    pub fn tell_end(&self, how: &str) {
        // By the thousand, and mostly nobody wants them.
        if !enabled!(target: CONNECTIONS, Level::INFO) {
            return;
        }
        let (client, destination, name) = (self.client, self.shown_destination(), self.name());
        let (up, down) = (self.meter.up.get(), self.meter.down.get());
        // Milliseconds are enough for a reader.
        let seconds = self.began.elapsed().as_millis() as f64 / 1000.0;
        let way = self.way();
        let reason = way.as_ref().map(|way| way.reason);
        let group = way.as_ref().and_then(|way| way.group.as_deref());
        let proxy = way.as_ref().map(|way| way.proxy.as_deref().unwrap_or(DIRECT));
        info!(
            target: CONNECTIONS,
            %client, %destination, name, group, proxy, up, down, seconds, reason, "{how}"
        );
    }

    /// It stands.
    pub fn tell_begin(&self, what: &str) {
        if !enabled!(target: CONNECTIONS, Level::DEBUG) {
            return;
        }
        let (client, destination, name) = (self.client, self.shown_destination(), self.name());
        let way = self.way();
        let reason = way.as_ref().map(|way| way.reason);
        let group = way.as_ref().and_then(|way| way.group.as_deref());
        let proxy = way.as_ref().map(|way| way.proxy.as_deref().unwrap_or(DIRECT));
        debug!(
            target: CONNECTIONS,
            %client, %destination, name, group, proxy, reason, "{what}"
        );
    }

    /// It is not served. `is_expected`: the operator asked for that, or has been told why; any
    /// other is worth a line in every log.
    pub fn tell_refusal(&self, cause: &impl fmt::Display, is_expected: bool) {
        let (client, destination, name) = (self.client, self.shown_destination(), self.name());
        if is_expected {
            debug!(%client, %destination, name, "refused: {cause}");
        } else {
            info!(%client, %destination, name, "refused: {cause}");
        }
    }

    fn shown_destination(&self) -> ShownDestination {
        ShownDestination(self.destination())
    }
}

/// Formatted only if somebody wants the line.
struct ShownDestination(Option<SocketAddr>);

impl fmt::Display for ShownDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |address| address.fmt(f))
    }
}
