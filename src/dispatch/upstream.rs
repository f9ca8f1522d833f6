//! One of the configured proxies, with what is known of how its TCP and its UDP go.

use super::datagrams::{DatagramHealth, SILENT_SESSIONS};
use super::habit::Habit;
use super::health::{Health, Silence};
use super::naming::SendNames;
use super::refusals::{MOST_REFUSALS, Refusals};
use super::standing::{MemberStanding, Rank};
use super::waiting::AwaitedAnswers;
use crate::proxy::Proxy;
use crate::proxy::warm::WarmCounts;
use crate::stats::{Meter, ProxyTraffic};
use crate::sync::lock;
use crate::target::Target;
use crate::view::{ProxyView, Span, TestView};
use crate::warnings::Complaint;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};

/// One of the configured proxies.
#[derive(Debug)]
pub struct Upstream {
    label: Arc<str>,
    /// What went through it, as far as it has ended.
    pub traffic: ProxyTraffic,
    pub(super) proxy: Box<dyn Proxy>,
    pub(super) timeout: Duration,
    pub(super) send_names: SendNames,
    pub(super) health: Health,
    pub(super) refusals: Refusals,
    pub(super) datagrams: DatagramHealth,
    knowledge: Mutex<Knowledge>,
    waiting: Mutex<AwaitedAnswers>,
    /// What is wrong with it, and with its UDP, as the operator was told.
    trouble: Mutex<Complaint>,
    datagram_trouble: Mutex<Complaint>,
    /// The configuration has it no more; connections that are open may.
    is_gone: AtomicBool,
    /// The last tests that were asked for, the oldest first.
    pub(super) tests: Mutex<Vec<TestView>>,
    /// Something was learned that may call for a question.
    pub(super) news: Notify,
    /// It is surely dead.
    death: Notify,
}

/// What connections and questions have told of a member.
#[derive(Debug, Default)]
pub(super) struct Knowledge {
    pub(super) standing: MemberStanding,
    /// How long its dials take.
    pub(super) dials: Habit,
    /// How long an answer takes over a connection that stands: of the last question.
    pub(super) delay: Option<Duration>,
    /// How long the last question took that was answered in time, its dial included.
    pub(super) usual_reply: Option<Duration>,
    /// Why it is down.
    pub(super) cause: String,
    /// It is surely it that does not answer, not whom it was asked for.
    pub(super) is_sure: bool,
    /// It has just turned out that this is not known.
    pub(super) is_ambiguous: bool,
}

/// How long a dial may take before the next member is tried too, as long as nothing is known.
const USUAL_PATIENCE: Duration = Duration::from_millis(300);

/// A connection on a dead member gets so long to show that it lives.
const LAST_CHANCE: Duration = Duration::from_secs(2);

impl Upstream {
    /// A proxy whose dial may take `timeout`.
    pub fn new(proxy: Box<dyn Proxy>, timeout: Duration) -> Self {
        Upstream {
            label: proxy.name().into(),
            traffic: ProxyTraffic::default(),
            proxy,
            timeout,
            send_names: SendNames::default(),
            health: Health::default(),
            refusals: Refusals::default(),
            datagrams: DatagramHealth::default(),
            knowledge: Mutex::default(),
            waiting: Mutex::default(),
            trouble: Mutex::default(),
            datagram_trouble: Mutex::default(),
            is_gone: AtomicBool::new(false),
            tests: Mutex::default(),
            news: Notify::new(),
            death: Notify::new(),
        }
    }

    /// The same, which is told names so.
    #[must_use]
    pub fn sending(self, send_names: SendNames) -> Self {
        Upstream { send_names, ..self }
    }

    /// What is known of it.
    pub(super) fn knowledge(&self) -> MutexGuard<'_, Knowledge> {
        lock(&self.knowledge)
    }

    /// How preferable it is now.
    pub(super) fn rank(&self, now: Instant) -> Rank {
        let knowledge = self.knowledge();
        match knowledge.standing.rank(now) {
            Rank::Down => Rank::Down,
            _ if self.health.is_resting(now) => Rank::Down,
            rank => rank,
        }
    }

    /// How long a dial may take before the next member is tried too.
    pub(super) fn patience(&self) -> Duration {
        self.knowledge().dials.patience().unwrap_or(USUAL_PATIENCE)
    }

    /// How long the first byte may take here without being remarkable.
    pub(super) fn patience_for_answers(&self) -> Duration {
        lock(&self.waiting).patience()
    }

    /// Nothing that was sent to its server arrives: what is ready leads nowhere either.
    pub(super) fn is_out_of_reach(&self) {
        if let Some(endpoint) = self.proxy.endpoint() {
            endpoint.miss();
        }
        self.doubt(Instant::now());
    }

    /// Another member was quicker, or connections are silent: it is asked at once, and passed over
    /// from `from` on unless it answers.
    pub(super) fn doubt(&self, from: Instant) {
        self.knowledge().standing.doubt(from, Instant::now());
        self.news.notify_one();
    }

    /// A connection stands that waits for its first byte.
    pub fn awaits(&self, meter: &Arc<Meter>, destination: SocketAddr) {
        let mut waiting = lock(&self.waiting);
        let is_first = waiting.is_empty();
        waiting.add(meter, destination);
        drop(waiting);
        if is_first {
            self.news.notify_one();
        }
    }

    /// Whether connections wait for their first byte.
    pub(super) fn is_awaited(&self) -> bool {
        !lock(&self.waiting).is_empty()
    }

    /// Looks at the connections that wait.
    pub(super) fn look(&self, now: Instant) {
        let mut waiting = lock(&self.waiting);
        let (found, patience) = (waiting.look(now), waiting.patience());
        drop(waiting);
        if let Some(sent) = found.answered
            && self.knowledge().standing.heard(sent, now)
        {
            self.answers_again();
        }
        if found.is_silent {
            self.knowledge().standing.doubt(now + patience, now);
        }
    }

    /// It does not work; this is said, and holds until [`works`](Self::works).
    pub(super) fn fails(&self, how: String) {
        self.complain(&self.trouble, how);
    }

    fn complain(&self, trouble: &Mutex<Complaint>, how: String) {
        let mut trouble = lock(trouble);
        if !self.is_gone.load(Ordering::Relaxed) {
            trouble.set_of(Some(&self.label), Some(how));
        }
    }

    /// A reload has taken it away: nobody is to be warned of it any more.
    pub(super) fn goes(&self) {
        self.is_gone.store(true, Ordering::Relaxed);
        for trouble in [&self.trouble, &self.datagram_trouble] {
            lock(trouble).clear();
        }
    }

    /// Nothing is wrong with it any more.
    pub(super) fn works(&self) {
        lock(&self.trouble).clear();
    }

    /// Whether a warning of it holds.
    #[cfg(test)]
    pub(super) fn is_warned_of(&self) -> bool {
        lock(&self.trouble).holds()
    }

    /// The same of its UDP.
    pub(super) fn datagrams_fail(&self, how: String) {
        self.complain(&self.datagram_trouble, how);
    }

    pub(super) fn answers_again(&self) {
        self.works();
        self.health.forget();
        info!(proxy = self.name(), "answers again");
    }

    /// Tells those that live on it that it is dead.
    pub(super) fn died(&self) {
        self.death.notify_waiters();
    }

    /// Waits until it is surely dead and a connection, or a session, shows no life: `received` says
    /// what has come back by then.
    pub async fn dies(&self, received: impl Fn() -> u64) {
        loop {
            self.death.notified().await;
            let before = received();
            tokio::time::sleep(LAST_CHANCE).await;
            if received() == before && self.rank(Instant::now()) == Rank::Down {
                return;
            }
        }
    }

    /// Whether new associations are made elsewhere: its UDP rests, or it is surely dead and nothing
    /// has come back by UDP since.
    pub(super) fn is_avoided_for_datagrams(&self, now: Instant) -> bool {
        let knowledge = self.knowledge();
        let dead_since = knowledge.standing.down_since().filter(|_| knowledge.is_sure);
        drop(knowledge);
        self.datagrams.is_resting(now)
            || dead_since.is_some_and(|since| !self.datagrams.was_answered_since(since))
    }

    /// A site that has answered a hello of TLS through it, and could be said one.
    pub(super) fn witness(&self) -> Option<SocketAddr> {
        lock(&self.waiting).witness().filter(|_| cfg!(feature = "tls"))
    }

    /// The network is another one: nothing is known of it any more.
    pub(super) fn forget(&self) {
        self.works();
        lock(&self.datagram_trouble).clear();
        self.health.forget();
        self.datagrams.forget();
        lock(&self.waiting).forget();
        *self.knowledge() = Knowledge::default();
        self.proxy.network_changed();
        if let Some(ahead) = self.proxy.dialled_ahead() {
            ahead.give_up();
        }
        self.news.notify_one();
    }

    /// The proxy's name.
    pub fn name(&self) -> &str {
        self.proxy.name()
    }

    /// Its name, to be handed out.
    pub fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// What is known of it, and what has flowed through it and ended.
    pub fn view(&self, now: Instant) -> ProxyView {
        let rank = self.rank(now);
        let state = match rank {
            Rank::Good => "good",
            Rank::Unproven => "asked",
            Rank::OnTrial => "trial",
            Rank::Doubted => "doubted",
            Rank::Down => "down",
        };
        let delay = self.knowledge().delay;
        ProxyView {
            name: self.name().into(),
            kind: String::new(),
            state: state.into(),
            says: self.describe(now),
            delay_ms: delay.map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX)),
            open: 0,
            connections: self.traffic.connections.get(),
            sessions: self.traffic.sessions.get(),
            up: self.traffic.up.get(),
            down: self.traffic.down.get(),
            tests: lock(&self.tests).clone(),
        }
    }

    /// What is known of it, for people.
    pub(super) fn describe(&self, now: Instant) -> String {
        let mut text = self.describe_standing(now);
        if let Some(ahead) = self.proxy.dialled_ahead()
            && (ahead.ready() > 0 || ahead.counts() != WarmCounts::default())
        {
            let (ready, counts) = (ahead.ready(), ahead.counts());
            text.push_str(&format!("; dialled ahead: {ready} ready, {counts}"));
        }
        text
    }

    fn describe_standing(&self, now: Instant) -> String {
        let rank = self.rank(now);
        let knowledge = self.knowledge();
        let name = self.name();
        let delay = knowledge.delay.map(|it| format!(", {} ms", it.as_millis()));
        let delay = delay.unwrap_or_default();
        let since = knowledge.standing.down_since().map(|since| (now - since).as_secs());
        match (rank, since) {
            (Rank::Down, Some(seconds)) => {
                let what = if knowledge.is_sure { "down" } else { "no answer" };
                format!("{name}: {what} for {}: {}", Span(seconds), knowledge.cause)
            }
            (Rank::Down, None) => format!("{name}: down"),
            (Rank::Doubted, _) => format!("{name}: slow or silent, and being asked"),
            (Rank::Unproven, _) => format!("{name}: being asked"),
            (Rank::OnTrial, _) => format!("{name}: answers again{delay}"),
            (Rank::Good, _) if knowledge.standing.is_heard() => format!("{name}: answers{delay}"),
            (Rank::Good, _) => format!("{name}: not asked yet"),
        }
    }

    /// Tells that its UDP does not work: the kernel reports an error of the server's socket, or
    /// several associations that asked hear nothing. It rests, and its host is resolved again.
    pub fn datagrams_failed(&self, cause: &str) {
        if let Some(endpoint) = self.proxy.endpoint() {
            endpoint.miss();
        }
        if self.datagrams.failed(Instant::now()) {
            self.datagrams_fail(format!("its UDP is down: {}", self.nameless(cause)));
        }
    }

    /// A session has ended, and nothing ever came back on it. Many in a row let the proxy's UDP
    /// rest.
    pub fn datagrams_unanswered(&self) {
        if self.datagrams.unanswered(Instant::now()) {
            self.datagrams_fail(format!(
                "nothing ever came back on {SILENT_SESSIONS} UDP sessions in a row: does the \
                 server carry UDP, on the same port? (if not: udp = false of this [[proxy]])"
            ));
        }
    }

    /// Tells that something came back by UDP.
    pub fn datagrams_answered(&self) {
        if self.datagrams.answered(Instant::now()) {
            lock(&self.datagram_trouble).clear();
            info!(proxy = self.name(), "its UDP answers again");
        }
    }

    /// It works, and does not allow a target. One that allows nothing at all earns one warning: its
    /// rules may want something, or it is no proxy.
    pub(super) fn refused(&self, target: &Target, why: &str) {
        if self.refusals.add(target) {
            warn!(
                proxy = self.name(),
                "it refuses every destination, {MOST_REFUSALS} in a row; is it a proxy, and does \
                 it let this machine use it? (the last: {why})"
            );
        }
    }

    /// Tells how a connection to `destination` went. Three in a row that sent something and never
    /// got a byte back, to more than one destination, earn one warning: a shadowsocks server
    /// answers a wrong password, and one of 2022 a wrong clock, by silence or a reset.
    pub fn report(&self, destination: SocketAddr, sent: u64, received: u64) {
        if received == 0 && self.proxy.is_heard_at_the_dial() {
            return;
        }
        if received == 0 && sent > 0 {
            self.proxy.was_unanswered();
        }
        if let Some(Silence { destinations }) = self.health.went(destination, sent, received) {
            let [one, other] = destinations;
            warn!(
                proxy = self.name(),
                "nothing ever came back on three connections in a row, among them {one} and \
                 {other}; {} (else the proxy does not reach these)",
                self.proxy.suspicion_of_silence()
            );
        }
    }
}
