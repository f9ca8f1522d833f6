//! Holding back the client's FIN from a proxy that takes it for the end of both halves.
//!
//! squid, tinyproxy, microsocks and nghttpx, and the plugins of shadowsocks, drop what the
//! destination still has to say as soon as the client's FIN reaches them, so a program that ends
//! its half first (`nc -N`, HTTP/1.0 tools) would get no answer. Such a proxy gets the FIN when the
//! destination has ended too, which ends the relay, or when it has been quiet for a second: a
//! destination that waits for the FIN, such as one that computes a digest, has to see it some time.

use super::broken::Broken;
use crate::net;
use crate::net::stream::{has_room, is_at_rest};
use crate::stats::ByteFlow;
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
    pub(super) down: &'a ByteFlow,
}

impl HeldFin<'_> {
    /// Sends the FIN once the destination is quiet; then waits for ever, unless that failed. A
    /// client that broke did not end in order: nothing is sent then.
    pub(super) async fn release(self, client_is: &Broken) -> io::Error {
        // Bytes that wait, here or at a slow client, are still to come down.
        quiet(self.down, || is_at_rest(self.upstream, self.client)).await;
        if !client_is.is_set()
            && let Err(error) = net::finish(self.upstream)
        {
            return error;
        }
        pending().await
    }
}

/// Waits until nothing has come down for a second to a client that has room for it. Of a stream it
/// is not known whether bytes wait in it; but such a client gets them at once.
pub(super) async fn until_quiet(down: &ByteFlow, client: &TcpStream) {
    quiet(down, || has_room(client)).await;
}

async fn quiet(down: &ByteFlow, is_at_rest: impl Fn() -> bool) {
    let (mut rested, mut seen) = (Duration::ZERO, down.get());
    while rested < QUIET {
        sleep(LOOK).await;
        let now = down.get();
        rested = if now == seen && is_at_rest() { rested + LOOK } else { Duration::ZERO };
        seen = now;
    }
}

#[cfg(test)]
mod tests {
    use crate::proxy::{HalfClose, Link};
    use crate::relay::tests::tcp_pair;
    use crate::relay::{End, Limits, relay};
    use crate::stats::Meter;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    async fn end(relay: JoinHandle<End>) -> End {
        timeout(Duration::from_secs(20), relay).await.expect("in time").unwrap()
    }

    /// A relay to a proxy that cannot live with half a connection; the answers come over `server`.
    /// `is_stream`: what carries the bytes is not known to the relay.
    async fn held(is_stream: bool) -> (TcpStream, TcpStream, JoinHandle<End>) {
        let (program, mut client) = tcp_pair().await;
        let (near, server) = tcp_pair().await;
        let half_close = HalfClose::Held;
        let link = match is_stream {
            true => Link::Stream { stream: Box::new(near), half_close },
            false => Link::Plain { tcp: near, early: Vec::new(), half_close },
        };
        let relay = tokio::spawn(async move {
            relay(&mut client, link, &Meter::default(), &Limits::default(), None).await
        });
        (program, server, relay)
    }

    /// How long the other side waits for the FIN, if it comes in three seconds.
    async fn until_the_end(server: &mut TcpStream) -> Option<Duration> {
        let began = tokio::time::Instant::now();
        let read = timeout(Duration::from_secs(3), server.read(&mut [0; 9])).await.ok()?;
        assert_eq!(read.unwrap(), 0);
        Some(began.elapsed())
    }

    #[tokio::test]
    async fn a_held_fin_waits_for_quiet() {
        for is_stream in [false, true] {
            let (mut program, mut server, relay) = held(is_stream).await;
            program.shutdown().await.unwrap();
            // Something now and then for longer than a second.
            for _ in 0..4 {
                let waited = timeout(Duration::from_millis(400), server.read(&mut [0; 9])).await;
                assert!(waited.is_err(), "the FIN came: {waited:?}");
                server.write_all(b"answer").await.unwrap();
            }
            let waited = until_the_end(&mut server).await.expect("at last");
            assert!(waited >= Duration::from_millis(900), "{waited:?}");
            server.write_all(b"digest").await.unwrap();
            server.shutdown().await.unwrap();
            let mut answer = Vec::new();
            program.read_to_end(&mut answer).await.unwrap();
            assert_eq!(
                answer,
                b"answer".repeat(4).into_iter().chain(*b"digest").collect::<Vec<_>>()
            );
            assert!(matches!(end(relay).await, End::Closed));
        }
    }

    #[tokio::test]
    async fn a_held_fin_waits_for_a_client_that_reads_slowly() {
        for is_stream in [false, true] {
            let (mut program, mut server, relay) = held(is_stream).await;
            program.shutdown().await.unwrap();
            let (mut source, mut sink) = server.split();
            // More than all buffers on the way take.
            let writing = async {
                let piece = vec![7; 1 << 20];
                for _ in 0..64 {
                    sink.write_all(&piece).await.unwrap();
                }
            };
            let reading = async {
                let waited = timeout(Duration::from_secs(3), source.read(&mut [0; 9])).await;
                assert!(waited.is_err(), "the FIN came: {waited:?}");
                let mut bytes = vec![0; 64 << 20];
                program.read_exact(&mut bytes).await.unwrap();
            };
            tokio::join!(writing, reading);
            assert!(until_the_end(&mut server).await.is_some());
            drop(server);
            assert!(matches!(end(relay).await, End::Closed));
        }
    }

    #[tokio::test]
    async fn a_held_fin_is_not_missed_by_a_side_that_ends() {
        for is_stream in [false, true] {
            let (mut program, mut server, relay) = held(is_stream).await;
            program.shutdown().await.unwrap();
            server.write_all(b"answer").await.unwrap();
            server.shutdown().await.unwrap();
            let mut answer = Vec::new();
            program.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, b"answer");
            let ended = timeout(Duration::from_millis(500), relay).await.expect("at once").unwrap();
            assert!(matches!(ended, End::Closed));
            assert!(until_the_end(&mut server).await.unwrap() < Duration::from_millis(500));
            // The other side first.
            let (mut program, mut server, relay) = held(is_stream).await;
            server.shutdown().await.unwrap();
            program.shutdown().await.unwrap();
            let ended = timeout(Duration::from_millis(500), relay).await.expect("at once").unwrap();
            assert!(matches!(ended, End::Closed));
        }
    }
}
