//! What an operator orders of proxies: pin one, test some, fetch a subscription. Whatever takes
//! long is answered by a task of its own, so that nobody else waits.

use super::control::{ControlReply, PinOrder};
use super::delays::DelayRound;
use super::supervise::{Daemon, as_json};
use crate::config::KEPT_FOLDER;
use crate::exit::{UNAVAILABLE, USAGE};
use crate::task;
use crate::view::DelayAsk;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::info;

type VerbAnswer = oneshot::Sender<ControlReply>;

impl Daemon {
    /// The operator prefers a member of a group, or no longer.
    pub(super) async fn pin(&self, PinOrder { group, member }: &PinOrder) -> ControlReply {
        let dispatcher = self.parts.current.load();
        if let Err(error) = dispatcher.pin(group, member.as_deref()) {
            return ControlReply::Refused(USAGE, error.to_string());
        }
        let said = match member {
            Some(member) => {
                let view = dispatcher.groups().iter().map(|it| it.view(Instant::now()));
                let works =
                    view.filter(|it| it.name == *group).any(|it| it.now.as_ref() == Some(member));
                pinned_text(group, member, works, self.kept_pins.is_some())
            }
            None => format!("group {group}: the policy chooses"),
        };
        info!("{said}");
        if let Some(kept) = &self.kept_pins {
            kept.write(&dispatcher.pins()).await;
        }
        ControlReply::Done(said)
    }

    /// Tests proxies.
    pub(super) fn test(&self, ask: &DelayAsk, mut answer: VerbAnswer) {
        match DelayRound::new(&self.delay_tests, &self.generation, &self.parts, ask) {
            Ok(round) => {
                task::spawn(async move {
                    if let Some(views) = while_wanted(&mut answer, round.run()).await {
                        let _ = answer.send(as_json(&views));
                    }
                });
            }
            Err(why) => {
                // The client may have left, here and below.
                let _ = answer.send(ControlReply::Refused(USAGE, why));
            }
        }
    }

    /// Fetches a subscription now.
    pub(super) fn update(&self, name: &str, answer: VerbAnswer) {
        let words = format!("subscription {name:?}: fetched");
        match self.fetching.fetch_now(name) {
            Ok(done) => {
                task::spawn(async move {
                    let done = done.await.unwrap_or(Err("snet has been reloaded meanwhile".into()));
                    let _ = answer.send(match done {
                        Ok(()) => ControlReply::Done(words),
                        Err(why) => ControlReply::Refused(UNAVAILABLE, why),
                    });
                });
            }
            Err(why) => {
                let _ = answer.send(ControlReply::Refused(UNAVAILABLE, why));
            }
        }
    }
}

/// What a pin comes to: whether the member works now, and whether the pin outlives this process.
fn pinned_text(group: &str, member: &str, works: bool, is_kept: bool) -> String {
    let idle = if works { "" } else { ", which does not work now: others carry until it does" };
    let ends = match is_kept {
        true => String::new(),
        false => format!("; a restart ends that, as there is no {KEPT_FOLDER}"),
    };
    format!("group {group}: pinned to {member}{idle}{ends}")
}

/// What comes of the work; `None`: whoever asked has left. Then it ends, as others wait for their
/// turn.
async fn while_wanted<T>(answer: &mut VerbAnswer, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        result = work => Some(result),
        () = answer.closed() => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    #[test]
    fn a_pin_says_what_it_comes_to() {
        assert_eq!(pinned_text("tv", "tokyo", true, true), "group tv: pinned to tokyo");
        let text = pinned_text("tv", "tokyo", false, false);
        assert!(text.contains("does not work now") && text.contains("restart"), "{text}");
    }

    #[tokio::test]
    async fn what_nobody_waits_for_ends() {
        let (mut answer, answered) = oneshot::channel();
        assert_eq!(while_wanted(&mut answer, ready(7)).await, Some(7));
        drop(answered);
        assert_eq!(while_wanted(&mut answer, pending::<u8>()).await, None);
    }
}
