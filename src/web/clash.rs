//! The Clash API in the forms that mihomo and sing-box send, as far as dashboards read them.
//!
//! What snet has no counterpart for is left out, not invented: there is one mode. Proxies, groups
//! and subscriptions: [`super::clash_proxies`].

use crate::view::{ALL_PROXIES, DIRECT, ExplainView, FlowView, RuleView, StatusView};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// `/version`. By `meta` dashboards tell that proxies and rules have the fields of mihomo.
pub(super) fn version(status: &StatusView) -> Value {
    json!({ "meta": true, "premium": true, "version": format!("snet {}", status.version) })
}

/// `/configs`
pub(super) fn configs() -> Value {
    json!({
        "port": 0, "socks-port": 0, "redir-port": 0, "tproxy-port": 0, "mixed-port": 0,
        "allow-lan": false, "bind-address": "*", "mode": "rule", "mode-list": ["rule"],
        "modes": ["rule"], "log-level": "info", "ipv6": true, "tun": null,
    })
}

/// `/connections`
pub(super) fn connections(status: &StatusView, flows: &[FlowView]) -> Value {
    let now = SystemTime::now();
    let flows: Vec<_> = flows.iter().map(|flow| connection(flow, now)).collect();
    json!({
        "downloadTotal": status.traffic.down,
        "uploadTotal": status.traffic.up,
        "memory": status.memory.unwrap_or_default(),
        "connections": flows,
    })
}

fn connection(flow: &FlowView, now: SystemTime) -> Value {
    // From the server to the group.
    let chains: Vec<&str> = match (&flow.proxy, &flow.group) {
        (None, _) => vec![DIRECT],
        (Some(proxy), Some(group)) => vec![proxy, group],
        (Some(proxy), None) => vec![proxy, ALL_PROXIES],
    };
    let (client, destination) = (flow.client, flow.destination);
    json!({
        "id": flow.id.to_string(),
        "upload": flow.up,
        "download": flow.down,
        "start": rfc3339(now - Duration::from_secs(flow.age)),
        "chains": chains,
        "providerChains": chains.iter().map(|_| "").collect::<Vec<_>>(),
        "rule": flow.reason,
        "rulePayload": "",
        "metadata": {
            "network": flow.network,
            "type": "Redir",
            "sourceIP": client.ip().to_canonical(),
            "sourcePort": client.port().to_string(),
            "destinationIP": destination.ip().to_canonical(),
            "destinationPort": destination.port().to_string(),
            "host": flow.name.as_deref().unwrap_or_default(),
            "dnsMode": "normal",
            "process": "",
            "processPath": "",
            "uid": 0,
            "remoteDestination": destination.ip().to_canonical(),
            "sniffHost": "",
            "inboundName": "snet",
        },
    })
}

/// `/rules`
pub(super) fn rules(rules: &[RuleView]) -> Value {
    let now = SystemTime::now();
    let rules = rules.iter().enumerate().map(|(index, rule)| {
        let last = rule.last_hit.and_then(|ago| now.checked_sub(Duration::from_secs(ago)));
        json!({
            "index": index, "type": rule.kind, "payload": rule.payload, "proxy": rule.proxy,
            "size": rule.size.map_or(-1, |size| i64::try_from(size).unwrap_or(i64::MAX)),
            "extra": {
                "disabled": false,
                "hitCount": rule.hits,
                "hitAt": rfc3339(last.unwrap_or(SystemTime::UNIX_EPOCH)),
            },
        })
    });
    json!({ "rules": rules.collect::<Vec<_>>() })
}

/// `/dns/query`, of an address type. `None`: of another type nothing is known.
pub(super) fn dns_query(explained: &ExplainView, kind: &str) -> Option<Value> {
    let name = explained.name.as_ref()?;
    let record = name.records.iter().find(|it| it.kind.eq_ignore_ascii_case(kind))?;
    let number = if record.kind == "A" { 1 } else { 28 };
    let owner = format!("{}.", name.name);
    let status = match record.instead.as_deref() {
        Some(instead) if instead.starts_with("SERVFAIL") => 2,
        Some(instead) if instead.starts_with("no such name") => 3,
        _ => 0,
    };
    let ttl = record.cached.as_ref().map_or(0, |cached| cached.left);
    let answers = record
        .answer
        .iter()
        .map(|it| json!({ "name": owner, "type": number, "TTL": ttl, "data": it }));
    let mut answer = json!({
        "Status": status, "TC": false, "RD": true, "RA": true, "AD": false, "CD": false,
        "Server": "internal",
        "Question": [{ "Name": owner, "Qtype": number, "Qclass": 1 }],
    });
    if !record.answer.is_empty() {
        answer["Answer"] = answers.collect();
    }
    Some(answer)
}

/// Seconds of UTC, as RFC 3339 writes them.
pub(super) fn rfc3339(time: SystemTime) -> String {
    // The form of HTTP has the same parts in another order: "Sun, 06 Nov 1994 08:49:37 GMT".
    let text = httpdate::fmt_http_date(time);
    let parts: Vec<&str> = text.split(' ').collect();
    let [_, day, month, year, clock, _] = parts[..] else { return String::new() };
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = MONTHS.iter().position(|it| *it == month).unwrap_or_default() + 1;
    format!("{year}-{month:02}-{day}T{clock}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_its_chain() {
        let mut flow = FlowView {
            id: 7,
            network: "tcp".into(),
            client: "[::ffff:192.0.2.7]:40000".parse().unwrap(),
            destination: "203.0.113.1:443".parse().unwrap(),
            name: Some("example.com".into()),
            is_open: true,
            proxy: Some("tokyo".into()),
            group: Some("video".into()),
            reason: "foreign".into(),
            age: 5,
            up: 1,
            down: 2,
        };
        let all = connections(&StatusView::default(), std::slice::from_ref(&flow));
        let shown = &all["connections"][0];
        assert_eq!(shown["chains"], json!(["tokyo", "video"]));
        assert_eq!(
            (&shown["id"], &shown["metadata"]["sourceIP"]),
            (&"7".into(), &"192.0.2.7".into())
        );
        assert_eq!(shown["metadata"]["destinationPort"], "443", "ports are texts");
        flow.proxy = None;
        let chains = |flows: &[FlowView]| -> Vec<Value> {
            let all = connections(&StatusView::default(), flows);
            all["connections"].as_array().unwrap().iter().map(|it| it["chains"].clone()).collect()
        };
        assert_eq!(chains(&[flow]), [json!(["DIRECT"])]);
        assert_eq!(chains(&[]), [] as [Value; 0]);
    }

    #[test]
    fn a_rule_has_its_hits() {
        let hit = RuleView { kind: "GeoIP".into(), hits: 7, last_hit: Some(0), ..<_>::default() };
        let shown = rules(&[hit, RuleView::default()]);
        let [hit, never] = [0, 1].map(|place| &shown["rules"][place]["extra"]);
        assert_eq!((&hit["hitCount"], &hit["disabled"]), (&7.into(), &false.into()));
        assert!(hit["hitAt"].as_str().unwrap() > "2020", "{hit}");
        assert_eq!(
            (&never["hitCount"], &never["hitAt"]),
            (&0.into(), &"1970-01-01T00:00:00Z".into())
        );
    }

    #[test]
    fn a_moment() {
        let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(rfc3339(moment), "1994-11-06T08:49:37Z");
    }
}
