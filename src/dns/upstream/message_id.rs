//! Message ids of our own queries.

use rand::RngExt;

/// An id that a forger cannot guess (RFC 5452, 9.2): of the thread's generator (ChaCha), which the
/// kernel seeds again and again.
pub(super) fn random_id() -> u16 {
    rand::rng().random()
}
