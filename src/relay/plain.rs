//! Two bare TCP connections: direct, or behind HTTP CONNECT.

use super::End;
use super::buffer::Buffer;
use super::halves::{Half, finish, join, write_all};
use crate::stats::{Counter, Meter};
use std::io;
use tokio::net::TcpStream;

/// `early`: bytes of the upstream that came before the relay began.
pub(super) async fn relay(
    client: TcpStream,
    upstream: TcpStream,
    early: Vec<u8>,
    meter: &Meter,
) -> End {
    let up = async |source: &TcpStream, sink: &TcpStream| half(source, sink, &meter.up).await;
    let down = async |source: &TcpStream, sink: &TcpStream| {
        if let Err(error) = write_all(sink, &early, &meter.down).await {
            return Half::Sink(error);
        }
        half(source, sink, &meter.down).await
    };
    join(client, upstream, up, down).await
}

async fn half(source: &TcpStream, sink: &TcpStream, counter: &Counter) -> Half {
    loop {
        if let Err(error) = source.readable().await {
            return Half::Source(error);
        }
        let mut buffer = Buffer::take(false);
        loop {
            match source.try_read(&mut buffer) {
                Ok(0) => return finish(sink),
                Ok(read) => {
                    if let Err(error) = write_all(sink, &buffer[..read], counter).await {
                        return Half::Sink(error);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Half::Source(error),
            }
            // One busy connection must not starve the others of this worker.
            tokio::task::consume_budget().await;
        }
    }
}
