//! Whose word counts about the proxies' own names.

use super::servers::{Script, addresses, always, nothing, over_tcp, over_udp};
use super::{CN, asking, encrypted, outbound, run};
use crate::dns::bootstrap::{self, Exempt};
use crate::dns::{NameServer, Settings, Transport};
use crate::proxy::endpoint::Endpoint;
use hickory_proto::op::{Message, ResponseCode};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

const PROXY: &str = "192.0.2.20";
const FORGED: &str = "203.0.113.66";

#[derive(Clone, Default)]
struct Exempted(Arc<Mutex<Vec<IpAddr>>>);

impl Exempt for Exempted {
    fn exempt(&self, addresses: Vec<IpAddr>) {
        self.0.lock().unwrap().extend(addresses);
    }
}

/// Where the proxy is after the start; nothing else is exempted.
async fn resolve(host: &str, settings: Settings) -> Vec<String> {
    let endpoint = Arc::new(Endpoint::new(host, 8388));
    let exempted = Exempted::default();
    let endpoints = vec![Arc::clone(&endpoint)];
    let exempt = Box::new(exempted.clone());
    bootstrap::start_with(endpoints, settings, outbound(), encrypted::tls(), exempt).await;
    let known: Vec<IpAddr> = endpoint.addresses().iter().map(SocketAddr::ip).collect();
    assert_eq!(*exempted.0.lock().unwrap(), known);
    known.iter().map(IpAddr::to_string).collect()
}

fn name(query: &Message) -> String {
    query.queries[0].name().to_ascii().to_ascii_lowercase()
}

/// Knows the proxy, and that nothing else exists.
fn honest() -> Script {
    always(|query| match name(query).as_str() {
        "ss.example." => addresses(query, 60, &["2001:db8::20", PROXY]),
        _ => nothing(query, ResponseCode::NXDomain),
    })
}

fn forging() -> Script {
    always(|query| addresses(query, 60, &[FORGED]))
}

#[tokio::test]
async fn what_stands_in_the_place_of_nxdomain_is_no_proxy() {
    run(async || {
        let nothing: [&str; 0] = [];
        let (rewriting, honest) = (over_udp(forging()), over_udp(honest()));
        assert_eq!(resolve("nosuch.example", asking(&[rewriting.address])).await, nothing);
        let found = resolve("ss.example", asking(&[rewriting.address, honest.address])).await;
        assert_eq!(found, [PROXY, "2001:db8::20"]);
        let of_one_kind = over_udp(always(|query| addresses(query, 60, &["2001:db8:f::66"])));
        assert_eq!(resolve("nosuch.example", asking(&[of_one_kind.address])).await, nothing);
        let rewriting = over_udp(always(|query| match name(query).as_str() {
            "ss.example." => addresses(query, 60, &[PROXY]),
            _ => addresses(query, 60, &[FORGED]),
        }));
        assert_eq!(resolve("ss.example", asking(&[rewriting.address])).await, [PROXY]);
        let mut settings = asking(&[honest.address]);
        settings.answers.bogus = [PROXY.parse::<IpAddr>().unwrap()].into_iter().collect();
        assert_eq!(resolve("ss.example", settings).await, ["2001:db8::20"]);
        let asked = honest.asked.get();
        assert_eq!(resolve("nosuch.invalid", asking(&[honest.address])).await, nothing);
        assert_eq!(honest.asked.get(), asked, "such a name does not exist by definition");
    })
    .await;
}

#[tokio::test]
async fn who_knows_better_than_the_domestic_servers_is_heard_first() {
    run(async || {
        let domestic = over_udp(always(|query| match name(query).as_str() {
            "nosuch.example." => nothing(query, ResponseCode::NXDomain),
            _ => addresses(query, 60, &[CN]),
        }));
        let local = over_udp(always(|query| addresses(query, 60, &["192.168.1.20"])));
        let corp = over_udp(always(|query| addresses(query, 60, &["10.0.0.20"])));
        let mut settings = asking(&[domestic.address]);
        settings.servers.local = vec![local.address];
        settings.servers.forward.insert(&"corp.example".parse().unwrap(), vec![corp.address]);
        settings
            .answers
            .hosts
            .insert("written.example".parse().unwrap(), vec![PROXY.parse().unwrap()]);
        for (host, expected) in [
            ("written.example", PROXY),
            ("ss.corp.example", "10.0.0.20"),
            ("nas", "192.168.1.20"),
            ("nas.lan", "192.168.1.20"),
            // This host's own name is in every /etc/hosts.
            ("localhost", "127.0.0.1"),
        ] {
            let found = resolve(host, settings.clone()).await;
            assert_eq!(found.first().map(String::as_str), Some(expected), "{host}");
        }
        assert_eq!(domestic.asked.get(), 0);
        // What does not exist in public may be somebody's own, but only with a private address.
        assert_eq!(resolve("nosuch.example", settings.clone()).await, ["192.168.1.20"]);
        let lying = over_udp(forging());
        settings.servers.local = vec![lying.address];
        let nothing: [&str; 0] = [];
        assert_eq!(resolve("nosuch.example", settings).await, nothing);
        assert!(lying.asked.get() > 0);
    })
    .await;
}

#[tokio::test]
async fn what_can_be_forged_is_not_asked_beside_what_cannot() {
    run(async || {
        let forger = over_udp(always(|query| match name(query).as_str() {
            "ss.example." => addresses(query, 60, &[FORGED]),
            _ => nothing(query, ResponseCode::NXDomain),
        }));
        let tcp = over_tcp(honest(), u32::MAX);
        let tls = encrypted::over_tls(honest(), u32::MAX);
        let server = |address, transport| NameServer { address, transport };
        let https = encrypted::over_https(honest());
        let dot = Transport::Tls { name: "dns.example".into() };
        let doh = Transport::Https { name: "dns.example".into(), path: "/dns-query".into() };
        for (safe, transport) in [(&tcp, Transport::Tcp), (&tls, dot), (&https, doh)] {
            let mut settings = asking(&[forger.address]);
            settings.servers.china.push(server(safe.address, transport));
            let found = resolve("ss.example", settings).await;
            assert_eq!(found, [PROXY, "2001:db8::20"]);
            assert!(safe.asked.get() > 0);
        }
        assert_eq!(forger.asked.get(), 0);
        // A certificate of somebody else: then there is no address, and not a forged one.
        let other = Transport::Tls { name: "other.example".into() };
        let mut settings = asking(&[forger.address]);
        settings.servers.china.push(server(tls.address, other));
        assert_eq!(resolve("ss.example", settings).await, [""; 0]);
        assert_eq!(forger.asked.get(), 0);
    })
    .await;
}
