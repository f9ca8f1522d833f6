//! The last reloads: when, who asked for them, and what they changed or why they did not.

use crate::sync::lock;
use crate::view::ReloadView;
use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::Mutex;
use tokio::time::Instant;
use tracing::info;

/// Reloads that are remembered.
const MOST: usize = 8;

/// Changes that a line of the log holds: a provider may hand out hundreds of other servers.
const MOST_TOLD: usize = 20;

/// Who asks for a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReloadCause {
    /// Over the control socket or `control.http`.
    Command,
    /// SIGHUP, or whatever the service manager sends.
    Signal,
    /// `rules.watch`: these files.
    Lists(Vec<PathBuf>),
    /// A new body of this subscription.
    Subscription(String),
}

#[derive(Clone, Debug)]
struct ReloadRecord {
    at: Instant,
    cause: ReloadCause,
    outcome: Result<Vec<String>, String>,
}

/// The last of them.
#[derive(Debug, Default)]
pub(super) struct ReloadHistory(Mutex<VecDeque<ReloadRecord>>);

impl ReloadHistory {
    /// One has ended: what it changed, or why nothing.
    pub(super) fn note(&self, cause: ReloadCause, outcome: Result<Vec<String>, String>) {
        if let Some(line) = outcome.as_ref().ok().and_then(|changes| told(&cause, changes)) {
            info!("{line}");
        }
        let mut records = lock(&self.0);
        if records.len() >= MOST {
            records.pop_back();
        }
        records.push_front(ReloadRecord { at: Instant::now(), cause, outcome });
    }

    /// The latest first.
    pub(super) fn view(&self) -> Vec<ReloadView> {
        let view = |record: &ReloadRecord| ReloadView {
            age: record.at.elapsed().as_secs(),
            by: record.cause.to_string(),
            changes: record.outcome.clone().unwrap_or_default(),
            refused: record.outcome.clone().err(),
        };
        lock(&self.0).iter().map(view).collect()
    }
}

/// For the log. `None`: nothing is otherwise.
fn told(cause: &ReloadCause, changes: &[String]) -> Option<String> {
    if changes.is_empty() {
        return None;
    }
    let shown = &changes[..changes.len().min(MOST_TOLD)];
    let more = match changes.len() - shown.len() {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    Some(format!("reload by {cause}: {}{more}", shown.join("; ")))
}

impl fmt::Display for ReloadCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReloadCause::Command => f.write_str("a command"),
            ReloadCause::Signal => f.write_str("a signal"),
            ReloadCause::Lists(files) => {
                let files: Vec<_> = files.iter().map(|it| it.display().to_string()).collect();
                write!(f, "rules.watch, since {} changed", files.join(", "))
            }
            ReloadCause::Subscription(name) => write!(f, "subscription {name}, with a new body"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_stands_first_and_few_are_kept() {
        let history = ReloadHistory::default();
        for number in 0..2 * MOST {
            let outcome = match number % 2 {
                0 => Ok(vec![format!("change {number}")]),
                _ => Err(format!("mistake {number}")),
            };
            history.note(ReloadCause::Command, outcome);
        }
        let view = history.view();
        assert_eq!(view.len(), MOST);
        assert_eq!(view[0].refused.as_deref(), Some("mistake 15"));
        assert_eq!((view[1].changes.join(""), &view[1].refused), ("change 14".into(), &None));
    }

    #[test]
    fn the_log_has_what_is_otherwise() {
        let told = |count: usize| {
            let changes: Vec<_> = (0..count).map(|number| format!("change {number}")).collect();
            told(&ReloadCause::Signal, &changes)
        };
        assert_eq!(told(0), None);
        assert_eq!(told(2).as_deref(), Some("reload by a signal: change 0; change 1"));
        let long = told(MOST_TOLD + 3).unwrap();
        assert!(long.ends_with("; change 19; and 3 more"), "{long}");
    }

    #[test]
    fn who_asked() {
        for (cause, said) in [
            (ReloadCause::Command, "a command"),
            (ReloadCause::Signal, "a signal"),
            (
                ReloadCause::Lists(vec!["/a".into(), "/b".into()]),
                "rules.watch, since /a, /b changed",
            ),
            (ReloadCause::Subscription("p".into()), "subscription p, with a new body"),
        ] {
            assert_eq!(cause.to_string(), said);
        }
    }
}
