//! The account of one connection: it is counted once, and leaves one line in the log.

use crate::dispatch::Upstream;
use crate::domain::Name;
use crate::relay::End;
use crate::route::Reason;
use crate::stats::{DecidedBy, FlowWay, LiveFlow, Stats};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// A connection whose destination is known. It is counted once, refused or ended, and leaves one
/// line in the log, also when it is dropped in the middle: then it was cut.
pub(super) struct Open<'a> {
    stats: &'a Stats,
    live: &'a LiveFlow,
    destination: SocketAddr,
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
        live: &'a LiveFlow,
        destination: SocketAddr,
        name: Option<Box<str>>,
    ) -> Self {
        stats.accepted.add(1);
        live.is_for(destination);
        if let Some(name) = &name {
            live.is_named(name);
        }
        Open { stats, live, destination, phase: Phase::Dialling }
    }

    /// The client's first bytes tell this name. One that is known stays.
    pub(super) fn claimed(&self, name: &Name) {
        self.live.is_named(&name.to_string());
    }

    /// So many bytes of the client were sent by the dial.
    pub(super) fn has_sent(&self, bytes: usize) {
        if bytes > 0 {
            self.live.meter.up.add(bytes as u64);
        }
    }

    /// The dial succeeded.
    pub(super) fn connected(
        &mut self,
        via: Option<Arc<Upstream>>,
        group: Option<Arc<str>>,
        reason: Reason,
    ) {
        let Open { live, stats, .. } = self;
        let proxy = via.as_ref().map(|via| Arc::clone(via.label()));
        live.goes(FlowWay { proxy, group, reason: reason.word() });
        if via.is_some() { &stats.proxied } else { &stats.direct }.add(1);
        live.tell_begin("connected");
        self.phase = Phase::Relaying(via);
    }

    /// This rule or list decided about it: once for each way that it was sent.
    pub(super) fn decided(&self, by: Option<DecidedBy>) {
        by.into_iter().for_each(|by| self.stats.hits.decided(by));
    }

    /// It stays on its way: what comes back, or does not, tells of the proxy.
    pub(super) fn stays(&self) {
        if let Phase::Relaying(Some(via)) = &self.phase {
            via.awaits(&self.live.meter, self.destination);
        }
    }

    /// Its name turns it to another way, on which it is dialled again.
    pub(super) fn turned(&mut self) {
        self.phase = Phase::Dialling;
    }

    /// The connection is not served. `is_expected`: the operator asked for that, or has been told
    /// why.
    pub(super) fn refused(mut self, cause: &impl fmt::Display, is_expected: bool) {
        self.phase = Phase::Over;
        self.stats.refused.add(1);
        self.live.tell_refusal(cause, is_expected);
        self.stats.refusals.note_flow(self.live, cause);
    }

    /// The relay has ended.
    pub(super) fn ended(mut self, end: &End) {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        let (up, down) = (self.live.meter.up.get(), self.live.meter.down.get());
        if let Phase::Relaying(Some(upstream)) = &phase {
            upstream.report(self.destination, up, down);
        }
        let how = match end {
            End::Closed if down == 0 && up > 0 => {
                "closed without a word from the other side".into()
            }
            End::Closed => "closed".into(),
            End::Turned => "turned away by its first bytes".into(),
            End::Client(cause) => format!("client broke off: {cause}"),
            End::Upstream(cause) => format!("upstream broke off: {cause}"),
        };
        self.tell(&phase, &how);
    }

    /// Counts the end, and writes the one line that every connection leaves in the log.
    fn tell(&self, phase: &Phase, how: &str) {
        let Open { stats, live, .. } = self;
        stats.ended.add(1);
        stats.add_bytes(live);
        match phase {
            Phase::Relaying(via) => {
                if let Some(via) = via {
                    via.traffic.ended(live);
                }
                live.tell_end(how);
            }
            _ => live.tell_end(&format!("{how} while it was being connected")),
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        if matches!(phase, Phase::Over) {
            return;
        }
        let why = match (std::thread::panicking(), self.live.is_closed()) {
            (true, _) => "cut by a fault of snet's own (please report it)",
            (false, true) => "closed by the operator",
            (false, false) => "cut by the end of snet",
        };
        self.tell(&phase, why);
    }
}
