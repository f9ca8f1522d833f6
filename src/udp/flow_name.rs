//! The name of a session's first destination: as the resolver told it to the client, else as the
//! first datagrams to it tell (QUIC). They are looked at as they pass, and none waits for that: a
//! rule for the name decides on what comes from then on, and on the proxy if none was chosen yet.

use super::SharedState;
use crate::domain::Name;
use crate::net::is_own;
use crate::net::udp::train::Train;
use crate::route::ClientHost;
use crate::sniff::{QuicSniffer, Sniffed};
use crate::stats::LiveFlow;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

/// The port of QUIC.
const QUIC: u16 = 443;

/// What is known of the name.
#[derive(Debug)]
pub(super) enum FlowName {
    /// The flow says none, or the resolver told the client one, which is in the account.
    Unknown,
    /// It may come.
    Awaited(Box<QuicSniffer>),
    /// The flow itself says it.
    Claimed(Name),
}

impl FlowName {
    /// That of a session which begins.
    pub(super) fn of(
        shared: &SharedState,
        live: &LiveFlow,
        first: SocketAddr,
        now: Instant,
    ) -> Self {
        let dispatcher = shared.relay.current.load();
        // In local mode all captured datagrams are this machine's.
        let is_router = shared.relay.by_source.load(Ordering::Relaxed);
        let host = if !is_router || is_own(live.client.ip()) {
            ClientHost::ThisMachine
        } else {
            ClientHost::of(live.client.ip(), None)
        };
        if let Some(told) = dispatcher.told().find(host, first.ip(), now.into_std()) {
            live.is_named(&told.name);
            return FlowName::Unknown;
        }
        if first.port() == QUIC && dispatcher.looks() {
            return FlowName::Awaited(Box::default());
        }
        FlowName::Unknown
    }

    /// Looks at what goes to the first destination, while a name is awaited. True if it has come.
    pub(super) fn look(&mut self, train: &mut Train<'_>, live: &LiveFlow) -> bool {
        let FlowName::Awaited(sniffer) = self else { return false };
        for datagram in train.datagrams() {
            match sniffer.datagram(datagram) {
                Sniffed::More => {}
                Sniffed::Nothing => {
                    *self = FlowName::Unknown;
                    return false;
                }
                Sniffed::Name(name) => {
                    live.is_named(&name.to_string());
                    *self = FlowName::Claimed(name);
                    return true;
                }
            }
        }
        false
    }

    /// The name that only the flow itself says.
    pub(super) fn claimed(&self) -> Option<&Name> {
        match self {
            FlowName::Claimed(name) => Some(name),
            _ => None,
        }
    }
}
