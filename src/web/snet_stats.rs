//! `/stats`, in the form of the Go program SNET: `Uptime`, `Total`, and for each host and port its
//! sizes and rates. What has ended is not listed, as there would be no end to it.

use crate::view::FlowView;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Bytes to and from programs by host and port, at one moment.
pub(super) type Sizes = BTreeMap<(String, u16), (u64, u64)>;

/// Adds up what goes to the same place.
pub(super) fn sizes(flows: &[FlowView]) -> Sizes {
    let mut sizes = Sizes::new();
    for flow in flows {
        let size = sizes.entry((flow.host(), flow.destination.port())).or_default();
        size.0 += flow.down;
        size.1 += flow.up;
    }
    sizes
}

/// The whole answer, from two moments that are so many seconds apart.
pub(super) fn stats(
    uptime: u64,
    [down, up]: [u64; 2],
    before: &Sizes,
    now: &Sizes,
    seconds: f64,
) -> Value {
    let hosts = now.iter().map(|((host, port), (received, sent))| {
        let former = before.get(&(host.clone(), *port)).copied().unwrap_or_default();
        // One that was closed meanwhile makes it less.
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        json!({
            "Host": host,
            "Port": port,
            "RxRate": rate(*received, former.0),
            "TxRate": rate(*sent, former.1),
            "RxSize": received,
            "TxSize": sent,
        })
    });
    json!({
        "Uptime": uptime_text(uptime),
        "Total": { "RxSize": down, "TxSize": up },
        "Hosts": hosts.collect::<Vec<_>>(),
    })
}

/// As Go writes it: `26m42s`.
fn uptime_text(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_a_host_and_port() {
        let key = |port| ("example.com".to_owned(), port);
        let before: Sizes = [(key(443), (100, 10)), (key(80), (900, 9))].into();
        let now: Sizes = [(key(443), (300, 20)), (key(80), (5, 9))].into();
        let stats = stats(1602, [1000, 50], &before, &now, 2.0);
        assert_eq!(stats["Uptime"], "26m42s");
        assert_eq!(stats["Total"], json!({ "RxSize": 1000, "TxSize": 50 }));
        let tls = &stats["Hosts"][1];
        assert_eq!(
            (&tls["Port"], &tls["RxRate"], &tls["TxRate"]),
            (&443.into(), &100.0.into(), &5.0.into())
        );
        assert_eq!(stats["Hosts"][0]["RxRate"], 0.0, "one of its connections has ended");
        assert_eq!([0, 61, 3600].map(uptime_text), ["0s", "1m1s", "1h0m0s"]);
    }
}
