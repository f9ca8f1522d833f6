//! Pipes for splicing, pooled: making one costs three system calls and two descriptors.
//!
//! There are only so many ([`Limits`]): a connection whose other end does not read holds its pipe
//! for as long as that lasts, and the descriptors for everything else, the heartbeat's among them,
//! must not run out (seen: with 74 downloads that nothing read the rules became inactive). A half
//! without a pipe copies.

use super::limits::{Count, Limits};
use crate::net::pipe::Pipe;
use std::cell::RefCell;
use std::io;
use std::sync::Arc;

/// Empty pipes that a thread keeps. They count as in use.
const KEPT: usize = 4;

thread_local! {
    static FREE: RefCell<Vec<Counted>> = const { RefCell::new(Vec::new()) };
}

/// A pipe, and where it is counted until it is closed.
#[derive(Debug)]
struct Counted {
    pipe: Pipe,
    count: Arc<Count>,
}

/// A pipe in use. Its drop gives it back; one that still holds bytes of a broken connection is
/// closed instead, so that no other connection ever sees them.
#[derive(Debug)]
pub(super) struct Lent(Option<Counted>);

/// An empty pipe.
///
/// # Errors
/// None is in the pool, and there are as many as there may be, or no descriptor is left.
pub(super) fn take(limits: &Limits) -> io::Result<Lent> {
    if let Some(pipe) = FREE.with_borrow_mut(Vec::pop) {
        return Ok(Lent(Some(pipe)));
    }
    if !limits.pipes.take() {
        return Err(io::ErrorKind::QuotaExceeded.into());
    }
    let pipe = Pipe::new().inspect_err(|_| limits.pipes.give_back())?;
    Ok(Lent(Some(Counted { pipe, count: Arc::clone(&limits.pipes) })))
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.count.give_back();
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(pipe) = self.0.take() else { return };
        // A thread that ends has no pool any more: then the pipe is closed.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if pipe.pipe.held() == 0 && free.len() < KEPT {
                free.push(pipe);
            }
        });
    }
}

impl Lent {
    /// The pipe; it is there until the drop.
    pub(super) fn pipe(&mut self) -> Option<&mut Pipe> {
        self.0.as_mut().map(|counted| &mut counted.pipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a thread of its own, whose pool is empty.
    #[test]
    fn there_are_only_so_many() {
        std::thread::spawn(|| {
            let limits = Limits::new(7, 0);
            let lent: Vec<Lent> = (0..100).map_while(|_| take(&limits).ok()).collect();
            assert_eq!(lent.len(), 7);
            assert_eq!(take(&limits).unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
            drop(lent);
            assert_eq!(limits.pipes.used(), KEPT, "the others are closed");
            assert!(take(&limits).is_ok(), "they were given back");
        })
        .join()
        .unwrap();
    }
}
