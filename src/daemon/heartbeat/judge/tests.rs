//! From rounds to switches.

use super::Switch::{Capture, Keep, KeepThenReject, Off, Reject};
use super::*;
use crate::daemon::proof::{ProofFailure, ProofPart};
use std::io;

fn broken() -> Option<Finding> {
    Some(Finding::Broken(ProofFailure {
        what: ProofPart::Connection,
        error: io::ErrorKind::TimedOut.into(),
    }))
}

fn captured() -> Option<Finding> {
    Some(Finding::Captured)
}

fn no_route() -> Option<Finding> {
    Some(Finding::NoRoute)
}

fn switched(policy: LossPolicy, rounds: &[[Option<Finding>; 2]]) -> Vec<[Switch; 2]> {
    let mut judge = Judge::new(policy);
    let mut judged = |[v4, v6]: &[Option<Finding>; 2]| {
        let (_, switches) = judge.judge([v4.as_ref(), v6.as_ref()], true);
        switches
    };
    rounds.iter().map(&mut judged).collect()
}

fn rounds(rounds: &[[Option<Finding>; 2]]) -> Vec<[Switch; 2]> {
    switched(LossPolicy::default(), rounds)
}

#[test]
fn one_family_never_takes_the_other_down() {
    let seen = rounds(&[
        [captured(), captured()],
        [captured(), broken()],
        [captured(), broken()],
        [captured(), broken()],
        [captured(), captured()],
    ]);
    let expected = [Capture, KeepThenReject, Reject, Reject, Capture].map(|v6| [Capture, v6]);
    assert_eq!(seen, expected);
}

#[test]
fn a_family_that_nobody_listens_for_is_rejected_while_the_other_is_captured() {
    let seen = rounds(&[[captured(), None], [broken(), None], [broken(), None]]);
    assert_eq!(seen, [[Capture, Reject], [Keep, Reject], [Off, Off]]);
    assert_eq!(rounds(&[[broken(), None]]), [[Off, Off]], "nothing is captured");
}

#[test]
fn a_family_without_a_way_out_is_no_reason_to_reject_the_other() {
    let seen = rounds(&[[captured(), no_route()], [broken(), no_route()], [broken(), no_route()]]);
    assert_eq!(seen[2], [Off, Capture]);
}

#[test]
fn a_way_out_that_is_lost_for_a_moment_does_not_open_the_other_side() {
    let seen =
        rounds(&[[captured(), None], [no_route(), None], [no_route(), None], [captured(), None]]);
    assert_eq!(seen, [[Capture, Reject]; 4]);
    assert_eq!(rounds(&[[no_route(), None]]), [[Capture, Off]], "it was never captured beside it");
}

#[test]
fn blocked_ipv6_is_rejected_as_long_as_the_daemon_serves() {
    let policy = LossPolicy { blocks_ipv6: true, ..LossPolicy::default() };
    let seen = switched(policy, &[[no_route(), None], [broken(), None], [broken(), broken()]]);
    assert_eq!(seen.iter().map(|[_, v6]| *v6).collect::<Vec<_>>(), [Reject; 3]);
    let mut judge = Judge::new(policy);
    let (_, silent) = judge.judge([broken().as_ref(), None], false);
    assert_eq!(silent[1], Off, "a hang is a death");
}

#[test]
fn what_was_never_proven_is_given_up_at_once() {
    assert_eq!(rounds(&[[broken(), broken()]]), [[Off, Off]]);
    let seen = rounds(&[[no_route(), no_route()], [broken(), no_route()]]);
    assert_eq!(seen[1], [Off, Capture], "online for the first time");
}

#[test]
fn what_cannot_be_proven_counts_as_captured() {
    let unprovable = || Some(Finding::Unprovable(io::ErrorKind::HostUnreachable.into()));
    let seen = rounds(&[[unprovable(), broken()]]);
    assert_eq!(seen, [[Capture, Reject]]);
}
