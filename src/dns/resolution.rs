//! What asking the upstream servers came to.

use super::reply::{Ede, Stored, Ttls};

/// The result of a flight; it is the same for every client that waits for it.
#[derive(Debug)]
pub(super) enum Resolution {
    /// A server's reply.
    Reply {
        /// The reply.
        stored: Stored,
        /// How to write its TTLs. Only an [aged](Ttls::Aged) reply is kept for others.
        ttls: Ttls,
    },
    /// What the cache has, however old, else SERVFAIL.
    Stale(Ede),
    /// No server that could know answered.
    Servfail(Ede),
    /// There is an answer, and the operator does not want it.
    NoData(Ede),
    /// A local name where no local name server is known.
    NxDomain,
}

impl Resolution {
    /// A reply that is good for every client.
    pub(super) fn fresh(stored: Stored) -> Self {
        Resolution::Reply { stored, ttls: Ttls::Aged(0) }
    }
}

/// What the client hears when the trusted side is silent.
pub(super) const TRUSTED_SILENT: Ede =
    Ede::unreachable("the trusted name servers do not answer; is the proxy up?");
