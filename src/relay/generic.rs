//! Any stream on the upstream's side (TLS, later): copied. What carries the stream is not known
//! here, so a broken client only drops it.

use super::End;
use super::buffer::Buffer;
use super::half::HalfEnd;
use super::join::{Broken, Sides, run};
use super::limits::Limits;
use crate::net;
use crate::proxy::Stream;
use crate::stats::{Counter, Meter};
use std::pin::pin;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

pub(super) async fn relay(
    client: &mut TcpStream,
    upstream: Box<dyn Stream>,
    meter: &Meter,
    limits: &Limits,
) -> End {
    // Whoever drops this relay cuts the connection, and that is no end. (`net::ResetOnDrop` would
    // borrow what is split.)
    net::reset_on_close(client);
    let (upstream_source, upstream_sink) = tokio::io::split(upstream);
    let end = {
        let (client_source, client_sink) = client.split();
        let Sides { client, upstream } = &Sides::default();
        let up = pin!(half(client_source, upstream_sink, &meter.up, client, upstream, limits));
        let down = pin!(half(upstream_source, client_sink, &meter.down, upstream, client, limits));
        run(up, down, None).await
    };
    if matches!(end, End::Closed) {
        net::finish_on_close(client);
    }
    end
}

async fn half(
    mut source: impl AsyncRead + Unpin,
    mut sink: impl AsyncWrite + Unpin,
    counter: &Counter,
    source_is: &Broken,
    sink_is: &Broken,
    limits: &Limits,
) -> HalfEnd {
    let mut buffer = Buffer::take(false, limits);
    loop {
        let read = match source.read(&mut buffer).await {
            Ok(read) => read,
            Err(error) => return HalfEnd::Source(error),
        };
        let written = match read {
            0 if source_is.is_set() => Ok(()),
            0 => sink.shutdown().await,
            _ => match sink.write_all(&buffer[..read]).await {
                Ok(()) => sink.flush().await,
                Err(error) => Err(error),
            },
        };
        match written {
            Err(error) => {
                sink_is.by(&error);
                return HalfEnd::Sink(error);
            }
            Ok(()) if read == 0 => return HalfEnd::Finished,
            Ok(()) => counter.add(read as u64),
        }
    }
}
