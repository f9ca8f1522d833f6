//! A client that validates (DO), behind domestic servers that do not speak DNSSEC.

use super::servers::{Script, addresses, always, nothing, say, silent};
use super::{ABROAD, CN, Query, World, found, list, run, world};
use crate::route::Route;
use hickory_proto::op::{Edns, Message, ResponseCode};
use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A client that validates asks.
pub(super) async fn ask(world: &World, name: &str, kind: RecordType) -> Message {
    let mut asking = Message::query();
    asking.metadata.recursion_desired = true;
    let name = Name::from_ascii(format!("{name}.")).unwrap();
    asking.add_query(hickory_proto::op::Query::query(name, kind));
    let mut edns = Edns::new();
    edns.set_dnssec_ok(true).set_max_payload(1232);
    asking.set_edns(edns);
    world.ask_query("127.0.0.1", &Query::parse(&asking.to_vec().unwrap()).unwrap()).await
}

/// With a signature for each section that has records.
pub(super) fn signed(mut reply: Message) -> Message {
    let signature = |section: &[Record]| {
        let first = section.first()?;
        let data = RData::Unknown { code: RecordType::RRSIG, rdata: NULL::with(vec![0; 24]) };
        Some(Record::from_rdata(first.name.clone(), 60, data))
    };
    reply.answers.extend(signature(&reply.answers));
    reply.authorities.extend(signature(&reply.authorities));
    reply
}

pub(super) fn is_signed(answer: &Message) -> bool {
    answer.all_sections().any(|record| record.record_type() == RecordType::RRSIG)
}

/// `signed.example` is signed, and it is proved that others are not. Far addresses.
fn trusted() -> Script {
    always(|query| {
        let is_signed = query.queries[0].name().to_ascii().contains("signed.example.");
        match query.queries[0].query_type() {
            RecordType::A if is_signed => signed(addresses(query, 60, &[ABROAD])),
            RecordType::A => addresses(query, 60, &[ABROAD]),
            _ => signed(nothing(query, ResponseCode::NoError)),
        }
    })
}

/// Near addresses, and nothing of DNSSEC.
fn domestic() -> Script {
    always(|query| match query.queries[0].query_type() {
        RecordType::A => addresses(query, 60, &[CN]),
        _ => nothing(query, ResponseCode::NoError),
    })
}

#[tokio::test]
async fn a_signed_name_can_be_validated_and_others_keep_their_near_address() {
    run(async || {
        for no_leak in [false, true] {
            let world = world(domestic(), trusted(), |settings| {
                settings.privacy.no_leak = no_leak;
                list(settings, &[("near.signed.example", Some(Route::Direct))]);
            });
            for name in ["www.signed.example", "near.signed.example"] {
                let answer = ask(&world, name, RecordType::A).await;
                assert_eq!((found(&answer), is_signed(&answer)), (vec![ABROAD.to_owned()], true));
            }
            let near = if no_leak { ABROAD } else { CN };
            assert_eq!(found(&ask(&world, "site.example", RecordType::A).await), [near]);
            assert_eq!(world.a("www.signed.example").await, [near], "who does not validate");
            assert_eq!(world.a("near.signed.example").await, [CN]);
        }
    })
    .await;
}

/// That a name is not signed is proved by the zone above.
#[tokio::test]
async fn the_proof_that_a_name_is_not_signed_comes_from_the_side_that_has_it() {
    run(async || {
        let world = world(domestic(), trusted(), |settings| {
            list(settings, &[("listed.example", Some(Route::Direct))]);
        });
        assert_eq!(world.a("site.example").await, [CN]);
        for name in ["site.example", "listed.example"] {
            for kind in [RecordType::DS, RecordType::DNSKEY] {
                assert!(is_signed(&ask(&world, name, kind).await), "{name} {kind}");
            }
        }
    })
    .await;
}

/// A domestic server that has signatures is enough, and a trusted side that is silent no obstacle.
#[tokio::test]
async fn the_near_address_stays_where_nothing_is_gained() {
    run(async || {
        let signing = always(|query| signed(addresses(query, 60, &[CN])));
        let with_signatures = world(signing, trusted(), |_| {});
        let answer = ask(&with_signatures, "www.signed.example", RecordType::A).await;
        assert_eq!((found(&answer), is_signed(&answer)), (vec![CN.to_owned()], true));

        let alone = world(domestic(), silent(), |settings| {
            settings.servers.timeout = Duration::from_secs(4);
        });
        let began = Instant::now();
        assert_eq!(found(&ask(&alone, "site.example", RecordType::A).await), [CN]);
        assert!(began.elapsed() < Duration::from_millis(1800));

        // An error with a signature would be no answer.
        let failing: Script = Rc::new(|query: &Message| {
            let mut reply = signed(nothing(query, ResponseCode::NoError));
            reply.metadata.response_code = ResponseCode::ServFail;
            vec![say(0, reply)]
        });
        let failing = world(domestic(), failing, |_| {});
        assert_eq!(found(&ask(&failing, "site.example", RecordType::A).await), [CN]);
    })
    .await;
}

/// Giving up the wait for signatures is no verdict on the server.
#[tokio::test]
async fn a_slow_trusted_side_is_not_taken_for_a_dead_one() {
    run(async || {
        let slow: Script = Rc::new(|query| vec![say(1700, nothing(query, ResponseCode::NoError))]);
        let world = world(domestic(), slow, |settings| {
            list(settings, &[("near.example", Some(Route::Direct))]);
            settings.servers.timeout = Duration::from_secs(20);
        });
        for name in ["a.near.example", "b.near.example"] {
            assert_eq!(found(&ask(&world, name, RecordType::A).await), [CN]);
        }
        let query = Query::new(&"near.example".parse().unwrap(), 1);
        assert!(!world.resolver.upstreams.is_trusted_down(&query));
    })
    .await;
}

/// A trusted side that has not answered lately costs nothing where there is a near answer.
#[tokio::test]
async fn no_signature_is_waited_for_while_the_trusted_side_is_dead() {
    run(async || {
        let world = world(domestic(), silent(), |settings| {
            list(settings, &[("near.example", Some(Route::Direct))]);
            settings.servers.timeout = Duration::from_secs(4);
        });
        let mut quickest = Duration::MAX;
        for number in 0..5 {
            let began = Instant::now();
            let name = format!("n{number}.near.example");
            assert_eq!(found(&ask(&world, &name, RecordType::A).await), [CN]);
            quickest = quickest.min(began.elapsed());
        }
        assert!(quickest < Duration::from_secs(1), "{quickest:?}");
    })
    .await;
}

/// Far addresses of IPv6 are what `firewall.ipv6 = "block"` keeps programs from.
#[tokio::test]
async fn a_signature_brings_no_foreign_ipv6_where_that_is_blocked() {
    run(async || {
        let ask_both = |blocked| async move {
            let trusted = always(|query| signed(addresses(query, 60, &[ABROAD, "2001:db8:f::1"])));
            let domestic = always(|query| addresses(query, 60, &[CN, "2001:db8:c::1"]));
            let world = world(domestic, trusted, |settings| settings.no_foreign_aaaa = blocked);
            found(&ask(&world, "www.signed.example", RecordType::AAAA).await)
        };
        assert_eq!(ask_both(false).await, ["2001:db8:f::1"]);
        assert_eq!(ask_both(true).await, ["2001:db8:c::1"]);
    })
    .await;
}
