//! Proxies, groups and subscriptions in the forms of the Clash API.
//!
//! A group is of the type whose policy is nearest: `Fallback`, `URLTest`, `LoadBalance`. Its
//! `fixed` is the member that the operator has pinned. A subscription is a provider; its proxies
//! stand among the others too.

use super::clash::rfc3339;
use crate::view::{DIRECT, GroupView, ProxyView, StatusView, SubscriptionView};
use serde_json::{Map, Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What dashboards fetch, unless they know better.
const TEST_URL: &str = "https://www.gstatic.com/generate_204";

/// The groups, that of all proxies among them.
pub(super) fn groups(status: &StatusView) -> impl Iterator<Item = &GroupView> {
    status.all_proxies.iter().chain(&status.groups)
}

/// The values of `/proxies`, by name: what is always there, the groups, the proxies.
pub(super) fn proxies(status: &StatusView) -> Map<String, Value> {
    let mut proxies = Map::new();
    for (name, kind) in [(DIRECT, "Direct"), ("REJECT", "Reject")] {
        proxies.insert(
            name.into(),
            json!({
                "name": name, "type": kind, "udp": true, "alive": true, "history": [],
            }),
        );
    }
    for group in groups(status) {
        proxies.insert(group.name.clone(), self::group(group, status));
    }
    for proxy in &status.proxies {
        proxies.insert(proxy.name.clone(), self::proxy(proxy, status));
    }
    let all: Vec<String> = proxies.keys().cloned().collect();
    let first = groups(status).next().map_or(DIRECT, |group| &group.name);
    proxies.insert(
        "GLOBAL".into(),
        json!({
            "name": "GLOBAL", "type": "Fallback", "udp": true, "alive": true, "history": [],
            "all": all, "now": first, "hidden": true,
        }),
    );
    proxies
}

fn group(group: &GroupView, status: &StatusView) -> Value {
    let now = group.now.clone().unwrap_or_default();
    // That of the member that is used.
    let used = status.proxies.iter().find(|proxy| proxy.name == now);
    let history = used.map(history).unwrap_or_default();
    let kind = match group.policy.as_str() {
        "fastest" => "URLTest",
        "spread" => "LoadBalance",
        _ => "Fallback",
    };
    json!({
        "name": group.name, "type": kind, "udp": true, "alive": true, "history": history,
        "all": group.members, "now": now, "fixed": group.pinned.clone().unwrap_or_default(),
        "hidden": false, "icon": "", "testUrl": TEST_URL, "expectedStatus": "*",
    })
}

fn proxy(proxy: &ProxyView, status: &StatusView) -> Value {
    let kind = match proxy.kind.as_str() {
        "shadowsocks" => "Shadowsocks",
        "socks5" => "Socks5",
        _ => "Http",
    };
    let provider = status.subscriptions.iter().find(|it| it.proxies.contains(&proxy.name));
    json!({
        "name": proxy.name, "type": kind, "udp": true, "alive": proxy.state != "down",
        "history": history(proxy), "extra": {},
        "provider-name": provider.map_or("", |provider| &provider.name),
    })
}

/// The tests that were asked for, then what is known now, where that is something else.
fn history(proxy: &ProxyView) -> Vec<Value> {
    let entry = |at: SystemTime, delay| json!({ "time": rfc3339(at), "delay": delay });
    let moment = |at| UNIX_EPOCH + Duration::from_secs(at);
    let tests = proxy.tests.iter();
    // 0 is a failure.
    let mut history: Vec<_> =
        tests.map(|test| entry(moment(test.at), test.delay_ms.unwrap_or(0))).collect();
    let last = proxy.tests.last().map(|test| test.delay_ms);
    let now = SystemTime::now();
    match (proxy.state.as_str(), last, proxy.delay_ms) {
        ("down", None | Some(Some(_)), _) => history.push(entry(now, 0)),
        ("down", ..) => {}
        (_, None, Some(delay)) => history.push(entry(now, delay.max(1))),
        _ => {}
    }
    history
}

/// The values of `/providers/proxies`, by name.
pub(super) fn providers(status: &StatusView) -> Map<String, Value> {
    let all = status.subscriptions.iter();
    all.map(|it| (it.name.clone(), provider(it, status))).collect()
}

fn provider(subscription: &SubscriptionView, status: &StatusView) -> Value {
    let SubscriptionView { name, is_fetched, fetched, used, total, expires, .. } = subscription;
    let is_its = |proxy: &&ProxyView| subscription.proxies.contains(&proxy.name);
    let proxies: Vec<_> =
        status.proxies.iter().filter(is_its).map(|it| self::proxy(it, status)).collect();
    let mut provider = json!({
        "name": name, "type": "Proxy", "vehicleType": if *is_fetched { "HTTP" } else { "File" },
        "proxies": proxies, "testUrl": TEST_URL, "expectedStatus": "*",
    });
    if let Some(fetched) = fetched {
        provider["updatedAt"] = rfc3339(UNIX_EPOCH + Duration::from_secs(*fetched)).into();
    }
    if used.is_some() || total.is_some() || expires.is_some() {
        // What came and what went is told as one sum.
        provider["subscriptionInfo"] = json!({
            "Upload": 0, "Download": used.unwrap_or(0), "Total": total.unwrap_or(0),
            "Expire": expires.unwrap_or(0),
        });
    }
    provider
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::TestView;

    fn status() -> StatusView {
        let proxy = |name: &str, state: &str, delay_ms| ProxyView {
            name: name.into(),
            kind: "shadowsocks".into(),
            state: state.into(),
            delay_ms,
            ..ProxyView::default()
        };
        StatusView {
            proxies: vec![proxy("a", "good", Some(12)), proxy("p/b", "down", None)],
            all_proxies: Some(GroupView {
                name: "PROXY".into(),
                policy: "first".into(),
                members: vec!["a".into(), "p/b".into()],
                now: Some("a".into()),
                pinned: Some("p/b".into()),
            }),
            subscriptions: vec![SubscriptionView {
                name: "p".into(),
                is_fetched: true,
                fetched: Some(1_800_000_000),
                proxies: vec!["p/b".into()],
                total: Some(10),
                ..SubscriptionView::default()
            }],
            ..StatusView::default()
        }
    }

    #[test]
    fn the_operators_groups_stand_in_the_place_of_that_of_all() {
        let mut status = status();
        status.all_proxies = None;
        status.groups = vec![GroupView {
            name: "video".into(),
            policy: "fastest".into(),
            members: vec!["p/b".into()],
            ..GroupView::default()
        }];
        let all = proxies(&status);
        assert_eq!((&all["video"]["type"], &all["video"]["now"]), (&"URLTest".into(), &"".into()));
        assert!(!all.contains_key("PROXY"));
        assert!(all["GLOBAL"]["all"].as_array().unwrap().contains(&"video".into()));
    }

    #[test]
    fn a_group_tells_what_it_uses_and_what_is_pinned() {
        let mut proxies = proxies(&status());
        assert_eq!(
            (&proxies["PROXY"]["now"], &proxies["PROXY"]["fixed"]),
            (&"a".into(), &"p/b".into())
        );
        assert_eq!(proxies["PROXY"]["history"][0]["delay"], 12);
        assert_eq!(proxies["GLOBAL"]["now"], "PROXY");
        assert_eq!(proxies["p/b"]["provider-name"], "p");
        let b = proxies.remove("p/b").unwrap();
        assert_eq!((&b["alive"], &b["history"][0]["delay"]), (&false.into(), &0.into()));
    }

    #[test]
    fn tests_are_the_history() {
        let test = |at, delay_ms| TestView { at, delay_ms };
        let delays = |state: &str, tests: Vec<TestView>| -> Vec<u64> {
            let proxy =
                ProxyView { state: state.into(), delay_ms: Some(7), tests, ..ProxyView::default() };
            history(&proxy).iter().map(|it| it["delay"].as_u64().unwrap()).collect()
        };
        assert_eq!(delays("good", vec![]), [7]);
        assert_eq!(delays("good", vec![test(1, Some(90)), test(2, None)]), [90, 0]);
        assert_eq!(delays("down", vec![test(1, Some(90))]), [90, 0]);
        assert_eq!(delays("down", vec![test(1, None)]), [0]);
    }

    #[test]
    fn a_subscription_is_a_provider() {
        let providers = providers(&status());
        let provider = &providers["p"];
        assert_eq!(provider["vehicleType"], "HTTP");
        assert_eq!(provider["updatedAt"], "2027-01-15T08:00:00Z");
        assert_eq!(provider["proxies"][0]["name"], "p/b");
        assert_eq!(provider["subscriptionInfo"]["Total"], 10);
    }
}
