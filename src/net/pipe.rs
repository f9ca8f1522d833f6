//! splice(2): bytes from one connection to another through a pipe, without a copy into this
//! process. What travels are references to the pages that the kernel received.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::pipe2;
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What is asked for; pipe(7): an unprivileged process gets no more than 1 MiB, and less once its
/// user holds many pipes.
const WANTED: i32 = 1 << 20;

/// A pipe and what is in it.
#[derive(Debug)]
pub struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    capacity: usize,
    held: usize,
}

impl Pipe {
    /// An empty pipe.
    ///
    /// # Errors
    /// EMFILE, ENFILE: out of descriptors.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // A small pipe is slower and works too.
        let capacity = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(WANTED))
            .or_else(|_| fcntl(&writer, FcntlArg::F_GETPIPE_SZ))?;
        Ok(Pipe { reader, writer, capacity: usize::try_from(capacity).unwrap_or(0), held: 0 })
    }

    /// Bytes in the pipe.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Moves what the source has into the pipe; 0 is its end. Only for an empty pipe: a full one
    /// answers `WouldBlock` too, and the source would wrongly count as empty.
    ///
    /// # Errors
    /// `WouldBlock`: the source has nothing. EINVAL: this kernel or this connection cannot be
    /// spliced. Else the source's error.
    pub fn fill(&mut self, source: &TcpStream) -> io::Result<usize> {
        if self.held > 0 {
            return Err(Errno::EINVAL.into());
        }
        // How much fits depends on how the bytes lie in pages, so a short count says nothing
        // about the source: it is asked again.
        let moved = source.try_io(Interest::READABLE, || {
            let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
            Ok(splice(source, None, &self.writer, None, self.capacity, flags)?)
        })?;
        self.held = moved;
        Ok(moved)
    }

    /// Moves what is in the pipe to the sink, as far as it takes it.
    ///
    /// # Errors
    /// `WouldBlock`: the sink takes nothing now. Else the sink's error.
    pub fn drain(&mut self, sink: &TcpStream) -> io::Result<usize> {
        let moved = sink.try_io(Interest::WRITABLE, || {
            let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
            Ok(splice(&self.reader, None, sink, None, self.held, flags)?)
        })?;
        self.held -= moved;
        Ok(moved)
    }
}
