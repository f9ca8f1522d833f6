//! Memory for bytes in hand: taken when bytes are there, given back when none are.
//!
//! An idle connection holds none. There are two sizes. A half begins with a small piece and goes
//! over to a large one once its reads are large: what a byte costs is mostly system calls. It
//! holds its piece across a wait only while its sink is slow, so the large ones that are out at a
//! time are counted and bounded; when none is left, small ones do, and nothing fails.
//!
//! Budget: [`LARGE_AT_MOST`] x [`LARGE`], that is 4.25 MiB, and [`SMALL`] for each half whose sink is
//! slow beyond that; each thread keeps some pieces for the next one who asks, since fresh ones
//! would have to be zeroed.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of a small piece: one shadowsocks chunk either way.
pub(super) const SMALL: usize = 17 * 1024;

/// Bytes of a large piece: eight chunks, which a core's cache holds. Twice as much costs no less a
/// byte.
pub(super) const LARGE: usize = 8 * SMALL;

/// Large pieces out at a time, in all threads.
const LARGE_AT_MOST: usize = 32;

/// Pieces of each size that a thread keeps.
const KEPT: usize = 2;

static LARGE_OUT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static FREE: RefCell<[Vec<Box<[u8]>>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// A piece of memory; what is in it at first is left over from before.
pub(super) struct Buffer(Box<[u8]>);

impl Buffer {
    /// A large piece if that is wanted and one may go out, else a small one.
    pub(super) fn take(large: bool) -> Self {
        let out = |out| (out < LARGE_AT_MOST).then_some(out + 1);
        if large && LARGE_OUT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, out).is_ok() {
            Buffer(piece(LARGE))
        } else {
            Buffer(piece(SMALL))
        }
    }

    /// Becomes large, if one may go out, and keeps its first `held` bytes.
    pub(super) fn grow(&mut self, held: usize) {
        if self.0.len() == LARGE {
            return;
        }
        let mut larger = Buffer::take(true);
        larger[..held].copy_from_slice(&self.0[..held]);
        *self = larger;
    }
}

fn piece(size: usize) -> Box<[u8]> {
    let kept = FREE.with_borrow_mut(|free| free[usize::from(size == LARGE)].pop());
    kept.unwrap_or_else(|| vec![0; size].into())
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let piece = std::mem::take(&mut self.0);
        let is_large = piece.len() == LARGE;
        if is_large {
            LARGE_OUT.fetch_sub(1, Ordering::Relaxed);
        }
        // While a thread ends there may be no list any more.
        let _ = FREE.try_with(|free| {
            let kept = &mut free.borrow_mut()[usize::from(is_large)];
            if kept.len() < KEPT {
                kept.push(piece);
            }
        });
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
