//! Several servers for one question: the next is asked when one fails or is slow.

use crate::dns::reply::Reply;
use crate::dns::wire::rcode;
use crate::task::spawn_local;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// An attempt that has not begun, and may not last for ever.
pub(super) type StaggeredAttempt = Pin<Box<dyn Future<Output = io::Result<Vec<u8>>>>>;

/// Runs the attempts in order, the next one after the head start of the former or at once when one
/// failed, and returns the first success with its number. Attempts that still run go on: their
/// server may be heard late.
///
/// # Errors
/// The first failure, if all failed; `NotFound` for no attempt at all.
pub(super) async fn first_success(
    attempts: Vec<(Duration, StaggeredAttempt)>,
) -> io::Result<(usize, Vec<u8>)> {
    let mut waiting = attempts.into_iter().enumerate();
    let (results, mut finished) = mpsc::unbounded_channel();
    let mut results = Some(results);
    let mut first_failure = None;
    loop {
        let mut head_start = None;
        if let Some((number, (delay, attempt))) = waiting.next()
            && let Some(results) = results.clone()
        {
            spawn_local(async move {
                let result = attempt.await.map(|reply| (number, reply));
                // Another may have been faster.
                let _ = results.send(result);
            });
            head_start = Some(delay);
        }
        if waiting.len() == 0 {
            // What comes is the last word of those that run.
            results = None;
            head_start = None;
        }
        let result = match head_start {
            Some(delay) => match timeout(delay, finished.recv()).await {
                Ok(result) => result,
                Err(_) => continue,
            },
            None => finished.recv().await,
        };
        match result {
            Some(Ok(success)) => return Ok(success),
            Some(Err(failure)) => first_failure = first_failure.or(Some(failure)),
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
        Some(code) => Err(io::Error::other(Unhelpful(code))),
        None => Err(io::Error::other("no DNS reply")),
    }
}

/// A server is there, and its reply has this code instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it answers {}", rcode::word(*.0))]
pub(in crate::dns) struct Unhelpful(pub(in crate::dns) u16);

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
        let delay = Duration::from_millis(100);
        let attempts = attempts.into_iter().map(|attempt| (delay, attempt)).collect();
        let result = set.run_until(first_success(attempts)).await;
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
