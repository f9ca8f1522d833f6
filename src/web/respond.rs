//! From a request to its answer.

use super::guard::{self, decoded, parameter};
use super::streams::{self, StreamKind};
use super::visit::{WebBody, WebVisit, empty};
use super::{Web, clash, metrics, snet_stats};
use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, CACHE_CONTROL, CONTENT_TYPE, ORIGIN,
    VARY,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between the two moments that a rate of `/stats` is made of.
const RATE_OVER: Duration = Duration::from_secs(1);

/// Answers one request.
pub(super) async fn respond(visit: &WebVisit, request: Request<Incoming>) -> Response<WebBody> {
    let has_origin = request.headers().contains_key(ORIGIN);
    let mut response = match request.method() {
        &Method::OPTIONS => preflight(&request),
        _ if !guard::may(&visit.web.secret, request.headers(), request.uri().query()) => {
            message(StatusCode::UNAUTHORIZED, "Unauthorized")
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
        _ => change(&visit.web, &method, &parts).await,
    }
}

async fn read(web: &Web, parts: &[&str], query: Option<&str>) -> Response<WebBody> {
    let insight = &web.insight;
    match parts {
        [""] => return object(&json!({ "hello": "snet" })),
        ["configs"] => return object(&clash::configs()),
        ["providers", "proxies" | "rules"] => return object(&json!({ "providers": {} })),
        ["storage", _] => return object(&Value::Null),
        ["rules"] => {
            let rules = insight.rules().await;
            return rules.map_or_else(stopping, |rules| object(&clash::rules(&rules)));
        }
        ["dns", "query"] => return dns_query(web, query.unwrap_or_default()).await,
        _ => {}
    }
    let Some(status) = insight.status().await else { return stopping() };
    match parts {
        ["version"] => object(&clash::version(&status)),
        ["proxies"] => object(&json!({ "proxies": clash::proxies(&status) })),
        ["proxies", name] => match clash::proxies(&status).remove(*name) {
            Some(proxy) => object(&proxy),
            None => message(StatusCode::NOT_FOUND, "Resource not found"),
        },
        ["group"] => {
            let all = clash::proxies(&status).into_iter().map(|(_, proxy)| proxy);
            let groups: Vec<_> = all.filter(|it| it.get("all").is_some()).collect();
            object(&json!({ "proxies": groups }))
        }
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

async fn change(web: &Web, method: &Method, parts: &[&str]) -> Response<WebBody> {
    match (method, parts) {
        (&Method::DELETE, ["connections"]) => {
            web.insight.close(None);
            empty(StatusCode::NO_CONTENT)
        }
        (&Method::DELETE, ["connections", id]) => {
            // One that is gone already is no mistake.
            if let Ok(id) = id.parse() {
                web.insight.close(Some(id));
            }
            empty(StatusCode::NO_CONTENT)
        }
        (&Method::PUT, ["configs"]) => match web.insight.reload().await {
            Ok(()) => empty(StatusCode::NO_CONTENT),
            Err(why) => message(StatusCode::BAD_REQUEST, &why),
        },
        (&Method::PATCH, ["configs"]) => message(
            StatusCode::BAD_REQUEST,
            "snet has one mode, rule; what else there is stands in its file",
        ),
        (&Method::PUT, ["proxies", _]) => message(
            StatusCode::BAD_REQUEST,
            "Must be a Selector: the policy of the group chooses (see [[group]])",
        ),
        _ => empty(StatusCode::METHOD_NOT_ALLOWED),
    }
}

fn stopping() -> Response<WebBody> {
    message(StatusCode::SERVICE_UNAVAILABLE, "snet is stopping")
}

fn message(status: StatusCode, words: &str) -> Response<WebBody> {
    object(&json!({ "message": words })).with(status)
}

fn object(value: &Value) -> Response<WebBody> {
    text(value.to_string(), "application/json")
}

fn text(text: String, kind: &'static str) -> Response<WebBody> {
    let mut response = Response::new(Full::new(Bytes::from(text)).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

trait WithStatus {
    fn with(self, status: StatusCode) -> Self;
}

impl WithStatus for Response<WebBody> {
    fn with(mut self, status: StatusCode) -> Self {
        *self.status_mut() = status;
        self
    }
}
