//! Rounds to switches, and what a round asks.

use super::*;

fn broken() -> Found {
    Found::Broken(Broken { what: What::Connection, error: io::ErrorKind::TimedOut.into() })
}

fn rounds(rounds: &[[Option<Found>; 2]]) -> Vec<Switches> {
    let mut judge = Judge::default();
    rounds.iter().map(|[v4, v6]| Judge::switches(judge.judge([v4.as_ref(), v6.as_ref()]))).collect()
}

fn switches(v4: Switch, v6: Switch) -> Switches {
    Switches { v4, v6 }
}

#[test]
fn one_family_never_takes_the_other_down() {
    use Switch::{Capture, Keep, Reject};
    let captured = || Some(Found::Captured);
    let seen = rounds(&[
        [captured(), captured()],
        [captured(), Some(broken())],
        [captured(), Some(broken())],
        [captured(), Some(broken())],
        [captured(), captured()],
    ]);
    let expected = [Capture, Keep, Reject, Reject, Capture].map(|v6| switches(Capture, v6));
    assert_eq!(seen, expected);
}

#[test]
fn a_family_that_nobody_listens_for_is_rejected_while_the_other_is_captured() {
    let seen = rounds(&[[Some(Found::Captured), None], [Some(broken()), None]]);
    assert_eq!(seen[0], switches(Switch::Capture, Switch::Reject));
    assert_eq!(seen[1], switches(Switch::Keep, Switch::Reject), "not yet given up");
    let seen = rounds(&[[Some(broken()), None]]);
    assert_eq!(seen[0], Switches::OFF, "nothing is captured");
}

#[test]
fn a_family_without_a_way_out_is_no_reason_to_reject_the_other() {
    let seen = rounds(&[
        [Some(Found::Captured), Some(Found::NoRoute)],
        [Some(broken()), Some(Found::NoRoute)],
        [Some(broken()), Some(Found::NoRoute)],
    ]);
    assert_eq!(seen[2], switches(Switch::Off, Switch::Capture));
}

#[test]
fn at_the_start_nothing_is_kept() {
    assert_eq!(rounds(&[[Some(broken()), Some(broken())]]), [Switches::OFF]);
}
