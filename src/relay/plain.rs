//! Two bare TCP connections: direct, or behind HTTP CONNECT or SOCKS5.
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
use super::gate::{self, Gate};
use super::gather::Gather;
use super::half::{Burst, Half, HalfEnd};
use super::hold::HeldFin;
use super::join::join;
use super::limits::Limits;
use super::pipes;
use crate::net::pipe::Pipe;
use crate::net::stream::read;
use crate::proxy::HalfClose;
use crate::stats::Meter;
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
    half_close: HalfClose,
    meter: &Meter,
    limits: &Limits,
    gate: Option<Gate<'_>>,
) -> End {
    let [up, down] = &Half::both(client, &upstream, meter, limits);
    let up = pin!(async {
        if let Some(gate) = gate
            && let Err(end) = Box::pin(gate::pass(client, gate)).await
        {
            return end;
        }
        carry(up).await
    });
    let down = pin!(async {
        let early = std::mem::take(&mut early);
        if !early.is_empty()
            && let Err(end) = Box::pin(down.write_all(&early)).await
        {
            return end;
        }
        drop(early);
        carry(down).await
    });
    let held = HeldFin { client, upstream: &upstream, down: &meter.down };
    join(client, &upstream, up, down, (half_close == HalfClose::Held).then_some(held)).await
}

/// Carries the bytes of a half to its end.
async fn carry(half: &Half<'_>) -> HalfEnd {
    let mut gather = Gather::new();
    let (mut spliceable, mut last) = (true, Burst::Little);
    loop {
        if let Err(end) = gather.readable(half).await {
            return end;
        }
        // Boxed: a connection that idles shall not hold the room that a burst needs.
        let burst = if last.is_bulk() && spliceable {
            Box::pin(splice(half)).await
        } else {
            Box::pin(copy(half, spliceable)).await.map(Some)
        };
        match burst {
            Ok(Some(burst)) => last = burst,
            Ok(None) => spliceable = false,
            Err(end) => return end,
        }
    }
}

/// Copies until the source is empty, or until splicing is worth it.
async fn copy(half: &Half<'_>, may_splice: bool) -> Result<Burst, HalfEnd> {
    let mut memory = Buffer::take(!may_splice, half.limits);
    loop {
        match read(half.source, &mut memory) {
            Ok(0) => return Err(HalfEnd::Finished),
            Ok(read) => {
                half.write_all(&memory[..read]).await?;
                if may_splice && read == memory.len() {
                    return Ok(Burst::Bulk);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Burst::Little),
            Err(error) => return Err(HalfEnd::Source(error)),
        }
        // One busy connection must not starve the others of this worker.
        tokio::task::consume_budget().await;
    }
}

/// Splices until the source is empty. `None`: that does not work here, or no pipe is left; nothing
/// was lost.
async fn splice(half: &Half<'_>) -> Result<Option<Burst>, HalfEnd> {
    let mut lent = pipes::take(half.limits);
    match lent.as_mut().ok().and_then(pipes::Lent::pipe) {
        Some(pipe) => through(pipe, half).await,
        None => Ok(None),
    }
}

async fn through(pipe: &mut Pipe, half: &Half<'_>) -> Result<Option<Burst>, HalfEnd> {
    let mut most = 0;
    loop {
        match pipe.fill(half.source) {
            Ok(0) => return Err(HalfEnd::Finished),
            Ok(moved) => most = most.max(moved),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Some(if most < LITTLE { Burst::Little } else { Burst::Bulk }));
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(None),
            Err(error) => return Err(HalfEnd::Source(error)),
        }
        while pipe.held() > 0 {
            match pipe.drain(half.sink) {
                Ok(moved) => half.own.add(moved as u64),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => half.writable().await?,
                Err(error) => return Err(HalfEnd::Sink(error)),
            }
        }
        tokio::task::consume_budget().await;
    }
}
