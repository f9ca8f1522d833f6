//! Tests of proxies: the codes are those of mihomo. 504: it took too long. 503: it failed. 400:
//! what was asked for is no test. A test goes through the proxy that it names and nowhere else.

use super::Web;
use super::clash_proxies::groups;
use super::guard::parameter;
use super::reply::{message, not_found, object, stopping};
use super::visit::{WebBody, empty};
use crate::view::{DIRECT, DelayAsk, DelayView, StatusView};
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

/// `/proxies/NAME/delay`: of a group, the member that it uses.
pub(super) async fn of_proxy(web: &Web, name: &str, query: &str) -> Response<WebBody> {
    let Some(status) = web.insight.status().await else { return stopping() };
    let Some(tested) = tested(&status, name) else { return not_found() };
    match ask(web, vec![tested], query).await {
        Ok(views) => match views.first() {
            Some(DelayView { delay_ms: Some(delay), .. }) => object(&json!({ "delay": delay })),
            Some(view) => failed(std::slice::from_ref(view)),
            None => not_found(),
        },
        Err(refused) => refused,
    }
}

/// `/group/NAME/delay`: of each member; those that fail are left out. As in mihomo it ends a pin.
pub(super) async fn of_group(web: &Web, name: &str, query: &str) -> Response<WebBody> {
    let Some(status) = web.insight.status().await else { return stopping() };
    let Some(group) = groups(&status).find(|group| group.name == name) else {
        return not_found();
    };
    let tested = ask(web, vec![name.to_owned()], query).await;
    if group.pinned.is_some() && tested.is_ok() {
        // Dashboards know no other way to end a pin, and say so. One of the meantime stays.
        let now = web.insight.status().await;
        let pinned = now.as_ref().and_then(|now| groups(now).find(|it| it.name == name));
        if pinned.is_some_and(|now| now.pinned == group.pinned) {
            let _ = web.insight.pin(name, None).await;
        }
    }
    match tested {
        Ok(views) => {
            let delay = |view: &DelayView| Some((view.name.clone(), view.delay_ms?.into()));
            let delays: Map<String, Value> = views.iter().filter_map(delay).collect();
            match delays.is_empty() {
                true => failed(&views),
                false => object(&Value::Object(delays)),
            }
        }
        Err(refused) => refused,
    }
}

/// `/providers/proxies/NAME/healthcheck`: of each of its proxies.
pub(super) async fn of_provider(web: &Web, name: &str, query: &str) -> Response<WebBody> {
    let Some(status) = web.insight.status().await else { return stopping() };
    let Some(provider) = status.subscriptions.iter().find(|it| it.name == name) else {
        return not_found();
    };
    let proxies = provider.proxies.clone();
    if !proxies.is_empty()
        && let Err(refused) = ask(web, proxies, query).await
    {
        return refused;
    }
    empty(StatusCode::NO_CONTENT)
}

/// What a test of this name tests.
fn tested(status: &StatusView, name: &str) -> Option<String> {
    if name == DIRECT || status.proxies.iter().any(|proxy| proxy.name == name) {
        return Some(name.to_owned());
    }
    let group = groups(status).find(|group| group.name == name)?;
    group.now.clone().or_else(|| group.members.first().cloned())
}

async fn ask(
    web: &Web,
    names: Vec<String>,
    query: &str,
) -> Result<Vec<DelayView>, Response<WebBody>> {
    let refused = |why: &str| message(StatusCode::BAD_REQUEST, &format!("Body invalid: {why}"));
    let timeout = match parameter(query, "timeout").map(|text| text.parse()) {
        None => None,
        Some(Ok(timeout)) => Some(timeout),
        Some(Err(_)) => return Err(refused("timeout: accepted: a number of milliseconds")),
    };
    let url = parameter(query, "url").filter(|url| !url.is_empty());
    let expected = parameter(query, "expected");
    let ask = DelayAsk { names, url, timeout, expected };
    web.insight.delays(ask).await.map_err(|why| refused(&why))
}

/// Every one of them failed.
fn failed(views: &[DelayView]) -> Response<WebBody> {
    if views.iter().any(|view| view.is_late) {
        return message(StatusCode::GATEWAY_TIMEOUT, "Timeout");
    }
    let why = views.iter().find_map(|view| view.why.as_deref()).unwrap_or("there is no proxy");
    let words = format!("An error occurred in the delay test: {why}");
    message(StatusCode::SERVICE_UNAVAILABLE, &words)
}
