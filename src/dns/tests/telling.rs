//! Which client is known to have found an address by which name.

use super::servers::{addresses, always, nothing, over_udp, reply, silent};
use super::{ABROAD, CN, FORGED, World, found, run, world};
use crate::dns::client_query::Came;
use crate::dns::wire::Query;
use crate::route::{ClientHost, ToldName};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::cell::Cell;
use std::time::{Duration, Instant};

const HOST: &str = "192.168.1.7";

impl World {
    fn told(&self, client: &str, address: &str, after: u64) -> Option<ToldName> {
        let client = ClientHost::of(client.parse().unwrap(), None);
        let when = Instant::now() + Duration::from_secs(after);
        self.current.load().told().find(client, address.parse().unwrap(), when)
    }

    fn told_name(&self, client: &str, address: &str) -> Option<String> {
        self.told(client, address, 0).map(|told| told.name.into())
    }
}

#[tokio::test]
async fn a_client_that_is_given_an_answer_is_known_by_it() {
    run(async || {
        let world = world(silent(), always(|query| addresses(query, 60, &[ABROAD])), |_| {});
        assert_eq!(world.told_name(HOST, ABROAD), None);
        world.ask_from(HOST, "WWW.Far.example", RecordType::A).await;
        let name = Some("www.far.example".to_owned());
        assert_eq!(world.told_name(HOST, ABROAD), name);
        assert_eq!(world.told_name("192.168.1.8", ABROAD), None, "another client");
        let asked = world.trusted.asked.get();
        world.ask_from("192.168.1.8", "www.far.example", RecordType::A).await;
        assert_eq!(world.trusted.asked.get(), asked, "from the cache");
        assert_eq!(world.told_name("192.168.1.8", ABROAD), name);
        assert!(world.told(HOST, ABROAD, 110).is_some(), "a minute longer than the answer");
        assert!(world.told(HOST, ABROAD, 130).is_none());
        // The same again renews it, and another name of the same address puts it in doubt.
        world.ask_from(HOST, "www.far.example", RecordType::A).await;
        assert!(world.told(HOST, ABROAD, 0).unwrap().is_sole);
        world.ask_from(HOST, "cdn.example", RecordType::A).await;
        let told = world.told(HOST, ABROAD, 0).unwrap();
        assert_eq!((&*told.name, told.is_sole), ("cdn.example", false));
    })
    .await;
}

/// The kernel redirects what this machine sends to loopback, whichever address it comes from.
#[tokio::test]
async fn a_datagram_of_this_machine_is_known_by_where_it_came() {
    run(async || {
        let world = world(silent(), always(|query| addresses(query, 60, &[ABROAD])), |_| {});
        let query = Query::new(&"www.far.example".parse().unwrap(), RecordType::A.into());
        for (local, told) in
            [("192.168.1.1:1211", None), ("127.0.0.1:1211", Some("www.far.example"))]
        {
            world.ask_that_came(HOST, &query, Came::Datagram(local.parse().unwrap())).await;
            assert_eq!(world.told_name("127.0.0.1", ABROAD).as_deref(), told, "{local}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_old_answer_tells_too() {
    run(async || {
        let is_first = Cell::new(true);
        let trusted = always(move |query| match is_first.replace(false) {
            true => addresses(query, 1, &[ABROAD]),
            false => nothing(query, ResponseCode::ServFail),
        });
        let foreign = always(|query| addresses(query, 1, &[FORGED]));
        let world = world(foreign, trusted, |_| {});
        assert_eq!(world.a("www.far.example").await, [ABROAD]);
        world.resolver.memory.cache.borrow_mut().age(Duration::from_secs(2));
        let answer = world.ask_from(HOST, "www.far.example", RecordType::A).await;
        assert_eq!(found(&answer), [ABROAD]);
        assert_eq!(world.told_name(HOST, ABROAD), Some("www.far.example".into()));
        assert!(world.told(HOST, ABROAD, 50).is_some());
        assert!(world.told(HOST, ABROAD, 70).is_none(), "an old answer has no life of its own");
    })
    .await;
}

#[tokio::test]
async fn the_name_is_the_one_that_was_asked_for() {
    run(async || {
        let trusted = always(|query| {
            let mut reply = reply(query);
            let alias = Name::from_ascii("far.cdn.example.").unwrap();
            let address = |text: &str| RData::A(A(text.parse().unwrap()));
            let of = |name: &Name, data| Record::from_rdata(name.clone(), 60, data);
            let name = query.queries[0].name();
            reply.answers.push(of(name, RData::CNAME(CNAME(alias.clone()))));
            reply.answers.push(of(&alias, address(ABROAD)));
            // Nobody asked for it.
            let other = Name::from_ascii("bank.example.").unwrap();
            reply.answers.push(of(&other, address("203.0.113.99")));
            reply
        });
        let world = world(silent(), trusted, |_| {});
        for _ in 0..2 {
            let answer = world.ask_from(HOST, "www.far.example", RecordType::A).await;
            assert!(found(&answer).contains(&ABROAD.to_owned()));
            assert_eq!(world.told_name(HOST, ABROAD), Some("www.far.example".into()));
            assert_eq!(world.told_name(HOST, "203.0.113.99"), None);
        }
    })
    .await;
}

/// A far proxy would look for them in vain.
#[tokio::test]
async fn names_that_only_this_side_knows_are_not_told() {
    run(async || {
        let public = always(|query| addresses(query, 60, &[CN]));
        let near = over_udp(always(|query| addresses(query, 60, &[ABROAD])));
        let world = world(public.clone(), public, |settings| {
            settings.servers.local = vec![near.address];
            let corp = "corp.example".parse().unwrap();
            settings.servers.forward.insert(&corp, vec![near.address]);
            let own = "own.example".parse().unwrap();
            settings.answers.hosts.insert(own, vec![ABROAD.parse().unwrap()]);
        });
        for name in ["nas", "nas.lan", "www.corp.example", "own.example"] {
            for _ in 0..2 {
                let answer = world.ask_from(HOST, name, RecordType::A).await;
                assert_eq!(found(&answer), [ABROAD], "{name}");
                assert_eq!(world.told_name(HOST, ABROAD), None, "{name}");
            }
        }
    })
    .await;
}
