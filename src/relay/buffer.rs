//! Memory for bytes in hand: taken when bytes are there, given back when none are.
//!
//! An idle connection holds none. Each thread keeps a few pieces for the next one who asks, since
//! fresh ones would have to be zeroed.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Pieces a thread keeps. A worker runs one half at a time, and a half holds its piece across a
/// wait only while its sink is slow.
const KEPT: usize = 4;

/// Bytes of a [`Buffer`]: enough for whatever a half reads at a time, four shadowsocks chunks with
/// their seals.
pub(super) const SIZE: usize = 66 * 1024;

thread_local! {
    static FREE: RefCell<Vec<Box<[u8; SIZE]>>> = const { RefCell::new(Vec::new()) };
}

/// A piece of memory; what is in it at first is left over from before.
pub(super) struct Buffer(Option<Box<[u8; SIZE]>>);

impl Buffer {
    pub(super) fn take() -> Self {
        let kept = FREE.with_borrow_mut(Vec::pop);
        Buffer(Some(kept.unwrap_or_else(|| Box::new([0; SIZE]))))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(piece) = self.0.take() {
            FREE.with_borrow_mut(|free| {
                if free.len() < KEPT {
                    free.push(piece);
                }
            });
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().map_or(&[], |piece| piece)
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.as_deref_mut().map_or(&mut [], |piece| piece)
    }
}
