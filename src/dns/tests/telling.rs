//! Which client is known to have found an address by which name.

use super::servers::{addresses, always, over_udp, reply, silent};
use super::{ABROAD, CN, World, found, run, world};
use crate::route::{ClientHost, ToldName};
use hickory_proto::rr::rdata::{A, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
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
