//! Memory for bytes in hand: taken when bytes are there, given back when none are.
//!
//! An idle connection holds none. There are two sizes. A half begins with a small piece and goes
//! over to a large one once its reads are large: what a byte costs is mostly system calls. It
//! holds its piece across a wait only while its sink is slow, so the large ones that are out at a
//! time are counted and bounded; when none is left, small ones do, and nothing fails.
//!
//! Budget: as many large pieces as [`Limits`] says, and [`SMALL`] for each half whose sink is slow
//! beyond that; each thread keeps some pieces for the next half, since fresh ones would have to be
//! zeroed.

use super::limits::Limits;
use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Bytes of a small piece: one shadowsocks chunk either way.
pub(super) const SMALL: usize = 17 * 1024;

/// Bytes of a large piece: eight chunks, which a core's cache holds. Twice as much costs no less a
/// byte.
pub const LARGE: usize = 8 * SMALL;

/// Pieces of each size that a thread keeps.
const KEPT: usize = 2;

thread_local! {
    static FREE: RefCell<[Vec<Box<[u8]>>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

#[cfg(test)]
thread_local! {
    /// Pieces in use, those taken by a thread less those given back there.
    pub(super) static IN_USE: std::cell::Cell<isize> = const { std::cell::Cell::new(0) };
}

/// A piece of memory; what is in it at first is left over from before.
pub(super) struct Buffer<'a> {
    bytes: Box<[u8]>,
    limits: &'a Limits,
}

impl<'a> Buffer<'a> {
    /// A large piece if that is wanted and one may go out, else a small one.
    pub(super) fn take(large: bool, limits: &'a Limits) -> Self {
        #[cfg(test)]
        IN_USE.set(IN_USE.get() + 1);
        let size = if large && limits.large_pieces.take() { LARGE } else { SMALL };
        Buffer { bytes: piece(size), limits }
    }

    /// Becomes large, if one may go out, and keeps its first `held` bytes.
    pub(super) fn grow(&mut self, held: usize) {
        if self.bytes.len() == LARGE {
            return;
        }
        let mut larger = Buffer::take(true, self.limits);
        larger[..held].copy_from_slice(&self.bytes[..held]);
        *self = larger;
    }
}

fn piece(size: usize) -> Box<[u8]> {
    let kept = FREE.with_borrow_mut(|free| free[usize::from(size == LARGE)].pop());
    kept.unwrap_or_else(|| vec![0; size].into())
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        #[cfg(test)]
        let _ = IN_USE.try_with(|in_use| in_use.set(in_use.get() - 1));
        let piece = std::mem::take(&mut self.bytes);
        let is_large = piece.len() == LARGE;
        if is_large {
            self.limits.large_pieces.give_back();
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

impl Deref for Buffer<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_limit_pieces_are_small() {
        let limits = Limits::new(0, 2);
        let mut pieces: Vec<Buffer<'_>> = (0..3).map(|_| Buffer::take(true, &limits)).collect();
        assert_eq!(
            pieces.iter().map(|piece| piece.len()).collect::<Vec<_>>(),
            [LARGE, LARGE, SMALL]
        );
        pieces[2][0] = 7;
        pieces[2].grow(1);
        assert_eq!(pieces[2].len(), SMALL);
        pieces.remove(0);
        pieces[1].grow(1);
        assert_eq!((pieces[1].len(), pieces[1][0]), (LARGE, 7), "it was given back");
        drop(pieces);
        assert_eq!(limits.large_pieces.used(), 0);
    }
}
