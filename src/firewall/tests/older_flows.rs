//! The UDP flows that conntrack knows.

use super::ruleset;
use crate::firewall::flow::Flow;
use crate::firewall::names::ZONE;
use crate::firewall::older_flows::{at_reload, older};
use crate::firewall::{Datagrams, Ipv6};
use snet_lab::in_variants;
use snet_lab::internet::{Internet, any, at, udp};
use snet_lab::kernel::{run, sealed_for};
use std::collections::HashSet;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

in_variants!([Native] conntrack_tells_what_began_before, thirty_thousand_flows_are_told_in_time);

const FOREIGN: [&str; 2] = ["198.51.100.1", "2001:db8:f::1"];

/// Has everything tracked, with this before it is.
fn track(before: &str) {
    let table = format!(
        "table inet tracking {{
            chain before {{ type filter hook output priority -300; {before}; }}
            chain behind {{ type filter hook output priority 0; ct state new counter; }}
        }}"
    );
    std::fs::write("/run/tracking.nft", table).unwrap();
    run("nft -f /run/tracking.nft");
}

fn flow(client: &UdpSocket, to: &str, port: u16) -> Flow {
    let destination = at(to, port);
    client.send_to(b"before", destination).unwrap();
    let own = if destination.is_ipv4() { "192.0.2.2" } else { "2001:db8:2::2" };
    Flow { source: at(own, client.local_addr().unwrap().port()), destination }
}

fn conntrack_tells_what_began_before() {
    let _internet = Internet::build();
    track(&format!("udp dport 5300 ct zone set {ZONE}"));
    let rules = ruleset().surveyed().with(|policy| policy.udp = Datagrams::Proxy);
    assert_eq!(older(&rules), []);
    let mut expected = HashSet::new();
    for foreign in FOREIGN {
        let client = udp(any(at(foreign, 0), 0));
        expected.insert(flow(&client, foreign, 4000));
        expected.insert(flow(&client, foreign, 4001));
        flow(&client, foreign, 5300);
        flow(&client, foreign, 53);
    }
    flow(&udp(at("0.0.0.0", 0)), "203.0.113.1", 4000);
    let told = |flows: Vec<Flow>| flows.into_iter().collect::<HashSet<Flow>>();
    assert_eq!(told(older(&rules)), expected);
    let only_v4 = rules.clone().with(|policy| policy.ipv6 = Ipv6::Direct);
    let (known, first) = at_reload(&only_v4, &rules);
    assert!(known.len() == 2 && known.iter().all(|flow| flow.source.is_ipv4()), "{known:?}");
    assert!(first.len() == 2 && first.iter().all(|flow| flow.source.is_ipv6()), "{first:?}");
    let direct = rules.clone().with(|policy| policy.udp = Datagrams::Direct);
    assert_eq!(older(&direct), [], "nothing is captured, so nothing is asked");
}

fn thirty_thousand_flows_are_told_in_time() {
    let _internet = Internet::build();
    track("accept");
    let rules = ruleset().surveyed().with(|policy| policy.udp = Datagrams::Proxy);
    let client = udp(at("0.0.0.0", 0));
    for port in 10_000..40_000 {
        client.send_to(b"", at(FOREIGN[0], port)).unwrap();
    }
    let begun = Instant::now();
    let count = older(&rules).len();
    let took = begun.elapsed();
    assert!(count > 29_000, "{count}: a few may be gone while it is listed");
    assert!(took < Duration::from_secs(5), "{took:?}");
}
