//! Answers in the forms that all of them have.

use super::visit::WebBody;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

pub(super) fn stopping() -> Response<WebBody> {
    message(StatusCode::SERVICE_UNAVAILABLE, "snet is stopping")
}

pub(super) fn not_found() -> Response<WebBody> {
    message(StatusCode::NOT_FOUND, "Resource not found")
}

pub(super) fn message(status: StatusCode, words: &str) -> Response<WebBody> {
    object(&json!({ "message": words })).with(status)
}

pub(super) fn object(value: &Value) -> Response<WebBody> {
    text(value.to_string(), "application/json")
}

pub(super) fn text(text: String, kind: &'static str) -> Response<WebBody> {
    let mut response = Response::new(Full::new(Bytes::from(text)).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

pub(super) trait WithStatus {
    fn with(self, status: StatusCode) -> Self;
}

impl WithStatus for Response<WebBody> {
    fn with(mut self, status: StatusCode) -> Self {
        *self.status_mut() = status;
        self
    }
}
