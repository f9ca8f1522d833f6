//! How far ahead of its readers a server may send.
//!
//! Theory of operation. The streams of a connection have windows of one size
//! (SETTINGS_INITIAL_WINDOW_SIZE; RFC 9113, 6.9.2). It begins at [`FIRST`] and doubles when a
//! reader takes half of it within a round trip: then neither the path nor the reader is what
//! limits, but the window. It never shrinks, since what a server has sent ahead is here already.
//!
//! Two bounds, for what is sent to clients that stall:
//!
//! - of a connection, all windows together are at most [`CONNECTION`], which is its own window too,
//!   so that such a client stops no other. One with larger windows has room for fewer tunnels;
//! - of the process, windows grow no more beyond [`bound`], what memory allows, [`ALL`] at most.
//!   Beyond half of it connections begin with [`LEAST`], or with [`SMALLEST`].

use crate::sync::{AtomicU64, lock};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Tunnels of a connection at most.
pub(super) const MOST_STREAMS: usize = 64;

/// Bytes of all windows of a connection, and of its own.
pub(super) const CONNECTION: u32 = 32 << 20;

/// Bytes of a window when its connection begins: at 150 ms of distance 1.7 MB/s.
const FIRST: u32 = 256 << 10;

/// The same where there are many. It is the size that a server assumes.
const LEAST: u32 = 64 << 10;

/// The same with less than [`AMPLE`] for all windows.
const SMALLEST: u32 = 16 << 10;
const AMPLE: usize = 16 << 20;

/// Bytes of a window at most: at 150 ms 56 MB/s.
const LARGEST: u32 = 8 << 20;

/// Bytes of all windows of the process at most, beyond which none grows.
pub const ALL: usize = 64 << 20;

static POOL: Pool = Pool::of(ALL);

/// Lets all windows of the process together grow to so many bytes, [`ALL`] at most.
pub fn bound(bytes: usize) {
    POOL.most.store(bytes.min(ALL), Ordering::Relaxed);
}

/// Bytes of all windows, of all connections.
#[derive(Debug)]
struct Pool {
    taken: AtomicUsize,
    most: AtomicUsize,
}

impl Pool {
    const fn of(most: usize) -> Self {
        Pool { taken: AtomicUsize::new(0), most: AtomicUsize::new(most) }
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// With how many bytes a window begins.
    fn first(&self) -> u32 {
        let most = self.most();
        if self.taken() < most / 2 {
            // All that a connection may have fit.
            let each = u32::try_from(most / MOST_STREAMS).unwrap_or(FIRST);
            each.clamp(SMALLEST, FIRST)
        } else if most < AMPLE {
            SMALLEST
        } else {
            LEAST
        }
    }
}

/// The windows of one connection's tunnels.
#[derive(Debug)]
pub(super) struct Windows {
    pool: &'static Pool,
    tunnels: Mutex<usize>,
    /// Bytes of one; changes under the lock only.
    size: AtomicU32,
    /// In microseconds; 0 until one was measured.
    round_trip: AtomicU64,
    has_grown: Notify,
}

impl Windows {
    pub(super) fn new() -> Self {
        Windows::among(&POOL)
    }

    fn among(pool: &'static Pool) -> Self {
        Windows {
            pool,
            tunnels: Mutex::new(0),
            size: AtomicU32::new(pool.first()),
            round_trip: AtomicU64::new(0),
            has_grown: Notify::new(),
        }
    }

    /// Bytes of one.
    pub(super) fn size(&self) -> u32 {
        self.size.load(Ordering::Relaxed)
    }

    /// Tunnels that have one.
    pub(super) fn tunnels(&self) -> usize {
        *lock(&self.tunnels)
    }

    /// Takes one for one more tunnel of so many that the server allows.
    pub(super) fn take(&self, allowed: usize) -> bool {
        let mut tunnels = lock(&self.tunnels);
        let size = self.size() as usize;
        let fits = (*tunnels + 1) * size <= CONNECTION as usize;
        let is_free = *tunnels < allowed.min(MOST_STREAMS) && fits;
        if is_free {
            *tunnels += 1;
            self.pool.taken.fetch_add(size, Ordering::Relaxed);
        }
        is_free
    }

    /// Whether more than a quarter of those that fit beside each other are left.
    pub(super) fn has_room(&self, allowed: usize) -> bool {
        let tunnels = lock(&self.tunnels);
        let fitting = CONNECTION as usize / self.size() as usize;
        let most = allowed.min(MOST_STREAMS).min(fitting);
        *tunnels < most - most / 4
    }

    /// A tunnel has ended.
    pub(super) fn give_back(&self) {
        let mut tunnels = lock(&self.tunnels);
        *tunnels -= 1;
        self.pool.taken.fetch_sub(self.size() as usize, Ordering::Relaxed);
    }

    /// A PING was answered after so long.
    pub(super) fn measured(&self, round_trip: Duration) {
        let micros = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX).max(1);
        let shortest = match self.round_trip.load(Ordering::Relaxed) {
            0 => micros,
            before => before.min(micros),
        };
        self.round_trip.store(shortest, Ordering::Relaxed);
    }

    /// Doubles them, unless they have grown already since they were of this size.
    fn grow(&self, from: u32) {
        let tunnels = lock(&self.tunnels);
        let more = *tunnels * from as usize;
        let fits = from < LARGEST && 2 * more <= CONNECTION as usize;
        if self.size() == from && fits && self.pool.taken() + more <= self.pool.most() {
            self.size.store(2 * from, Ordering::Relaxed);
            self.pool.taken.fetch_add(more, Ordering::Relaxed);
            self.has_grown.notify_one();
        }
    }

    /// Waits until they have grown.
    pub(super) async fn growth(&self) {
        self.has_grown.notified().await;
    }
}

/// How fast the reader of a tunnel takes what comes.
#[derive(Debug)]
pub(super) struct ReadingPace {
    since: Instant,
    taken: u32,
}

impl ReadingPace {
    pub(super) fn from(now: Instant) -> Self {
        ReadingPace { since: now, taken: 0 }
    }

    /// The reader has taken so many bytes more.
    pub(super) fn took(&mut self, length: usize, now: Instant, windows: &Windows) {
        self.taken = self.taken.saturating_add(u32::try_from(length).unwrap_or(u32::MAX));
        let size = windows.size();
        if self.taken < size / 2 {
            return;
        }
        let round_trip = Duration::from_micros(windows.round_trip.load(Ordering::Relaxed));
        if now.duration_since(self.since) <= round_trip {
            windows.grow(size);
        }
        *self = ReadingPace::from(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(100);

    fn pool(most: usize) -> &'static Pool {
        Box::leak(Box::new(Pool::of(most)))
    }

    fn windows() -> Windows {
        let windows = Windows::among(pool(ALL));
        windows.measured(ROUND_TRIP);
        windows.measured(2 * ROUND_TRIP);
        windows
    }

    /// A reader that takes a window in so many round trips, again and again.
    fn read_at(windows: &Windows, round_trips: u32) {
        let mut now = Instant::now();
        let mut pace = ReadingPace::from(now);
        for _ in 0..100 {
            let size = windows.size();
            now += ROUND_TRIP * round_trips / 4;
            pace.took(size as usize / 4, now, windows);
        }
    }

    #[test]
    fn a_window_grows_for_a_reader_that_it_limits() {
        let windows = windows();
        assert!(windows.take(100));
        // Four round trips for a window: the path is slower, or the reader.
        read_at(&windows, 4);
        assert_eq!(windows.size(), FIRST);
        read_at(&windows, 1);
        assert_eq!(windows.size(), LARGEST);
        assert_eq!(windows.pool.taken(), LARGEST as usize);
        windows.give_back();
        assert_eq!(windows.pool.taken(), 0);
    }

    #[test]
    fn clients_that_stall_leave_the_connection_to_others() {
        let windows = windows();
        for _ in 0..10 {
            assert!(windows.take(100));
        }
        read_at(&windows, 1);
        // Eleven of twice the size would not fit.
        assert_eq!(windows.size(), 2 << 20);
        let tunnels = (10..).find(|_| !windows.take(100)).unwrap();
        assert_eq!((tunnels, windows.tunnels()), (16, 16));
    }

    #[test]
    fn a_connection_takes_as_many_as_the_server_allows() {
        let windows = windows();
        assert_eq!((0..).find(|_| !windows.take(3)), Some(3));
        assert_eq!((3..).find(|_| !windows.take(1000)), Some(MOST_STREAMS));
    }

    #[test]
    fn the_last_quarter_calls_for_another_connection() {
        let windows = windows();
        for (allowed, most) in [(100, 48), (8, 6), (1, 1)] {
            let mut taken = 0;
            while windows.has_room(allowed) {
                assert!(windows.take(allowed));
                taken += 1;
            }
            assert_eq!(taken, most);
            (0..taken).for_each(|_| windows.give_back());
        }
        assert!(!windows.has_room(0));
    }

    /// 40 connections with as many readers as they can have, all fast: the sizes of the first and
    /// the last one's windows, and the bytes of all.
    fn crowd(most: usize) -> (u32, u32, usize) {
        let pool = pool(most);
        let connections: Vec<_> = (0..40)
            .map(|_| {
                let windows = Windows::among(pool);
                windows.measured(ROUND_TRIP);
                assert!((0..MOST_STREAMS).all(|_| windows.take(100)));
                read_at(&windows, 1);
                windows
            })
            .collect();
        (connections[0].size(), connections[39].size(), pool.taken())
    }

    #[test]
    fn all_connections_together_have_a_bound() {
        let (first, last, all) = crowd(ALL);
        assert_eq!((first, last), (2 * FIRST, LEAST));
        assert!(all <= ALL + 40 * MOST_STREAMS * LEAST as usize);
    }

    #[test]
    fn with_little_memory_the_bound_is_near() {
        let (first, last, all) = crowd(4 << 20);
        assert_eq!((first, last), (64 << 10, SMALLEST));
        assert!(all <= (4 << 20) + 39 * MOST_STREAMS * SMALLEST as usize);
    }
}
