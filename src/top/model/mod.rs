//! What the screen shows: snapshots and keys in, lines and a head out. Pure: it knows no terminal,
//! no clock and no daemon.
//!
//! A refresh costs what changes: lines keep the order that they had, and sorting what is sorted but
//! for some lines takes few comparisons.

use super::keys::{KeyMode, Motion, TopAction};
use super::line::{Line, LineKey, SortBy, grouped};
use super::rates::{Carried, Rate};
use super::snapshot::{Closing, Snapshot};
use crate::view::StatusView;
use std::cmp::Ordering;
use std::collections::HashMap;

/// Longer than any name.
const LONGEST_FILTER: usize = 253;

/// What is shown.
#[derive(Debug, Default)]
pub(super) struct TopModel {
    /// As it was said last.
    pub(super) status: StatusView,
    /// Of everything.
    pub(super) rate: Rate,
    /// Why there is no daemon, if there is none.
    pub(super) lost: Option<String>,
    /// What became of the last close.
    pub(super) said: Option<String>,
    pub(super) mode: KeyMode,
    pub(super) sort: SortBy,
    pub(super) filter: String,
    pub(super) is_grouped: bool,
    pub(super) is_suspended: bool,
    carried: Carried,
    /// One for each connection.
    single: Vec<Line>,
    /// One for each host and port, while they are shown.
    groups: Vec<Line>,
    /// Places of the lines that pass the filter, in the order of the table.
    order: Vec<usize>,
    /// The line that the operator chose, and where it stands in the order.
    chosen: Option<(LineKey, usize)>,
    /// Where the part that is on the screen begins, and how long it is.
    first: usize,
    height: usize,
}

/// What is to be done outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TopEffect {
    Nothing,
    Quit,
    /// End these connections.
    Close(Closing),
    /// Draw every cell again.
    Redraw,
}

impl TopModel {
    /// The daemon has answered.
    pub(super) fn take(&mut self, snapshot: Snapshot) {
        let rates = self.carried.rates(&snapshot);
        self.lost = None;
        if self.is_suspended {
            return;
        }
        if self.status.pid != snapshot.status.pid {
            // Its numbers are others.
            self.chosen = None;
        }
        let ranks = self.ranks();
        let flows = snapshot.flows.into_iter().zip(rates.flows);
        self.single = flows.map(|(flow, rate)| Line::of(flow, rate)).collect();
        (self.status, self.rate) = (snapshot.status, rates.all);
        self.arrange(&ranks);
    }

    /// There is no daemon, and why. Its connections have gone with it.
    pub(super) fn lose(&mut self, why: String) {
        self.lost = Some(why);
        self.carried.forget();
        if !self.is_suspended {
            self.single.clear();
            self.rate = Rate::default();
            self.chosen = None;
            self.arrange(&HashMap::new());
        }
    }

    /// A key was pressed.
    pub(super) fn act(&mut self, action: TopAction) -> TopEffect {
        self.said = None;
        match action {
            TopAction::Quit => return TopEffect::Quit,
            TopAction::Redraw => return TopEffect::Redraw,
            TopAction::Suspend => self.is_suspended = !self.is_suspended,
            TopAction::Move(step) => self.go(step),
            TopAction::Sort(by) => {
                self.sort = by;
                let order = std::mem::take(&mut self.order);
                self.put(order);
            }
            TopAction::Group => {
                self.is_grouped = !self.is_grouped;
                self.chosen = None;
                self.arrange(&HashMap::new());
            }
            TopAction::Filter => self.mode = KeyMode::Filter,
            TopAction::Type(typed) if self.filter.len() < LONGEST_FILTER => {
                let typed = typed.to_lowercase().filter(|typed| !typed.is_control());
                self.refilter(|filter| filter.extend(typed));
            }
            TopAction::Type(_) => {}
            TopAction::Erase => self.refilter(|filter| _ = filter.pop()),
            TopAction::Typed => self.mode = KeyMode::Table,
            TopAction::Clear => self.clear(),
            TopAction::Close => self.ask_to_close(),
            TopAction::Help => self.mode = KeyMode::Help,
            TopAction::No => self.mode = KeyMode::Table,
            TopAction::Yes => {
                if let KeyMode::Confirm { ids, .. } = std::mem::take(&mut self.mode) {
                    return TopEffect::Close(Closing { pid: self.status.pid, ids });
                }
            }
        }
        TopEffect::Nothing
    }

    /// The lines that are on a screen with room for so many, and whether each is the chosen one.
    pub(super) fn page(&mut self, height: usize) -> impl ExactSizeIterator<Item = (&Line, bool)> {
        self.height = height;
        let chosen = self.chosen.as_ref().map(|(_, place)| *place);
        self.first = match chosen {
            None => 0,
            Some(place) if place < self.first => place,
            Some(place) => self.first.max((place + 1).saturating_sub(height)),
        };
        self.first = self.first.min(self.order.len().saturating_sub(height));
        let end = self.order.len().min(self.first + height);
        let lines = self.lines();
        let first = self.first;
        let places = self.order[first..end].iter().enumerate();
        places.map(move |(at, place)| (&lines[*place], chosen == Some(first + at)))
    }

    /// How many lines pass the filter, and how many there are.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.order.len(), self.lines().len())
    }

    fn lines(&self) -> &[Line] {
        if self.is_grouped { &self.groups } else { &self.single }
    }

    /// Where each line stands.
    fn ranks(&self) -> HashMap<LineKey, usize> {
        let keys = self.order.iter().map(|place| self.lines()[*place].key.clone());
        keys.zip(0..).collect()
    }

    /// Puts the lines into order, beginning with the one that they had.
    fn arrange(&mut self, ranks: &HashMap<LineKey, usize>) {
        self.groups = if self.is_grouped { grouped(&self.single) } else { Vec::new() };
        let filter = &self.filter;
        let passes = |line: &Line| line.host.to_lowercase().contains(filter);
        let order = match filter.is_empty() {
            true => in_ranks(self.lines(), |_| true, ranks),
            false => in_ranks(self.lines(), passes, ranks),
        };
        self.put(order);
    }

    /// These lines are shown, once they are sorted.
    fn put(&mut self, mut order: Vec<usize>) {
        let lines = self.lines();
        sort(&mut order, |one, other| lines[one].compare(&lines[other], self.sort));
        self.order = order;
        self.follow();
    }

    /// The choice stays on its connection when lines move; when that is gone it is on the one that
    /// takes its place.
    fn follow(&mut self) {
        let Some((key, place)) = self.chosen.take() else { return };
        let lines = self.lines();
        let found = self.order.iter().position(|place| lines[*place].key == key);
        self.choose(found.unwrap_or(place));
    }

    fn choose(&mut self, place: usize) {
        let place = place.min(self.order.len().saturating_sub(1));
        let line = self.order.get(place).map(|line| &self.lines()[*line]);
        self.chosen = line.map(|line| (line.key.clone(), place));
    }

    fn go(&mut self, step: Motion) {
        let here = self.chosen.as_ref().map(|(_, place)| *place);
        let page = self.height.max(1);
        let forward = |lines: usize| here.map_or(lines - 1, |here| here + lines);
        let back = |lines: usize| here.unwrap_or(0).saturating_sub(lines);
        self.choose(match step {
            Motion::First => 0,
            Motion::Last => usize::MAX,
            Motion::Lines(lines) if lines > 0 => forward(lines.unsigned_abs()),
            Motion::Lines(lines) => back(lines.unsigned_abs()),
            Motion::Pages(pages) if pages > 0 => forward(page * pages.unsigned_abs()),
            Motion::Pages(pages) => back(page * pages.unsigned_abs()),
        });
    }

    fn refilter(&mut self, change: impl FnOnce(&mut String)) {
        let ranks = self.ranks();
        change(&mut self.filter);
        self.arrange(&ranks);
    }

    fn clear(&mut self) {
        let is_typing = std::mem::take(&mut self.mode) == KeyMode::Filter;
        if !self.filter.is_empty() {
            self.refilter(String::clear);
        } else if !is_typing {
            self.chosen = None;
        }
    }

    fn ask_to_close(&mut self) {
        let Some((key, place)) = &self.chosen else {
            self.said = Some("choose a connection first: j, k".into());
            return;
        };
        let Some(line) = self.order.get(*place).map(|line| &self.lines()[*line]) else { return };
        let Line { host, port, network, source, .. } = line;
        let (ids, question) = match key {
            LineKey::Flow(id) => {
                (vec![*id], format!("Close (y/n)? {network} {host}:{port} from {source}"))
            }
            LineKey::Target(..) => {
                let is_of = |it: &&Line| it.host == *host && it.port == *port;
                let of = self.single.iter().filter(is_of);
                let ids: Vec<u64> = of.filter_map(|it| it.key.flow()).collect();
                let count = ids.len();
                (ids, format!("Close (y/n)? {count} connections to {host}:{port}"))
            }
        };
        self.mode = KeyMode::Confirm { ids, question };
    }
}

impl LineKey {
    fn flow(&self) -> Option<u64> {
        match self {
            LineKey::Flow(id) => Some(*id),
            LineKey::Target(..) => None,
        }
    }
}

/// The places of the lines that pass, each where its rank puts it, new ones behind.
fn in_ranks(
    lines: &[Line],
    passes: impl Fn(&Line) -> bool,
    ranks: &HashMap<LineKey, usize>,
) -> Vec<usize> {
    let mut ranked = vec![None; ranks.len()];
    let mut new = Vec::new();
    for (place, line) in lines.iter().enumerate().filter(|(_, line)| passes(line)) {
        match ranks.get(&line.key) {
            Some(rank) => ranked[*rank] = Some(place),
            None => new.push(place),
        }
    }
    ranked.into_iter().flatten().chain(new).collect()
}

/// Takes few comparisons where few stand out of place, whichever sort std has: one that was built
/// for size does not look for runs. `compare` says of no two that they are equal.
fn sort(order: &mut [usize], mut compare: impl FnMut(usize, usize) -> Ordering) {
    let (mut kept, mut moved) = (Vec::with_capacity(order.len()), Vec::new());
    for place in order.iter().copied() {
        match kept.last() {
            // One of the two stands wrong; which, is not known.
            Some(last) if compare(*last, place).is_gt() => {
                moved.extend(kept.pop());
                moved.push(place);
            }
            _ => kept.push(place),
        }
    }
    if moved.is_empty() {
        return;
    }
    moved.sort_by(|one, other| compare(*one, *other));
    let (mut kept, mut moved) = (kept.into_iter().peekable(), moved.into_iter().peekable());
    for slot in order {
        let is_moved = match (kept.peek(), moved.peek()) {
            (Some(kept), Some(moved)) => compare(*moved, *kept).is_lt(),
            (kept, _) => kept.is_none(),
        };
        let next = if is_moved { moved.next() } else { kept.next() };
        *slot = next.expect("both together are as long as the order");
    }
}

#[cfg(test)]
mod tests;
