//! A machine that stands still for seconds, as a guest of a busy host does, breaks promises that
//! are made in seconds, whoever made them. A test that fails meanwhile has shown nothing.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(50);

/// A thread that only waits is never that late unless the machine is to blame.
const STILL: Duration = Duration::from_secs(1);

const ATTEMPTS: u32 = 3;

/// What `attempt` returns. It is made again after a failure, but only if the machine stood still
/// meanwhile, and that is said, with the failure: not by a macro, whose words libtest keeps to
/// itself if the test then passes.
pub fn unless_still<T, E: Display>(mut attempt: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let mut left = ATTEMPTS - 1;
    loop {
        let (result, stood_still) = watched(&mut attempt);
        let failure = match result {
            Err(failure) if stood_still >= STILL && left > 0 => failure,
            _ => return result,
        };
        left -= 1;
        let _ = writeln!(
            io::stderr(),
            "failed, but the machine stood still for {stood_still:?}: once more; {failure}"
        );
    }
}

/// The result, and by how much the latest tick came late while it was made.
fn watched<T>(attempt: impl FnOnce() -> T) -> (T, Duration) {
    let (stop, stopped) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let clock = scope.spawn(move || {
            let mut latest = Duration::ZERO;
            loop {
                let begun = Instant::now();
                let ended = stopped.recv_timeout(TICK) != Err(mpsc::RecvTimeoutError::Timeout);
                latest = latest.max(begun.elapsed().saturating_sub(TICK));
                if ended {
                    return latest;
                }
            }
        });
        let result = attempt();
        drop(stop);
        (result, clock.join().expect("a clock does not panic"))
    })
}
