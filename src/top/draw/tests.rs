use super::super::keys::{Motion, TopAction};
use super::super::samples::{flow, snapshot};
use super::*;
use crate::view::FlowView;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

const COLOURED: Paint = Paint { has_colours: true };

fn cells(width: u16, height: u16, model: &mut TopModel, paint: Paint) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model, paint)).unwrap();
    terminal.backend().buffer().clone()
}

fn screen(width: u16, height: u16, model: &mut TopModel) -> Vec<String> {
    let cells = cells(width, height, model, COLOURED);
    let lines = cells.content().chunks(usize::from(width.max(1)));
    let text = |line: &[ratatui::buffer::Cell]| -> String {
        line.iter().map(|cell| cell.symbol()).collect()
    };
    lines.map(|line| text(line).trim_end().to_owned()).collect()
}

fn flows() -> Vec<FlowView> {
    let mut video = flow(1, "video.example.com", 5 << 20);
    video.group = Some("video".into());
    let mut direct = flow(2, "cdn.example.net", 700);
    (direct.proxy, direct.age) = (None, 86_400);
    let mut dialling = flow(3, "x", 0);
    (dialling.name, dialling.is_open, dialling.network) = (None, false, "udp".into());
    dialling.destination = "[2001:db8::1]:53".parse().unwrap();
    vec![video, direct, dialling]
}

fn model() -> TopModel {
    let mut model = TopModel::default();
    model.take(snapshot(1000, flows()));
    let mut later = flows();
    (later[0].down, later[0].up) = (7 << 20, 2058);
    model.take(snapshot(3000, later));
    model
}

#[test]
fn eighty_columns() {
    let screen = screen(80, 24, &mut model());
    assert_eq!(
        screen[..6],
        [
            "Uptime: 2 h 5 min  Rx Total: 5.0 MiB (0 B/s)  Tx Total: 2.0 KiB (0 B/s)",
            "Open: 3 TCP  IPv4: captured, and proven  IPv6: nothing to capture: there is no r",
            "Host                         Port    RX v      TX   RX rate   TX rate Proxy",
            "video.example.com             443 7.0 MiB 2.0 KiB 1.0 MiB/s 1.0 KiB/s video: tok",
            "cdn.example.net               443   700 B    10 B     0 B/s     0 B/s direct",
            "2001:db8::1                    53     0 B    10 B     0 B/s     0 B/s connecting",
        ]
    );
    assert_eq!(screen[6..23].join(""), "");
    assert_eq!(screen[23], "? help  q quit  / filter  x close  c group  s suspend");
}

#[test]
fn a_wide_screen() {
    let screen = screen(160, 40, &mut model());
    assert_eq!(
        screen[1..5],
        [
            "Open: 3 TCP  IPv4: captured, and proven  IPv6: nothing to capture: there is no route",
            "Host                                       Port    RX v      TX   RX rate   TX rate \
             Proxy                Source                 Route                    Age Net",
            "video.example.com                           443 7.0 MiB 2.0 KiB 1.0 MiB/s 1.0 KiB/s \
             video: tokyo         192.0.2.7:40000        foreign            1 min 5 s tcp",
            "cdn.example.net                             443   700 B    10 B     0 B/s     0 B/s \
             direct               192.0.2.7:40000        foreign                  1 d tcp",
        ]
    );
}

#[test]
fn no_size_is_too_small() {
    let mut model = model();
    for action in [
        TopAction::Group,
        TopAction::Move(Motion::Last),
        TopAction::Filter,
        TopAction::Type('e'),
        TopAction::Typed,
        TopAction::Suspend,
        TopAction::Close,
        TopAction::No,
        TopAction::Help,
    ] {
        model.act(action);
        for width in [0, 1, 2, 19, 20, 21, 40, 79, 80, 81, 132, 250] {
            for height in [0, 1, 2, 3, 4, 5, 6, 24, 60] {
                cells(width, height, &mut model, COLOURED);
            }
        }
    }
}

#[test]
fn twenty_by_five_shows_a_line() {
    assert_eq!(
        screen(20, 5, &mut model()),
        [
            "Uptime: 2 h 5 min",
            "Open: 3 TCP  IPv4: c",
            "Host",
            "video.example.com",
            "? help  q quit"
        ]
    );
}

#[test]
fn what_is_wrong_comes_first_and_is_red() {
    let mut status = snapshot(1000, Vec::new());
    status.status.capture[1].is_good = false;
    status.status.capture[1].state = "not captured".into();
    let mut model = TopModel::default();
    model.take(status);
    let drawn = cells(80, 24, &mut model, COLOURED);
    assert_eq!(
        screen(80, 24, &mut model)[1],
        "Open: 0 TCP  IPv6: not captured  IPv4: captured, and proven"
    );
    assert_eq!(drawn[(13, 1)].fg, Color::Red);
    assert_ne!(drawn[(33, 1)].fg, Color::Red);
    model.lose("no snet answers at /run/x: refused; asking again".into());
    assert_eq!(screen(80, 24, &mut model)[1], "no snet answers at /run/x: refused; asking again");
}

#[test]
fn the_filter_and_what_it_finds_are_seen() {
    let mut model = model();
    model.act(TopAction::Filter);
    "cdn.ex".chars().for_each(|typed| drop(model.act(TopAction::Type(typed))));
    assert_eq!(screen(80, 24, &mut model)[23], "/cdn.ex_  Enter ends, Esc clears");
    model.act(TopAction::Typed);
    assert_eq!(
        screen(60, 6, &mut model)[5],
        "/cdn.ex: 1 of 3  ? help  q quit  / filter  x close  c group"
    );
    let drawn = cells(80, 24, &mut model, COLOURED);
    assert!(drawn[(5, 3)].modifier.contains(Modifier::UNDERLINED), "{:?}", drawn[(5, 3)]);
    assert!(!drawn[(6, 3)].modifier.contains(Modifier::UNDERLINED));
    assert_eq!(screen(80, 24, &mut model)[3].split(' ').next(), Some("cdn.example.net"));
}

#[test]
fn the_chosen_line_stands_out_and_a_question_is_asked() {
    let mut model = model();
    model.act(TopAction::Move(Motion::Lines(2)));
    let drawn = cells(80, 24, &mut model, COLOURED);
    let is_reversed = |y| drawn[(79, y)].modifier.contains(Modifier::REVERSED);
    assert_eq!([3, 4, 5].map(is_reversed), [false, true, false]);
    model.act(TopAction::Close);
    let foot = screen(80, 24, &mut model).remove(23);
    assert_eq!(foot, "Close (y/n)? tcp cdn.example.net:443 from 192.0.2.7:40000");
    model.act(TopAction::No);
    model.act(TopAction::Suspend);
    assert!(screen(80, 24, &mut model)[23].starts_with("suspended: s goes on  ? help"));
}

#[test]
fn a_group_says_how_many() {
    let mut model = TopModel::default();
    model.take(snapshot(1000, vec![flow(1, "a.example", 5), flow(2, "a.example", 6)]));
    model.act(TopAction::Group);
    let screen = screen(90, 24, &mut model);
    assert_eq!(
        screen[2..4],
        [
            "Host                             Port    RX v      TX   RX rate   TX rate Conns Proxy",
            "a.example                         443    11 B    20 B     0 B/s     0 B/s     2 tokyo",
        ]
    );
}

#[test]
fn without_colours_there_are_none() {
    let mut model = model();
    model.act(TopAction::Filter);
    model.act(TopAction::Type('e'));
    model.lose("gone".into());
    for paint in [false, true].map(|has_colours| Paint { has_colours }) {
        model.take(snapshot(9000, flows()));
        let drawn = cells(160, 24, &mut model, paint);
        let is_coloured = drawn.content().iter().any(|cell| cell.fg != Color::Reset);
        assert_eq!(is_coloured, paint.has_colours);
    }
}

#[test]
fn the_help_has_every_key() {
    let mut model = model();
    model.act(TopAction::Help);
    let screen = screen(80, 24, &mut model);
    assert_eq!(screen[0], "q                  quit");
    assert!(screen.iter().all(|line| line.chars().count() < 80), "nothing is cut");
    assert_eq!(screen.iter().filter(|line| !line.is_empty()).count(), HELP.len());
}
