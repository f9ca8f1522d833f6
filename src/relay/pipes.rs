//! Pipes for splicing, pooled: making one costs three system calls and two descriptors.
//!
//! There are only so many: a connection whose other end does not read holds its pipe for as long as
//! that lasts, and the descriptors for everything else, the heartbeat's among them, must not run out
//! (seen: 74 downloads that nobody read, and the rules fell asleep). Who gets none copies.

use crate::net::pipe::Pipe;
use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Empty pipes that a thread keeps.
const KEPT: usize = 4;

/// Pipes in this process, and how many there may be; a pipe has two descriptors.
static THERE_ARE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(112);

thread_local! {
    static FREE: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// From now on at most so many.
pub(super) fn limit(most: usize) {
    MOST.store(most, Ordering::Relaxed);
}

/// A pipe in use. Its drop gives it back; one that still holds bytes of a broken connection is closed
/// instead, so that nobody else ever sees them.
#[derive(Debug)]
pub(super) struct Lent(Option<Pipe>);

/// An empty pipe.
///
/// # Errors
/// None is in the pool, and there are as many as there may be, or no descriptor is left.
pub(super) fn take() -> io::Result<Lent> {
    if let Some(pipe) = FREE.with_borrow_mut(Vec::pop) {
        return Ok(Lent(Some(pipe)));
    }
    if THERE_ARE.fetch_add(1, Ordering::Relaxed) >= MOST.load(Ordering::Relaxed) {
        THERE_ARE.fetch_sub(1, Ordering::Relaxed);
        return Err(io::ErrorKind::QuotaExceeded.into());
    }
    let pipe = Pipe::new().inspect_err(|_| {
        THERE_ARE.fetch_sub(1, Ordering::Relaxed);
    })?;
    Ok(Lent(Some(pipe)))
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(pipe) = self.0.take() else { return };
        // A thread that ends has no pool any more.
        let closed = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if pipe.held() == 0 && free.len() < KEPT {
                free.push(pipe);
                false
            } else {
                true
            }
        });
        if closed.unwrap_or(true) {
            THERE_ARE.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Lent {
    /// The pipe; it is there until the drop.
    pub(super) fn pipe(&mut self) -> Option<&mut Pipe> {
        self.0.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread of its own: the pool is empty, and others may hold pipes meanwhile.
    #[test]
    fn there_are_only_so_many() {
        std::thread::spawn(|| {
            let others = THERE_ARE.load(Ordering::Relaxed);
            let lent: Vec<Lent> = (0..1000).map_while(|_| take().ok()).collect();
            assert!(
                !lent.is_empty() && lent.len() <= MOST.load(Ordering::Relaxed),
                "{others}, {}",
                lent.len()
            );
            assert_eq!(take().unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
            drop(lent);
            assert!(take().is_ok(), "they were given back");
        })
        .join()
        .unwrap();
    }
}
