//! The model onto the screen: a head of two lines, the table, and a line at the foot. Only lines
//! that are seen are drawn. It fits every screen: what has no room is left out, and nothing panics.

mod columns;

use super::keys::{HELP, KeyMode};
use super::line::{Line, SortBy};
use super::model::TopModel;
use crate::view::{Bytes, Span};
use columns::{Column, layout, speed};
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

/// Whether the terminal has colours; without them what matters is bold, underlined or reversed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    pub(super) has_colours: bool,
}

impl Paint {
    fn colour(self, colour: Color) -> Style {
        if self.has_colours { Style::new().fg(colour) } else { Style::new() }
    }

    fn bad(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn match_of_filter(self) -> Style {
        self.colour(Color::Yellow).add_modifier(Modifier::BOLD | Modifier::UNDERLINED)
    }
}

const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, model: &mut TopModel, paint: Paint) {
    let area = frame.area();
    let cells = frame.buffer_mut();
    if model.mode == KeyMode::Help {
        return draw_help(cells, area);
    }
    // The table is what one came for: on a low screen the rest makes room.
    let head = area.height.saturating_sub(3).min(2);
    let title = u16::from(area.height > 1);
    let foot = u16::from(area.height > 2);
    let lines = area.height - head - title - foot;
    let row = |y| Rect { y: area.y + y, height: 1, ..area };
    if head > 1 || head == 1 && model.lost.is_none() {
        put_parts(cells, row(0), &totals(model));
    }
    if head > 1 || head == 1 && model.lost.is_some() {
        put_all(cells, row(head - 1), &standing(model, paint));
    }
    let columns = layout(area.width, model.is_grouped);
    if title > 0 {
        draw_titles(cells, row(head), &columns, model.sort);
    }
    let filter = model.filter.clone();
    for (y, (line, is_chosen)) in (head + title..).zip(model.page(usize::from(lines))) {
        draw_line(cells, row(y), &columns, line, &filter, paint);
        if is_chosen {
            cells.set_style(row(y), REVERSED);
        }
    }
    if foot > 0 {
        draw_foot(cells, row(area.height - 1), model, paint);
    }
}

/// Text with its style.
type StyledText = (String, Style);

fn plain(text: String) -> StyledText {
    (text, Style::new())
}

fn totals(model: &TopModel) -> Vec<StyledText> {
    let (traffic, rate) = (&model.status.traffic, model.rate);
    vec![
        plain(format!("Uptime: {}", Span(model.status.uptime))),
        plain(format!("Rx Total: {} ({})", Bytes(traffic.down), speed(rate.rx))),
        plain(format!("Tx Total: {} ({})", Bytes(traffic.up), speed(rate.tx))),
    ]
}

/// What is open and what is captured, or that there is no daemon.
fn standing(model: &TopModel, paint: Paint) -> Vec<StyledText> {
    if let Some(why) = &model.lost {
        return vec![(why.clone(), paint.bad())];
    }
    let traffic = &model.status.traffic;
    let sessions = match traffic.open_sessions {
        0 => String::new(),
        sessions => format!(" and {sessions} UDP"),
    };
    let mut parts = vec![plain(format!("Open: {} TCP{sessions}", traffic.open))];
    // What is wrong comes first.
    let mut captures: Vec<_> = model.status.capture.iter().collect();
    captures.sort_by_key(|capture| capture.is_good);
    for capture in captures {
        let style = if capture.is_good { Style::new() } else { paint.bad() };
        parts.push((format!("{}: {}", capture.what, capture.state), style));
    }
    if model.status.capture.is_empty() {
        parts.push(plain("no capture: names only".into()));
    }
    parts
}

fn draw_foot(cells: &mut Buffer, row: Rect, model: &TopModel, paint: Paint) {
    match &model.mode {
        KeyMode::Filter => {
            let parts =
                [plain(format!("/{}_", model.filter)), plain("Enter ends, Esc clears".into())];
            return put_parts(cells, row, &parts);
        }
        KeyMode::Confirm { question, .. } => {
            return put_parts(cells, row, &[(question.clone(), paint.bad())]);
        }
        KeyMode::Table | KeyMode::Help => {}
    }
    if let Some(said) = &model.said {
        return put_parts(cells, row, &[plain(said.clone())]);
    }
    let mut parts = Vec::new();
    if model.is_suspended {
        parts.push(("suspended: s goes on".into(), REVERSED));
    }
    if !model.filter.is_empty() {
        let (shown, all) = model.count();
        parts.push((format!("/{}: {shown} of {all}", model.filter), paint.match_of_filter()));
    }
    let keys = ["? help", "q quit", "/ filter", "x close", "c group", "s suspend"];
    parts.extend(keys.map(|key| plain(key.into())));
    put_parts(cells, row, &parts);
}

/// As many as fit, two cells apart, and of the next one what has room.
fn put_all(cells: &mut Buffer, row: Rect, parts: &[StyledText]) {
    let mut x = row.x;
    for (text, style) in parts {
        let free = usize::from(row.right().saturating_sub(x));
        let (end, _) = cells.set_stringn(x, row.y, text, free, *style);
        x = end.saturating_add(2);
    }
}

/// As many as fit whole, two cells apart; the first one is cut if need be.
fn put_parts(cells: &mut Buffer, row: Rect, parts: &[StyledText]) {
    let mut at = row.x;
    for (text, style) in parts {
        let is_first = at == row.x;
        let from = if is_first { at } else { at.saturating_add(2) };
        let free = row.right().saturating_sub(from);
        if !is_first && text.chars().count() > usize::from(free) {
            break;
        }
        (at, _) = cells.set_stringn(from, row.y, text, usize::from(free), *style);
    }
}

fn draw_titles(
    cells: &mut Buffer,
    row: Rect,
    columns: &[(&'static Column, u16)],
    sorted_by: SortBy,
) {
    for_each_cell(row, columns, |column, cell| {
        let by = match column.sort {
            Some(by) if by == sorted_by && is_ascending(by) => " ^",
            Some(by) if by == sorted_by => " v",
            _ => "",
        };
        put(cells, cell, column.is_number, &format!("{}{by}", column.title), Style::new());
    });
    cells.set_style(row, REVERSED);
}

fn is_ascending(by: SortBy) -> bool {
    matches!(by, SortBy::Host | SortBy::Port)
}

fn draw_line(
    cells: &mut Buffer,
    row: Rect,
    columns: &[(&'static Column, u16)],
    line: &Line,
    filter: &str,
    paint: Paint,
) {
    for_each_cell(row, columns, |column, cell| {
        let text = (column.text)(line);
        let style = match (column.title, text.as_str()) {
            ("Proxy", "direct") => paint.colour(Color::Green),
            ("Proxy", "connecting") => paint.colour(Color::Yellow),
            _ => Style::new(),
        };
        put(cells, cell, column.is_number, &text, style);
        if column.title == "Host" && !filter.is_empty() {
            highlight(cells, cell, &text, filter, paint);
        }
    });
}

/// Writes what the filter has found once more, to be seen.
fn highlight(cells: &mut Buffer, cell: Rect, host: &str, filter: &str, paint: Paint) {
    // A name of the DNS is ASCII, and so the same bytes long in small letters.
    let Some(at) = host.to_ascii_lowercase().find(filter) else { return };
    let (Some(before), Some(found)) = (host.get(..at), host.get(at..at + filter.len())) else {
        return;
    };
    let before = u16::try_from(before.chars().count()).unwrap_or(u16::MAX);
    let free = cell.width.saturating_sub(before);
    let x = cell.x.saturating_add(before);
    cells.set_stringn(x, cell.y, found, usize::from(free), paint.match_of_filter());
}

fn for_each_cell(
    row: Rect,
    columns: &[(&'static Column, u16)],
    mut draw: impl FnMut(&Column, Rect),
) {
    let mut x = row.x;
    for (column, width) in columns {
        draw(column, Rect { x, width: *width, ..row });
        x += width + 1;
    }
}

/// Text that is too long is cut on the right.
fn put(cells: &mut Buffer, cell: Rect, is_number: bool, text: &str, style: Style) {
    let length = u16::try_from(text.chars().count()).unwrap_or(u16::MAX);
    let indent = if is_number { cell.width.saturating_sub(length) } else { 0 };
    let width = usize::from(cell.width - indent);
    cells.set_stringn(cell.x + indent, cell.y, text, width, style);
}

fn draw_help(cells: &mut Buffer, area: Rect) {
    for (row, (keys, what)) in area.rows().zip(HELP) {
        put_parts(cells, row, &[plain(format!("{keys:18} {what}"))]);
    }
}

#[cfg(test)]
mod tests;
