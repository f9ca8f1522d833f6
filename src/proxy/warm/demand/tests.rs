//! Demands in a row of dials, ends and failures: times are handed in.

use super::*;
use proptest::prelude::*;

const MILLISECOND: Duration = Duration::from_millis(1);

/// One of a server that is far away, and answers.
fn far(now: Instant) -> Demand {
    let mut demand = Demand::new(Duration::from_millis(5));
    demand.dialled(now);
    demand.took(Duration::from_millis(150));
    demand
}

#[test]
fn nothing_before_a_dial_has_succeeded() {
    let now = Instant::now();
    let mut demand = Demand::new(Duration::ZERO);
    assert_eq!(demand.wanted(now), 0);
    demand.dialled(now);
    assert_eq!(demand.wanted(now), 0);
    demand.took(Duration::from_millis(150));
    assert_eq!(demand.wanted(now), 1);
    demand.lost();
    assert_eq!(demand.wanted(now), 0);
}

#[test]
fn a_near_server_needs_none() {
    let now = Instant::now();
    let mut demand = far(now);
    demand.took(Duration::from_millis(4));
    demand.took(Duration::from_millis(150));
    assert_eq!(demand.wanted(now), 0);
    // After a rest it is measured anew.
    let later = now + LIFE + MILLISECOND;
    demand.dialled(later);
    demand.took(Duration::from_millis(5));
    assert_eq!(demand.wanted(later), 1);
}

/// One second apart, forty at once, and again one by one.
#[test]
fn as_many_as_the_largest_burst_of_the_last_seconds() {
    let begin = Instant::now();
    let mut demand = far(begin);
    let mut now = begin;
    for _ in 0..5 {
        now += BURST + MILLISECOND;
        demand.dialled(now);
        assert_eq!(demand.wanted(now), 1);
    }
    for _ in 0..40 {
        now += 10 * MILLISECOND;
        demand.dialled(now);
    }
    assert_eq!(demand.wanted(now), MOST);
    let burst = now;
    for _ in 0..3 {
        now += BURST + MILLISECOND;
        demand.dialled(now);
    }
    // Of those that are remembered.
    assert_eq!(demand.wanted(now), MOST - 3);
    assert_eq!(demand.wanted(burst + LIFE + MILLISECOND), 1);
}

/// A page every half minute, each behind a click; then only clicks.
#[test]
fn a_click_promises_what_the_last_page_asked_for() {
    let mut now = Instant::now();
    let mut demand = far(now);
    let page = |demand: &mut Demand, mut now: Instant| {
        for _ in 0..30 {
            now += 10 * MILLISECOND;
            demand.dialled(now);
        }
        now
    };
    let mut after_a_click = Vec::new();
    for number in 0..8 {
        now += Duration::from_secs(30);
        assert_eq!(demand.wanted(now), 0, "nothing is kept at rest");
        demand.dialled(now);
        demand.took(150 * MILLISECOND);
        after_a_click.push(demand.wanted(now));
        now += BURST + MILLISECOND;
        if number < 4 {
            now = page(&mut demand, now);
            assert_eq!(demand.wanted(now), 30);
        }
    }
    // The click after the last page is promised one; it is believed half, and then no more.
    assert_eq!(after_a_click, [1, 30, 30, 30, 30, 15, 0, 0]);
}

/// Others dial all the time, one a second or so: the page is known by how it begins.
#[test]
fn a_page_amid_other_traffic_is_known_by_its_begin() {
    let mut now = Instant::now();
    let mut demand = far(now);
    for begin in [false, true] {
        for number in 0..30 {
            now += 10 * MILLISECOND;
            demand.dialled(now);
            demand.took(150 * MILLISECOND);
            // With the one before them.
            let known = if begin { 31 } else { number + 2 };
            assert_eq!(demand.wanted(now), known, "{number}");
        }
        for _ in 0..20 {
            now += Duration::from_millis(1500);
            demand.dialled(now);
        }
        assert_eq!(demand.wanted(now), 1, "the others need none of them");
    }
}

#[test]
fn dials_with_rests_between_need_none() {
    let mut now = Instant::now();
    let mut demand = far(now);
    assert_eq!(demand.wanted(now), 1);
    for expected in [1, 0, 0, 0] {
        now += LIFE + MILLISECOND;
        demand.dialled(now);
        demand.took(Duration::from_millis(150));
        assert_eq!(demand.wanted(now), expected);
    }
    now += LIFE - MILLISECOND;
    demand.dialled(now);
    assert_eq!(demand.wanted(now), 1);
}

#[test]
fn failures_keep_it_quiet_for_longer_and_longer() {
    let mut now = Instant::now();
    let mut demand = far(now);
    let mut pauses = Vec::new();
    for _ in 0..10 {
        demand.failed(now);
        // One of those that were dialled beside it.
        demand.failed(now + MILLISECOND);
        let failed = now;
        loop {
            now += Duration::from_secs(1);
            demand.dialled(now);
            if demand.wanted(now) > 0 {
                break;
            }
        }
        pauses.push((now - failed).as_secs());
    }
    assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    demand.was_of_use();
    demand.failed(now);
    demand.dialled(now + PAUSE);
    assert!(demand.wanted(now + PAUSE) > 0);
}

#[test]
fn an_impatient_server_gets_younger_ones_and_then_none() {
    let now = Instant::now();
    let mut demand = far(now);
    demand.was_ended(now);
    assert_eq!((demand.life(), demand.wanted(now)), (SHORT_LIFE, 1));
    demand.was_ended(now);
    assert_eq!((demand.life(), demand.wanted(now)), (SHORT_LIFE, 0));
}

/// Whether it takes them for so long again shows with time; each relapse makes that longer.
#[test]
fn a_short_life_grows_back() {
    let mut now = Instant::now();
    let mut demand = far(now);
    let grown = |demand: &mut Demand, now: &mut Instant| {
        let began = *now;
        let mut lives = vec![demand.life().as_secs()];
        while demand.life() < LIFE {
            *now += Duration::from_secs(1);
            demand.outlived(*now);
            if lives.last() != Some(&demand.life().as_secs()) {
                lives.push(demand.life().as_secs());
            }
        }
        (lives, (*now - began).as_secs())
    };
    demand.outlived(now);
    assert_eq!(demand.life(), LIFE);
    demand.was_ended(now);
    // Those that were ready beside it: no relapse.
    demand.was_ended(now);
    assert_eq!(grown(&mut demand, &mut now), (vec![3, 4, 5, 6, 7, 8], 5 * 60));
    for took in [10 * 60, 20 * 60] {
        demand.was_ended(now);
        assert_eq!(grown(&mut demand, &mut now).1, took);
    }
    (0..20).for_each(|_| {
        demand.was_ended(now);
        now += LONGEST_STEP_AFTER;
        demand.outlived(now);
    });
    assert_eq!(demand.life(), SHORT_LIFE + STEP);
    demand.was_ended(now);
    assert_eq!(grown(&mut demand, &mut now).1, 5 * 3600);
}

#[test]
fn a_dial_is_slow_by_what_the_quickest_took() {
    let now = Instant::now();
    assert_eq!(Demand::new(Duration::ZERO).remarkable(), None);
    let mut demand = far(now);
    assert_eq!(demand.remarkable(), Some(Duration::from_millis(500)));
    demand.took(Duration::from_millis(20));
    assert_eq!(demand.remarkable(), Some(Duration::from_millis(240)));
    demand.lost();
    assert_eq!(demand.remarkable(), None);
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Dialled,
    Took(Duration),
    Failed,
    Ended,
    Outlived,
    Lost,
    WasOfUse,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => Just(Event::Dialled),
        4 => (0..200u64).prop_map(|time| Event::Took(Duration::from_millis(time))),
        1 => Just(Event::Failed),
        1 => Just(Event::Ended),
        1 => Just(Event::Outlived),
        1 => Just(Event::Lost),
        2 => Just(Event::WasOfUse),
    ]
}

proptest! {
    /// Whatever happens: never more than are bearable, never more than came within a second of
    /// the last minutes, or as there were dials within the last seconds, and none after a rest.
    #[test]
    fn it_is_bounded_and_ends(
        events in prop::collection::vec((event(), 0..3_000u64), 0..200),
    ) {
        let mut demand = Demand::new(Duration::from_millis(5));
        let mut now = Instant::now();
        let mut dials = Vec::new();
        for (event, pause) in events {
            now += Duration::from_millis(pause * pause / 1000);
            match event {
                Event::Dialled => {
                    demand.dialled(now);
                    dials.push(now);
                }
                Event::Took(time) => demand.took(time),
                Event::Failed => demand.failed(now),
                Event::Ended => demand.was_ended(now),
                Event::Outlived => demand.outlived(now),
                Event::Lost => demand.lost(),
                Event::WasOfUse => demand.was_of_use(),
            }
            let recent = dials.iter().filter(|dial| now - **dial <= LIFE).count();
            let together = |end: &Instant| {
                dials.iter().filter(|it| *it <= end && *end - **it <= BURST).count()
            };
            let page = dials.iter().map(together).max().unwrap_or(0);
            prop_assert!(demand.wanted(now) <= recent.max(page).min(MOST));
            prop_assert!((SHORT_LIFE..=LIFE).contains(&demand.life()));
            let rested = dials.last().map_or(now, |last| *last + LIFE + MILLISECOND);
            prop_assert_eq!(demand.wanted(rested.max(now)), 0);
        }
    }
}
