//! What a dashboard changes: the member that a group uses, connections, the configuration, a
//! subscription.

use super::Web;
use super::clash_proxies::groups;
use super::reply::{message, not_found, stopping};
use super::visit::{WebBody, empty};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::timeout;

/// No order is longer.
const LARGEST_BODY: usize = 64 << 10;

/// Does what the request says.
pub(super) async fn change(
    web: &Web,
    parts: &[&str],
    request: Request<Incoming>,
) -> Response<WebBody> {
    let method = request.method().clone();
    match (method, parts) {
        (Method::DELETE, ["connections"]) => {
            web.insight.close(None);
            empty(StatusCode::NO_CONTENT)
        }
        (Method::DELETE, ["connections", id]) => {
            // One that is gone already is no mistake.
            if let Ok(id) = id.parse() {
                web.insight.close(Some(id));
            }
            empty(StatusCode::NO_CONTENT)
        }
        (Method::PUT, ["configs"]) => done(web.insight.reload().await, StatusCode::BAD_REQUEST),
        (Method::PATCH, ["configs"]) => match body(web, request).await {
            Some(wanted) => patch(&wanted),
            None => invalid(),
        },
        (Method::PUT, ["proxies", group]) => match body(web, request).await {
            Some(Value::Object(order)) => match order.get("name").and_then(Value::as_str) {
                Some(member) => pin(web, group, Some(member)).await,
                None => invalid(),
            },
            _ => invalid(),
        },
        (Method::DELETE, ["proxies", group]) => pin(web, group, None).await,
        (Method::PUT, ["providers", "proxies", name]) => {
            let Some(status) = web.insight.status().await else { return stopping() };
            if !status.subscriptions.iter().any(|it| it.name == *name) {
                return not_found();
            }
            done(web.insight.update(name).await, StatusCode::SERVICE_UNAVAILABLE)
        }
        _ => empty(StatusCode::METHOD_NOT_ALLOWED),
    }
}

async fn pin(web: &Web, group: &str, member: Option<&str>) -> Response<WebBody> {
    let Some(status) = web.insight.status().await else { return stopping() };
    if !groups(&status).any(|it| it.name == group) {
        let is_proxy = status.proxies.iter().any(|it| it.name == group);
        return match is_proxy || ["DIRECT", "REJECT", "GLOBAL"].contains(&group) {
            true => message(StatusCode::BAD_REQUEST, "Must be a Selector: it is no group"),
            false => not_found(),
        };
    }
    let pinned = web.insight.pin(group, member).await;
    let pinned = pinned.map_err(|why| format!("Selector update error: proxy not exist: {why}"));
    done(pinned, StatusCode::BAD_REQUEST)
}

/// What snet has no counterpart for is not taken in silence.
fn patch(wanted: &Value) -> Response<WebBody> {
    let Value::Object(wanted) = wanted else { return invalid() };
    let refused = wanted.iter().find(|(key, value)| {
        let is_rule = value.as_str().is_some_and(|mode| mode.eq_ignore_ascii_case("rule"));
        !(key.as_str() == "mode" && is_rule)
    });
    match refused {
        None => empty(StatusCode::NO_CONTENT),
        Some((key, value)) => {
            let found: String = value.to_string().chars().take(100).collect();
            let words = format!(
                "{key}: found {found}; accepted: mode \"rule\", the only one that snet has; what \
                 else there is stands in its file"
            );
            message(StatusCode::BAD_REQUEST, &words)
        }
    }
}

fn done(result: Result<(), String>, refused: StatusCode) -> Response<WebBody> {
    match result {
        Ok(()) => empty(StatusCode::NO_CONTENT),
        Err(why) => message(refused, &why),
    }
}

fn invalid() -> Response<WebBody> {
    message(StatusCode::BAD_REQUEST, "Body invalid")
}

/// The body, if it is JSON, not too long, and comes in time.
async fn body(web: &Web, request: Request<Incoming>) -> Option<Value> {
    let collecting = Limited::new(request.into_body(), LARGEST_BODY).collect();
    let body = timeout(web.patience, collecting).await.ok()?.ok()?.to_bytes();
    serde_json::from_slice(&body).ok()
}
