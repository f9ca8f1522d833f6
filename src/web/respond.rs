//! From a request to its answer.

use super::changes::change;
use super::guard::{self, decoded, parameter};
use super::reply::{WithStatus, message, not_found, object, stopping, text};
use super::streams::{self, StreamKind};
use super::visit::{WebBody, WebVisit, empty};
use super::{Web, clash, clash_proxies, delays, metrics, snet_stats};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, CACHE_CONTROL, ORIGIN, VARY,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between the two moments that a rate of `/stats` is made of.
const RATE_OVER: Duration = Duration::from_secs(1);

/// Answers one request.
pub(super) async fn respond(visit: &WebVisit, request: Request<Incoming>) -> Response<WebBody> {
    let has_origin = request.headers().contains_key(ORIGIN);
    let of_ui = match &visit.web.ui {
        Some(ui) => ui.answer(&request).await,
        None => None,
    };
    if let Some(response) = of_ui {
        return response;
    }
    let mut response = match request.method() {
        &Method::OPTIONS => preflight(&request),
        _ if !guard::may(&visit.web.secret, request.headers(), request.uri().query()) => {
            message(StatusCode::UNAUTHORIZED, "Unauthorized")
        }
        _ if !visit.place.has_shown_the_secret() => {
            message(StatusCode::SERVICE_UNAVAILABLE, "too many connections have the secret")
        }
        _ => answer(visit, request).await,
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if has_origin {
        // Whoever has the secret may: a dashboard may be served from anywhere.
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(VARY, HeaderValue::from_static("Origin"));
    }
    response
}

/// A browser asks whether a page may ask; it does not send the secret with that.
fn preflight(request: &Request<Incoming>) -> Response<WebBody> {
    let mut response = empty(StatusCode::OK);
    let wanted = request.headers().get(ACCESS_CONTROL_REQUEST_METHOD).cloned();
    let headers = response.headers_mut();
    let method = wanted.unwrap_or_else(|| HeaderValue::from_static("GET"));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, method);
    let allowed = HeaderValue::from_static("Authorization, Content-Type");
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("300"));
    let network = HeaderValue::from_static("true");
    headers.insert("access-control-allow-private-network", network);
    response
}

async fn answer(visit: &WebVisit, request: Request<Incoming>) -> Response<WebBody> {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let parts: Option<Vec<String>> = path.split('/').skip(1).map(decoded).collect();
    let Some(parts) = parts else { return message(StatusCode::BAD_REQUEST, "Body invalid") };
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    if let Some(kind) = StreamKind::of(&parts).filter(|_| method == Method::GET)
        && (kind != StreamKind::Connections || guard::is_upgrade(request.headers()))
    {
        let begun = streams::begin(visit, kind, request).await;
        return begun.unwrap_or_else(|| message(StatusCode::BAD_REQUEST, "Body invalid"));
    }
    let query = request.uri().query().map(str::to_owned);
    match method {
        Method::GET => read(&visit.web, &parts, query.as_deref()).await,
        _ => change(&visit.web, &parts, request).await,
    }
}

async fn read(web: &Web, parts: &[&str], query: Option<&str>) -> Response<WebBody> {
    let (insight, query) = (&web.insight, query.unwrap_or_default());
    match parts {
        [""] => return object(&json!({ "hello": "snet" })),
        ["configs"] => return object(&clash::configs()),
        ["providers", "rules"] => return object(&json!({ "providers": {} })),
        ["storage", _] => return object(&Value::Null),
        ["rules"] => {
            let rules = insight.rules().await;
            return rules.map_or_else(stopping, |rules| object(&clash::rules(&rules)));
        }
        ["dns", "query"] => return dns_query(web, query).await,
        ["proxies", name, "delay"] | ["providers", "proxies", _, name, "healthcheck"] => {
            return delays::of_proxy(web, name, query).await;
        }
        ["group", name, "delay"] => return delays::of_group(web, name, query).await,
        ["providers", "proxies", name, "healthcheck"] => {
            return delays::of_provider(web, name, query).await;
        }
        _ => {}
    }
    let Some(status) = insight.status().await else { return stopping() };
    match parts {
        ["version"] => object(&clash::version(&status)),
        ["proxies"] => object(&json!({ "proxies": clash_proxies::proxies(&status) })),
        ["proxies", name] => one_of(clash_proxies::proxies(&status), name),
        ["group"] => {
            let all = clash_proxies::proxies(&status).into_iter().map(|(_, proxy)| proxy);
            let groups: Vec<_> = all.filter(|it| it.get("all").is_some()).collect();
            object(&json!({ "proxies": groups }))
        }
        ["group", name] => {
            let mut all = clash_proxies::proxies(&status);
            all.retain(|_, proxy| proxy.get("all").is_some());
            one_of(all, name)
        }
        ["providers", "proxies"] => {
            object(&json!({ "providers": clash_proxies::providers(&status) }))
        }
        ["providers", "proxies", name] => one_of(clash_proxies::providers(&status), name),
        ["connections"] => object(&clash::connections(&status, &insight.flows())),
        ["metrics"] => text(metrics::text(&status), metrics::CONTENT_TYPE),
        ["stats"] => {
            let (before, began) = (snet_stats::sizes(&insight.flows()), Instant::now());
            sleep(RATE_OVER).await;
            let now = snet_stats::sizes(&insight.flows());
            let totals = [status.traffic.down, status.traffic.up];
            let seconds = began.elapsed().as_secs_f64();
            object(&snet_stats::stats(status.uptime, totals, &before, &now, seconds))
        }
        _ => text("404 page not found\n".into(), "text/plain").with(StatusCode::NOT_FOUND),
    }
}

async fn dns_query(web: &Web, query: &str) -> Response<WebBody> {
    let name = parameter(query, "name").unwrap_or_default();
    let kind = parameter(query, "type").unwrap_or_else(|| "A".into());
    let Some(explained) = web.insight.explain(&name).await else {
        return message(StatusCode::BAD_REQUEST, "invalid name");
    };
    match clash::dns_query(&explained, &kind) {
        Some(answer) => object(&answer),
        None => message(StatusCode::BAD_REQUEST, "invalid query type: accepted: A, AAAA"),
    }
}

fn one_of(mut all: Map<String, Value>, name: &str) -> Response<WebBody> {
    all.remove(name).map_or_else(not_found, |found| object(&found))
}
