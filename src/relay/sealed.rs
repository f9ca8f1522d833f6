//! A bare TCP connection on the client's side, a sealed one (shadowsocks) on the other.
//!
//! Theory of operation. A half waits without memory. When its source has bytes it takes a piece
//! and works off the burst: one read, sealing or opening where the bytes lie, one write, until the
//! source is empty. Nothing is copied between read and write, and nothing is allocated in the
//! loop. Reads that fill a chunk ask for a large piece, which takes several chunks a system call;
//! the next burst begins with one. Bytes of an unfinished chunk are kept aside when the piece is
//! given back, and so is the schedule of the key, unless the burst ended in bulk: then the next one
//! is near.
//!
//! Only bytes that authenticated reach the client, and after the first that did not the connection
//! is reset.

use super::End;
use super::buffer::{self, Buffer};
use super::gate::{self, Gate};
use super::gather::Gather;
use super::half::{Burst, Half, HalfEnd};
use super::hold::HeldFin;
use super::join::join;
use super::limits::Limits;
use crate::fault::{self, Fault};
use crate::net::stream::{read, read_vectored};
use crate::proxy::HalfClose;
use crate::proxy::shadowsocks::opener::{self, Opened, Opener};
use crate::proxy::shadowsocks::sealer::{self, LONGEST_PAYLOAD, Sealer};
use crate::proxy::shadowsocks::{FIRST_PAYLOAD, Sealed};
use crate::stats::Meter;
use std::io;
use std::pin::pin;
use tokio::net::TcpStream;
use tokio::time::timeout;

const _: () = assert!(buffer::SMALL >= sealer::memory(1) && buffer::PIECE >= opener::LONGEST_PIECE);
const _: () = assert!(buffer::LARGE >= sealer::memory(sealer::MOST_CHUNKS));

pub(super) async fn relay(
    client: &TcpStream,
    mut sealed: Box<Sealed>,
    meter: &Meter,
    limits: &Limits,
    gate: Option<Gate<'_>>,
) -> End {
    let Sealed { tcp, sealer, opener, half_close } = &mut *sealed;
    let [up, down] = &Half::both(client, tcp, meter, limits);
    let up = pin!(seal(up, sealer, gate));
    let down = pin!(open(down, opener));
    let held = HeldFin { client, upstream: tcp, down: &meter.down };
    join(client, tcp, up, down, (*half_close == HalfClose::Held).then_some(held)).await
}

/// Carries the bytes of the upper half to its end.
async fn seal(half: &Half<'_>, sealer: &mut Sealer, gate: Option<Gate<'_>>) -> HalfEnd {
    let mut gather = Gather::new();
    if !sealer.has_opened()
        && let Err(end) = Box::pin(first_payload(half, sealer, gate)).await
    {
        return end;
    }
    let mut last = Burst::Little;
    loop {
        // Boxed: a connection that idles shall not hold the room that a burst needs.
        match Box::pin(seal_burst(half, sealer, last)).await {
            Ok(burst) => last = burst,
            Err(end) => return end,
        }
        if !last.is_bulk() {
            sealer.rest();
        }
        if let Err(end) = gather.readable(half).await {
            return end;
        }
    }
}

/// Waits a little for the client's first bytes. Whether they came or not, the address goes then;
/// what went wrong shows when it does. With a gate the bytes go when they have passed it.
async fn first_payload(
    half: &Half<'_>,
    sealer: &mut Sealer,
    gate: Option<Gate<'_>>,
) -> Result<(), HalfEnd> {
    let Some(gate) = gate else {
        let _ = timeout(FIRST_PAYLOAD, half.source.readable()).await;
        return Ok(());
    };
    if let Ok(passed) = timeout(FIRST_PAYLOAD, gate::pass(half.source, gate)).await {
        return passed;
    }
    seal_address(half, sealer).await?;
    gate::pass(half.source, gate).await
}

/// Sends the address without payload.
async fn seal_address(half: &Half<'_>, sealer: &mut Sealer) -> Result<(), HalfEnd> {
    let mut memory = Buffer::take(false, half.limits);
    let filled = sealer.lead(&mut memory);
    let run = sealer.seal(&mut memory, filled).map_err(HalfEnd::Sink)?;
    half.write_uncounted(&memory[run]).await
}

async fn seal_burst(
    half: &Half<'_>,
    sealer: &mut Sealer,
    mut last: Burst,
) -> Result<Burst, HalfEnd> {
    let mut memory = Buffer::take(last.is_bulk(), half.limits);
    loop {
        let filled = sealer.lead(&mut memory);
        let read = match read_vectored(half.source, &mut sealer::gaps(&mut memory, filled)) {
            Ok(read) => Some(read),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => return Err(HalfEnd::Source(error)),
        };
        let payload = read.unwrap_or(0);
        if fault::is(Fault::Relay)
            && let Some(byte) = sealer::gaps(&mut memory, filled)[0].first_mut()
        {
            *byte ^= 1;
        }
        let run = sealer.seal(&mut memory, filled + payload).map_err(HalfEnd::Sink)?;
        half.write_uncounted(&memory[run]).await?;
        half.own.add(payload as u64);
        match read {
            Some(0) => return Err(HalfEnd::Finished),
            Some(read) => last = burst_of(read),
            None => return Ok(last),
        }
        if last.is_bulk() {
            memory.grow(0);
        }
        // One busy connection must not starve the others of this worker.
        tokio::task::consume_budget().await;
    }
}

/// Carries the bytes of the lower half to its end.
async fn open(half: &Half<'_>, opener: &mut Opener) -> HalfEnd {
    let mut gather = Gather::new();
    // An unfinished chunk waits here while the memory is given back.
    let mut waiting: Vec<u8> = Vec::new();
    let mut last = Burst::Little;
    loop {
        if let Err(end) = gather.readable(half).await {
            return end;
        }
        match Box::pin(open_burst(half, opener, &mut waiting, last)).await {
            Ok(burst) => last = burst,
            Err(end) => return end,
        }
        if !last.is_bulk() {
            opener.rest();
        }
    }
}

async fn open_burst(
    half: &Half<'_>,
    opener: &mut Opener,
    waiting: &mut Vec<u8>,
    mut last: Burst,
) -> Result<Burst, HalfEnd> {
    let mut memory = Buffer::take(last.is_bulk(), half.limits);
    let mut received = waiting.len();
    memory.fit(opener.needs(), 0);
    memory[..received].copy_from_slice(waiting);
    loop {
        let read = match read(half.source, &mut memory[received..]) {
            Ok(0) if opener.may_end(received) => return Err(HalfEnd::Finished),
            Ok(0) => return Err(HalfEnd::Source(cut())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(HalfEnd::Source(error)),
        };
        received += read;
        let opened = opener.open(&mut memory[..received]);
        let Opened { plain, used } = opened.map_err(HalfEnd::Source)?;
        half.write_all(&memory[..plain]).await?;
        memory.copy_within(used..received, 0);
        received -= used;
        last = burst_of(read);
        if last.is_bulk() {
            memory.grow(received);
        }
        memory.fit(opener.needs(), received);
        tokio::task::consume_budget().await;
    }
    waiting.clear();
    waiting.extend_from_slice(&memory[..received]);
    waiting.shrink_to_fit();
    Ok(last)
}

/// Reads that fill half a chunk ask for large memory.
fn burst_of(read: usize) -> Burst {
    if read >= LONGEST_PAYLOAD / 2 { Burst::Bulk } else { Burst::Little }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the server ended in the middle of a chunk")
}
