//! What `snet explain` says of what flows to a destination now, and of what was refused.

use super::{Bytes, ExplainView, FlowView, Span};
use std::fmt;

/// Flows, and refusals, that a person is shown.
const SHOWN: usize = 5;

impl ExplainView {
    /// What concerns the running daemon: proxies, what is open, the host, refusals.
    pub(super) fn write_traffic(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for proxy in &self.proxies {
            writeln!(f, "proxy {}", proxy.says)?;
        }
        if let Some(device) = &self.device {
            write!(f, "{device}")?;
        }
        if !self.open.is_empty() {
            let all = self.open.len();
            let which = if all > SHOWN { "; the oldest" } else { "" };
            writeln!(f, "open to it: {all}{which}")?;
        }
        for flow in self.open.iter().take(SHOWN) {
            writeln!(f, "  {}", OpenFlow(flow))?;
        }
        if !self.refusals.is_empty() {
            let all = self.refusals.len();
            let which = if all > SHOWN { "; the latest" } else { "" };
            writeln!(f, "refused lately: {all}{which}")?;
        }
        for refusal in self.refusals.iter().take(SHOWN) {
            writeln!(f, "  {refusal}")?;
        }
        Ok(())
    }
}

/// One that is open, in a line.
struct OpenFlow<'a>(&'a FlowView);

impl fmt::Display for OpenFlow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OpenFlow(flow) = self;
        let FlowView { network, client, destination, name, is_open, age, up, down, .. } = flow;
        let (client, to) = (client.ip().to_canonical(), destination.ip().to_canonical());
        write!(f, "{network} of {client} to ")?;
        match name {
            Some(name) => write!(f, "{name} ({to})")?,
            None => write!(f, "{to}")?,
        }
        let age = Span(*age);
        if !is_open {
            return write!(f, ": being connected for {age}");
        }
        let way = match &flow.proxy {
            None => "directly".into(),
            Some(_) => format!("through {}", flow.route()),
        };
        write!(f, ": {way} for {age}, {} down, {} up", Bytes(*down), Bytes(*up))?;
        match down.checked_div(flow.age) {
            Some(rate) if flow.age > 1 => write!(f, "; {}/s down on average", Bytes(rate)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DeviceView, ProxyView, RefusalView};
    use super::*;

    fn flow(is_open: bool, proxy: Option<&str>, age: u64) -> FlowView {
        FlowView {
            id: 1,
            network: "tcp".into(),
            client: "[::ffff:192.168.1.7]:40000".parse().unwrap(),
            destination: "203.0.113.1:443".parse().unwrap(),
            name: Some("example.com".into()),
            is_open,
            proxy: proxy.map(str::to_owned),
            group: None,
            reason: "foreign".into(),
            age,
            up: 2048,
            down: 5 << 20,
        }
    }

    #[test]
    fn how_a_site_does() {
        let mut view = ExplainView {
            proxies: vec![ProxyView { says: "tokyo: answers, 12 ms".into(), ..<_>::default() }],
            open: vec![flow(true, Some("tokyo"), 10), flow(false, None, 3), flow(true, None, 0)],
            ..ExplainView::default()
        };
        assert_eq!(
            view.to_string(),
            "proxy tokyo: answers, 12 ms\n\
             open to it: 3\n\
             \u{20} tcp of 192.168.1.7 to example.com (203.0.113.1): through tokyo for 10 s, \
             5.0 MiB down, 2.0 KiB up; 512 KiB/s down on average\n\
             \u{20} tcp of 192.168.1.7 to example.com (203.0.113.1): being connected for 3 s\n\
             \u{20} tcp of 192.168.1.7 to example.com (203.0.113.1): directly for 0 s, \
             5.0 MiB down, 2.0 KiB up\n"
        );
        view.open = vec![flow(true, None, 1); 9];
        assert_eq!(view.to_string().matches("  tcp of").count(), SHOWN);
        assert!(view.to_string().contains("open to it: 9; the oldest"));
    }

    #[test]
    fn an_older_daemon_says_less() {
        let refusal = RefusalView {
            network: "tcp".into(),
            age: 1,
            times: 1,
            client: "192.0.2.7:1".parse().unwrap(),
            destination: None,
            name: None,
            record: None,
            cause: "no".into(),
        };
        let view = ExplainView {
            device: Some(DeviceView::default()),
            open: vec![flow(true, None, 1)],
            refusals: vec![refusal],
            ..ExplainView::default()
        };
        let json = serde_json::to_string(&view).unwrap();
        assert_eq!(serde_json::from_str::<ExplainView>(&json).unwrap(), view);
        let old = r#"{"asked":"a","name":null,"addresses":[],"changes":[],"notes":[]}"#;
        assert!(serde_json::from_str::<ExplainView>(old).unwrap().open.is_empty());
    }
}
