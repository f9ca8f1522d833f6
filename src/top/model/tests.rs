use super::super::samples::{flow, snapshot};
use super::*;
use crate::view::FlowView;
use proptest::prelude::*;

fn shown(model: &mut TopModel) -> Vec<String> {
    model.page(100).map(|(line, _)| line.host.clone()).collect()
}

/// The chosen host, on a screen with ten lines.
fn chosen(model: &mut TopModel) -> Option<String> {
    model.page(10).find(|(_, is_chosen)| *is_chosen).map(|(line, _)| line.host.clone())
}

fn of(flows: &[(u64, &str, u64)]) -> Vec<FlowView> {
    flows.iter().map(|(id, host, down)| flow(*id, host, *down)).collect()
}

fn model(flows: &[(u64, &str, u64)]) -> TopModel {
    let mut model = TopModel::default();
    model.take(snapshot(1000, of(flows)));
    model
}

const THREE: [(u64, &str, u64); 3] = [(1, "a.example", 5), (2, "b.example", 9), (3, "c.org", 7)];

#[test]
fn the_largest_first_and_rates_on_demand() {
    let mut model = model(&THREE);
    assert_eq!(shown(&mut model), ["b.example", "c.org", "a.example"]);
    let later = [(1, "a.example", 2005), (2, "b.example", 2009), (3, "c.org", 8007)];
    model.take(snapshot(3000, of(&later)));
    assert_eq!(shown(&mut model), ["c.org", "b.example", "a.example"]);
    assert_eq!(model.page(1).next().map(|(line, _)| line.rate.rx), Some(4000));
    model.act(TopAction::Sort(SortBy::RxRate));
    // The same rate: the older one first.
    assert_eq!(shown(&mut model), ["c.org", "a.example", "b.example"]);
    model.act(TopAction::Sort(SortBy::Host));
    assert_eq!(shown(&mut model), ["a.example", "b.example", "c.org"]);
}

#[test]
fn what_is_gone_vanishes() {
    let mut model = model(&THREE);
    model.take(snapshot(2000, of(&THREE[1..])));
    assert_eq!(shown(&mut model), ["b.example", "c.org"]);
}

#[test]
fn the_choice_stays_on_its_connection() {
    let mut model = model(&THREE);
    assert_eq!(chosen(&mut model), None);
    model.act(TopAction::Move(Motion::Lines(1)));
    assert_eq!(chosen(&mut model).as_deref(), Some("b.example"));
    model.take(snapshot(2000, of(&[(1, "a.example", 50), THREE[1], (3, "c.org", 70)])));
    assert_eq!(shown(&mut model), ["c.org", "a.example", "b.example"]);
    assert_eq!(chosen(&mut model).as_deref(), Some("b.example"));
    model.act(TopAction::Sort(SortBy::Host));
    assert_eq!(chosen(&mut model).as_deref(), Some("b.example"));
    // Gone: the line that takes its place.
    model.take(snapshot(3000, of(&[THREE[0], THREE[2]])));
    assert_eq!(chosen(&mut model).as_deref(), Some("c.org"));
    model.take(snapshot(4000, of(&THREE[..1])));
    assert_eq!(chosen(&mut model).as_deref(), Some("a.example"), "the last one");
    model.act(TopAction::Clear);
    assert_eq!(chosen(&mut model), None);
}

#[test]
fn steps_and_pages() {
    let hosts: Vec<String> = (0..25).map(|number| format!("{number:02}.example")).collect();
    let flows: Vec<_> = (1..).zip(&hosts).map(|(id, host)| (id, host.as_str(), 5)).collect();
    let mut model = model(&flows);
    let mut after = |step| {
        assert_eq!(model.page(10).len(), 10);
        model.act(TopAction::Move(step));
        let page: Vec<_> = model.page(10).map(|(line, is)| (line.host.clone(), is)).collect();
        let chosen = page.iter().find(|(_, is)| *is).expect("it is on the screen");
        (page[0].0[..2].to_owned(), chosen.0[..2].to_owned())
    };
    for (step, first, chosen) in [
        (Motion::Pages(1), "00", "09"),
        (Motion::Lines(1), "01", "10"),
        (Motion::Pages(1), "11", "20"),
        (Motion::Pages(1), "15", "24"),
        (Motion::Lines(1), "15", "24"),
        (Motion::Pages(-1), "14", "14"),
        (Motion::First, "00", "00"),
        (Motion::Lines(-1), "00", "00"),
        (Motion::Last, "15", "24"),
    ] {
        assert_eq!(after(step), (first.into(), chosen.into()), "{step:?}");
    }
}

#[test]
fn a_filter_by_host() {
    let mut model = model(&THREE);
    assert_eq!(model.act(TopAction::Filter), TopEffect::Nothing);
    assert_eq!(model.mode, KeyMode::Filter);
    "Exa".chars().for_each(|typed| drop(model.act(TopAction::Type(typed))));
    assert_eq!(shown(&mut model), ["b.example", "a.example"]);
    assert_eq!(model.count(), (2, 3));
    model.act(TopAction::Typed);
    assert_eq!((&model.mode, model.filter.as_str()), (&KeyMode::Table, "exa"));
    // It holds for what comes.
    model.take(snapshot(2000, of(&[THREE[2], (4, "d.example", 1)])));
    assert_eq!(shown(&mut model), ["d.example"]);
    model.act(TopAction::Filter);
    model.act(TopAction::Erase);
    assert_eq!(model.filter, "ex");
    model.act(TopAction::Clear);
    assert_eq!((&model.mode, model.count()), (&KeyMode::Table, (2, 2)));
}

#[test]
fn suspended_nothing_moves() {
    let mut model = model(&THREE);
    model.act(TopAction::Suspend);
    let mut later = snapshot(2000, of(&[(1, "a.example", 1005), THREE[1]]));
    later.status.uptime = 9999;
    model.take(later.clone());
    assert_eq!((shown(&mut model).len(), model.status.uptime), (3, 7500));
    model.lose("it has gone".into());
    assert_eq!((shown(&mut model).len(), model.lost.as_deref()), (3, Some("it has gone")));
    model.take(later.clone());
    model.act(TopAction::Suspend);
    later.at += std::time::Duration::from_secs(1);
    later.flows[0].down += 500;
    model.take(later);
    assert_eq!(shown(&mut model), ["a.example", "b.example"]);
    // Snapshots counted all the while.
    assert_eq!(model.page(1).next().map(|(line, _)| line.rate.rx), Some(500));
}

#[test]
fn without_a_daemon_there_is_nothing_until_it_is_back() {
    let mut model = model(&THREE);
    model.act(TopAction::Move(Motion::First));
    model.lose("it has gone".into());
    assert_eq!((shown(&mut model).len(), model.lost.is_some()), (0, true));
    model.act(TopAction::Close);
    assert_eq!(model.mode, KeyMode::Table, "there is none to close");
    let mut restarted = snapshot(9000, of(&THREE[..1]));
    restarted.status.pid = 78;
    model.take(restarted);
    assert_eq!((shown(&mut model).len(), &model.lost), (1, &None));
    assert_eq!(chosen(&mut model), None, "its numbers are others");
}

#[test]
fn one_is_closed_after_a_yes() {
    let mut model = model(&THREE);
    model.act(TopAction::Close);
    assert!(model.said.as_deref().is_some_and(|said| said.starts_with("choose")), "{model:?}");
    model.act(TopAction::Move(Motion::First));
    model.act(TopAction::Close);
    let KeyMode::Confirm { ids, question } = &model.mode else { panic!("{:?}", model.mode) };
    assert_eq!(ids, &[2]);
    assert_eq!(question, "Close (y/n)? tcp b.example:443 from 192.0.2.7:40000");
    // It is the one that was asked about, wherever the choice is by then.
    model.take(snapshot(2000, of(&[THREE[0], THREE[2]])));
    assert_eq!(model.act(TopAction::Yes), TopEffect::Close(Closing { pid: 77, ids: vec![2] }));
    assert_eq!(model.mode, KeyMode::Table);
    model.act(TopAction::Close);
    assert_eq!(model.act(TopAction::No), TopEffect::Nothing);
    assert_eq!(model.act(TopAction::Yes), TopEffect::Nothing, "nothing is asked");
}

#[test]
fn grouped_by_host_and_port() {
    let flows = [(1, "a.example", 5), (2, "b.example", 9), (3, "a.example", 7)];
    let mut model = model(&flows);
    model.act(TopAction::Group);
    assert_eq!(shown(&mut model), ["a.example", "b.example"]);
    model.act(TopAction::Move(Motion::First));
    model.take(snapshot(2000, of(&[flows[0], (2, "b.example", 900), flows[2]])));
    assert_eq!(shown(&mut model), ["b.example", "a.example"]);
    assert_eq!(chosen(&mut model).as_deref(), Some("a.example"));
    model.act(TopAction::Close);
    assert_eq!(model.act(TopAction::Yes), TopEffect::Close(Closing { pid: 77, ids: vec![1, 3] }));
    model.act(TopAction::Group);
    assert_eq!(shown(&mut model).len(), 3);
}

/// Sorting anew would take 120,000 comparisons.
#[test]
fn a_refresh_of_ten_thousand_compares_little() {
    const MANY: u64 = 10_000;
    let line = |id: u64, down: u64| Line::of(flow(id, "a.example", down), Rate::default());
    let mut lines: Vec<Line> = (0..MANY).map(|id| line(id, (id * 7919) % MANY)).collect();
    let sorted = |lines: &[Line], ranks: &HashMap<LineKey, usize>| {
        let (mut order, mut count) = (in_ranks(lines, |_| true, ranks), 0);
        sort(&mut order, |one, other| {
            count += 1;
            lines[one].compare(&lines[other], SortBy::Rx)
        });
        (order, count)
    };
    let (order, count) = sorted(&lines, &HashMap::new());
    assert!(count > 100_000, "{count}");
    let ranks = order.iter().map(|place| lines[*place].key.clone()).zip(0..).collect();
    assert_eq!(sorted(&lines, &ranks).0, order);
    assert!(sorted(&lines, &ranks).1 <= MANY, "nothing has changed");
    // Some grow, some go, some come.
    for id in (0..MANY).step_by(500) {
        lines[id as usize].rx += 5_000;
    }
    lines.truncate(9_990);
    lines.extend((0..10).map(|more| line(MANY + more, 4_000 + more)));
    let (order, count) = sorted(&lines, &ranks);
    assert!(order.is_sorted_by(|one, other| lines[*one].rx >= lines[*other].rx));
    assert_eq!(order.len(), lines.len());
    assert!(count < 5 * MANY, "{count} comparisons");
}

#[test]
fn only_what_is_on_the_screen_is_handed_out() {
    let flows = (0..10_000).map(|id| flow(id, "a.example", id));
    let mut model = TopModel::default();
    model.take(snapshot(1000, flows.collect()));
    assert_eq!(model.page(40).len(), 40);
    assert_eq!(model.page(0).len(), 0);
    model.act(TopAction::Move(Motion::Last));
    let last = model.page(40).last().map(|(line, is_chosen)| (line.rx, is_chosen));
    assert_eq!(last, Some((0, true)));
}

proptest! {
    #[test]
    fn any_order_is_sorted(order in Just((0..40_usize).collect::<Vec<_>>()).prop_shuffle()) {
        let mut sorted = order;
        sort(&mut sorted, |one, other| one.cmp(&other));
        prop_assert!(sorted.iter().copied().eq(0..40), "{sorted:?}");
    }
}
