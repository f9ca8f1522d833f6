//! The addresses in HTTPS records: programs connect to them without asking for an address.

use super::servers::{Script, addresses, always, asks_for, reply, silent};
use super::validating::{ask as ask_validating, is_signed, signed};
use super::{ABROAD, CN, FORGED, World, list, run, world};
use crate::dns::Settings;
use crate::dns::reply::Reply;
use crate::dns::wire::rr;
use crate::route::Route;
use hickory_proto::op::Message;
use hickory_proto::rr::rdata::svcb::{Alpn, IpHint, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, HTTPS};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::net::IpAddr;

const CN6: &str = "2001:db8:c::1";
const ABROAD6: &str = "2001:db8:f::1";

/// A server that has these addresses, for both kinds of questions.
fn hinting(hints: &'static [&'static str], own: &'static [&'static str]) -> Script {
    always(move |query| match asks_for(query, RecordType::HTTPS) {
        true => binding(query, hints),
        false => addresses(query, 60, own),
    })
}

fn binding(query: &Message, hints: &[&str]) -> Message {
    let parsed = hints.iter().map(|text| text.parse::<IpAddr>().unwrap());
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for address in parsed {
        match address {
            IpAddr::V4(address) => v4.push(A(address)),
            IpAddr::V6(address) => v6.push(AAAA(address)),
        }
    }
    let alpn = SvcParamValue::Alpn(Alpn(vec!["h2".into()]));
    let mut parameters = vec![(SvcParamKey::Alpn, alpn)];
    if !v4.is_empty() {
        parameters.push((SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(IpHint(v4))));
    }
    if !v6.is_empty() {
        parameters.push((SvcParamKey::Ipv6Hint, SvcParamValue::Ipv6Hint(IpHint(v6))));
    }
    let data = RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), parameters)));
    let mut reply = reply(query);
    reply.answers.push(Record::from_rdata(query.queries[0].name().clone(), 60, data));
    reply
}

/// The hints that a client gets; the record has to be there.
async fn hints(world: &World, name: &str) -> Vec<String> {
    let answer = world.ask(name, RecordType::HTTPS).await;
    assert_eq!(answer.answers.len(), 1, "{name}");
    let wire = answer.to_vec().unwrap();
    let hints = Reply::parse(&wire).unwrap().hints();
    hints.iter().map(ToString::to_string).collect()
}

fn foreign(adjust: impl FnOnce(&mut Settings)) -> World {
    let trusted = hinting(&[ABROAD, ABROAD6], &[ABROAD, ABROAD6]);
    world(always(|query| addresses(query, 60, &[FORGED])), trusted, adjust)
}

#[tokio::test]
async fn a_filtered_family_has_no_hints_either() {
    run(async || {
        assert_eq!(hints(&foreign(|_| {}), "site.example").await, [ABROAD, ABROAD6]);
        let without_v6 = foreign(|settings| settings.answers.block_types = vec![rr::AAAA]);
        assert_eq!(hints(&without_v6, "site.example").await, [ABROAD]);
        assert_eq!(hints(&without_v6, "site.example").await, [ABROAD], "from the cache");
        let without_v4 = foreign(|settings| settings.answers.block_types = vec![rr::A]);
        assert_eq!(hints(&without_v4, "site.example").await, [ABROAD6]);
    })
    .await;
}

#[tokio::test]
async fn foreign_names_have_no_ipv6_hint_where_ipv6_is_blocked() {
    run(async || {
        let world = foreign(|settings| {
            settings.no_foreign_aaaa = true;
            list(settings, &[("listed.example", Some(Route::Proxy))]);
        });
        assert_eq!(hints(&world, "site.example").await, [ABROAD]);
        assert_eq!(hints(&world, "listed.example").await, [ABROAD]);
        let near = super::world(hinting(&[CN, CN6], &[CN]), silent(), |settings| {
            settings.no_foreign_aaaa = true;
        });
        assert_eq!(hints(&near, "site.example").await, [CN, CN6], "a domestic name");
    })
    .await;
}

/// The trusted side knows far addresses of a domestic name, and a liar any.
#[tokio::test]
async fn hints_do_not_lead_past_the_addresses_that_were_judged() {
    run(async || {
        let far = hinting(&[ABROAD, ABROAD6], &[ABROAD]);
        let silent_about_https: Script = std::rc::Rc::new(|query: &Message| {
            let asks_for_address = !asks_for(query, RecordType::HTTPS);
            let reply = asks_for_address.then(|| addresses(query, 60, &[CN]));
            reply.into_iter().map(|reply| super::servers::say(0, reply)).collect()
        });
        let world = world(silent_about_https, far, |_| {});
        assert_eq!(hints(&world, "site.example").await, [""; 0], "the trusted record");
        for (lie, expected) in [
            (&[FORGED] as &[&str], [].as_slice()),
            (&["10.0.0.1"], &[]),
            (&["127.0.0.1"], &[]),
            (&["0.0.0.0", CN], &[]),
            (&[CN, ABROAD6], &[CN, ABROAD6]),
        ] {
            let trusted = hinting(&[ABROAD], &[ABROAD]);
            let world = super::world(hinting(lie, &[CN]), trusted, |_| {});
            assert_eq!(hints(&world, "site.example").await, expected, "{lie:?}");
        }
    })
    .await;
}

/// A client that validates can make nothing of a record whose signature went with its hints.
#[tokio::test]
async fn a_record_that_can_be_validated_stays_whole() {
    run(async || {
        let signed_hinting = |hints: &'static [&'static str]| {
            always(move |query| match asks_for(query, RecordType::HTTPS) {
                true => signed(binding(query, hints)),
                false => addresses(query, 60, &[ABROAD]),
            })
        };
        let ask = async |world: &World| {
            assert_eq!(world.a("site.example").await, [CN]);
            let answer = ask_validating(world, "site.example", RecordType::HTTPS).await;
            let wire = answer.to_vec().unwrap();
            let hints = Reply::parse(&wire).unwrap().hints();
            (hints.iter().map(ToString::to_string).collect::<Vec<_>>(), is_signed(&answer))
        };
        let far = || signed_hinting(&[ABROAD, ABROAD6]);
        let unsigned = world(hinting(&[CN], &[CN]), far(), |_| {});
        assert_eq!(ask(&unsigned).await, (vec![ABROAD.into(), ABROAD6.into()], true));
        assert_eq!(hints(&unsigned, "site.example").await, [CN], "who does not validate");

        let without_v6 = world(hinting(&[CN], &[CN]), far(), |settings| {
            settings.no_foreign_aaaa = true;
        });
        assert_eq!(ask(&without_v6).await, (vec![ABROAD.into()], false), "firewall.ipv6");

        let domestic = always(|query| match asks_for(query, RecordType::HTTPS) {
            true => signed(binding(query, &[FORGED])),
            false => addresses(query, 60, &[CN]),
        });
        let liar = world(domestic, silent(), |_| {});
        assert_eq!(ask(&liar).await, (vec![], false), "what a liar calls signed");
    })
    .await;
}

#[tokio::test]
async fn hints_of_a_listed_name_steer_as_its_addresses_do() {
    run(async || {
        let domestic = hinting(&[ABROAD], &[FORGED]);
        let trusted = hinting(&[CN], &[FORGED]);
        let world = world(domestic, trusted, |settings| {
            let names =
                [("near.example", Some(Route::Direct)), ("far.example", Some(Route::Proxy))];
            list(settings, &names);
        });
        assert_eq!(hints(&world, "near.example").await, [ABROAD], "the operator vouches for it");
        assert_eq!(world.route(ABROAD), Route::Direct);
        assert_eq!(hints(&world, "far.example").await, [CN]);
        assert_eq!(world.route(CN), Route::Proxy);
    })
    .await;
}
