//! Warnings that hold on: each is said once, again after an hour if it still holds, and shown to
//! whoever asks (`snet status`) until it does not.
//!
//! What only happens is an event, and a line of the log. What *is* so is a condition: whoever finds
//! it keeps a [`StandingWarning`], and drops it when that is over. So nothing has to be taken back
//! by hand, and what ends takes its warnings with it. There is one board for the process, as there
//! is one log.

use crate::sync::lock;
use crate::view::WarningView;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tracing::warn;

/// What still holds after so long is said again.
pub const AGAIN: Duration = Duration::from_secs(3600);

static BOARD: WarningBoard = WarningBoard(Mutex::new(WarningNotes::new()));

/// Something that the operator should know of, for as long as this lives.
#[derive(Debug)]
#[must_use = "it ends with this"]
pub struct StandingWarning(u64);

impl StandingWarning {
    /// It is so, in one line with what can be done about it. Logged.
    pub fn raise(text: impl Into<String>) -> Self {
        Self::raise_of(None, text.into())
    }

    /// The same of a proxy.
    pub fn raise_of(proxy: Option<&Arc<str>>, text: String) -> Self {
        say(proxy.map(|proxy| &**proxy), &text);
        StandingWarning(BOARD.add(proxy, text, Instant::now()))
    }

    /// It is so in other words now, and has been all the time. Not logged.
    pub fn reword(&self, text: String) {
        BOARD.reword(self.0, text);
    }

    /// Nothing will change it before the process ends.
    pub fn for_good(self) {
        std::mem::forget(self);
    }
}

impl Drop for StandingWarning {
    fn drop(&mut self) {
        lock(&BOARD.0).all.remove(&self.0);
    }
}

/// A place that has at most one thing to warn of.
#[derive(Debug, Default)]
pub struct Complaint(Option<(String, StandingWarning)>);

impl Complaint {
    /// What is so now; `None`: nothing is wrong. What was said is not said again. Another cause is
    /// said, and something has been wrong since the first one.
    pub fn set(&mut self, text: Option<String>) {
        self.set_of(None, text);
    }

    /// The same of a proxy.
    pub fn set_of(&mut self, proxy: Option<&Arc<str>>, text: Option<String>) {
        let Some(text) = text else { return self.0 = None };
        match &mut self.0 {
            Some((said, _)) if *said == text => {}
            Some((said, warning)) => {
                say(proxy.map(|proxy| &**proxy), &text);
                warning.reword(text.clone());
                *said = text;
            }
            None => self.0 = Some((text.clone(), StandingWarning::raise_of(proxy, text))),
        }
    }

    /// The same where the cause differs from time to time: only the first is logged, and the last
    /// is shown.
    pub fn set_quietly(&mut self, text: String) {
        match &mut self.0 {
            Some((said, warning)) => {
                warning.reword(text.clone());
                *said = text;
            }
            None => self.set(Some(text)),
        }
    }

    /// Nothing is wrong any more. Whether something was.
    pub fn clear(&mut self) -> bool {
        self.0.take().is_some()
    }

    /// Whether something is wrong.
    pub fn holds(&self) -> bool {
        self.0.is_some()
    }
}

/// A place that may have several things to warn of.
#[derive(Debug, Default)]
pub struct Complaints(BTreeMap<String, StandingWarning>);

impl Complaints {
    /// This is so too.
    pub fn add(&mut self, texts: impl IntoIterator<Item = String>) {
        for text in texts {
            self.0.entry(text).or_insert_with_key(|text| StandingWarning::raise(text.as_str()));
        }
    }

    /// What is so now, and nothing else.
    pub fn set(&mut self, texts: impl IntoIterator<Item = String>) {
        let mut before = std::mem::take(&mut self.0);
        for text in texts {
            let known = before.remove(&text);
            let warning = known.unwrap_or_else(|| StandingWarning::raise(text.clone()));
            self.0.insert(text, warning);
        }
    }

    /// Whether there is any.
    pub fn hold(&self) -> bool {
        !self.0.is_empty()
    }
}

/// All that hold, the oldest first; the same text of several places once.
pub fn standing() -> Vec<WarningView> {
    BOARD.view(Instant::now())
}

/// Says again what has held for an hour since it was said.
pub fn repeat() {
    for (proxy, text, age) in BOARD.due(Instant::now()) {
        let hours = age.as_secs() / 3600;
        say(proxy.as_deref(), &format!("{text} (for {hours} h by now)"));
    }
}

fn say(proxy: Option<&str>, text: &str) {
    match proxy {
        Some(proxy) => warn!(proxy, "{text}"),
        None => warn!("{text}"),
    }
}

#[derive(Debug)]
struct WarningBoard(Mutex<WarningNotes>);

#[derive(Debug)]
struct WarningNotes {
    last: u64,
    all: BTreeMap<u64, WarningNote>,
}

#[derive(Debug)]
struct WarningNote {
    proxy: Option<Arc<str>>,
    text: String,
    since: Instant,
    said: Instant,
}

impl WarningNotes {
    const fn new() -> Self {
        WarningNotes { last: 0, all: BTreeMap::new() }
    }

    /// Each text once, with its oldest note.
    fn distinct(&mut self) -> Vec<&mut WarningNote> {
        let mut distinct: Vec<&mut WarningNote> = Vec::new();
        for note in self.all.values_mut() {
            if !distinct.iter().any(|it| (&it.proxy, &it.text) == (&note.proxy, &note.text)) {
                distinct.push(note);
            }
        }
        distinct
    }
}

impl WarningBoard {
    /// Its number.
    fn add(&self, proxy: Option<&Arc<str>>, text: String, now: Instant) -> u64 {
        let mut notes = lock(&self.0);
        notes.last += 1;
        let number = notes.last;
        let note = WarningNote { proxy: proxy.cloned(), text, since: now, said: now };
        notes.all.insert(number, note);
        number
    }

    fn reword(&self, number: u64, text: String) {
        if let Some(note) = lock(&self.0).all.get_mut(&number) {
            note.text = text;
        }
    }

    fn view(&self, now: Instant) -> Vec<WarningView> {
        let mut notes = lock(&self.0);
        let views = notes.distinct().into_iter().map(|note| WarningView {
            text: note.text.clone(),
            proxy: note.proxy.as_deref().map(str::to_owned),
            since: now.saturating_duration_since(note.since).as_secs(),
        });
        views.collect()
    }

    fn due(&self, now: Instant) -> Vec<(Option<Arc<str>>, String, Duration)> {
        let mut notes = lock(&self.0);
        let is_due = |it: &&mut WarningNote| now.saturating_duration_since(it.said) >= AGAIN;
        let due = notes.distinct().into_iter().filter(is_due).map(|note| {
            note.said = now;
            let age = now.saturating_duration_since(note.since);
            (note.proxy.clone(), note.text.clone(), age)
        });
        due.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Log, LogSettings};

    fn standing_with(part: &str) -> Vec<String> {
        let views = standing().into_iter().filter(|it| it.text.contains(part));
        views.map(|it| it.text).collect()
    }

    #[test]
    fn it_stands_as_long_as_it_is_kept() {
        let one = StandingWarning::raise("a thing of this test");
        let same = StandingWarning::raise("a thing of this test");
        assert_eq!(standing_with("thing of this test"), ["a thing of this test"]);
        drop(one);
        assert_eq!(standing_with("thing of this test").len(), 1, "the other place has it still");
        drop(same);
        assert!(standing_with("thing of this test").is_empty());
    }

    #[test]
    fn a_condition_changes_and_ends() {
        let mut condition = Complaint::default();
        condition.set(Some("condition: one".into()));
        condition.set(Some("condition: other".into()));
        assert_eq!(standing_with("condition: "), ["condition: other"]);
        assert!(condition.holds() && condition.clear() && !condition.clear());
        assert!(standing_with("condition: ").is_empty());
    }

    #[test]
    fn another_cause_is_said_and_since_stays() {
        let (log, _guard) = Log::of_this_thread(LogSettings::default());
        let said = || log.written().iter().filter(|it| it.contains("cause: ")).count();
        let mut complaint = Complaint::default();
        complaint.set(Some("cause: one".into()));
        let number = |complaint: &Complaint| complaint.0.as_ref().unwrap().1.0;
        let first = number(&complaint);
        complaint.set(Some("cause: one".into()));
        assert_eq!(said(), 1);
        complaint.set(Some("cause: other".into()));
        assert_eq!((said(), standing_with("cause: ")), (2, vec!["cause: other".to_owned()]));
        complaint.set_quietly("cause: third".into());
        assert_eq!((said(), standing_with("cause: ")), (2, vec!["cause: third".to_owned()]));
        assert_eq!(number(&complaint), first, "the same note, which knows since when");
        complaint.clear();
        complaint.set_quietly("cause: anew".into());
        assert_eq!(said(), 3);
    }

    #[test]
    fn what_is_left_of_several_stays() {
        let mut conditions = Complaints::default();
        conditions.set(["several: a".to_owned(), "several: b".to_owned()]);
        conditions.set(["several: b".to_owned(), "several: c".to_owned()]);
        assert_eq!(standing_with("several: "), ["several: b", "several: c"]);
    }

    #[test]
    fn it_is_said_again_after_an_hour_and_once() {
        let board = WarningBoard(Mutex::new(WarningNotes::new()));
        let (began, proxy) = (Instant::now(), Arc::from("tokyo"));
        let add = |text: &str, at| board.add(Some(&proxy), text.to_owned(), at);
        let texts = [("is down", began), ("is down", began + AGAIN / 4)];
        let numbers = texts.map(|(text, at)| add(text, at));
        assert_eq!((numbers, add("carries no UDP", began + AGAIN / 2)), ([1, 2], 3));
        let due = |at| board.due(at).into_iter().map(|it| (it.1, it.2)).collect::<Vec<_>>();
        assert!(due(began + AGAIN - Duration::from_secs(1)).is_empty());
        assert_eq!(due(began + AGAIN), [("is down".to_owned(), AGAIN)]);
        assert!(due(began + AGAIN).is_empty());
        assert_eq!(due(began + 2 * AGAIN).len(), 2);
        let views = board.view(began + AGAIN);
        assert_eq!(views.len(), 2);
        assert_eq!((views[0].since, views[0].proxy.as_deref()), (3600, Some("tokyo")));
    }
}
