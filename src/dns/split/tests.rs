//! Every order of events, against an oracle that looks at the whole history at once and reads its
//! answers from the table as text.

use super::*;

/// The table of the design, cell by cell. Columns: the trusted side has addresses, has none,
/// failed or is silent.
const TABLE: &[(&str, [&str; 3])] = &[
    ("FOREIGN", ["trusted", "trusted", "stale, else SERVFAIL"]),
    ("BOGUS", ["trusted", "trusted", "SERVFAIL"]),
    ("NOIP", ["trusted", "trusted", "domestic, TTL <= 5"]),
    ("NX", ["trusted", "trusted", "SERVFAIL"]),
    ("ERR", ["trusted", "trusted", "stale, else SERVFAIL"]),
];

/// A reply is known by the number of its event.
type Tag = usize;

const EVENTS: usize = 14;

fn event(kind: usize, tag: Tag) -> Event<Tag> {
    match kind {
        0 => Event::Domestic(DomesticVerdict::Cn, tag),
        1 => Event::Domestic(DomesticVerdict::Foreign, tag),
        2 => Event::Domestic(DomesticVerdict::Bogus, tag),
        3 => Event::Domestic(DomesticVerdict::NoIp, tag),
        4 => Event::Domestic(DomesticVerdict::Nx, tag),
        5 => Event::Domestic(DomesticVerdict::Err, tag),
        6 => Event::Trusted(TrustedVerdict::Addresses, tag),
        7 => Event::Trusted(TrustedVerdict::NoIp, tag),
        8 => Event::Trusted(TrustedVerdict::Nx, tag),
        9 => Event::Trusted(TrustedVerdict::Err, tag),
        10 => Event::TrustedFailed,
        11 => Event::SiblingWasCn,
        12 => Event::GraceOver,
        _ => Event::Deadline,
    }
}

/// What the client should have got by the end of the history, in the words of the table, and from
/// which event.
fn oracle(history: &[Event<Tag>], start: Circumstances) -> Option<(&'static str, Option<Tag>)> {
    let position = |wanted: &dyn Fn(&Event<Tag>) -> bool| history.iter().position(wanted);
    let said = |verdict: DomesticVerdict| {
        position(&|event| matches!(event, Event::Domestic(found, _) if *found == verdict))
    };
    let bogus = said(DomesticVerdict::Bogus);
    let cn = said(DomesticVerdict::Cn);
    if let Some(cn) = cn
        && bogus.is_none_or(|bogus| cn < bogus)
    {
        return Some(("domestic", Some(cn)));
    }
    let replies = history.iter().filter(|event| matches!(event, Event::Domestic(..))).count();
    let silent = replies >= start.domestic_servers;
    let row = [
        (bogus.or(cn), "BOGUS"),
        (said(DomesticVerdict::Foreign), "FOREIGN"),
        (said(DomesticVerdict::Nx), "NX"),
        (said(DomesticVerdict::NoIp), "NOIP"),
        (silent.then_some(0), "ERR"),
    ]
    .into_iter()
    .find_map(|(heard, row)| heard.map(|_| row));
    let no_ip = said(DomesticVerdict::NoIp);
    if row == Some("NOIP") && (start.sibling_was_cn || history.contains(&Event::SiblingWasCn)) {
        return Some(("domestic", no_ip));
    }
    let trusted = position(
        &|event| matches!(event, Event::Trusted(verdict, _) if *verdict != TrustedVerdict::Err),
    );
    let failed = position(&|event| {
        matches!(event, Event::TrustedFailed | Event::Trusted(TrustedVerdict::Err, _))
    });
    let deadline = history.contains(&Event::Deadline);
    let column = match trusted.map(|at| history[at]) {
        Some(Event::Trusted(TrustedVerdict::Addresses, _)) => Some(0),
        Some(_) => Some(1),
        None => (failed.is_some() || deadline).then_some(2),
    };
    let patience_over = trusted.is_some_and(|trusted| {
        start.grace.is_zero() || history[trusted..].contains(&Event::GraceOver)
    });
    let row = row.or((patience_over || deadline).then_some("ERR"))?;
    let cell = TABLE.iter().find(|(name, _)| *name == row).unwrap().1[column?];
    let source = match cell {
        "trusted" => trusted,
        "domestic, TTL <= 5" => no_ip,
        _ => None,
    };
    Some((cell, source))
}

fn outcome(answer: &Conclusion<Tag>) -> (&'static str, Option<Tag>) {
    match answer {
        Conclusion::Domestic { reply, ttl_cap: None, .. } => ("domestic", Some(*reply)),
        Conclusion::Domestic { reply, ttl_cap: Some(5), .. } => {
            ("domestic, TTL <= 5", Some(*reply))
        }
        Conclusion::Domestic { .. } => ("another cap", None),
        Conclusion::Trusted { reply, .. } => ("trusted", Some(*reply)),
        Conclusion::StaleElseServfail(_) => ("stale, else SERVFAIL", None),
        Conclusion::Servfail(_) => ("SERVFAIL", None),
    }
}

struct Walk {
    start: Circumstances,
    longest: usize,
    histories: usize,
}

impl Walk {
    /// Tries every event behind a history that ended with no answer.
    fn go_on(&mut self, split: &Split<Tag>, history: &mut Vec<Event<Tag>>) {
        if history.len() == self.longest {
            return;
        }
        for kind in 0..EVENTS {
            let mut split = split.clone();
            let event = event(kind, history.len());
            history.push(event);
            self.histories += 1;
            let step = split.on(event);
            let expected = oracle(history, self.start);
            match step {
                Reaction::Answer(answer) => {
                    assert_eq!(Some(outcome(&answer)), expected, "{history:?} {:?}", self.start);
                    check_answer(&answer, history, self.start);
                    check_done(&mut split);
                }
                Reaction::Wait(grace) => {
                    assert_eq!(None, expected, "{history:?} {:?}", self.start);
                    assert_ne!(event, Event::Deadline, "no answer in time: {history:?}");
                    check_grace(grace, history, self.start);
                    self.go_on(&split, history);
                }
            }
            history.pop();
        }
    }
}

/// What has to hold whatever the table says.
fn check_answer(answer: &Conclusion<Tag>, history: &[Event<Tag>], start: Circumstances) {
    let trusted_is_up = !history.iter().any(|event| {
        matches!(
            event,
            Event::TrustedFailed | Event::Trusted(TrustedVerdict::Err, _) | Event::Deadline
        )
    });
    match answer {
        Conclusion::Domestic { reply, verdict, .. } => {
            let Event::Domestic(found, _) = history[*reply] else {
                panic!("not a domestic reply: {history:?}");
            };
            assert!(matches!(found, DomesticVerdict::Cn | DomesticVerdict::NoIp), "{history:?}");
            assert_eq!(*verdict == Some(NameVerdict::Domestic), found == DomesticVerdict::Cn);
            let sibling = start.sibling_was_cn || history.contains(&Event::SiblingWasCn);
            assert!(found == DomesticVerdict::Cn || sibling || !trusted_is_up, "{history:?}");
            let forged = history
                .iter()
                .position(|event| matches!(event, Event::Domestic(DomesticVerdict::Bogus, _)));
            assert_eq!(forged, None, "{history:?}");
        }
        Conclusion::Trusted { reply, verdict } => {
            assert!(matches!(
                history[*reply],
                Event::Trusted(verdict, _) if verdict != TrustedVerdict::Err
            ));
            let suspected = history.iter().any(|event| {
                matches!(
                    event,
                    Event::Domestic(DomesticVerdict::Foreign | DomesticVerdict::Bogus, _)
                )
            });
            assert_eq!(*verdict, suspected.then_some(NameVerdict::Foreign), "{history:?}");
        }
        Conclusion::StaleElseServfail(_) | Conclusion::Servfail(_) => {
            assert!(!trusted_is_up, "{history:?}");
        }
    }
}

/// It answers once.
fn check_done(split: &mut Split<Tag>) {
    for kind in 0..EVENTS {
        assert_eq!(split.on(event(kind, 99)), Reaction::Wait(None));
    }
}

/// Grace is asked for once, by the first trusted reply, if nothing usable is known of the domestic
/// side.
fn check_grace(grace: Option<Duration>, history: &[Event<Tag>], start: Circumstances) {
    let is_reply = |event: &Event<Tag>| match event {
        Event::Trusted(verdict, _) => *verdict != TrustedVerdict::Err,
        _ => false,
    };
    let first = history.iter().position(is_reply) == Some(history.len() - 1);
    assert_eq!(grace, first.then_some(start.grace), "{history:?}");
}

fn walk(domestic_servers: usize, grace: Duration, sibling_was_cn: bool, longest: usize) -> usize {
    let start = Circumstances { domestic_servers, grace, sibling_was_cn };
    let mut walk = Walk { start, longest, histories: 0 };
    walk.go_on(&Split::new(start), &mut Vec::new());
    walk.histories
}

#[test]
fn every_order_of_six_events() {
    assert!(walk(2, GRACE, false, 6) > 500_000);
}

#[test]
fn every_order_of_five_events_in_all_circumstances() {
    for servers in 0..=3 {
        for grace in [Duration::ZERO, GRACE] {
            for sibling in [false, true] {
                assert!(walk(servers, grace, sibling, 5) > 500);
            }
        }
    }
}

#[test]
fn a_forged_reply_that_comes_first_does_not_end_the_wait() {
    let start = Circumstances { domestic_servers: 1, grace: GRACE, sibling_was_cn: false };
    for forged in [
        DomesticVerdict::Foreign,
        DomesticVerdict::Bogus,
        DomesticVerdict::NoIp,
        DomesticVerdict::Nx,
    ] {
        let mut split = Split::new(start);
        assert_eq!(split.on(Event::Domestic(forged, "forged")), Reaction::Wait(None));
        let step = split.on(Event::Trusted(TrustedVerdict::Addresses, "true"));
        assert!(
            matches!(step, Reaction::Answer(Conclusion::Trusted { reply: "true", .. })),
            "{forged:?}"
        );
    }
}

#[test]
fn one_bogus_reply_convicts_the_domestic_side() {
    let start = Circumstances { domestic_servers: 2, grace: GRACE, sibling_was_cn: true };
    let mut split = Split::new(start);
    assert_eq!(split.on(Event::Domestic(DomesticVerdict::Bogus, 1)), Reaction::Wait(None));
    assert_eq!(split.on(Event::Domestic(DomesticVerdict::Cn, 2)), Reaction::Wait(None));
    assert_eq!(split.on(Event::TrustedFailed), Reaction::Answer(Conclusion::Servfail(FORGED)));
}
