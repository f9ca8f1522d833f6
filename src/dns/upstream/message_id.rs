//! Message ids of our own queries.

use std::io;

/// An id that a forger cannot guess (RFC 5452, 9.2).
///
/// # Errors
/// The kernel gives no random numbers.
pub(super) fn random_id() -> io::Result<u16> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(u16::from_ne_bytes(bytes))
}
