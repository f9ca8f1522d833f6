//! Connections and snapshots for tests.

use super::snapshot::Snapshot;
use crate::view::{CaptureView, FlowView, StatusView, TrafficView};
use std::time::Duration;

/// A TCP connection to port 443 of this host, which received so many bytes.
pub(super) fn flow(id: u64, host: &str, down: u64) -> FlowView {
    FlowView {
        id,
        network: "tcp".into(),
        client: "192.0.2.7:40000".parse().expect("an address"),
        destination: "203.0.113.1:443".parse().expect("an address"),
        name: Some(host.into()),
        is_open: true,
        proxy: Some("tokyo".into()),
        group: None,
        reason: "foreign".into(),
        age: 65,
        up: 10,
        down,
    }
}

/// At this millisecond.
pub(super) fn snapshot(at: u64, flows: Vec<FlowView>) -> Snapshot {
    let capture = |what: &str, is_good, state: &str| CaptureView {
        what: what.into(),
        state: state.into(),
        is_good,
        since: 7500,
    };
    let status = StatusView {
        version: "1.2.3".into(),
        pid: 77,
        uptime: 7500,
        capture: vec![
            capture("IPv4", true, "captured, and proven"),
            capture("IPv6", true, "nothing to capture: there is no route"),
        ],
        traffic: TrafficView {
            open: flows.len() as u64,
            accepted: 50,
            up: 2048,
            down: 5 << 20,
            ..TrafficView::default()
        },
        ..StatusView::default()
    };
    Snapshot { at: Duration::from_millis(at), status, flows }
}
