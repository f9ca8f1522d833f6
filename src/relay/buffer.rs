//! Memory for bytes in hand: taken when bytes are there, given back when none are.
//!
//! An idle connection holds none. There are two sizes, and one between them for the rare piece that
//! has to come whole and that the small one cannot hold. A half begins with a small piece and goes
//! over to a large one once its reads are large: what a byte costs is mostly system calls. It
//! holds its piece across a wait only while its sink is slow, so the large ones that are out at a
//! time are counted and bounded; when none is left, small ones do, and nothing fails.
//!
//! Budget: as many large pieces as [`Limits`] says, and [`SMALL`] for each half whose sink is slow
//! beyond that ([`PIECE`] if its server seals so much at a time); each thread keeps some pieces for
//! the next half, since fresh ones would have to be zeroed.

use super::limits::Limits;
use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Bytes of a small piece: one shadowsocks chunk either way, unless the server seals longer ones.
pub(super) const SMALL: usize = 17 * 1024;

/// Bytes of a large piece: eight chunks, which a core's cache holds. Twice as much costs no less a
/// byte.
pub const LARGE: usize = 8 * SMALL;

/// Bytes of a piece that holds the longest chunk of any server.
pub(super) const PIECE: usize = 65 * 1024;

/// Pieces of each size that a thread keeps.
const KEPT: usize = 2;

thread_local! {
    static FREE: RefCell<[Vec<Box<[u8]>>; 3]> =
        const { RefCell::new([Vec::new(), Vec::new(), Vec::new()]) };
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
        if larger.len() <= self.len() {
            return;
        }
        larger[..held].copy_from_slice(&self.bytes[..held]);
        *self = larger;
    }

    /// Becomes large enough for this many bytes, at most [`PIECE`], and keeps its first `held`
    /// ones.
    pub(super) fn fit(&mut self, bytes: usize, held: usize) {
        if bytes <= self.bytes.len() {
            return;
        }
        self.grow(held);
        if bytes > self.bytes.len() {
            let mut larger = piece(PIECE);
            larger[..held].copy_from_slice(&self.bytes[..held]);
            keep(std::mem::replace(&mut self.bytes, larger));
        }
    }
}

fn piece(size: usize) -> Box<[u8]> {
    let kept = FREE.with_borrow_mut(|free| free[of_size(size)].pop());
    kept.unwrap_or_else(|| vec![0; size].into())
}

/// Keeps a piece for the next half, or frees it.
fn keep(piece: Box<[u8]>) {
    // While a thread ends there may be no list any more.
    let _ = FREE.try_with(|free| {
        let kept = &mut free.borrow_mut()[of_size(piece.len())];
        if kept.len() < KEPT {
            kept.push(piece);
        }
    });
}

/// Where the free pieces of a size are.
fn of_size(size: usize) -> usize {
    match size {
        SMALL => 0,
        LARGE => 1,
        _ => 2,
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        #[cfg(test)]
        let _ = IN_USE.try_with(|in_use| in_use.set(in_use.get() - 1));
        let piece = std::mem::take(&mut self.bytes);
        if piece.len() == LARGE {
            self.limits.large_pieces.give_back();
        }
        keep(piece);
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
        pieces[2].fit(SMALL, 1);
        assert_eq!(pieces[2].len(), SMALL, "it fits");
        pieces[2].fit(SMALL + 1, 1);
        assert_eq!((pieces[2].len(), pieces[2][0]), (PIECE, 7), "what has to fit does");
        pieces[2].grow(1);
        assert_eq!(pieces[2].len(), PIECE, "a small one would not do");
        pieces.remove(0);
        pieces[1].fit(PIECE, 1);
        assert_eq!(pieces[1].len(), PIECE);
        pieces[1].grow(1);
        assert_eq!((pieces[1].len(), pieces[1][0]), (LARGE, 7), "it was given back");
        drop(pieces);
        assert_eq!(limits.large_pieces.used(), 0);
    }
}
