//! A test of a proxy that somebody asks for, and what came of it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelayAsk {
    /// Proxies, groups (their members), or [`DIRECT`](super::DIRECT). Empty: every proxy.
    pub names: Vec<String>,
    /// What is fetched; `None`: what snet itself asks through its proxies.
    pub url: Option<String>,
    /// How long one test may take, in milliseconds; `None`: the usual.
    pub timeout: Option<u64>,
    /// Statuses that count as an answer (`200`, `200-299/404`); `None`: every one.
    pub expected: Option<String>,
}

/// What came of it for one proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelayView {
    /// The proxy.
    pub name: String,
    /// Milliseconds, at least 1. With a URL: until the answer to it began, the dial included;
    /// otherwise how long an answer took over a connection that stood.
    pub delay_ms: Option<u64>,
    /// Why there was none.
    pub why: Option<String>,
    /// It took longer than it may.
    pub is_late: bool,
}

/// A test that has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestView {
    /// Seconds since the Unix epoch.
    pub at: u64,
    /// Milliseconds; `None`: it failed.
    pub delay_ms: Option<u64>,
}

impl fmt::Display for DelayView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DelayView { name, delay_ms, why, .. } = self;
        match (delay_ms, why) {
            (Some(delay), _) => write!(f, "{name}: {delay} ms"),
            (None, Some(why)) => write!(f, "{name}: {why}"),
            (None, None) => write!(f, "{name}: no answer"),
        }
    }
}
