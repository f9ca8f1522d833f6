//! Two bare TCP connections: direct, or behind HTTP CONNECT.
//!
//! Theory of operation. A half has two ways to move bytes and changes between them as the traffic
//! does:
//!
//! - **copying** into a small piece of memory: two system calls and nothing to set up, the best
//!   for what programs say to each other in small pieces;
//! - **splicing** through a pipe once reads fill that memory: the bytes stay in the kernel. Back
//!   to copying once little comes at a time.
//!
//! Either holds its memory or its pipe only while bytes are in flight; pipes come from a small
//! pool. The source is asked only when the pipe is empty (see [`Pipe::fill`]). Where splicing does
//! not work, or no descriptor is left for a pipe, the half stays with copying, and the kernel is
//! not asked again.

use super::End;
use super::buffer::{self, Buffer};
use super::gather::Gather;
use super::halves::{Half, join, writable, write_all};
use super::limits::Limits;
use super::pipes;
use crate::net::pipe::Pipe;
use crate::net::stream::read;
use crate::stats::{Counter, Meter};
use std::io;
use std::pin::pin;
use tokio::net::TcpStream;

/// Bytes at a time below which splicing is no gain any more.
const LITTLE: usize = buffer::SMALL / 2;

/// `early`: bytes of the upstream that came before the relay began.
pub(super) async fn relay(
    client: &TcpStream,
    upstream: TcpStream,
    mut early: Vec<u8>,
    meter: &Meter,
    limits: &Limits,
) -> End {
    let up = pin!(half(client, &upstream, &meter.up, &meter.down, Some(client), limits));
    let down = pin!(async {
        let early = std::mem::take(&mut early);
        if !early.is_empty()
            && let Err(broken) = Box::pin(write_all(client, &early, &meter.down, None)).await
        {
            return broken;
        }
        drop(early);
        half(&upstream, client, &meter.down, &meter.up, None, limits).await
    });
    join(client, &upstream, up, down).await
}

/// What one burst of bytes, from readable to empty, came to.
enum Burst {
    /// The source is empty for now; little came at a time.
    Trickle,
    /// Much comes at a time.
    Bulk,
    /// The half ended.
    Ended(Half),
    /// Splicing does not work here; nothing was lost.
    Unspliceable,
}

/// `client`: the source, if it is the client.
async fn half(
    source: &TcpStream,
    sink: &TcpStream,
    counter: &Counter,
    other: &Counter,
    client: Option<&TcpStream>,
    limits: &Limits,
) -> Half {
    let mut gather = Gather::new(counter, other);
    let (mut spliceable, mut bulk) = (true, false);
    loop {
        if let Err(error) = gather.readable(source).await {
            return Half::Source(error);
        }
        // Boxed: a connection that idles shall not hold the room that a burst needs.
        let burst = if bulk && spliceable {
            Box::pin(splice(source, sink, counter, client, limits)).await
        } else {
            Box::pin(copy(source, sink, counter, client, spliceable, limits)).await
        };
        match burst {
            Burst::Trickle => bulk = false,
            Burst::Bulk => bulk = true,
            Burst::Unspliceable => spliceable = false,
            Burst::Ended(half) => return half,
        }
    }
}

/// Copies until the source is empty, or until splicing is worth it.
async fn copy(
    source: &TcpStream,
    sink: &TcpStream,
    counter: &Counter,
    client: Option<&TcpStream>,
    may_splice: bool,
    limits: &Limits,
) -> Burst {
    let mut memory = Buffer::take(!may_splice, limits);
    loop {
        match read(source, &mut memory) {
            Ok(0) => return Burst::Ended(Half::Finished),
            Ok(read) => {
                if let Err(broken) = write_all(sink, &memory[..read], counter, client).await {
                    return Burst::Ended(broken);
                }
                if may_splice && read == memory.len() {
                    return Burst::Bulk;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Burst::Trickle,
            Err(error) => return Burst::Ended(Half::Source(error)),
        }
        // One busy connection must not starve the others of this worker.
        tokio::task::consume_budget().await;
    }
}

/// Splices until the source is empty.
async fn splice(
    source: &TcpStream,
    sink: &TcpStream,
    counter: &Counter,
    client: Option<&TcpStream>,
    limits: &Limits,
) -> Burst {
    let mut lent = pipes::take(limits);
    match lent.as_mut().ok().and_then(pipes::Lent::pipe) {
        Some(pipe) => through(pipe, source, sink, counter, client).await,
        None => Burst::Unspliceable,
    }
}

async fn through(
    pipe: &mut Pipe,
    source: &TcpStream,
    sink: &TcpStream,
    counter: &Counter,
    client: Option<&TcpStream>,
) -> Burst {
    let mut most = 0;
    loop {
        match pipe.fill(source) {
            Ok(0) => return Burst::Ended(Half::Finished),
            Ok(moved) => most = most.max(moved),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return if most < LITTLE { Burst::Trickle } else { Burst::Bulk };
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                return Burst::Unspliceable;
            }
            Err(error) => return Burst::Ended(Half::Source(error)),
        }
        while pipe.held() > 0 {
            match pipe.drain(sink) {
                Ok(moved) => counter.add(moved as u64),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(broken) = writable(sink, client).await {
                        return Burst::Ended(broken);
                    }
                }
                Err(error) => return Burst::Ended(Half::Sink(error)),
            }
        }
        tokio::task::consume_budget().await;
    }
}
