//! What is known of a host whose connections are served, or might be: `snet explain ADDRESS`, when
//! a device does not work. The firewall says where it is, and whether the rules take its
//! connections.

use super::build;
use super::generation::{Generation, Parts};
use super::seeing;
use super::upkeep;
use crate::config::{BackendChoice, Config, Purpose};
use crate::domain::Name;
use crate::firewall::{HostCapture, HostRelation, Whereabouts};
use crate::proxy::endpoint::Endpoint;
use crate::stats::{LiveFlow, LiveKind, Stats};
use crate::view::{CaptureView, DeviceView, DeviceWayView, ExplainView, FlowView};
use std::net::IpAddr;
use std::sync::Arc;

/// Flows that are told of one subject.
const MOST: usize = 100;

/// What has to be known to tell it.
pub(super) struct TrafficSources {
    pub(super) stats: Arc<Stats>,
    pub(super) config: Config,
    pub(super) purpose: Purpose,
    pub(super) listening: Vec<IpAddr>,
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    /// What the heartbeat found last.
    pub(super) capture: Vec<CaptureView>,
}

impl TrafficSources {
    pub(super) fn of(generation: &Generation, parts: &Parts) -> Self {
        TrafficSources {
            stats: Arc::clone(&parts.stats),
            config: generation.config.clone(),
            purpose: parts.purpose,
            listening: parts.listening.clone(),
            endpoints: generation.endpoints.clone(),
            capture: parts.board.view(),
        }
    }

    /// Adds what is open to a name or to the addresses, and what was refused.
    pub(super) fn tell(&self, view: &mut ExplainView, name: Option<&Name>) {
        let name = name.map(|name| name.to_string().trim_end_matches('.').to_owned());
        let is_to = |address: IpAddr| {
            view.addresses.iter().any(|it| it.address.to_canonical() == address.to_canonical())
        };
        let is_below = |own: &str, name: &str| {
            let own = own.trim_end_matches('.').to_ascii_lowercase();
            own.strip_suffix(&*name.to_ascii_lowercase())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        // Many names live at one address: one that is known to be another's is another's.
        let is_it = |flow: &FlowView| match (&name, &flow.name) {
            (Some(name), Some(own)) => is_below(own, name),
            _ => is_to(flow.destination.ip()),
        };
        let open: Vec<_> =
            seeing::flows(&self.stats).into_iter().filter(is_it).take(MOST).collect();
        let refusals = self.stats.refusals.list();
        let refused = refusals.iter().filter(|refusal| match (&name, &refusal.name) {
            (Some(name), Some(_)) => refusal.is_of_name(name),
            (Some(_), None) => view.addresses.iter().any(|it| refusal.is_to(it.address)),
            (None, _) => {
                let mut addresses = view.addresses.iter().map(|it| it.address);
                addresses.any(|address| refusal.is_to(address) || refusal.is_from(address))
            }
        });
        let refused = refused.map(upkeep::refusal).collect();
        (view.open, view.refusals) = (open, refused);
    }

    /// What it is as a device; `None`: it is a host out there. Reads from the kernel.
    pub(super) fn device(&self, host: IpAddr) -> Option<DeviceView> {
        let host = host.to_canonical();
        let live = self.stats.live.list();
        let is_from = |flow: &&Arc<LiveFlow>| flow.client.ip().to_canonical() == host;
        let ways = ways(live.iter().filter(is_from));
        let was_seen =
            !ways.is_empty() || self.stats.refusals.list().iter().any(|it| it.is_from(host));
        if self.purpose != Purpose::Daemon || self.config.firewall.backend == BackendChoice::None {
            let capture = "snet has no rules here, so it captures nothing by itself".into();
            let place = "a client of snet".into();
            return was_seen.then(|| DeviceView { place, capture, ways, ..DeviceView::default() });
        }
        // What cannot be read is told by the heartbeat.
        let ruleset = build::ruleset(&self.config, &self.listening, &self.endpoints).ok()?;
        let Whereabouts { relation, interface, capture } = ruleset.whereabouts(host).ok()?;
        let is_far = relation == HostRelation::Beyond || capture == HostCapture::Uplink;
        let is_private = self.config.rules.routes.reserved.contains(host);
        if is_far && !was_seen && !(is_private && relation == HostRelation::Beyond) {
            return None;
        }
        let place = match relation {
            HostRelation::This => "this machine",
            HostRelation::Neighbour => "a host on a link of this machine",
            HostRelation::Beyond => "a host behind another router",
        };
        let at = interface.as_deref().unwrap_or("its interface");
        let (is_captured, words) = in_words(&capture, host, at);
        let lost = self.capture.iter().find(|it| !it.is_good && is_of(&it.what, host));
        let words = match lost.filter(|_| is_captured) {
            Some(lost) => format!("{words}; BUT {}: {}", lost.what, lost.state),
            None => words,
        };
        let place = place.into();
        Some(DeviceView { place, interface, is_captured, capture: words, ways })
    }
}

/// Whether a way of capture, which begins with its family, is that of this host.
fn is_of(what: &str, host: IpAddr) -> bool {
    what.starts_with(if host.is_ipv4() { "IPv4" } else { "IPv6" })
}

/// Whether it is captured, and what to do if not.
fn in_words(capture: &HostCapture, host: IpAddr, at: &str) -> (bool, String) {
    let words = match capture {
        HostCapture::Own => {
            return (true, "its programs' connections and questions for names come to snet".into());
        }
        HostCapture::Lan => {
            let text = "its connections and questions for names come to snet, as long as this \
                        machine is its gateway";
            return (true, text.into());
        }
        HostCapture::NoListener => {
            let family = if host.is_ipv4() { "IPv4" } else { "IPv6" };
            format!(
                "not captured: snet listens on no {family} address of {at} (listen.address has \
                 \"::\" for all)"
            )
        }
        HostCapture::Exempt => {
            "not captured: rules.direct-sources has it, so all of it goes directly, its questions \
             for names too"
                .into()
        }
        HostCapture::Shut(why) => format!(
            "not captured: nothing from {at} is forwarded to the internet ({why}); to serve it \
             all the same, name {at} in firewall.interfaces"
        ),
        HostCapture::Uplink => format!(
            "not captured: {at} leads to the internet; if LAN hosts are behind it, name it in \
             firewall.interfaces"
        ),
        HostCapture::Elsewhere => {
            format!("not captured: firewall.interfaces does not have {at}, or nothing leads there")
        }
        HostCapture::LocalMode => {
            "not captured: with mode = \"local\" only this machine is; mode = \"router\" serves \
             other hosts"
                .into()
        }
    };
    (false, words)
}

/// What is open, by way: the ways in the order of their oldest flow.
fn ways<'a>(flows: impl Iterator<Item = &'a Arc<LiveFlow>>) -> Vec<DeviceWayView> {
    let mut ways: Vec<DeviceWayView> = Vec::new();
    for flow in flows {
        let way = flow.way();
        let is_connecting = way.is_none();
        let proxy = way.and_then(|way| way.proxy).map(|proxy| proxy.to_string());
        let is_it = |it: &DeviceWayView| it.is_connecting == is_connecting && it.proxy == proxy;
        let place = ways.iter().position(is_it).unwrap_or_else(|| {
            let proxy = proxy.clone();
            ways.push(DeviceWayView { proxy, is_connecting, ..DeviceWayView::default() });
            ways.len() - 1
        });
        let sums = &mut ways[place];
        match flow.kind {
            LiveKind::Connection => sums.connections += 1,
            LiveKind::Datagrams => sums.sessions += 1,
        }
        sums.up += flow.meter.up.get();
        sums.down += flow.meter.down.get();
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{FlowWay, RefusedKind};
    use crate::view::AddressView;

    const TO: &str = "203.0.113.1:443";

    fn sources() -> TrafficSources {
        let file = std::env::temp_dir().join(format!("snet-devices-{}", std::process::id()));
        let text = "[firewall]\nbackend = \"none\"\n[[proxy]]\ntype = \"http\"\n\
                    server = \"192.0.2.1:1\"\n";
        static READING: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _reading = READING.lock();
        std::fs::write(&file, text).unwrap();
        let loaded = Config::load(&file, Purpose::Daemon);
        std::fs::remove_file(&file).unwrap();
        TrafficSources {
            stats: Arc::default(),
            config: loaded.unwrap().config,
            purpose: Purpose::Daemon,
            listening: Vec::new(),
            endpoints: Vec::new(),
            capture: Vec::new(),
        }
    }

    fn open(of: &TrafficSources, client: &str, to: &str, name: &str, proxy: Option<&str>) {
        let flow = of.stats.live.enter(LiveKind::Connection, client.parse().unwrap());
        flow.is_for(to.parse().unwrap());
        if !name.is_empty() {
            flow.is_named(name);
        }
        flow.goes(FlowWay { proxy: proxy.map(Arc::from), group: None, reason: "foreign" });
        flow.meter.down.add(10);
    }

    fn about(address: &str) -> ExplainView {
        let address = AddressView {
            address: address.parse().unwrap(),
            route: "proxy".into(),
            reason: String::new(),
            matches: Vec::new(),
            group: None,
            proxy: None,
            kernel: None,
        };
        ExplainView { addresses: vec![address], ..ExplainView::default() }
    }

    #[test]
    fn what_is_open_to_a_name_is_not_what_shares_its_address() {
        let of = sources();
        open(&of, "192.0.2.7:1", TO, "www.example.com", None);
        open(&of, "192.0.2.7:2", TO, "other.example", None);
        open(&of, "192.0.2.7:3", TO, "", None);
        open(&of, "192.0.2.7:4", "203.0.113.2:443", "Example.com", None);
        open(&of, "192.0.2.7:5", "203.0.113.2:443", "badexample.com", None);
        let mut view = about("203.0.113.1");
        of.tell(&mut view, Some(&"example.com".parse().unwrap()));
        let ports: Vec<_> = view.open.iter().map(|flow| flow.client.port()).collect();
        assert_eq!(ports, [1, 3, 4]);
        of.tell(&mut view, None);
        let ports: Vec<_> = view.open.iter().map(|flow| flow.client.port()).collect();
        assert_eq!(ports, [1, 2, 3], "an address has all that go there");
    }

    #[test]
    fn refusals_to_a_name_to_an_address_and_of_a_host() {
        let of = sources();
        let note = |client: &str, name: Option<&str>, cause: &str| {
            let (client, to) = (client.parse().unwrap(), TO.parse().ok());
            of.stats.refusals.note(RefusedKind::Connection, client, to, name, &cause);
        };
        note("192.0.2.7:1", Some("www.example.com"), "one");
        note("192.0.2.8:1", Some("other.example"), "two");
        note("192.0.2.7:1", None, "three");
        let causes = |address: &str, name: Option<&str>| {
            let mut view = about(address);
            of.tell(&mut view, name.map(|name| name.parse().unwrap()).as_ref());
            let causes = view.refusals.into_iter().map(|it| it.cause);
            causes.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(causes("203.0.113.1", Some("example.com")), "three one");
        assert_eq!(causes("203.0.113.1", None), "three two one");
        assert_eq!(causes("192.0.2.8", None), "two");
        assert_eq!(causes("192.0.2.9", None), "");
    }

    #[test]
    fn what_a_host_has_open_stands_together_by_way() {
        let of = sources();
        open(&of, "192.0.2.7:1", TO, "", Some("tokyo"));
        open(&of, "[::ffff:192.0.2.7]:2", TO, "", None);
        open(&of, "192.0.2.7:3", TO, "", Some("tokyo"));
        open(&of, "192.0.2.8:3", TO, "", Some("osaka"));
        let device = of.device("192.0.2.7".parse().unwrap()).unwrap();
        let ways: Vec<_> = device.ways.iter().map(ToString::to_string).collect();
        assert_eq!(
            ways,
            [
                "open through tokyo: 2 TCP, 20 B down, 0 B up",
                "open directly: 1 TCP, 10 B down, 0 B up"
            ]
        );
        assert!(device.capture.contains("snet has no rules here"), "{device}");
        assert_eq!(of.device("192.0.2.9".parse().unwrap()), None, "it is a host out there");
    }

    #[test]
    fn every_reason_says_what_to_do() {
        let host = "192.168.1.7".parse().unwrap();
        let (captured, _) = in_words(&HostCapture::Lan, host, "br-lan");
        assert!(captured);
        for (capture, word) in [
            (HostCapture::Exempt, "rules.direct-sources"),
            (HostCapture::LocalMode, "mode = \"router\""),
            (HostCapture::Uplink, "firewall.interfaces"),
            (HostCapture::Elsewhere, "firewall.interfaces"),
            (HostCapture::NoListener, "listen.address"),
            (HostCapture::Shut("a rule".into()), "(a rule)"),
        ] {
            let (is_captured, words) = in_words(&capture, host, "eth0");
            assert!(!is_captured && words.contains(word), "{words}");
        }
    }
}
