//! A look at the client's first bytes before one of them is taken.
//!
//! It stands in the upper half alone, so the upstream may speak first and is carried at once. It
//! waits for nothing but what the half would wait for: with the first bytes that come, however few,
//! the half goes on, or the connection leaves this link for another one.

use super::half::HalfEnd;
use crate::net::first_bytes::peek;
use crate::sniff::MOST_BYTES;
use std::io;
use tokio::net::TcpStream;

/// Whether the connection stays on its link, by the first bytes of the client.
pub type Gate<'a> = &'a (dyn Fn(&[u8]) -> bool + Sync);

/// Waits for the client's first bytes, or its end, and asks the gate. Nothing is taken.
///
/// # Errors
/// [`HalfEnd::Turned`], and what the kernel says of the client.
pub(super) async fn pass(client: &TcpStream, gate: Gate<'_>) -> Result<(), HalfEnd> {
    loop {
        client.readable().await.map_err(HalfEnd::Source)?;
        match peek(client, &mut vec![0; MOST_BYTES]) {
            Ok([]) => return Ok(()),
            Ok(first) if gate(first) => return Ok(()),
            Ok(_) => return Err(HalfEnd::Turned),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Whoever reads finds it out.
            Err(_) => return Ok(()),
        }
    }
}
