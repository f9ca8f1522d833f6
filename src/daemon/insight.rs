//! What `control.http` is told: the same as the control socket.

use super::control::{ControlReply, ControlRequest, Look, PinOrder, Verb};
use super::seeing;
use crate::log::{Log, LogFollower, LogLevel};
use crate::stats::Stats;
use crate::view::{DelayAsk, DelayView, ExplainView, FlowView, RuleView, StatusView};
use crate::web::{Insight, Told};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Asks the supervisor.
#[derive(Debug)]
pub(super) struct DaemonInsight {
    pub(super) requests: mpsc::Sender<ControlRequest>,
    pub(super) stats: Arc<Stats>,
    pub(super) log: Log,
}

impl DaemonInsight {
    async fn ask(&self, verb: Verb) -> Option<ControlReply> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(ControlRequest { verb, answer }).await.ok()?;
        answered.await.ok()
    }

    /// What it says, or why nothing has happened.
    async fn order(&self, verb: Verb) -> Result<String, String> {
        match self.ask(verb).await {
            Some(ControlReply::Done(words)) => Ok(words),
            Some(ControlReply::Refused(_, why)) => Err(why),
            None => Err("snet is stopping".into()),
        }
    }

    async fn look<View: DeserializeOwned>(&self, verb: Verb) -> Option<View> {
        match self.ask(verb).await? {
            ControlReply::Done(json) => serde_json::from_str(&json).ok(),
            ControlReply::Refused(..) => None,
        }
    }
}

impl Insight for DaemonInsight {
    fn status(&self) -> Told<'_, Option<StatusView>> {
        Box::pin(self.look(Verb::Look(Look::Status)))
    }

    fn flows(&self) -> Vec<FlowView> {
        seeing::flows(&self.stats)
    }

    fn rules(&self) -> Told<'_, Option<Vec<RuleView>>> {
        Box::pin(self.look(Verb::Look(Look::Rules)))
    }

    fn explain(&self, name: &str) -> Told<'_, Option<ExplainView>> {
        let subject = name.parse();
        Box::pin(async move { self.look(Verb::Explain(subject.ok()?)).await })
    }

    fn follow(&self, level: LogLevel) -> LogFollower {
        self.log.follow(level)
    }

    fn close(&self, id: Option<u64>) {
        let live = &self.stats.live;
        match id {
            // One that is gone is closed.
            Some(id) => {
                live.close(id);
            }
            None => live.list().iter().for_each(|flow| {
                live.close(flow.id);
            }),
        }
    }

    fn reload(&self) -> Told<'_, Result<(), String>> {
        Box::pin(async move { self.order(Verb::Reload).await.map(drop) })
    }

    fn pin<'a>(&'a self, group: &'a str, member: Option<&'a str>) -> Told<'a, Result<(), String>> {
        let order = PinOrder { group: group.into(), member: member.map(str::to_owned) };
        Box::pin(async move { self.order(Verb::Use(order)).await.map(drop) })
    }

    fn delays(&self, ask: DelayAsk) -> Told<'_, Result<Vec<DelayView>, String>> {
        Box::pin(async move {
            let json = self.order(Verb::Delay(ask)).await?;
            serde_json::from_str(&json).map_err(|error| error.to_string())
        })
    }

    fn update<'a>(&'a self, subscription: &'a str) -> Told<'a, Result<(), String>> {
        let verb = Verb::Update(subscription.into());
        Box::pin(async move { self.order(verb).await.map(drop) })
    }
}
