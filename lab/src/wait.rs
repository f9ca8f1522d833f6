//! Waiting for something to become true, with an end.

use std::thread;
use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_millis(5);

/// Whether it became true within the limit.
pub fn quietly(limit: Duration, mut is_true: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if is_true() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(STEP);
    }
}

/// Fails unless it becomes true within the limit.
pub fn until(what: &str, limit: Duration, is_true: impl FnMut() -> bool) {
    assert!(quietly(limit, is_true), "{what}: not within {limit:?}");
}
