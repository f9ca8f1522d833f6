//! One direction of a connection, between two bare TCP connections: where its bytes come from and
//! go to, where they are counted, how a burst of them went and how the half ended.

use super::limits::Limits;
use crate::stats::{ByteFlow, Meter};
use std::io;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// How long an upstream may take nothing of a client that was reset.
const STALL: Duration = Duration::from_secs(10);

/// A direction.
#[derive(Clone, Copy)]
pub(super) struct Half<'a> {
    pub(super) source: &'a TcpStream,
    pub(super) sink: &'a TcpStream,
    /// Counts the bytes of this half.
    pub(super) own: &'a ByteFlow,
    /// Counts those of the other half.
    pub(super) other: &'a ByteFlow,
    pub(super) limits: &'a Limits,
    /// Whether the source is the client.
    from_client: bool,
}

/// How a half ended.
#[derive(Debug)]
pub(super) enum HalfEnd {
    /// The source ended. Its FIN was sent on, unless the source turned out to be broken.
    Finished,
    /// The source broke.
    Source(io::Error),
    /// The sink broke.
    Sink(io::Error),
    /// The gate was against the link. Nothing was taken of the source.
    Turned,
}

/// How the bytes came in a burst, which goes from readable to empty. The next one will be alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Burst {
    /// Little at a time.
    Little,
    /// So much at a time that large memory, or splicing, is worth it.
    Bulk,
}

impl Burst {
    pub(super) fn is_bulk(self) -> bool {
        self == Burst::Bulk
    }
}

impl<'a> Half<'a> {
    /// Up and down.
    pub(super) fn both(
        client: &'a TcpStream,
        upstream: &'a TcpStream,
        meter: &'a Meter,
        limits: &'a Limits,
    ) -> [Self; 2] {
        let Meter { up, down } = meter;
        [
            Half {
                source: client,
                sink: upstream,
                own: up,
                other: down,
                limits,
                from_client: true,
            },
            Half {
                source: upstream,
                sink: client,
                own: down,
                other: up,
                limits,
                from_client: false,
            },
        ]
    }

    /// Writes all these bytes and counts them.
    pub(super) fn write_all(&self, bytes: &[u8]) -> impl Future<Output = Result<(), HalfEnd>> {
        self.write(bytes, Some(self.own))
    }

    /// Writes all these bytes, which are not what the source sent: that is counted elsewhere.
    pub(super) fn write_uncounted(
        &self,
        bytes: &[u8],
    ) -> impl Future<Output = Result<(), HalfEnd>> {
        self.write(bytes, None)
    }

    async fn write(&self, mut bytes: &[u8], counter: Option<&ByteFlow>) -> Result<(), HalfEnd> {
        while !bytes.is_empty() {
            match self.sink.try_write(bytes) {
                Ok(0) => return Err(HalfEnd::Sink(io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    if let Some(counter) = counter {
                        counter.add(written as u64);
                    }
                    bytes = &bytes[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) => return Err(HalfEnd::Sink(error)),
            }
        }
        Ok(())
    }

    /// Waits until the sink takes bytes again.
    ///
    /// Meanwhile the source is not read. If it is the client, its reset would not be seen, and an
    /// upstream that has stalled for good would hold the connection for ever: so the client is
    /// watched, and what it sent before its reset is given [`STALL`] to leave. (Of an upstream's
    /// reset a client that stalls need not know: what came before it is worth reading.)
    pub(super) async fn writable(&self) -> Result<(), HalfEnd> {
        if !self.from_client {
            return self.sink.writable().await.map_err(HalfEnd::Sink);
        }
        tokio::select! {
            biased;
            ready = self.sink.writable() => return ready.map_err(HalfEnd::Sink),
            // The error is not taken: the next read finds it.
            _ = self.source.ready(Interest::ERROR) => {}
        }
        match tokio::time::timeout(STALL, self.sink.writable()).await {
            Ok(ready) => ready.map_err(HalfEnd::Sink),
            Err(_) => Err(HalfEnd::Source(io::ErrorKind::ConnectionReset.into())),
        }
    }
}
