//! `/metrics`: text of OpenMetrics 1.0, for Prometheus and its kin.
//!
//! Labels have bounded values only: proxies, groups, routes, ways of capture, sources of answers,
//! keys of rules. A destination or a client is never one, so that a host that scans the network
//! fills no database.

use crate::view::{RuleView, StatusView};
use std::fmt::Write;

/// What OpenMetrics is called.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One sample: its labels and its value.
type Sample = (Vec<(&'static str, String)>, u64);

/// The whole text.
pub(super) fn text(status: &StatusView) -> String {
    let mut page = Page::default();
    let build = vec![("version", status.version.clone())];
    page.family("snet_build", "info", "The snet that runs.", [(build, 1)]);
    page.one("snet_uptime_seconds", "gauge", "Since the start.", status.uptime);
    if let Some(bytes) = status.memory {
        page.one("snet_memory_bytes", "gauge", "Resident memory of the process.", bytes);
    }
    let ways = status.capture.iter();
    let ways = ways.map(|it| (vec![("what", it.what.clone())], u64::from(it.is_good)));
    page.family("snet_capture_good", "gauge", "1 where the rules do as the operator wants.", ways);
    let warnings = status.warnings.len() as u64;
    page.one("snet_warnings", "gauge", "Warnings that hold; `snet status` says them.", warnings);

    let traffic = &status.traffic;
    page.one("snet_connections_open", "gauge", "Connections open now.", traffic.open);
    page.one("snet_connections_accepted", "counter", "Connections accepted.", traffic.accepted);
    let routes =
        [("proxy", traffic.proxied), ("direct", traffic.direct), ("refused", traffic.refused)];
    let routes = routes.map(|(route, count)| (vec![("route", route.to_owned())], count));
    page.family("snet_connections", "counter", "Connections by what became of them.", routes);
    page.one("snet_udp_sessions_open", "gauge", "UDP sessions open now.", traffic.open_sessions);
    page.one("snet_udp_sessions", "counter", "UDP sessions begun.", traffic.sessions);
    let dropped = traffic.dropped_datagrams;
    page.one("snet_udp_dropped_datagrams", "counter", "Datagrams dropped.", dropped);
    let bytes = [("up", traffic.up), ("down", traffic.down)];
    let bytes = bytes.map(|(way, bytes)| (vec![("direction", way.to_owned())], bytes));
    page.family("snet_bytes", "counter", "Bytes of connections.", bytes);
    let lost = status.log_lines_lost;
    page.one("snet_log_lost_lines", "counter", "Lines of the log that nobody read.", lost);

    let sent = status.direct.iter().flatten().flat_map(|it| {
        let way = |direction: &str, bytes| {
            let labels = vec![
                ("reason", it.reason.clone()),
                ("family", it.family.clone()),
                ("direction", direction.to_owned()),
            ];
            (labels, bytes)
        };
        [way("up", it.up), way("down", it.down)]
    });
    let help = "Bytes that the kernel sent directly, past the daemon.";
    page.family("snet_kernel_direct_bytes", "counter", help, sent);

    let rules = || status.rules.iter();
    let labels = |it: &RuleView| {
        let rule = if it.payload.is_empty() { "rest" } else { &it.payload };
        vec![("rule", rule.to_owned()), ("kind", it.kind.clone())]
    };
    let help = "Connections, UDP sessions and queries by the rules or the list that decided.";
    let hits = rules().map(|it| (labels(it), it.hits));
    page.family("snet_rule_hits", "counter", help, hits);

    let names = status.names.iter();
    let names = names.map(|(word, count)| (vec![("source", word.clone())], *count));
    page.family("snet_names_answered", "counter", "Names by where the answer came from.", names);

    let proxies = || status.proxies.iter();
    let of = |name: &String| vec![("proxy", name.clone())];
    let up = proxies().map(|it| (of(&it.name), u64::from(it.state != "down")));
    page.family("snet_proxy_up", "gauge", "0 where the proxy is known to be down.", up);
    let delays = proxies().filter_map(|it| Some((of(&it.name), it.delay_ms?)));
    let help = "How long an answer through the proxy took last.";
    page.family("snet_proxy_delay_milliseconds", "gauge", help, delays);
    let open = proxies().map(|it| (of(&it.name), it.open));
    let help = "Connections and UDP sessions open through the proxy.";
    page.family("snet_proxy_open", "gauge", help, open);
    let carried = proxies().map(|it| (of(&it.name), it.connections + it.sessions));
    let help = "Connections and UDP sessions that the proxy carried.";
    page.family("snet_proxy_carried", "counter", help, carried);
    let bytes = proxies().flat_map(|it| {
        let way = |direction: &str, bytes| {
            let labels = vec![("proxy", it.name.clone()), ("direction", direction.to_owned())];
            (labels, bytes)
        };
        [way("up", it.up), way("down", it.down)]
    });
    page.family("snet_proxy_bytes", "counter", "Bytes through the proxy.", bytes);
    page.0.push_str("# EOF\n");
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    /// A metric with one value.
    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help, [(Vec::new(), value)]);
    }

    /// A metric with a value for each set of labels; without any it is left out.
    fn family(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        let page = &mut self.0;
        // Writing to a string cannot fail.
        let _ = writeln!(page, "# TYPE {name} {kind}\n# HELP {name} {help}");
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        for (labels, value) in samples {
            let labels: Vec<_> =
                labels.iter().map(|(key, text)| format!("{key}=\"{}\"", escaped(text))).collect();
            let labels = match labels.is_empty() {
                true => String::new(),
                false => format!("{{{}}}", labels.join(",")),
            };
            let _ = writeln!(page, "{name}{suffix}{labels} {value}");
        }
    }
}

/// As the value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{CaptureView, DirectView, ProxyView};

    #[test]
    fn each_family_is_whole() {
        let proxy = ProxyView {
            name: "a \"b\"".into(),
            state: "down".into(),
            connections: 3,
            sessions: 1,
            down: 7,
            ..ProxyView::default()
        };
        let capture =
            CaptureView { what: "IPv6 UDP".into(), is_good: true, ..CaptureView::default() };
        let status = StatusView {
            version: "1.2.3".into(),
            capture: vec![capture],
            proxies: vec![proxy],
            direct: Some(vec![DirectView {
                reason: "domestic".into(),
                family: "IPv6".into(),
                up: 11,
                down: 12,
            }]),
            names: [("cache".to_owned(), 5)].into(),
            rules: vec![
                RuleView {
                    kind: "IPCIDR".into(),
                    payload: "rules.block".into(),
                    hits: 8,
                    ..RuleView::default()
                },
                RuleView { kind: "Match".into(), hits: 9, ..RuleView::default() },
            ],
            ..StatusView::default()
        };
        let text = text(&status);
        for line in [
            "snet_build_info{version=\"1.2.3\"} 1",
            "# TYPE snet_connections counter",
            "snet_connections_total{route=\"refused\"} 0",
            "snet_capture_good{what=\"IPv6 UDP\"} 1",
            "snet_kernel_direct_bytes_total{reason=\"domestic\",family=\"IPv6\",\
             direction=\"up\"} 11",
            "snet_rule_hits_total{rule=\"rules.block\",kind=\"IPCIDR\"} 8",
            "snet_rule_hits_total{rule=\"rest\",kind=\"Match\"} 9",
            "snet_names_answered_total{source=\"cache\"} 5",
            "snet_proxy_up{proxy=\"a \\\"b\\\"\"} 0",
            "snet_proxy_carried_total{proxy=\"a \\\"b\\\"\"} 4",
            "snet_proxy_bytes_total{proxy=\"a \\\"b\\\"\",direction=\"down\"} 7",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
        assert!(!text.contains("delay"), "it was not measured");
        assert!(text.ends_with("\n# EOF\n"));
        // Lines of one family stand together, and each family is there once.
        let types: Vec<_> = text.lines().filter(|it| it.starts_with("# TYPE ")).collect();
        let mut once = types.clone();
        once.dedup();
        assert_eq!(types, once);
    }
}
