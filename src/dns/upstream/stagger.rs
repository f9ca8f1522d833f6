//! Several servers for one question: the next is asked when one fails or is slow.

use crate::dns::reply::Reply;
use crate::dns::wire::rcode;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// An attempt that has not begun.
pub(super) type StaggeredAttempt = Pin<Box<dyn Future<Output = io::Result<Vec<u8>>>>>;

/// Runs the attempts in order, the next one `delay` after the former or at once when it failed,
/// and returns the first success with its number. Attempts that still run are dropped.
///
/// # Errors
/// The first failure, if all failed; `NotFound` for no attempt at all.
pub(super) async fn first_success(
    attempts: Vec<StaggeredAttempt>,
    delay: Duration,
) -> io::Result<(usize, Vec<u8>)> {
    let mut waiting = attempts.into_iter().enumerate();
    let mut running = JoinSet::new();
    let mut first_failure = None;
    loop {
        if let Some((number, attempt)) = waiting.next() {
            running.spawn_local(async move { attempt.await.map(|reply| (number, reply)) });
        }
        let finished = if waiting.len() > 0 {
            match timeout(delay, running.join_next()).await {
                Ok(finished) => finished,
                Err(_) => continue,
            }
        } else {
            running.join_next().await
        };
        match finished {
            Some(Ok(Ok(success))) => return Ok(success),
            Some(Ok(Err(failure))) => first_failure = first_failure.or(Some(failure)),
            Some(Err(died)) => first_failure = first_failure.or(Some(io::Error::other(died))),
            None => {
                return Err(first_failure.unwrap_or_else(|| io::ErrorKind::NotFound.into()));
            }
        }
    }
}

/// A server that fails itself (SERVFAIL, REFUSED) counts as no answer: the next one may know.
///
/// # Errors
/// The message says so.
pub(super) fn useful(message: Vec<u8>) -> io::Result<Vec<u8>> {
    match Reply::parse(&message).map(|reply| reply.rcode()) {
        Some(rcode::NOERROR | rcode::NXDOMAIN) => Ok(message),
        code => Err(io::Error::other(format!("the server answers {code:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::LocalSet;
    use tokio::time::{Instant, sleep};

    fn after(millis: u64, result: Result<u8, io::ErrorKind>) -> StaggeredAttempt {
        Box::pin(async move {
            sleep(Duration::from_millis(millis)).await;
            result.map(|byte| vec![byte]).map_err(io::Error::from)
        })
    }

    async fn run(attempts: Vec<StaggeredAttempt>) -> (io::Result<(usize, Vec<u8>)>, u128) {
        let began = Instant::now();
        let set = LocalSet::new();
        let result = set.run_until(first_success(attempts, Duration::from_millis(100))).await;
        (result, began.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_one_starts_after_a_failure_or_a_while() {
        let (result, took) = run(vec![after(50, Ok(1)), after(0, Ok(2))]).await;
        assert_eq!((result.unwrap(), took), ((0, vec![1]), 50));
        let (result, took) = run(vec![after(500, Ok(1)), after(30, Ok(2))]).await;
        assert_eq!((result.unwrap(), took), ((1, vec![2]), 130));
        let refused = || Err(io::ErrorKind::ConnectionRefused);
        let (result, took) = run(vec![after(10, refused()), after(30, Ok(2))]).await;
        assert_eq!((result.unwrap(), took), ((1, vec![2]), 40));
    }

    #[tokio::test(start_paused = true)]
    async fn all_fail_or_there_is_none() {
        let (refused, other) = (io::ErrorKind::ConnectionRefused, io::ErrorKind::Other);
        let (result, _) = run(vec![after(10, Err(refused)), after(1, Err(other))]).await;
        assert_eq!(result.unwrap_err().kind(), refused);
        let (result, _) = run(vec![]).await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
