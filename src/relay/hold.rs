//! Holding back the client's FIN from a proxy that takes it for the end of both halves.
//!
//! squid, tinyproxy, microsocks and nghttpx drop what the destination still has to say as soon as
//! the client's FIN reaches them, so a program that ends its half first (`nc -N`, HTTP/1.0 tools)
//! would get no answer. Such a proxy gets the FIN when the destination has ended too, which ends
//! the relay, or when it has been quiet for a second: a destination that waits for the FIN, such as
//! one that computes a digest, has to see it some time.

use super::broken::Broken;
use crate::net;
use crate::net::stream::is_at_rest;
use crate::stats::Counter;
use std::future::pending;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::sleep;

/// How long the destination has to be quiet, and how often that is looked at.
const QUIET: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(100);

/// What the half from the client needs when it has ended and its FIN is held.
#[derive(Clone, Copy)]
pub(super) struct HeldFin<'a> {
    pub(super) client: &'a TcpStream,
    pub(super) upstream: &'a TcpStream,
    /// Bytes that the client got.
    pub(super) down: &'a Counter,
}

impl HeldFin<'_> {
    /// Sends the FIN once the destination is quiet; then waits for ever, unless that failed. A
    /// client that broke did not end in order: nothing is sent then.
    pub(super) async fn release(self, client_is: &Broken) -> io::Error {
        let (mut rested, mut seen) = (Duration::ZERO, self.down.get());
        while rested < QUIET {
            sleep(LOOK).await;
            let now = self.down.get();
            // Bytes that wait, here or at a slow client, are still to come down.
            let is_quiet = now == seen && is_at_rest(self.upstream, self.client);
            rested = if is_quiet { rested + LOOK } else { Duration::ZERO };
            seen = now;
        }
        if !client_is.is_set()
            && let Err(error) = net::finish(self.upstream)
        {
            return error;
        }
        pending().await
    }
}
