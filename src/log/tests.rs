//! Who gets which line.

use super::*;
use tracing::{debug, enabled, info, trace, warn};

fn at(level: LogLevel, connections: bool) -> LogSettings {
    LogSettings { level, connections }
}

fn connection_ends() {
    info!(target: CONNECTIONS, proxy = "tokyo", "closed");
}

#[test]
fn connections_are_written_if_asked_or_at_debug() {
    for (level, connections, expected) in [
        (LogLevel::Info, false, 0),
        (LogLevel::Info, true, 1),
        (LogLevel::Debug, false, 1),
        (LogLevel::Warn, true, 0),
    ] {
        let (log, _guard) = Log::of_this_thread(at(level, connections));
        connection_ends();
        assert_eq!(log.written().len(), expected, "{level:?} {connections}");
    }
    let (log, _guard) = Log::of_this_thread(at(LogLevel::Info, false));
    log.set(at(LogLevel::Info, true));
    connection_ends();
    assert_eq!(log.written(), ["closed"], "after a reload");
}

fn next(follower: &mut LogFollower) -> Option<FollowedLine> {
    use std::task::{Context, Poll, Waker};
    let next = std::pin::pin!(follower.next());
    match next.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(next) => next,
        Poll::Pending => None,
    }
}

fn line(follower: &mut LogFollower) -> Option<String> {
    match next(follower) {
        Some(FollowedLine::Line(line)) => Some(line.to_string()),
        Some(FollowedLine::Lost(count)) => Some(format!("lost {count}")),
        None => None,
    }
}

#[test]
fn a_follower_gets_what_it_wants_and_nobody_else_gets_more() {
    let (log, _guard) = Log::of_this_thread(at(LogLevel::Warn, false));
    debug!("before");
    let mut curious = log.follow(LogLevel::Debug);
    let mut usual = log.follow(LogLevel::Info);
    connection_ends();
    debug!(name = "a.example", "detail");
    trace!("more than anybody wants");
    warn!("trouble");
    // What a library says is not for them.
    debug!(target: "hyper::proto", "authorization: hunter2");
    let wanted = ["closed proxy=\"tokyo\"", "detail name=\"a.example\"", "trouble"];
    for expected in wanted {
        assert_eq!(line(&mut curious).as_deref(), Some(expected));
    }
    assert_eq!(line(&mut curious), None);
    assert_eq!([line(&mut usual), line(&mut usual)].map(Option::unwrap), [wanted[0], wanted[2]]);
    assert_eq!(log.written(), ["trouble"]);
}

#[test]
fn without_followers_nothing_more_is_made() {
    let (log, _guard) = Log::of_this_thread(at(LogLevel::Warn, false));
    let is_made = || enabled!(target: CONNECTIONS, tracing::Level::INFO);
    assert!(!is_made());
    let (one, other) = (log.follow(LogLevel::Trace), log.follow(LogLevel::Info));
    drop(one);
    assert!(is_made());
    drop(other);
    assert!(!is_made());
}

#[test]
fn a_follower_that_falls_behind_is_told_how_far() {
    let (log, _guard) = Log::of_this_thread(at(LogLevel::Error, false));
    let mut slow = log.follow(LogLevel::Info);
    (0..RING + 7).for_each(|number| info!("line {number}"));
    assert_eq!(line(&mut slow).as_deref(), Some("lost 7"));
    assert_eq!(line(&mut slow).as_deref(), Some("line 7"));
    assert!(log.written().is_empty());
}
