//! What `snet status` prints: one subject a line, most important first.

use super::{
    Bytes, CaptureView, DirectView, FlowView, GroupView, ProxyView, RuleTrafficView, RuleView,
    Span, StatusView, TodayView, TrafficView, WarningView,
};
use std::fmt;

impl fmt::Display for StatusView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = self.memory.map(|bytes| format!(", {} of memory", Bytes(bytes)));
        let memory = memory.unwrap_or_default();
        let StatusView { version, pid, what, .. } = self;
        writeln!(f, "running: {what}")?;
        writeln!(f, "snet {version}, process {pid}, for {}{memory}", Span(self.uptime))?;
        for capture in &self.capture {
            writeln!(f, "{capture}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "{warning}")?;
        }
        if !self.capture.is_empty() {
            writeln!(f, "{}", self.traffic)?;
        }
        self.write_direct(f)?;
        if let Some(today) = &self.today {
            writeln!(f, "{today}")?;
        }
        self.write_names(f)?;
        self.write_trust(f)?;
        // Of all proxies it says nothing new, unless one is pinned.
        let all = self.all_proxies.iter().filter(|it| it.pinned.is_some());
        for group in self.groups.iter().chain(all) {
            writeln!(f, "{group}")?;
        }
        for proxy in &self.proxies {
            writeln!(f, "{proxy}")?;
        }
        for rule in self.rules.iter().filter(|rule| rule.has_decided()) {
            writeln!(f, "{rule}")?;
        }
        self.write_lists(f)?;
        self.write_events(f)?;
        if self.log_lines_lost > 0 {
            writeln!(f, "log: {} lines were dropped, since nobody read them", self.log_lines_lost)?;
        }
        Ok(())
    }
}

impl StatusView {
    /// What the kernel sent directly, by reason; the families together.
    fn write_direct(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(direct) = &self.direct else { return Ok(()) };
        let sum = |of: &dyn Fn(&&DirectView) -> bool| {
            let of = direct.iter().filter(of);
            of.fold((0, 0), |(down, up), it| (down + it.down, up + it.up))
        };
        let (down, up) = sum(&|_| true);
        write!(f, "past the daemon, by the kernel: {} down, {} up", Bytes(down), Bytes(up))?;
        let reasons = [
            ("domestic", "domestic"),
            ("rule", "rules.direct"),
            ("name", "names that go direct"),
            ("private", "local networks"),
            ("foreign", "foreign"),
        ];
        let reasons = reasons.map(|(word, says)| (says, sum(&|it| it.reason == word)));
        let reasons = reasons.iter().filter(|(_, sums)| *sums != (0, 0));
        let reasons: Vec<_> = reasons
            .map(|(says, (down, up))| format!("{says} {} down, {} up", Bytes(*down), Bytes(*up)))
            .collect();
        match reasons.is_empty() {
            true => writeln!(f),
            false => writeln!(f, " ({})", reasons.join("; ")),
        }
    }

    fn write_names(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: u64 = self.names.values().sum();
        write!(f, "names: {all} answered")?;
        let of = |word: &str| self.names.get(word).copied().unwrap_or_default();
        let parts = [
            (of("cache") + of("stale"), "from the cache"),
            (of("domestic"), "by the domestic side"),
            (of("trusted"), "by the trusted side"),
            (of("asked-server"), "by the server that was asked"),
            (of("local"), "by hosts, rules and lists"),
            (of("failed"), "failed"),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<_> = parts.map(|(count, what)| format!("{count} {what}")).collect();
        match parts.is_empty() {
            true => writeln!(f),
            false => writeln!(f, ": {}", parts.join(", ")),
        }
    }
}

impl fmt::Display for CaptureView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CaptureView { what, state, since, .. } = self;
        write!(f, "capture of {what}: {state} (for {})", Span(*since))
    }
}

impl fmt::Display for WarningView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WarningView { text, proxy, since } = self;
        write!(f, "warning for {}: ", Span(*since))?;
        if let Some(proxy) = proxy {
            write!(f, "proxy {proxy}: ")?;
        }
        f.write_str(text)
    }
}

impl fmt::Display for TrafficView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TrafficView { open, accepted, proxied, direct, refused, up, down, .. } = self;
        write!(
            f,
            "connections: {open} open of {accepted}: {proxied} through a proxy, {direct} directly, \
             {refused} refused"
        )?;
        let TrafficView { open_sessions, sessions, dropped_datagrams, .. } = self;
        if *sessions > 0 {
            write!(f, "; {open_sessions} UDP sessions open of {sessions}")?;
        }
        if *dropped_datagrams > 0 {
            write!(f, ", {dropped_datagrams} datagrams dropped")?;
        }
        write!(f, "; {} down, {} up", Bytes(*down), Bytes(*up))
    }
}

impl fmt::Display for TodayView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TodayView { proxied_up, proxied_down, direct_up, direct_down, .. } = self;
        let amount = |down: u64, up: u64| format!("{} down, {} up", Bytes(down), Bytes(up));
        let since = if self.since_start { ", since the start" } else { "" };
        let proxied = amount(*proxied_down, *proxied_up);
        write!(f, "today{since}: through a proxy {proxied}")?;
        write!(f, "; directly {}", amount(*direct_down, *direct_up))?;
        match (self.kernel_down, self.kernel_up) {
            (Some(down), Some(up)) => write!(f, "; by the kernel {}", amount(down, up)),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for ProxyView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProxyView { says, open, connections, sessions, up, down, tests, .. } = self;
        write!(f, "proxy {says}")?;
        let carried = connections + sessions;
        if carried > 0 {
            write!(f, "; {open} open of {carried}, {} down, {} up", Bytes(*down), Bytes(*up))?;
        }
        match tests.last().map(|test| test.delay_ms) {
            None => Ok(()),
            Some(Some(delay)) => write!(f, "; last test: {delay} ms"),
            Some(None) => write!(f, "; last test: failed"),
        }
    }
}

impl fmt::Display for GroupView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GroupView { name, policy, members, now, pinned } = self;
        write!(f, "group {name}: {policy} of {}", members.join(", "))?;
        match (pinned, now) {
            (Some(pinned), now) if now.as_ref() == Some(pinned) => {
                write!(f, "; pinned to {pinned}")
            }
            (Some(pinned), Some(now)) => {
                write!(f, "; pinned to {pinned}, which does not work; now {now}")
            }
            (Some(pinned), None) => write!(f, "; pinned to {pinned}, which does not work"),
            (None, Some(now)) => write!(f, "; now {now}"),
            (None, None) => Ok(()),
        }
    }
}

impl RuleView {
    /// Whether anything has gone its way.
    fn has_decided(&self) -> bool {
        self.hits > 0 || self.past.as_ref().is_some_and(|past| *past != RuleTrafficView::default())
    }
}

impl fmt::Display for RuleView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RuleView { kind, payload, hits, last_hit, past, .. } = self;
        let times = if *hits == 1 { "once".into() } else { format!("{hits} times") };
        match &**kind {
            "DomainSuffix" => write!(f, "rule names of {payload}: {times}")?,
            "GeoIP" => write!(f, "rule domestic list: {times}")?,
            "Match" => write!(f, "rule for the rest: {times}")?,
            _ => write!(f, "rule {payload}: {times}")?,
        }
        if let Some(ago) = last_hit {
            write!(f, ", last {} ago", Span(*ago))?;
        }
        match past {
            Some(RuleTrafficView { up: 0, down: 0 }) | None => Ok(()),
            Some(RuleTrafficView { up, down }) => {
                write!(f, "; past the daemon {} down, {} up", Bytes(*down), Bytes(*up))
            }
        }
    }
}

impl FlowView {
    /// The way it takes, in a word or two.
    pub fn route(&self) -> String {
        match (self.is_open, &self.proxy, &self.group) {
            (false, _, _) => "connecting".into(),
            (true, None, _) => "direct".into(),
            (true, Some(proxy), Some(group)) => format!("{group}: {proxy}"),
            (true, Some(proxy), None) => proxy.clone(),
        }
    }

    /// The name of the destination, or its address.
    pub fn host(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.destination.ip().to_canonical().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;

    fn rules() -> Vec<RuleView> {
        let rule =
            |kind: &str, payload: &str, hits, last_hit, bytes: Option<(u64, u64)>| RuleView {
                kind: kind.into(),
                payload: payload.into(),
                hits,
                last_hit,
                past: bytes.map(|(down, up)| RuleTrafficView { up, down }),
                ..RuleView::default()
            };
        vec![
            rule("IPCIDR", "rules.direct", 0, None, Some((0, 0))),
            rule("DomainSuffix", "rules.block", 4, Some(90), None),
            rule("GeoIP", "CN", 0, None, Some((4 << 20, 2048))),
            rule("Match", "", 40, Some(1), Some((0, 0))),
        ]
    }

    #[test]
    fn a_status_for_people() {
        let capture = CaptureView {
            what: "IPv4".into(),
            state: "captured".into(),
            is_good: true,
            since: 7500,
        };
        let proxy = ProxyView {
            name: "tokyo".into(),
            says: "tokyo: answers, 12 ms".into(),
            open: 3,
            connections: 40,
            sessions: 2,
            up: 2048,
            down: 5 << 20,
            ..ProxyView::default()
        };
        let idle = ProxyView { says: "spare: not asked yet".into(), ..ProxyView::default() };
        let group = GroupView {
            name: "video".into(),
            policy: "fastest".into(),
            members: vec!["tokyo".into(), "spare".into()],
            now: Some("tokyo".into()),
            pinned: None,
        };
        let traffic = TrafficView {
            open: 3,
            accepted: 50,
            proxied: 40,
            direct: 6,
            refused: 4,
            up: 2048,
            down: 5 << 20,
            ..TrafficView::default()
        };
        let direct = |reason: &str, family: &str, up, down| DirectView {
            reason: reason.into(),
            family: family.into(),
            up,
            down,
        };
        let direct = vec![
            direct("domestic", "IPv4", 1024, 3 << 20),
            direct("domestic", "IPv6", 1024, 1 << 20),
            direct("foreign", "IPv4", 512, 0),
        ];
        let names = [("cache", 70), ("stale", 1), ("trusted", 9)];
        let status = StatusView {
            version: "1.2.3".into(),
            pid: 77,
            uptime: 7500,
            what: "TCP port 1111".into(),
            capture: vec![capture],
            traffic,
            direct: Some(direct),
            today: Some(TodayView {
                since_start: true,
                proxied_up: 1024,
                proxied_down: 4 << 20,
                direct_up: 1,
                direct_down: 2,
                kernel_up: Some(512),
                kernel_down: Some(3 << 20),
            }),
            names: names.map(|(word, count)| (word.to_owned(), count)).into(),
            proxies: vec![proxy, idle],
            groups: vec![group.clone()],
            all_proxies: Some(GroupView { name: "PROXY".into(), pinned: None, ..group }),
            subscriptions: Vec::new(),
            rules: rules(),
            lists: vec!["/etc/names: 5 lines used".into()],
            memory: Some(9 << 20),
            warnings: vec![WarningView {
                text: "is down: refused".into(),
                proxy: Some("tokyo".into()),
                since: 90,
            }],
            log_lines_lost: 7,
            ..StatusView::default()
        };
        assert_eq!(
            status.to_string(),
            "running: TCP port 1111\n\
             snet 1.2.3, process 77, for 2 h 5 min, 9.0 MiB of memory\n\
             capture of IPv4: captured (for 2 h 5 min)\n\
             warning for 1 min 30 s: proxy tokyo: is down: refused\n\
             connections: 3 open of 50: 40 through a proxy, 6 directly, 4 refused; 5.0 MiB down, \
             2.0 KiB up\n\
             past the daemon, by the kernel: 4.0 MiB down, 2.5 KiB up (domestic 4.0 MiB down, \
             2.0 KiB up; foreign 0 B down, 512 B up)\n\
             today, since the start: through a proxy 4.0 MiB down, 1.0 KiB up; directly 2 B down, \
             1 B up; by the kernel 3.0 MiB down, 512 B up\n\
             names: 80 answered: 71 from the cache, 9 by the trusted side\n\
             group video: fastest of tokyo, spare; now tokyo\n\
             proxy tokyo: answers, 12 ms; 3 open of 42, 5.0 MiB down, 2.0 KiB up\n\
             proxy spare: not asked yet\n\
             rule names of rules.block: 4 times, last 1 min 30 s ago\n\
             rule domestic list: 0 times; past the daemon 4.0 MiB down, 2.0 KiB up\n\
             rule for the rest: 40 times, last 1 s ago\n\
             list /etc/names: 5 lines used\n\
             log: 7 lines were dropped, since nobody read them\n"
        );
        let json = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<StatusView>(&json).unwrap(), status);
    }

    #[test]
    fn a_pin_and_a_test_are_told() {
        let group = |pinned: &str, now: Option<&str>| GroupView {
            name: "video".into(),
            policy: "first".into(),
            members: vec!["a".into(), "b".into()],
            now: now.map(str::to_owned),
            pinned: Some(pinned.into()),
        };
        for (now, said) in [
            (Some("b"), "group video: first of a, b; pinned to b"),
            (Some("a"), "group video: first of a, b; pinned to b, which does not work; now a"),
            (None, "group video: first of a, b; pinned to b, which does not work"),
        ] {
            assert_eq!(group("b", now).to_string(), said);
        }
        let status =
            StatusView { all_proxies: Some(group("b", Some("b"))), ..StatusView::default() };
        assert!(status.to_string().contains("pinned to b"), "{status}");
        let tested = |delay_ms| ProxyView {
            says: "a: answers".into(),
            tests: vec![TestView { at: 1, delay_ms }],
            ..ProxyView::default()
        };
        assert_eq!(tested(Some(90)).to_string(), "proxy a: answers; last test: 90 ms");
        assert_eq!(tested(None).to_string(), "proxy a: answers; last test: failed");
    }

    #[test]
    fn where_a_flow_goes() {
        let mut flow = FlowView {
            id: 1,
            network: "tcp".into(),
            client: "192.0.2.7:40000".parse().unwrap(),
            destination: "[::ffff:203.0.113.1]:443".parse().unwrap(),
            name: None,
            is_open: true,
            proxy: None,
            group: None,
            reason: "foreign".into(),
            age: 1,
            up: 0,
            down: 0,
        };
        assert_eq!((flow.host().as_str(), flow.route().as_str()), ("203.0.113.1", "direct"));
        flow.proxy = Some("tokyo".into());
        flow.name = Some("example.com".into());
        assert_eq!((flow.host().as_str(), flow.route().as_str()), ("example.com", "tokyo"));
        flow.group = Some("video".into());
        assert_eq!(flow.route(), "video: tokyo");
        flow.is_open = false;
        assert_eq!(flow.route(), "connecting");
    }
}
