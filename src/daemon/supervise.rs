//! The running daemon: signals, requests, changes of the network, tasks that must not end; and the
//! stop.
//!
//! A stop goes in this order: the rules capture nothing more, accepting ends, open connections get
//! a few seconds, those that are left are cut, the rules are removed. The removal is not before the
//! drain: with the last rule conntrack may leave, and with it the redirection of living
//! connections.

use super::arrival::Arrival;
use super::control::{ControlReply, ControlRequest, Look, Verb};
use super::delays::DelayTests;
use super::devices::TrafficSources;
use super::error::Error;
use super::explaining::Explaining;
use super::generation::{Generation, Parts};
use super::network_watcher::NetworkChange;
use super::pins::KeptPins;
use super::reload::{ReloadError, WantedConfig, reload};
use super::reload_history::ReloadCause;
use super::signals::{SignalMeaning, Signals};
use super::subscriptions::Fetching;
use super::tasks::Tasks;
use super::today::DayMoment;
use super::{build, notify, seeing};
use crate::config::Purpose;
use crate::dns;
use crate::exit::{SOFTWARE, UNAVAILABLE};
use crate::fault::{self, Step};
use crate::file_stamp::ListFile;
use crate::firewall::OnFailure;
use crate::task::{self, JoinSet};
use crate::warnings;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tracing::{error, info, warn};

/// How long a stop waits for open connections.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a stop waits for the answers to be in their file.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// How long cut connections may take to be gone; they have nothing to wait for.
const CUT: Duration = Duration::from_secs(1);

/// Everything that runs.
pub(super) struct Daemon {
    pub(super) generation: Generation,
    /// The rules' owner is among them: it is dropped before the tasks.
    pub(super) parts: Parts,
    pub(super) tasks: Tasks,
    pub(super) signals: Signals,
    pub(super) requests: mpsc::Receiver<ControlRequest>,
    pub(super) changes: mpsc::Receiver<NetworkChange>,
    /// Files of lists have changed.
    pub(super) list_changes: mpsc::Receiver<Vec<PathBuf>>,
    /// Those that are watched.
    pub(super) watching: watch::Sender<Vec<ListFile>>,
    /// Watches the proxies, and asks their UDP; of the present generation.
    pub(super) asking: JoinSet<()>,
    pub(super) fetching: Fetching,
    pub(super) arrivals: mpsc::Receiver<Arrival>,
    /// Bodies that are in no file, so that a reading of the configuration does not find them.
    pub(super) unkept: Vec<Arrival>,
    /// Where pins of groups outlive the process, if anywhere.
    pub(super) kept_pins: Option<KeptPins>,
    pub(super) delay_tests: DelayTests,
}

impl Daemon {
    /// Runs until a signal asks to stop, or until something died; then stops.
    ///
    /// # Errors
    /// What died, or why the rules could not be removed.
    pub(super) async fn supervise(mut self) -> Result<(), Error> {
        let result = self.run().await;
        self.stop(result).await
    }

    async fn run(&mut self) -> Result<(), Error> {
        self.watch_proxies();
        self.tell_of_subscriptions();
        self.fetching.begin(&self.generation, &self.parts, false);
        let mut briefing = interval_at(Instant::now() + seeing::BRIEFING, seeing::BRIEFING);
        briefing.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                signal = self.signals.next() => match signal {
                    SignalMeaning::Stop(signal) => {
                        info!("stopping on {signal}");
                        return Ok(());
                    }
                    SignalMeaning::Reload => self.reload_file(ReloadCause::Signal).await.1?,
                },
                Some(request) = self.requests.recv() => self.serve(request).await?,
                Some(arrival) = self.arrivals.recv() => self.arrived(arrival).await?,
                Some(files) = self.list_changes.recv() => {
                    let shown: Vec<_> = files.iter().map(|it| it.display().to_string()).collect();
                    info!("rules.watch: {} changed: the lists are read again", shown.join(", "));
                    self.reload(WantedConfig::Lists, ReloadCause::Lists(files)).await.1?;
                }
                Some(change) = self.changes.recv() => self.network_changed(change).await,
                _ = briefing.tick() => self.brief(),
                error = self.tasks.failure() => return Err(error),
            }
        }
    }

    /// Reloads, and tells the log, the service manager and the caller what came of it.
    ///
    /// # Errors
    /// [`Error::Died`]: it broke off half-way, and the kernel may have rules of either generation.
    async fn reload(
        &mut self,
        wanted: WantedConfig<'_>,
        cause: ReloadCause,
    ) -> (ControlReply, Result<(), Error>) {
        notify::reloading();
        let reply = match reload(&self.parts, &self.generation, wanted).await {
            Ok((next, bootstrap)) => {
                self.tasks.keep_fresh(bootstrap);
                let changes = next.config.changes_since(&self.generation.config);
                self.parts.reloads.note(cause, Ok(changes));
                self.generation = next;
                let watched = &self.generation.config.rules.watched;
                // If they are as they were read before, what was told of them holds.
                self.watching.send_if_modified(|former| {
                    let differ = former != watched;
                    former.clone_from(watched);
                    differ
                });
                self.watch_proxies();
                fault::pass(Step::Reloaded);
                let now = self.generation.describe(&self.parts);
                info!("reloaded: {now}");
                ControlReply::Done(now)
            }
            Err(ReloadError::Daemon(error @ Error::Died(_))) => {
                let reply = ControlReply::Refused(error.exit_code(), error.to_string());
                return (reply, Err(error));
            }
            Err(refused) => {
                let why = format!("refused, and snet goes on as before: {refused}");
                match refused {
                    ReloadError::Daemon(_) => error!("reload: {why}"),
                    ReloadError::Config(_) | ReloadError::Fixed(_) => warn!("reload: {why}"),
                }
                self.parts.reloads.note(cause, Err(why.clone()));
                ControlReply::Refused(refused.exit_code(), why)
            }
        };
        notify::ready(&self.generation.describe(&self.parts));
        (reply, Ok(()))
    }

    /// The operator's reload: the file, and then what the providers have now.
    async fn reload_file(&mut self, cause: ReloadCause) -> (ControlReply, Result<(), Error>) {
        let unkept = std::mem::take(&mut self.unkept);
        let (mut reply, result) = self.reload(WantedConfig::File { unkept: &unkept }, cause).await;
        self.unkept = unkept;
        let ControlReply::Done(words) = &mut reply else { return (reply, result) };
        self.unkept.retain(|body| self.generation.config.subscribes(&body.name));
        self.fetching.begin(&self.generation, &self.parts, true);
        if self.fetching.is_at_work() {
            words.push_str("; the subscriptions are fetched");
        }
        let changes = self.parts.reloads.view().into_iter().next().map(|it| it.changes);
        match changes.unwrap_or_default() {
            changes if changes.is_empty() => words.push_str("\nnothing is otherwise"),
            changes => changes.iter().for_each(|change| words.push_str(&format!("\n{change}"))),
        }
        (reply, result)
    }

    /// Another body: its servers take the place of those of the former one. What is in the file
    /// meanwhile is not read.
    async fn arrived(&mut self, arrival: Arrival) -> Result<(), Error> {
        // It was looked at before; the generation may be another one since.
        let config = match self.generation.config.with_body(&arrival.name, &arrival.body) {
            Ok(config) => config,
            Err(why) => {
                warn!("subscription {:?}: {why}", arrival.name);
                return Ok(());
            }
        };
        let cause = ReloadCause::Subscription(arrival.name.clone());
        let (_, result) = self.reload(WantedConfig::With(Box::new(config)), cause).await;
        self.tell_of_subscriptions();
        self.unkept.retain(|former| former.name != arrival.name);
        if !arrival.is_kept {
            self.unkept.push(arrival);
        }
        result
    }

    /// Says what the subscriptions give.
    fn tell_of_subscriptions(&self) {
        for subscription in &self.generation.config.subscriptions {
            info!("subscription {:?}: {}", subscription.name, subscription.provided);
        }
    }

    /// Does what an operator asks for.
    ///
    /// # Errors
    /// [`Error::Died`], as of a [`reload`](Self::reload).
    async fn serve(
        &mut self,
        ControlRequest { verb, answer }: ControlRequest,
    ) -> Result<(), Error> {
        let (said, result) = match verb {
            Verb::Reload => self.reload_file(ReloadCause::Command).await,
            Verb::Look(what @ (Look::Status | Look::Rules)) => {
                let view = seeing::whole_status(&self.generation, &self.parts, true);
                // Tools may be slow.
                task::spawn(async move {
                    let view = view.await;
                    let _ = answer.send(match what {
                        Look::Rules => as_json(&view.rules),
                        _ => as_json(&view),
                    });
                });
                return Ok(());
            }
            Verb::Look(what) => (self.look(&what), Ok(())),
            Verb::Close(id) => (self.close(id), Ok(())),
            Verb::Explain(subject) => {
                let explaining = Explaining {
                    rules: Arc::clone(&self.generation.config.rules.routes),
                    dispatcher: self.parts.current.load(),
                    orders: self.parts.orders.clone(),
                    source: Arc::clone(&self.parts.source),
                    firewall: Arc::clone(&self.parts.firewall),
                    traffic: Arc::new(TrafficSources::of(&self.generation, &self.parts)),
                };
                // Name servers may be slow, and nobody else should wait for them.
                task::spawn(async move {
                    let view = explaining.explain(subject).await;
                    let _ = answer.send(as_json(&view));
                });
                return Ok(());
            }
            Verb::Use(order) => (self.pin(&order).await, Ok(())),
            Verb::Delay(ask) => {
                self.test(&ask, answer);
                return Ok(());
            }
            Verb::Update(name) => {
                self.update(&name, answer);
                return Ok(());
            }
        };
        // The client may have left.
        let _ = answer.send(said);
        result
    }

    /// Answers one who only looks.
    fn look(&self, what: &Look) -> ControlReply {
        match what {
            Look::Status => as_json(&seeing::status(&self.generation, &self.parts)),
            Look::Flows => as_json(&seeing::flows(&self.parts.stats)),
            Look::Rules => as_json(&seeing::status(&self.generation, &self.parts).rules),
        }
    }

    /// The operator ends a connection or a UDP session.
    fn close(&self, id: u64) -> ControlReply {
        match self.parts.stats.live.close(id) {
            true => ControlReply::Done(format!("closed {id}")),
            false => ControlReply::Refused(UNAVAILABLE, format!("there is no connection {id}")),
        }
    }

    /// Tells the service manager how we are.
    fn brief(&self) {
        warnings::repeat();
        let is_new_day = self.parts.today.is_over(DayMoment::now());
        if !is_new_day && !notify::is_wanted() {
            return;
        }
        let view = seeing::whole_status(&self.generation, &self.parts, is_new_day);
        task::spawn(async move {
            let brief = seeing::brief(&view.await);
            notify::status(&brief);
        });
    }

    /// Asks every proxy whether it answers, and watches them from then on; also whether their UDP
    /// works, if programs will need it. The log says it.
    fn watch_proxies(&mut self) {
        self.asking = JoinSet::new();
        let questions = build::questions(&self.generation.config);
        self.asking.spawn(self.parts.current.load().watch(questions));
        let captures = self.parts.firewall.captures().contains(&true);
        if captures && self.generation.captures_datagrams() {
            let dispatcher = self.parts.current.load();
            let name_servers = build::plain_trusted(&self.generation.config);
            self.asking.spawn(async move { dispatcher.ask_datagrams(name_servers).await });
        }
    }

    /// On another network, or after a suspend, the present generation begins anew: connections to
    /// name servers are dialled again, proxies are asked again at once, and their names too.
    /// Connections of programs stay: keepalive ends those that are dead.
    async fn network_changed(&mut self, NetworkChange { slept }: NetworkChange) {
        self.parts.current.load().wake();
        self.watch_proxies();
        let Parts { outbound, firewall, orders, .. } = &self.parts;
        self.fetching.network_changed();
        // A resolver that died ends the daemon elsewhere.
        let _ = orders.send(dns::Order::NetworkChanged { slept });
        let bootstrap = self.generation.bootstrap(outbound, firewall).await;
        self.tasks.keep_fresh(bootstrap);
    }

    async fn stop(mut self, result: Result<(), Error>) -> Result<(), Error> {
        notify::stopping("waiting for open connections");
        fault::pass(Step::Release);
        let parts = &self.parts;
        let Parts { firewall, inbound, .. } = parts;
        let on_failure = self.generation.config.firewall.on_failure;
        let stays_closed = result.is_err() && on_failure == OnFailure::Closed;
        let released = if stays_closed {
            firewall.abandon().await;
            Ok(())
        } else {
            firewall.release().await
        };
        fault::pass(Step::Drain);
        self.tasks.tell_to_stop();
        let open = inbound.open();
        if open > 0 {
            info!("open connections: {open}; waiting up to {} s for them", DRAIN.as_secs());
        }
        tokio::select! {
            drained = timeout(DRAIN, inbound.drained()) => if drained.is_err() {
                info!("connections that are cut: {}", inbound.open());
            },
            signal = self.signals.stop() => info!("{signal} again: not waiting"),
        }
        fault::pass(Step::Cut);
        // Their resets have to leave while conntrack still translates them: a program that hears
        // nothing would go on sending, and without rules its bytes would leave directly.
        inbound.cut();
        let _ = timeout(CUT, inbound.drained()).await;
        fault::pass(Step::Remove);
        // Where the network stays closed the drop leaves the rules.
        let removed = if stays_closed { Ok(()) } else { firewall.remove().await };
        fault::pass(Step::Removed);
        self.generation.stop_plugins().await;
        if timeout(LAST_ANSWERS, self.tasks.resolver_ended()).await.is_err() {
            warn!("dns.cache-file: the disk takes too long; answers of this run may be lost");
        }
        match parts.purpose {
            Purpose::Daemon => info!("stopped; {}", parts.stats),
            Purpose::DnsOnly => info!("stopped"),
        }
        result.and(released).and(removed)
    }
}

pub(super) fn as_json(view: &impl Serialize) -> ControlReply {
    match serde_json::to_string(view) {
        Ok(json) => ControlReply::Done(json),
        Err(error) => ControlReply::Refused(SOFTWARE, error.to_string()),
    }
}
