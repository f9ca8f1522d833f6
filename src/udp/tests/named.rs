//! The name in a flow's first datagrams (QUIC), and the rules for it.

use super::*;
use crate::dispatch::{Group, GroupSettings};
use crate::route::{ClientHost, GroupPlace, Route};
use crate::sniff::tests::quic_datagrams;

const QUIC_SITE: &str = "203.0.113.10:443";

/// The name of the flows here is www.far.example.
fn rules(name: &str, route: Route) -> Rules {
    let mut rules = Rules::default();
    rules.names.insert(&name.parse().unwrap(), route);
    rules
}

impl Street {
    fn sends(&self, client: &StdSocket, destination: &str, datagrams: &[Vec<u8>]) {
        for datagram in datagrams {
            let (client, mut bytes) = (client.local_addr().unwrap(), datagram.clone());
            let train = Train::of_one(client, at(destination), &mut bytes);
            take(&self.shared, train, Instant::now());
        }
        self.shared.flush();
    }

    fn name(&self, client: &StdSocket) -> Option<String> {
        let client = client.local_addr().unwrap();
        let session = self.shared.sessions.borrow().peek(client).cloned();
        session.expect("a session").live.name().map(str::to_owned)
    }

    /// Whether this is the next at the server: what was sent before it did not come.
    async fn only_gets(&self, client: &StdSocket, marker: &str) {
        self.send(client, OTHER, marker);
        assert_eq!(self.at_the_server().await.0, format!("{OTHER} {marker}"));
    }
}

#[test]
fn a_flow_with_a_blocked_name_is_dropped_whole() {
    on_a_street(rules("far.example", Route::Block), ROOMY, async |street| {
        // In one datagram, in two that come at once, and in two of which one has left before.
        for (count, at_once) in [(1, true), (2, true), (2, false)] {
            let one = client();
            let datagrams = quic_datagrams(count);
            let rejected = street.stats().rejected.get();
            if at_once {
                street.sends(&one, QUIC_SITE, &datagrams);
            } else {
                street.sends(&one, QUIC_SITE, &datagrams[..1]);
                assert!(street.at_the_server().await.0.starts_with(QUIC_SITE));
                street.sends(&one, QUIC_SITE, &datagrams[1..]);
            }
            let dropped = if at_once { count as u64 } else { 1 };
            assert_eq!(street.stats().rejected.get(), rejected + dropped);
            assert_eq!(street.name(&one).as_deref(), Some("www.far.example"));
            street.send(&one, QUIC_SITE, "more of it");
            street.only_gets(&one, "the marker").await;
            street.send(&one, QUIC_SITE, "and more");
            street.only_gets(&one, "another marker").await;
            assert_eq!(street.shared.waiting.get(), 0);
        }
    });
}

#[test]
fn a_name_chooses_the_group_before_anything_leaves() {
    let mut rules = rules("far.example", Route::Proxy);
    rules.via.add_name(&"far.example".parse().unwrap(), GroupPlace(1));
    let again = Arc::new(rules.clone());
    on_a_street(rules, ROOMY, async |street| {
        let elsewhere = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let proxy = PlainProxy {
            place: Arc::new(std::sync::Mutex::new(Some(elsewhere.local_addr().unwrap()))),
            lifelines: Lifelines::default(),
        };
        let other = Arc::new(Upstream::new(Box::new(proxy), PATIENCE));
        let groups = [&street.upstream, &other]
            .map(|upstream| Group::new(GroupSettings::default(), vec![Arc::clone(upstream)]));
        let both = vec![Arc::clone(&street.upstream), Arc::clone(&other)];
        let direct = Box::new(Direct::new(outbound()));
        let dispatcher = Dispatcher::new(again, Arc::default(), direct, both);
        street.shared.relay.current.swap(Arc::new(dispatcher.grouped(groups.into())));
        let one = client();
        let datagrams = quic_datagrams(2);
        street.sends(&one, QUIC_SITE, &datagrams);
        for _ in &datagrams {
            let mut packet = [0; 2000];
            let received = timeout(PATIENCE, elsewhere.recv(&mut packet));
            received.await.expect("it goes the way of its name").unwrap();
        }
        // Of one whose hello is not whole yet the address decides.
        let slow = client();
        street.sends(&slow, QUIC_SITE, &datagrams[..1]);
        street.at_the_server().await;
        street.sends(&slow, QUIC_SITE, &datagrams[1..]);
        street.at_the_server().await;
        assert_eq!(street.name(&slow).as_deref(), Some("www.far.example"));
    });
}

#[test]
fn where_the_address_decides() {
    on_a_street(rules("far.example", Route::Block), ROOMY, async |street| {
        let datagrams = quic_datagrams(1);
        let passes = async |site: &str| {
            let one = client();
            street.sends(&one, site, &datagrams);
            assert!(street.at_the_server().await.0.starts_with(site), "{site}");
            street.name(&one)
        };
        assert_eq!(passes(SITE).await, None, "another port");
        // A later destination of the same socket is another flow.
        let one = client();
        street.send(&one, SITE, "first");
        street.at_the_server().await;
        street.sends(&one, QUIC_SITE, &datagrams);
        assert!(street.at_the_server().await.0.starts_with(QUIC_SITE));

        let dispatcher = street.shared.relay.current.load();
        let (name, now) = ("near.example".parse().unwrap(), Instant::now().into_std());
        let (address, until) = (at(QUIC_SITE).ip(), now + Duration::from_secs(60));
        dispatcher.told().telling().tell(ClientHost::ThisMachine, &name, address, until, now);
        let told = passes(QUIC_SITE).await;
        assert_eq!(told.as_deref(), Some("near.example"), "the resolver knows it");
    });
    on_a_street(rules("far.example", Route::Direct), ROOMY, async |street| {
        let one = client();
        street.sends(&one, QUIC_SITE, &quic_datagrams(1));
        assert!(street.at_the_server().await.0.starts_with(QUIC_SITE), "there is no direct way");
        assert_eq!(street.name(&one).as_deref(), Some("www.far.example"));
    });
}
