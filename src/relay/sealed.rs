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
use super::gather::Gather;
use super::halves::{Half, join, write_all};
use super::limits::Limits;
use crate::fault::{self, Fault};
use crate::net::stream::{read, read_vectored};
use crate::proxy::shadowsocks::opener::{self, Opened, Opener};
use crate::proxy::shadowsocks::sealer::{self, Sealer};
use crate::proxy::shadowsocks::{LONGEST_PAYLOAD, Sealed};
use crate::stats::{Counter, Meter};
use std::io;
use std::pin::pin;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the address header waits for the client's first bytes once the dial has succeeded. A
/// program that speaks first has sent them by now; a server that speaks first is not delayed more
/// than this.
const FIRST_PAYLOAD: Duration = Duration::from_millis(5);

const _: () = assert!(buffer::SMALL >= sealer::memory(1) && buffer::SMALL >= opener::LEAST_MEMORY);
const _: () = assert!(buffer::LARGE >= sealer::memory(sealer::MOST_CHUNKS));

pub(super) async fn relay(
    client: &TcpStream,
    mut sealed: Box<Sealed>,
    meter: &Meter,
    limits: &Limits,
) -> End {
    let Sealed { tcp, sealer, opener, header } = &mut *sealed;
    let up = pin!(seal_half(client, tcp, sealer, header, meter, limits));
    let down = pin!(open_half(tcp, client, opener, meter, limits));
    join(client, tcp, up, down).await
}

/// What one burst of bytes, from readable to empty, came to.
enum Burst {
    /// The source is empty for now. `bulk`: its last read asks for large memory.
    Empty { bulk: bool },
    /// The half ended.
    Ended(Half),
}

async fn seal_half(
    source: &TcpStream,
    sink: &TcpStream,
    sealer: &mut Sealer,
    header: &mut Vec<u8>,
    meter: &Meter,
    limits: &Limits,
) -> Half {
    let mut gather = Gather::new(&meter.up, &meter.down);
    // Whether bytes came or not, the header goes now; what went wrong shows below.
    let _ = Box::pin(timeout(FIRST_PAYLOAD, source.readable())).await;
    let mut bulk = false;
    loop {
        // Boxed: a connection that idles shall not hold the room that a burst needs.
        let burst = seal_burst(source, sink, sealer, header, &meter.up, bulk, limits);
        match Box::pin(burst).await {
            Burst::Empty { bulk: now } => bulk = now,
            Burst::Ended(half) => return half,
        }
        if !bulk {
            sealer.rest();
        }
        if let Err(error) = gather.readable(source).await {
            return Half::Source(error);
        }
    }
}

async fn seal_burst(
    source: &TcpStream,
    sink: &TcpStream,
    sealer: &mut Sealer,
    header: &mut Vec<u8>,
    counter: &Counter,
    mut bulk: bool,
    limits: &Limits,
) -> Burst {
    let mut memory = Buffer::take(bulk, limits);
    loop {
        let filled = match std::mem::take(header) {
            header if header.is_empty() => 0,
            header => sealer::place(&mut memory, 0, &header),
        };
        let read = match read_vectored(source, &mut sealer::gaps(&mut memory, filled)) {
            Ok(read) => Some(read),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => return Burst::Ended(Half::Source(error)),
        };
        let payload = read.unwrap_or(0);
        if fault::is(Fault::Relay)
            && let Some(byte) = sealer::gaps(&mut memory, filled)[0].first_mut()
        {
            *byte ^= 1;
        }
        let sealed = match sealer.seal(&mut memory, filled + payload) {
            Ok(run) => send(sink, &memory[run], source).await,
            Err(error) => Err(Half::Sink(error)),
        };
        if let Err(broken) = sealed {
            return Burst::Ended(broken);
        }
        counter.add(payload as u64);
        match read {
            Some(0) => return Burst::Ended(Half::Finished),
            Some(read) => bulk = is_bulk(read),
            None => return Burst::Empty { bulk },
        }
        if bulk {
            memory.grow(0);
        }
        // One busy connection must not starve the others of this worker.
        tokio::task::consume_budget().await;
    }
}

async fn open_half(
    source: &TcpStream,
    sink: &TcpStream,
    opener: &mut Opener,
    meter: &Meter,
    limits: &Limits,
) -> Half {
    let mut gather = Gather::new(&meter.down, &meter.up);
    // An unfinished chunk waits here while the memory is given back.
    let mut waiting: Vec<u8> = Vec::new();
    let mut bulk = false;
    loop {
        if let Err(error) = gather.readable(source).await {
            return Half::Source(error);
        }
        let burst = open_burst(source, sink, opener, &mut waiting, &meter.down, bulk, limits);
        match Box::pin(burst).await {
            Burst::Empty { bulk: now } => bulk = now,
            Burst::Ended(half) => return half,
        }
        if !bulk {
            opener.rest();
        }
    }
}

async fn open_burst(
    source: &TcpStream,
    sink: &TcpStream,
    opener: &mut Opener,
    waiting: &mut Vec<u8>,
    counter: &Counter,
    mut bulk: bool,
    limits: &Limits,
) -> Burst {
    let mut memory = Buffer::take(bulk, limits);
    let mut received = waiting.len();
    memory[..received].copy_from_slice(waiting);
    loop {
        let read = match read(source, &mut memory[received..]) {
            Ok(0) if opener.may_end(received) => return Burst::Ended(Half::Finished),
            Ok(0) => return Burst::Ended(Half::Source(cut())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Burst::Ended(Half::Source(error)),
        };
        received += read;
        let Opened { plain, used } = match opener.open(&mut memory[..received]) {
            Ok(opened) => opened,
            Err(error) => return Burst::Ended(Half::Source(error)),
        };
        if let Err(broken) = write_all(sink, &memory[..plain], counter, None).await {
            return Burst::Ended(broken);
        }
        memory.copy_within(used..received, 0);
        received -= used;
        bulk = is_bulk(read);
        if bulk {
            memory.grow(received);
        }
        tokio::task::consume_budget().await;
    }
    waiting.clear();
    waiting.extend_from_slice(&memory[..received]);
    waiting.shrink_to_fit();
    Burst::Empty { bulk }
}

/// Whether so large a read asks for large memory.
fn is_bulk(read: usize) -> bool {
    read >= LONGEST_PAYLOAD / 2
}

/// The sealed form is not what the client sent: its bytes are counted elsewhere.
async fn send(sink: &TcpStream, run: &[u8], client: &TcpStream) -> Result<(), Half> {
    write_all(sink, run, &Counter::default(), Some(client)).await
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the server ended in the middle of a chunk")
}
