//! What `snet explain` says of a host whose connections snet may serve.

use super::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A host whose connections snet serves, or might serve.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceView {
    /// Where it is, in words.
    pub place: String,
    /// By which interface it is reached.
    pub interface: Option<String>,
    /// Whether its connections come to snet.
    pub is_captured: bool,
    /// The same in words, with what to do where they do not.
    pub capture: String,
    /// What it has open, by way.
    pub ways: Vec<DeviceWayView>,
}

/// What a host has open on one way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceWayView {
    /// The proxy; none: directly.
    pub proxy: Option<String>,
    /// They are being connected, and have no way yet.
    pub is_connecting: bool,
    /// Connections.
    pub connections: u64,
    /// UDP sessions.
    pub sessions: u64,
    /// Bytes from the host.
    pub up: u64,
    /// Bytes to it.
    pub down: u64,
}

impl fmt::Display for DeviceView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DeviceView { place, interface, is_captured, capture, ways } = self;
        write!(f, "as a device: {place}")?;
        match interface {
            Some(interface) => writeln!(f, ", at {interface}")?,
            None => writeln!(f)?,
        }
        writeln!(f, "  {capture}")?;
        for way in ways {
            writeln!(f, "  {way}")?;
        }
        match ways.is_empty() && *is_captured {
            true => writeln!(f, "  nothing of it is open in snet now"),
            false => Ok(()),
        }
    }
}

impl fmt::Display for DeviceWayView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DeviceWayView { proxy, is_connecting, connections, sessions, up, down } = self;
        match (proxy, is_connecting) {
            (_, true) => write!(f, "being connected: ")?,
            (Some(proxy), _) => write!(f, "open through {proxy}: ")?,
            (None, _) => write!(f, "open directly: ")?,
        }
        write!(f, "{connections} TCP")?;
        if *sessions > 0 {
            write!(f, " and {sessions} UDP")?;
        }
        write!(f, ", {} down, {} up", Bytes(*down), Bytes(*up))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_for_a_household() {
        let way = DeviceWayView {
            proxy: Some("tokyo".into()),
            connections: 3,
            sessions: 1,
            up: 2048,
            down: 5 << 20,
            ..DeviceWayView::default()
        };
        let mut device = DeviceView {
            place: "a host of the LAN side".into(),
            interface: Some("br-lan".into()),
            is_captured: true,
            capture: "its connections and its questions for names come to snet".into(),
            ways: vec![way],
        };
        assert_eq!(
            device.to_string(),
            "as a device: a host of the LAN side, at br-lan\n\
             \u{20} its connections and its questions for names come to snet\n\
             \u{20} open through tokyo: 3 TCP and 1 UDP, 5.0 MiB down, 2.0 KiB up\n"
        );
        device.ways.clear();
        assert!(device.to_string().ends_with("  nothing of it is open in snet now\n"));
    }
}
