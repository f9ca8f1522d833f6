//! One dial through one member: how it went, and what that says of the proxy.

use super::Upstream;
use crate::proxy::first_payload::FirstPayload;
use crate::proxy::{Link, Progress};
use crate::target::Target;
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

/// Over which connection to the proxy's server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// One that was dialled ahead, if there is one.
    Any,
    /// A new one: whether the server is there now matters.
    Fresh,
}

/// A dial that succeeded.
#[derive(Debug)]
pub(super) struct DialSuccess {
    pub(super) link: Link,
    /// Over a connection that was dialled ahead.
    pub(super) was_ready: bool,
}

/// Why a dial came to nothing.
#[derive(Debug)]
pub(super) enum DialEnd {
    /// It would only have waited for what another one finds out.
    NotTried,
    /// A shortage of this machine's, which says nothing of the proxy.
    Shortage(String),
    /// The proxy works, and does not allow the target.
    Refused(String),
    /// The proxy works, and does not reach the target.
    TargetFailed(String),
    /// The proxy failed.
    Failed(String),
    /// The server is there, and gave no answer: it, or the target.
    Silent(String),
}

impl DialEnd {
    /// What to say of it; `None` if nothing was tried.
    pub(super) fn cause(&self) -> Option<&str> {
        match self {
            DialEnd::NotTried => None,
            DialEnd::Shortage(cause)
            | DialEnd::Refused(cause)
            | DialEnd::TargetFailed(cause)
            | DialEnd::Failed(cause)
            | DialEnd::Silent(cause) => Some(cause),
        }
    }
}

impl Upstream {
    /// Dials through it for a connection, and notes how that went.
    pub(super) async fn dial(
        &self,
        target: &Target,
        over: Over,
        payload: Option<&FirstPayload<'_>>,
    ) -> Result<DialSuccess, DialEnd> {
        let progress = match over {
            Over::Any => Progress::default(),
            Over::Fresh => Progress::of_probe(),
        };
        let began = Instant::now();
        let Some(attempt) = self.health.begin(began) else { return Err(DialEnd::NotTried) };
        let dial = match payload {
            Some(payload) => self.proxy.connect_carrying(target, &progress, payload),
            None => self.proxy.connect(target, &progress),
        };
        let result = timeout(self.timeout, dial).await;
        let now = Instant::now();
        let (end, proxys_fault) = match result {
            Ok(Ok(link)) => {
                self.refusals.ended();
                // One that was ready says nothing of how long a dial takes.
                if !progress.was_connection_ready() {
                    self.knowledge().dials.add(now - began);
                }
                let has_recovered = attempt.succeeded(now);
                // Where questions are asked, only an answer tells that it works: a server behind
                // which all is silent takes connections too.
                if !self.is_watched() {
                    self.works();
                    if has_recovered {
                        info!(proxy = self.name(), "answers again");
                    }
                }
                return Ok(DialSuccess { link, was_ready: progress.was_connection_ready() });
            }
            // No verdict on the proxy: it would rest for what it has not done.
            Ok(Err(error)) if error.is_shortage() => {
                return Err(DialEnd::Shortage(self.nameless(&error.to_string())));
            }
            // Nor that one connection to it is dead; whether it is itself has to be asked.
            Ok(Err(error)) if error.is_unanswered() => {
                self.doubt(now + self.patience());
                return Err(DialEnd::Silent(self.nameless(&error.to_string())));
            }
            Ok(Err(error)) => {
                let proxys_fault = !error.is_targets_fault();
                let cause = self.nameless(&error.to_string());
                if error.is_refusal() {
                    self.refused(target, &cause);
                    (DialEnd::Refused(cause), proxys_fault)
                } else if proxys_fault {
                    (DialEnd::Failed(cause), true)
                } else {
                    (DialEnd::TargetFailed(cause), false)
                }
            }
            Err(_) if progress.is_server_reached() => {
                let after = self.timeout;
                self.doubt(now + self.patience());
                if attempt.target_was_silent(now) {
                    self.fails(format!(
                        "is down: no answer within {after:?} for several destinations"
                    ));
                }
                return Err(DialEnd::Silent(format!(
                    "it is there, but gave no answer within {after:?}; perhaps {target} is down"
                )));
            }
            Err(_) => (DialEnd::Failed(format!("no answer within {:?}", self.timeout)), true),
        };
        let cause = end.cause().unwrap_or_default();
        if !proxys_fault {
            attempt.succeeded(now);
            debug!(proxy = self.name(), destination = %target, "{cause}");
        } else if attempt.failed(now) {
            self.is_down(cause);
            self.fails(format!("is down: {cause}"));
        }
        Err(end)
    }

    /// What the proxy's name stands before, without it: a proxy that was given no name has its
    /// server's.
    pub(super) fn nameless(&self, text: &str) -> String {
        let name = self.name();
        if !name.contains(':') {
            return text.to_owned();
        }
        let mut told = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(name) {
            let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
            let is_whole = !before.ends_with(is_part) && !after.starts_with(is_part);
            told.push_str(before);
            told.push_str(if is_whole { "it" } else { name });
            rest = after;
        }
        told + rest
    }

    fn is_watched(&self) -> bool {
        self.knowledge().standing.is_watched()
    }

    /// A dial has failed. Where questions are asked, an answer to one of them ends that.
    fn is_down(&self, cause: &str) {
        let mut knowledge = self.knowledge();
        cause.clone_into(&mut knowledge.cause);
        knowledge.is_sure = true;
        if knowledge.standing.is_watched() {
            knowledge.standing.failed(Instant::now());
            drop(knowledge);
            self.news.notify_one();
        }
    }
}
