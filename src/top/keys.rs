//! Which key does what: those of SNET's `top`, and some more. Pure.

use super::line::SortBy;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What keys mean at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum KeyMode {
    /// The table.
    #[default]
    Table,
    /// The text of the filter is typed.
    Filter,
    /// Are these connections to be closed?
    Confirm {
        /// Their numbers.
        ids: Vec<u64>,
        /// What is asked.
        question: String,
    },
    /// The keys are shown.
    Help,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TopAction {
    Quit,
    /// Nothing on the screen changes by itself, until it is asked for again.
    Suspend,
    Move(Motion),
    Sort(SortBy),
    /// One line for each host and port, or for each connection.
    Group,
    /// Type a filter.
    Filter,
    Type(char),
    Erase,
    /// The filter is typed.
    Typed,
    /// Away with the filter; without one, with the choice.
    Clear,
    /// Ask whether to close the chosen connection.
    Close,
    Yes,
    No,
    Help,
    /// Another program has written onto the screen.
    Redraw,
}

/// From one line to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Motion {
    Lines(isize),
    Pages(isize),
    First,
    Last,
}

/// Every key of the table, as the help shows them.
pub(super) const HELP: [(&str, &str); 15] = [
    ("q", "quit"),
    ("s", "suspend: nothing moves until s is pressed again"),
    ("j k, arrows", "choose the next, the previous line"),
    ("space u, PgDn PgUp", "a page down, up"),
    ("Home End", "the first, the last line"),
    ("R T", "sort by bytes received (RX), sent (TX)"),
    ("r t", "sort by what is received, sent a second (of two seconds)"),
    ("h p", "sort by host, by port"),
    ("/", "show only hosts with this text; Enter ends it"),
    ("Esc", "show all hosts again; then: choose no line"),
    ("c", "one line for each host and port, or for each connection"),
    ("x", "close the chosen connection (asks first)"),
    ("Ctrl-L", "draw anew"),
    ("?", "this; any key goes back"),
    ("RX, TX", "what programs receive, send"),
];

/// What this key asks for, if it does.
pub(super) fn action(mode: &KeyMode, key: KeyEvent) -> Option<TopAction> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(TopAction::Quit),
            KeyCode::Char('l') => Some(TopAction::Redraw),
            _ => None,
        };
    }
    match mode {
        KeyMode::Table => of_table(key.code),
        KeyMode::Filter => of_filter(key.code),
        KeyMode::Confirm { .. } => Some(match key.code {
            KeyCode::Char('y' | 'Y') => TopAction::Yes,
            _ => TopAction::No,
        }),
        KeyMode::Help => Some(TopAction::No),
    }
}

fn of_table(key: KeyCode) -> Option<TopAction> {
    Some(match key {
        KeyCode::Char('q') => TopAction::Quit,
        KeyCode::Char('s') => TopAction::Suspend,
        KeyCode::Char('j') | KeyCode::Down => TopAction::Move(Motion::Lines(1)),
        KeyCode::Char('k') | KeyCode::Up => TopAction::Move(Motion::Lines(-1)),
        KeyCode::Char(' ') | KeyCode::PageDown => TopAction::Move(Motion::Pages(1)),
        KeyCode::Char('u') | KeyCode::PageUp => TopAction::Move(Motion::Pages(-1)),
        KeyCode::Home => TopAction::Move(Motion::First),
        KeyCode::End => TopAction::Move(Motion::Last),
        KeyCode::Char('R') => TopAction::Sort(SortBy::Rx),
        KeyCode::Char('T') => TopAction::Sort(SortBy::Tx),
        KeyCode::Char('r') => TopAction::Sort(SortBy::RxRate),
        KeyCode::Char('t') => TopAction::Sort(SortBy::TxRate),
        KeyCode::Char('h') => TopAction::Sort(SortBy::Host),
        KeyCode::Char('p') => TopAction::Sort(SortBy::Port),
        KeyCode::Char('/') => TopAction::Filter,
        KeyCode::Esc => TopAction::Clear,
        KeyCode::Char('c') => TopAction::Group,
        KeyCode::Char('x') => TopAction::Close,
        KeyCode::Char('?') => TopAction::Help,
        _ => return None,
    })
}

fn of_filter(key: KeyCode) -> Option<TopAction> {
    Some(match key {
        KeyCode::Char(typed) => TopAction::Type(typed),
        KeyCode::Backspace => TopAction::Erase,
        KeyCode::Enter => TopAction::Typed,
        KeyCode::Esc => TopAction::Clear,
        KeyCode::Down => TopAction::Move(Motion::Lines(1)),
        KeyCode::Up => TopAction::Move(Motion::Lines(-1)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(mode: &KeyMode, key: KeyCode) -> Option<TopAction> {
        action(mode, KeyEvent::new(key, KeyModifiers::NONE))
    }

    #[test]
    fn snets_keys_and_more() {
        for (key, expected) in [
            ('q', TopAction::Quit),
            ('s', TopAction::Suspend),
            ('j', TopAction::Move(Motion::Lines(1))),
            ('k', TopAction::Move(Motion::Lines(-1))),
            (' ', TopAction::Move(Motion::Pages(1))),
            ('u', TopAction::Move(Motion::Pages(-1))),
            ('R', TopAction::Sort(SortBy::Rx)),
            ('T', TopAction::Sort(SortBy::Tx)),
            ('r', TopAction::Sort(SortBy::RxRate)),
            ('t', TopAction::Sort(SortBy::TxRate)),
            ('h', TopAction::Sort(SortBy::Host)),
            ('p', TopAction::Sort(SortBy::Port)),
            ('/', TopAction::Filter),
            ('c', TopAction::Group),
            ('x', TopAction::Close),
            ('?', TopAction::Help),
        ] {
            assert_eq!(plain(&KeyMode::Table, KeyCode::Char(key)), Some(expected), "{key}");
            // The help knows it.
            let key = if key == ' ' { "space".to_owned() } else { key.to_string() };
            let is_told = |keys: &str| keys.split([' ', ',']).any(|told| told == key);
            assert!(HELP.iter().any(|(keys, _)| is_told(keys)), "{key}");
        }
        assert_eq!(plain(&KeyMode::Table, KeyCode::Char('z')), None);
    }

    #[test]
    fn letters_are_text_while_a_filter_is_typed() {
        let filter = KeyMode::Filter;
        assert_eq!(plain(&filter, KeyCode::Char('q')), Some(TopAction::Type('q')));
        assert_eq!(plain(&filter, KeyCode::Enter), Some(TopAction::Typed));
        assert_eq!(plain(&filter, KeyCode::Esc), Some(TopAction::Clear));
        assert_eq!(plain(&filter, KeyCode::Backspace), Some(TopAction::Erase));
    }

    #[test]
    fn only_y_confirms() {
        let confirm = KeyMode::Confirm { ids: vec![1], question: String::new() };
        assert_eq!(plain(&confirm, KeyCode::Char('y')), Some(TopAction::Yes));
        for key in [KeyCode::Char('n'), KeyCode::Enter, KeyCode::Esc, KeyCode::Char('x')] {
            assert_eq!(plain(&confirm, key), Some(TopAction::No), "{key:?}");
        }
    }

    #[test]
    fn ctrl_c_quits_whatever_is_asked() {
        let quit = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        for mode in [KeyMode::Table, KeyMode::Filter, KeyMode::Help] {
            assert_eq!(action(&mode, quit), Some(TopAction::Quit), "{mode:?}");
        }
        // A key that is let go asks for nothing.
        let up = KeyEvent { kind: KeyEventKind::Release, ..quit };
        assert_eq!(action(&KeyMode::Table, up), None);
    }
}
