//! The queue of the log: bounded, and with one thread that writes to standard error, or to the
//! journal.
//!
//! Theory of operation. write(2) to a pipe, a terminal or a socket waits for the reader, and a
//! pager, a paused terminal or a journal that hangs may never read again. If the threads that serve
//! connections waited there the heartbeat would end, and with it the capture. So a line only goes
//! into memory, which takes the same moment whatever the reader does. When the queue is full the
//! newest lines are dropped and counted, and the count is told at the very place where they are
//! missing: once the queue is empty again.
//!
//! Waits for the writer are bounded, and only the writer touches standard error: the lock of
//! [`std::io::stderr`] would be held for as long as a write takes.

use super::journal::Journal;
use super::line::LogLine;
use super::text::TextForm;
use crate::sync::{AtomicU64, lock};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::write;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tracing::{debug, warn};

/// What is kept for a reader that does not read: some 3,000 lines.
const MOST: usize = 1 << 20;

/// How many times the limit a slow writer has.
const MOST_LIMITS: u32 = 10;

/// Up to here a pipe takes all or waits, so that the lines of others do not stand inside ours
/// (pipe(7), PIPE_BUF).
const PIECE: usize = 4096;

/// Room for more lines than this is not held for the next flood.
const AT_REST: usize = 1 << 10;

/// Where lines go, and what they look like there.
#[derive(Debug)]
pub(super) struct LogOutput {
    pub(super) text: TextForm,
    pub(super) journal: Option<Journal>,
}

/// Lines on their way to the reader.
#[derive(Debug)]
pub(super) struct Queue {
    output: LogOutput,
    most: usize,
    /// Lines that were dropped by now.
    lost: AtomicU64,
    state: Mutex<QueueState>,
    filled: Condvar,
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    lines: Vec<Arc<LogLine>>,
    /// The weight of these lines.
    weight: usize,
    /// And of those that the writer has taken and not yet written.
    in_hand: usize,
    /// Lines for which there was no room, and of which nothing was said yet.
    dropped: u64,
    has_writer: bool,
    is_writing: bool,
    /// A flush has waited in vain, and nothing was written since.
    is_stalled: bool,
}

/// What the writer does next.
#[derive(Debug, PartialEq, Eq)]
enum Work {
    /// It has taken all lines.
    Lines,
    /// There are none, and so many are missing.
    Lost(u64),
}

impl LogOutput {
    /// Standard error, or the journal behind it.
    pub(super) fn of_stderr() -> Self {
        LogOutput { text: TextForm::of_stderr(), journal: Journal::of_stderr() }
    }

    /// Writes all of it, however long that takes. Each weight that is done with is told.
    fn write(&self, out: &impl AsFd, lines: &[Arc<LogLine>], wrote: impl Fn(usize)) {
        let (mut piece, mut weight) = (String::new(), 0);
        let put_out = |piece: &mut String, weight: &mut usize| {
            put(out, piece.as_bytes());
            piece.clear();
            wrote(std::mem::take(weight));
        };
        for line in lines {
            if self.journal.as_ref().is_some_and(|journal| journal.send(line).is_ok()) {
                wrote(line.weight());
                continue;
            }
            let before = piece.len();
            self.text.write(line, &mut piece);
            if piece.len() > PIECE && before > 0 {
                let last = piece.split_off(before);
                put_out(&mut piece, &mut weight);
                piece = last;
            }
            weight += line.weight();
        }
        put_out(&mut piece, &mut weight);
    }
}

impl Queue {
    pub(super) fn new(output: LogOutput) -> Self {
        Queue::of(output, MOST)
    }

    fn of(output: LogOutput, most: usize) -> Self {
        Queue {
            output,
            most,
            lost: AtomicU64::new(0),
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
        }
    }

    /// How many lines were dropped by now.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Starts the writer, the first time.
    pub(super) fn begin(self: &Arc<Self>, out: impl AsFd + Send + 'static) -> io::Result<()> {
        let mut state = self.lock();
        if state.has_writer {
            return Ok(());
        }
        let queue = Arc::clone(self);
        thread::Builder::new().name("snet-log".into()).spawn(move || queue.serve(&out))?;
        state.has_writer = true;
        Ok(())
    }

    /// Waits until everything is written, or no longer than that. Whether it is.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        while !state.is_done() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.is_stalled = true;
                return false;
            }
            state = self
                .emptied
                .wait_timeout(state, left)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state);
        }
        true
    }

    /// The same, and on as long as the reader would take more: then it is the writer that is slow,
    /// on a processor that has no time for it. (What the journal would take nobody can ask.)
    pub(super) fn flush_to(&self, limit: Duration, would_take: impl Fn() -> bool) -> bool {
        for _ in 0..MOST_LIMITS {
            if self.flush(limit) {
                return true;
            }
            if self.output.journal.is_some() || !would_take() {
                return false;
            }
        }
        false
    }

    /// The same for callers that may come often: the second does not wait for a reader that let the
    /// first wait in vain.
    pub(super) fn flush_unless_stalled(&self, limit: Duration) {
        if !self.lock().is_stalled {
            self.flush(limit);
        }
    }

    /// Writes what is left where no thread can be had.
    pub(super) fn write_here(&self, out: &impl AsFd) {
        let lines = std::mem::take(&mut self.lock().lines);
        self.output.write(out, &lines, |_| {});
    }

    /// What nobody has taken yet.
    pub(super) fn waiting(&self) -> Vec<Arc<LogLine>> {
        self.lock().lines.clone()
    }

    /// Takes a line, or drops it. Never waits for a reader.
    pub(super) fn push(&self, line: Arc<LogLine>) {
        let mut state = self.lock();
        let weight = line.weight();
        if state.weight + state.in_hand + weight > self.most {
            state.dropped += 1;
            self.lost.fetch_add(1, Ordering::Relaxed);
        } else {
            state.weight += weight;
            state.lines.push(line);
            self.filled.notify_one();
        }
    }

    /// The life of the writer.
    fn serve(&self, out: &impl AsFd) {
        // A background job whose terminal stops jobs that write (termios(3), TOSTOP) would be
        // stopped as a whole. A thread that blocks the signal may write.
        if let Err(errno) = SigSet::from(Signal::SIGTTOU).thread_block() {
            debug!("cannot block SIGTTOU: {errno}");
        }
        let mut taken = Vec::new();
        loop {
            match self.next(&mut taken) {
                Work::Lines => self.output.write(out, &taken, |weight| self.wrote(weight)),
                Work::Lost(count) => warn!("{count} log lines were dropped: nobody read them"),
            }
            taken.clear();
            taken.shrink_to(AT_REST);
        }
    }

    /// Waits for something to do.
    fn next(&self, taken: &mut Vec<Arc<LogLine>>) -> Work {
        let mut state = self.lock();
        loop {
            state.is_writing = true;
            if !state.lines.is_empty() {
                std::mem::swap(&mut state.lines, taken);
                state.in_hand = std::mem::take(&mut state.weight);
                return Work::Lines;
            }
            if state.dropped > 0 {
                return Work::Lost(std::mem::take(&mut state.dropped));
            }
            state.is_writing = false;
            self.emptied.notify_all();
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn wrote(&self, weight: usize) {
        let mut state = self.lock();
        state.in_hand -= weight;
        state.is_stalled = false;
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        lock(&self.state)
    }
}

impl QueueState {
    fn is_done(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0 && !self.is_writing
    }
}

/// Whether it can be written to now.
pub(super) fn would_take(out: &impl AsFd) -> bool {
    let mut wanted = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
    poll(&mut wanted, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Writes it all, however long that takes. A reader that is gone is no reason to stop, and there is
/// no other place to tell it.
fn put(out: &impl AsFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match write(out, bytes) {
            Ok(0) => return,
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::EINTR) => {}
            // A program that shares the terminal may have set O_NONBLOCK for all.
            Err(Errno::EAGAIN) => {
                let mut wanted = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
                if let Err(Errno::ENOMEM | Errno::EINVAL) = poll(&mut wanted, PollTimeout::NONE) {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests;
