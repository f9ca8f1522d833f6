//! What it says of a member that questions through it went unanswered. Pure.
//!
//! It may be the member, or whom the question was for: a trusted name server that nobody reaches
//! must not make a proxy that works count as dead. So one question alone proves nothing, unless the
//! same one was answered through another member.

use crate::sync::lock;
use crate::target::Target;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// How something is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemberQuestionKind {
    Name,
    Tls,
    Web,
}

/// An answer to another member speaks for whoever gave it for so long.
pub(super) const SPEAKS: Duration = Duration::from_secs(10 * 60);

/// Who has answered through whom, as long as one dispatcher lives.
#[derive(Debug, Default)]
pub(super) struct Respondents(Mutex<Vec<Respondent>>);

#[derive(Debug)]
struct Respondent {
    target: Target,
    member: String,
    at: Instant,
}

impl Respondents {
    /// It has answered a question through this member.
    pub(super) fn answered(&self, target: &Target, member: &str, at: Instant) {
        let mut known = lock(&self.0);
        known.retain(|it| it.target != *target || it.member != member);
        known.push(Respondent { target: target.clone(), member: member.to_owned(), at });
    }

    /// Whether it has answered through another member lately.
    fn answers_others(&self, target: &Target, member: &str, now: Instant) -> bool {
        let is_recent = |it: &Respondent| now.saturating_duration_since(it.at) < SPEAKS;
        let known = lock(&self.0);
        known.iter().any(|it| it.target == *target && it.member != member && is_recent(it))
    }
}

/// Questions that went unanswered.
#[derive(Debug, Default)]
pub(super) struct UnansweredQuestions {
    asked: Vec<(Target, MemberQuestionKind)>,
    /// What is wrong, as far as the first question told.
    cause: String,
    /// The member's server was not even reached.
    at_the_dial: bool,
}

impl UnansweredQuestions {
    /// One more question, and how it failed. `at_the_dial`: before anything was asked.
    pub(super) fn add(
        &mut self,
        target: &Target,
        kind: MemberQuestionKind,
        cause: String,
        at_the_dial: bool,
    ) {
        if self.asked.is_empty() || at_the_dial && !self.at_the_dial {
            self.cause = cause;
        }
        self.at_the_dial |= at_the_dial;
        self.asked.push((target.clone(), kind));
    }

    /// Whether any was asked.
    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// Whether it is surely the member.
    pub(super) fn is_sure(&self, member: &str, respondents: &Respondents, now: Instant) -> bool {
        let mut hosts = self.asked.iter().map(|(target, _)| host(target));
        let first = hosts.next();
        self.at_the_dial
            || hosts.any(|host| Some(host) != first)
            || self.asked.iter().any(|(it, _)| respondents.answers_others(it, member, now))
    }
}

fn host(target: &Target) -> String {
    match target {
        Target::Addr(address) | Target::Named { address, .. } => address.ip().to_string(),
        Target::Name(name, _) => name.to_string(),
    }
}

/// The cause, and which questions went unanswered.
impl fmt::Display for UnansweredQuestions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)?;
        if self.at_the_dial {
            return Ok(());
        }
        for (place, (target, kind)) in self.asked.iter().enumerate() {
            let before = if place == 0 { " (asked for" } else { ", and" };
            match kind {
                MemberQuestionKind::Name => write!(f, "{before} {target} by a query")?,
                MemberQuestionKind::Tls => write!(f, "{before} {target} by TLS")?,
                MemberQuestionKind::Web => write!(f, "{before} {target} by HTTP")?,
            }
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MemberQuestionKind::{Name, Tls};

    fn at(text: &str) -> Target {
        Target::addr(text.parse().unwrap())
    }

    fn silent(questions: &[(&str, MemberQuestionKind)]) -> UnansweredQuestions {
        let mut unanswered = UnansweredQuestions::default();
        for (target, kind) in questions {
            unanswered.add(&at(target), *kind, format!("nothing from {target}"), false);
        }
        unanswered
    }

    #[test]
    fn one_that_nobody_reaches_proves_nothing() {
        let (now, respondents) = (Instant::now(), Respondents::default());
        let sure = |it: &UnansweredQuestions, now| it.is_sure("a", &respondents, now);
        let alone = silent(&[("192.0.2.53:53", Name)]);
        assert!(!sure(&alone, now));
        assert!(!sure(&silent(&[("192.0.2.53:53", Name), ("192.0.2.53:853", Tls)]), now));
        assert!(sure(&silent(&[("192.0.2.53:53", Name), ("198.51.100.1:853", Tls)]), now));
        respondents.answered(&at("192.0.2.53:53"), "a", now);
        assert!(!sure(&alone, now), "that was through this one");
        respondents.answered(&at("192.0.2.53:53"), "b", now);
        assert!(sure(&alone, now));
        assert!(!sure(&alone, now + SPEAKS), "it may be down since");
        let mut unreached = UnansweredQuestions::default();
        unreached.add(&at("192.0.2.53:53"), Name, "refused".into(), true);
        assert!(sure(&unreached, now + SPEAKS));
    }

    #[test]
    fn the_text_has_every_question() {
        let both = silent(&[("192.0.2.53:53", Name), ("198.51.100.1:853", Tls)]);
        let text = "nothing from 192.0.2.53:53 (asked for 192.0.2.53:53 by a query, and \
                    198.51.100.1:853 by TLS)";
        assert_eq!(both.to_string(), text);
        let mut unreached = both;
        unreached.add(&at("203.0.113.1:443"), Tls, "refused".into(), true);
        assert_eq!(unreached.to_string(), "refused");
    }
}
