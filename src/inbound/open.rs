//! The account of one connection: it is counted once, and leaves one line in the log.

use crate::dispatch::Upstream;
use crate::net::first_bytes;
use crate::relay::End;
use crate::sniff::{self, Sniffed};
use crate::stats::{Meter, Stats};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tracing::{debug, info};

/// A connection whose destination is known. It is counted once, refused or ended, and leaves one
/// line in the log, also when it is dropped in the middle: then it was cut.
pub(super) struct Open<'a> {
    stats: &'a Stats,
    client: SocketAddr,
    destination: SocketAddr,
    /// The name by which the client found it, or that its first bytes tell, if one is known.
    name: Option<Box<str>>,
    began: Instant,
    /// Shared with `super::loops`, which sees there whether the connection is answered.
    pub(super) meter: Arc<Meter>,
    phase: Phase,
}

enum Phase {
    Dialling,
    /// Through whom; `None` for direct.
    Relaying(Option<Arc<Upstream>>),
    /// It was counted, and told.
    Over,
}

impl<'a> Open<'a> {
    /// Begins to dial.
    pub(super) fn new(
        stats: &'a Stats,
        client: SocketAddr,
        destination: SocketAddr,
        name: Option<Box<str>>,
    ) -> Self {
        stats.accepted.add(1);
        let (began, meter) = (Instant::now(), Arc::default());
        Open { stats, client, destination, name, began, meter, phase: Phase::Dialling }
    }

    /// If no name is known, looks for one at what the client has sent while it was dialled. What is
    /// still to come is not waited for, and nothing is taken from the stream.
    pub(super) fn look(&mut self, stream: &TcpStream) {
        if self.name.is_some() {
            return;
        }
        let mut first = vec![0; sniff::MOST_BYTES];
        if let Sniffed::Name(name) = sniff::stream(first_bytes::peek(stream, &mut first)) {
            self.name = Some(name.to_string().into());
        }
    }

    /// The dial succeeded.
    pub(super) fn connected(&mut self, via: Option<Arc<Upstream>>) {
        let Open { client, destination, .. } = self;
        let name = self.name.as_deref();
        let stats = self.stats;
        if via.is_some() { &stats.proxied } else { &stats.direct }.add(1);
        debug!(%client, %destination, name, via = via_text(via.as_deref()), "connected");
        if let Some(via) = &via {
            via.awaits(&self.meter, *destination);
        }
        self.phase = Phase::Relaying(via);
    }

    /// The connection is not served. `is_expected`: the operator asked for that, or has been told
    /// why.
    pub(super) fn refused(mut self, cause: &impl fmt::Display, is_expected: bool) {
        self.phase = Phase::Over;
        self.stats.refused.add(1);
        let Open { client, destination, .. } = &self;
        let name = self.name.as_deref();
        if is_expected {
            debug!(%client, %destination, name, "refused: {cause}");
        } else {
            info!(%client, %destination, name, "refused: {cause}");
        }
    }

    /// The relay has ended.
    pub(super) fn ended(mut self, end: &End) {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        let (up, down) = (self.meter.up.get(), self.meter.down.get());
        if let Phase::Relaying(Some(upstream)) = &phase {
            upstream.report(self.destination, up, down);
        }
        let how = match end {
            End::Closed if down == 0 && up > 0 => {
                "closed without a word from the other side".into()
            }
            End::Closed => "closed".into(),
            End::Client(cause) => format!("client broke off: {cause}"),
            End::Upstream(cause) => format!("upstream broke off: {cause}"),
        };
        self.tell(&phase, &how);
    }

    /// Counts the end, and writes the one line that every connection leaves in the log.
    fn tell(&self, phase: &Phase, how: &str) {
        let Open { client, destination, began, meter, .. } = self;
        let (up, down) = (meter.up.get(), meter.down.get());
        let (stats, name) = (self.stats, self.name.as_deref());
        stats.ended.add(1);
        stats.bytes_up.add(up);
        stats.bytes_down.add(down);
        // Milliseconds are enough for a reader.
        let seconds = began.elapsed().as_millis() as f64 / 1000.0;
        match phase {
            Phase::Relaying(via) => {
                let via = via_text(via.as_deref());
                info!(%client, %destination, name, via, up, down, seconds, "{how}");
            }
            _ => info!(%client, %destination, name, seconds, "{how} while it was being connected"),
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        if matches!(phase, Phase::Over) {
            return;
        }
        let why = match std::thread::panicking() {
            true => "cut by a fault of snet's own (please report it)",
            false => "cut by the end of snet",
        };
        self.tell(&phase, why);
    }
}

fn via_text(via: Option<&Upstream>) -> &str {
    via.map_or("direct", Upstream::name)
}
