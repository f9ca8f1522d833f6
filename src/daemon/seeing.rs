//! What the daemon shows of itself, put together when somebody asks.

use super::generation::{Generation, Parts};
use super::rule_views;
use super::today::{DayBytes, DayMoment};
use super::upkeep;
use crate::config::{BodyOrigin, Config, Purpose, SubscriptionConfig};
use crate::dispatch::Upstream;
use crate::family::Family;
use crate::firewall::{DirectBytes, DirectCounts, DirectReason};
use crate::stats::{LiveFlow, LiveKind, NameOutcome, Stats};
use crate::view::{
    Bytes, DirectView, FlowView, ProxyView, StatusView, SubscriptionView, TodayView, TrafficView,
};
use crate::warnings;
use std::collections::HashMap;
use std::process;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// All of it but the single flows.
pub(super) fn status(generation: &Generation, parts: &Parts) -> StatusView {
    let config = &generation.config;
    let live = parts.stats.live.list();
    let dispatcher = parts.current.load();
    let now = Instant::now();
    let open = open_through(&live);
    let proxies = dispatcher.upstreams().iter().map(|upstream| {
        let mut view = proxy(config, upstream, now);
        if let Some(open) = open.get(upstream.label()) {
            open.add_to(&mut view);
        }
        view
    });
    // One without a name is that of all proxies, where the operator made none.
    let (named, all): (Vec<_>, Vec<_>) =
        dispatcher.groups().iter().partition(|group| !group.name().is_empty());
    let groups = named.iter().map(|group| group.view(now));
    let capture = match parts.purpose {
        Purpose::Daemon => parts.board.view(),
        Purpose::DnsOnly => Vec::new(),
    };
    let names = NameOutcome::ALL.map(|it| (it.word().to_owned(), parts.stats.names.get(it)));
    StatusView {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: process::id(),
        uptime: parts.began.elapsed().as_secs(),
        what: generation.describe(parts),
        capture,
        warnings: warnings::standing(),
        traffic: traffic(&parts.stats, &live),
        names: names.into(),
        trust: upkeep::trust(&parts.stats.trust),
        proxies: proxies.collect(),
        groups: groups.collect(),
        all_proxies: all.first().map(|group| group.view(now)),
        subscriptions: config.subscriptions.iter().map(subscription).collect(),
        // Whoever wants it reads the kernel's counters: `add_direct`.
        direct: None,
        today: None,
        rules: rule_views::rules(config, &parts.stats.hits),
        lists: config.rules.lists.clone(),
        sources: upkeep::lists(config),
        reloads: parts.reloads.view(),
        refusals: parts.stats.refusals.list().iter().map(upkeep::refusal).collect(),
        memory: resident(),
        log_lines_lost: parts.source.log().lost(),
    }
}

/// The same with what has flowed today; with `of_kernel` also with what the kernel sent directly.
pub(super) fn whole_status(
    generation: &Generation,
    parts: &Parts,
    of_kernel: bool,
) -> impl Future<Output = StatusView> + use<> {
    let mut view = status(generation, parts);
    let (stats, today) = (Arc::clone(&parts.stats), Arc::clone(&parts.today));
    let firewall = Arc::clone(&parts.firewall);
    let is_daemon = parts.purpose == Purpose::Daemon;
    async move {
        if of_kernel {
            add_direct(&mut view, firewall.direct().await.as_ref());
        }
        let sums = DayBytes::of(&stats, &stats.live.list());
        let today = today.today(DayMoment::now(), sums, view.direct.as_deref());
        view.today = is_daemon.then_some(today);
        view
    }
}

/// Every connection and UDP session, the oldest first.
pub(super) fn flows(stats: &Stats) -> Vec<FlowView> {
    stats.live.list().iter().filter_map(|flow| view(flow)).collect()
}

fn subscription(config: &SubscriptionConfig) -> SubscriptionView {
    let (provided, usage) = (&config.provided, config.provided.usage());
    SubscriptionView {
        name: config.name.clone(),
        is_fetched: matches!(config.origin, BodyOrigin::Url(_)),
        fetched: provided.fetched(),
        says: provided.to_string(),
        proxies: provided.proxies.iter().map(|proxy| proxy.name.clone()).collect(),
        used: usage.used,
        total: usage.total,
        expires: usage.expires,
    }
}

fn view(flow: &LiveFlow) -> Option<FlowView> {
    let way = flow.way();
    Some(FlowView {
        id: flow.id,
        network: match flow.kind {
            LiveKind::Connection => "tcp".into(),
            LiveKind::Datagrams => "udp".into(),
        },
        client: flow.client,
        destination: flow.destination()?,
        name: flow.name().map(str::to_owned),
        is_open: way.is_some(),
        proxy: way.as_ref().and_then(|way| way.proxy.as_deref().map(str::to_owned)),
        group: way.as_ref().and_then(|way| way.group.as_deref().map(str::to_owned)),
        reason: way.map(|way| way.reason.to_owned()).unwrap_or_default(),
        age: flow.began.elapsed().as_secs(),
        up: flow.meter.up.get(),
        down: flow.meter.down.get(),
    })
}

fn traffic(stats: &Stats, live: &[Arc<LiveFlow>]) -> TrafficView {
    let open = |kind| live.iter().filter(|flow| flow.kind == kind).count() as u64;
    let datagrams = &stats.datagrams;
    let dropped = [&datagrams.dropped, &datagrams.too_large, &datagrams.rejected];
    let mut view = TrafficView {
        open: open(LiveKind::Connection),
        accepted: stats.accepted.get(),
        proxied: stats.proxied.get(),
        direct: stats.direct.get(),
        refused: stats.refused.get(),
        open_sessions: open(LiveKind::Datagrams),
        sessions: datagrams.sessions.get(),
        dropped_datagrams: dropped.iter().map(|counter| counter.get()).sum(),
        up: stats.bytes_up.get(),
        down: stats.bytes_down.get(),
    };
    for flow in live {
        view.up += flow.meter.up.get();
        view.down += flow.meter.down.get();
    }
    view
}

/// Adds what the kernel's counters say.
fn add_direct(status: &mut StatusView, counts: Option<&DirectCounts>) {
    status.direct = counts.map(direct);
    rule_views::add_direct(&mut status.rules, status.direct.as_deref());
}

/// What the kernel sent directly, as far as it sent anything.
fn direct(counts: &DirectCounts) -> Vec<DirectView> {
    let sent = counts.all().filter(|(_, _, bytes)| *bytes != DirectBytes::default());
    let view = |(reason, family, bytes): (DirectReason, Family, DirectBytes)| DirectView {
        reason: reason.word().into(),
        family: family.to_string(),
        up: bytes.up,
        down: bytes.down,
    };
    sent.map(view).collect()
}

/// What is open through one proxy.
#[derive(Debug, Default)]
struct OpenThrough {
    connections: u64,
    sessions: u64,
    up: u64,
    down: u64,
}

impl OpenThrough {
    fn add_to(&self, proxy: &mut ProxyView) {
        let OpenThrough { connections, sessions, up, down } = self;
        proxy.open += connections + sessions;
        proxy.connections += connections;
        proxy.sessions += sessions;
        proxy.up += up;
        proxy.down += down;
    }
}

/// By the proxy's name. One walk for all of them: there may be hundreds.
fn open_through(live: &[Arc<LiveFlow>]) -> HashMap<Arc<str>, OpenThrough> {
    let mut open: HashMap<Arc<str>, OpenThrough> = HashMap::new();
    for flow in live {
        let Some(proxy) = flow.way().and_then(|way| way.proxy) else { continue };
        let sums = open.entry(proxy).or_default();
        match flow.kind {
            LiveKind::Connection => sums.connections += 1,
            LiveKind::Datagrams => sums.sessions += 1,
        }
        sums.up += flow.meter.up.get();
        sums.down += flow.meter.down.get();
    }
    open
}

/// What is known of a proxy, with what the file says of it.
pub(super) fn proxy(config: &Config, upstream: &Upstream, now: Instant) -> ProxyView {
    let configured = config.proxies.iter().find(|proxy| proxy.name == upstream.name());
    let kind = configured.map(|proxy| proxy.kind.word().to_owned()).unwrap_or_default();
    ProxyView { kind, ..upstream.view(now) }
}

/// VmRSS of proc_pid_status(5), in bytes.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// For the service manager: what matters in one line.
pub(super) fn brief(status: &StatusView) -> String {
    let down = status.proxies.iter().filter(|proxy| proxy.state == "down");
    let down: Vec<_> = down.map(|proxy| proxy.name.as_str()).collect();
    let lost = status.capture.iter().find(|capture| !capture.is_good);
    let today = status.today.as_ref().filter(|_| status.traffic.accepted > 0);
    let mut text = match lost {
        Some(capture) => format!("{}: {}", capture.what, capture.state),
        None => status.what.clone(),
    };
    if !down.is_empty() {
        text.push_str(&format!("; down: {}", down.join(", ")));
    }
    if let Some(TodayView { proxied_down, proxied_up, .. }) = today {
        let (down, up) = (Bytes(*proxied_down), Bytes(*proxied_up));
        text.push_str(&format!("; today through a proxy {down} down, {up} up"));
    }
    text
}

/// How often the service manager is told.
pub(super) const BRIEFING: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::FlowWay;

    fn open(stats: &Stats, proxy: Option<&str>, up: u64) -> Arc<LiveFlow> {
        let client = "192.0.2.7:40000".parse().unwrap();
        let flow = stats.live.enter(LiveKind::Connection, client);
        flow.is_for("203.0.113.1:443".parse().unwrap());
        flow.goes(FlowWay { proxy: proxy.map(Arc::from), group: None, reason: "foreign" });
        flow.meter.up.add(up);
        flow.meter.down.add(2 * up);
        flow
    }

    #[test]
    fn what_is_open_counts_beside_what_has_ended() {
        let stats = Stats::default();
        stats.bytes_up.add(100);
        open(&stats, Some("tokyo"), 10);
        open(&stats, Some("tokyo"), 1);
        open(&stats, None, 5);
        open(&stats, Some("osaka"), 4);
        let live = stats.live.list();
        let view = traffic(&stats, &live);
        assert_eq!((view.open, view.up, view.down), (4, 120, 40));
        let mut proxy =
            ProxyView { name: "tokyo".into(), connections: 7, up: 1000, ..ProxyView::default() };
        open_through(&live)["tokyo"].add_to(&mut proxy);
        assert_eq!((proxy.open, proxy.connections, proxy.up, proxy.down), (2, 9, 1011, 22));
    }

    #[test]
    fn a_flow_is_shown_while_it_is_connected() {
        let stats = Stats::default();
        let client = "192.0.2.7:40000".parse().unwrap();
        let dialling = stats.live.enter(LiveKind::Datagrams, client);
        assert!(flows(&stats).is_empty(), "where it goes is not known yet");
        dialling.is_for("203.0.113.1:443".parse().unwrap());
        dialling.is_named("example.com");
        let [flow] = &flows(&stats)[..] else { panic!() };
        assert_eq!((flow.network.as_str(), flow.is_open), ("udp", false));
        assert_eq!(flow.name.as_deref(), Some("example.com"));
        dialling.goes(FlowWay { proxy: None, group: None, reason: "rule" });
        assert!(flows(&stats)[0].is_open);
    }

    #[test]
    fn this_process_holds_memory() {
        assert!(resident().unwrap() > 1 << 20);
    }

    #[test]
    fn the_manager_is_told_what_is_wrong() {
        let mut status = StatusView { what: "TCP port 1111".into(), ..StatusView::default() };
        assert_eq!(brief(&status), "TCP port 1111");
        let proxy = |name: &str, state: &str| ProxyView {
            name: name.into(),
            state: state.into(),
            ..ProxyView::default()
        };
        status.proxies = vec![proxy("tokyo", "down"), proxy("osaka", "good")];
        assert_eq!(brief(&status), "TCP port 1111; down: tokyo");
        status.capture = vec![crate::view::CaptureView {
            what: "IPv4".into(),
            state: "not captured: a rule of another program".into(),
            ..Default::default()
        }];
        assert_eq!(brief(&status), "IPv4: not captured: a rule of another program; down: tokyo");
        status.today = Some(TodayView { proxied_up: 1, proxied_down: 2, ..TodayView::default() });
        assert!(!brief(&status).contains("today"), "nothing has happened");
        status.traffic.accepted = 1;
        let says = brief(&status);
        assert!(says.ends_with("; today through a proxy 2 B down, 1 B up"), "{says}");
    }
}
