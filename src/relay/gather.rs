//! Waiting for bytes, and letting them gather while a source writes tiny pieces in bulk.
//!
//! Theory of operation. Each wake of a half costs the same whether it finds one packet or a
//! hundred. An upstream that writes a kilobyte at a time (tinyproxy does) thus costs ten times as
//! much a byte as one that writes well. Network cards meet the same problem with interrupt
//! moderation, and so does this: while pieces come densely, the socket's low-water mark
//! (SO_RCVLOWAT) is set to about what comes in a millisecond, and the half sleeps until that much
//! is there.
//!
//! No interactive byte waits. Gathering begins only after [`DENSE_WAKES`] wakes that came faster
//! than one in [`DENSE`] and only if nothing went the other way meanwhile: a dialogue, however
//! quick, is never gathered. It ends when something has gone the other way, or when less than
//! [`LEAST`] in [`GATHERED`] comes. If the mark is not reached within [`PATIENCE`], what is there
//! is taken. So the end of a burst may come a millisecond or two late, once. An end or a reset of
//! the source is seen at once, whatever the mark.

use super::half::{Half, HalfEnd};
use crate::net::stream::set_low_water;
use std::future::poll_fn;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// So many wakes in a row are looked at together.
const DENSE_WAKES: u32 = 32;

/// Wakes that come slower than this on average are not worth gathering.
const DENSE: Duration = Duration::from_micros(250);

/// The mark is what comes in so long.
const GATHERED: Duration = Duration::from_micros(750);

/// The longest that bytes wait for others. The timer's own unit is a millisecond.
const PATIENCE: Duration = Duration::from_millis(1);

/// Bounds of the mark. The upper one stays well below the receive window that the kernel grants
/// (tcp_rmem, tcp(7)).
const LEAST: u64 = 8 * 1024;
const MOST: u64 = 128 * 1024;

/// The waiting of one half.
pub(super) struct Gather {
    /// The mark to wait for; 1: not gathering.
    mark: u64,
    /// The mark that the socket has.
    set: u64,
    /// The socket takes no mark (MPTCP of an old kernel): its bytes are read as they come.
    markless: bool,
    wakes: u32,
    since: Since,
}

/// When the present run of wakes began, and the counters then.
struct Since {
    time: Instant,
    own: u64,
    other: u64,
}

impl Gather {
    /// Of a half that begins.
    pub(super) fn new() -> Self {
        let since = Since { time: Instant::now(), own: 0, other: 0 };
        Gather { mark: 1, set: 1, markless: false, wakes: 0, since }
    }

    /// Waits until the source of its half has something to read: bytes, an end, an error.
    ///
    /// # Errors
    /// What the kernel says of the source.
    pub(super) async fn readable(&mut self, half: &Half<'_>) -> Result<(), HalfEnd> {
        self.wait(half).await.map_err(HalfEnd::Source)
    }

    async fn wait(&mut self, half: &Half<'_>) -> io::Result<()> {
        let source = half.source;
        let run = if self.mark > 1 { 1 } else { DENSE_WAKES };
        if self.wakes >= run {
            self.mark = if self.markless { 1 } else { self.worthwhile(half) };
            self.begin_run(half);
        }
        self.wakes += 1;
        if self.set(source, self.mark).is_err() {
            (self.mark, self.markless) = (1, true);
        }
        // Boxed: a timer is large, and most connections never get here.
        if self.mark > 1
            && let Ok(ready) = Box::pin(timeout(PATIENCE, source.readable())).await
        {
            return ready;
        }
        // Lowering the mark wakes a wait for less (tcp_set_rcvlowat, since Linux 4.18).
        self.set(source, 1)?;
        // Where connections idle: `readable` would hold 150 bytes here, and only this half waits
        // for the source to be readable.
        poll_fn(|cx| source.poll_read_ready(cx)).await
    }

    /// The mark that suits the run of wakes that ends now.
    fn worthwhile(&self, half: &Half<'_>) -> u64 {
        Run {
            took: self.since.time.elapsed(),
            wakes: self.wakes,
            bytes: half.own.get() - self.since.own,
            is_dialogue: half.other.get() != self.since.other,
            gathering: self.mark > 1,
        }
        .mark()
    }

    fn begin_run(&mut self, half: &Half<'_>) {
        let (own, other) = (half.own.get(), half.other.get());
        self.since = Since { time: Instant::now(), own, other };
        self.wakes = 0;
    }

    fn set(&mut self, source: &TcpStream, mark: u64) -> io::Result<()> {
        if mark != self.set {
            set_low_water(source, i32::try_from(mark).unwrap_or(i32::MAX))?;
            self.set = mark;
        }
        Ok(())
    }
}

/// What happened in a run of wakes.
#[derive(Clone, Copy)]
struct Run {
    took: Duration,
    wakes: u32,
    bytes: u64,
    /// Something went the other way.
    is_dialogue: bool,
    gathering: bool,
}

impl Run {
    /// The mark for the next run; 1: gathering is not worthwhile.
    fn mark(self) -> u64 {
        let is_dense = self.gathering || self.took <= DENSE * self.wakes;
        if !is_dense || self.is_dialogue {
            return 1;
        }
        let took = (self.took.as_micros() as u64).max(1);
        let mark = self.bytes * GATHERED.as_micros() as u64 / took;
        if mark < LEAST { 1 } else { mark.min(MOST) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thirty-two pieces of 4,000 bytes in two milliseconds.
    const TINY_PIECES: Run = Run {
        took: Duration::from_millis(2),
        wakes: DENSE_WAKES,
        bytes: 128_000,
        is_dialogue: false,
        gathering: false,
    };

    #[test]
    fn tiny_pieces_in_bulk_are_gathered() {
        assert_eq!(TINY_PIECES.mark(), 48_000);
        assert_eq!(Run { bytes: 10_000_000, ..TINY_PIECES }.mark(), MOST);
    }

    #[test]
    fn dialogues_trickles_and_slow_wakes_are_not() {
        assert_eq!(Run { is_dialogue: true, ..TINY_PIECES }.mark(), 1);
        assert_eq!(Run { is_dialogue: true, gathering: true, ..TINY_PIECES }.mark(), 1);
        assert_eq!(Run { bytes: 3_200, ..TINY_PIECES }.mark(), 1);
        assert_eq!(Run { took: Duration::from_millis(9), ..TINY_PIECES }.mark(), 1);
    }

    #[test]
    fn gathering_goes_on_while_enough_comes() {
        let gathered = Run {
            took: Duration::from_millis(2),
            wakes: 1,
            bytes: 60_000,
            is_dialogue: false,
            gathering: true,
        };
        assert_eq!(gathered.mark(), 22_500);
        assert_eq!(Run { bytes: 100, ..gathered }.mark(), 1);
    }
}
