//! One client, and what it is sent.

use super::Web;
use super::admission::WebPlace;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use std::convert::Infallible;
use std::sync::Arc;

/// What is sent.
pub(super) type WebBody = UnsyncBoxBody<Bytes, Infallible>;

/// One client, for as long as anything of it goes on.
#[derive(Clone, Debug)]
pub(super) struct WebVisit {
    pub(super) web: Arc<Web>,
    /// Held by the connection, and by a stream that outlives it.
    pub(super) place: Arc<WebPlace>,
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response<WebBody> {
    let mut response = Response::new(Full::new(Bytes::new()).boxed_unsync());
    *response.status_mut() = status;
    response
}
