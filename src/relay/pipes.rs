//! Pipes for splicing, pooled: making one costs three system calls and two descriptors.

use crate::net::pipe::Pipe;
use std::cell::RefCell;
use std::io;

/// Empty pipes that a thread keeps.
const KEPT: usize = 4;

thread_local! {
    static FREE: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// An empty pipe.
///
/// # Errors
/// None is in the pool, and no descriptor is left.
pub(super) fn take() -> io::Result<Pipe> {
    FREE.with_borrow_mut(Vec::pop).map_or_else(Pipe::new, Ok)
}

/// Gives a pipe back. One that still holds bytes of a broken connection is closed instead, so that
/// nobody else ever sees them.
pub(super) fn give(pipe: Pipe) {
    FREE.with_borrow_mut(|free| {
        if pipe.held() == 0 && free.len() < KEPT {
            free.push(pipe);
        }
    });
}
