//! What the operator wants of names.

use super::servers::{addresses, always, over_udp, silent};
use super::{ABROAD, CN, found, list, run, world};
use crate::dns::settings::HttpsRecords;
use crate::domain::Listed;
use crate::route::Route;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use std::sync::Arc;

#[tokio::test]
async fn listed_names_have_one_side_and_steer_the_router() {
    run(async || {
        let domestic = always(|query| addresses(query, 60, &[ABROAD]));
        let trusted = always(|query| addresses(query, 60, &[CN]));
        let world = world(domestic, trusted, |settings| {
            let names = [
                ("near.example", Some(Route::Direct)),
                ("far.example", Some(Route::Proxy)),
                ("bad.example", Some(Route::Block)),
                ("good.bad.example", None),
            ];
            list(settings, &names);
            let names = [("cn.example", Listed::In), ("hk.cn.example", Listed::Otherwise)];
            let names = names.map(|(name, listed)| (name.parse().unwrap(), listed));
            Arc::make_mut(&mut settings.rules).china_names = names.into_iter().collect();
        });
        assert_eq!(world.route(ABROAD), Route::Proxy);
        assert_eq!(world.a("www.near.example").await, [ABROAD]);
        assert_eq!(world.route(ABROAD), Route::Direct, "learned");
        assert_eq!(world.trusted.asked.get(), 0);
        assert_eq!(world.a("far.example").await, [CN]);
        assert_eq!(world.domestic.asked.get(), 1, "never asked about a proxied name");
        assert_eq!(world.a("a.cn.example").await, [ABROAD]);
        let blocked = world.ask("x.bad.example", RecordType::A).await;
        assert_eq!(blocked.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(world.a("x.good.bad.example").await, [CN], "excepted, and so judged");
        let asked = world.trusted.asked.get();
        assert_eq!(world.a("a.hk.cn.example").await, [CN]);
        assert_eq!(world.trusted.asked.get(), asked + 1, "excepted, and so judged");
    })
    .await;
}

#[tokio::test]
async fn an_answer_does_not_steer_local_addresses() {
    run(async || {
        let trusted = always(|query| addresses(query, 60, &["10.0.0.5", ABROAD]));
        let world = world(silent(), trusted, |settings| {
            list(settings, &[("far.example", Some(Route::Proxy))]);
        });
        world.a("far.example").await;
        assert_eq!(format!("{:?}", world.current.load().learned()), "Learned(1 addresses)");
    })
    .await;
}

#[tokio::test]
async fn a_direct_name_falls_back_to_the_trusted_side() {
    run(async || {
        let forged = always(|query| addresses(query, 60, &["127.0.0.1"]));
        let trusted = always(|query| addresses(query, 60, &[ABROAD]));
        let world = world(forged, trusted, |settings| {
            list(settings, &[("near.example", Some(Route::Direct))]);
        });
        assert_eq!(world.a("near.example").await, [ABROAD]);
    })
    .await;
}

#[tokio::test]
async fn the_machine_itself_is_believed_of_a_direct_name_if_the_trusted_side_knows_nothing_else() {
    run(async || {
        let own = |trusted| async {
            let domestic = always(|query| addresses(query, 60, &["127.0.0.1"]));
            let world = world(domestic, trusted, |settings| {
                list(settings, &[("near.example", Some(Route::Direct))]);
            });
            world.a("localhost.near.example").await
        };
        assert_eq!(own(silent()).await, ["127.0.0.1"]);
        assert_eq!(own(always(|query| addresses(query, 60, &[]))).await, ["127.0.0.1"]);
        assert_eq!(own(always(|query| addresses(query, 60, &["127.0.0.1"]))).await, ["127.0.0.1"]);
    })
    .await;
}

#[tokio::test]
async fn local_names_never_leave() {
    run(async || {
        let public = always(|query| addresses(query, 60, &[ABROAD]));
        let local = over_udp(always(|query| addresses(query, 60, &["192.168.1.9"])));
        let forward = over_udp(always(|query| addresses(query, 60, &["10.0.0.9"])));
        let world = world(public.clone(), public, |settings| {
            settings.servers.local = vec![local.address];
            let corp = "corp.example".parse().unwrap();
            settings.servers.forward.insert(&corp, vec![forward.address]);
        });
        assert_eq!(world.a("nas").await, ["192.168.1.9"]);
        assert_eq!(world.a("nas.lan").await, ["192.168.1.9"]);
        assert_eq!(world.a("www.corp.example").await, ["10.0.0.9"]);
        assert_eq!(world.a("localhost").await, ["127.0.0.1"]);
        assert_eq!((world.domestic.asked.get(), world.trusted.asked.get()), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn foreign_names_have_no_ipv6_where_it_is_blocked() {
    run(async || {
        let both = always(|query| addresses(query, 60, &[ABROAD, "2001:db8:f::1"]));
        let world = world(both.clone(), both, |settings| settings.no_foreign_aaaa = true);
        let answer = world.ask("site.example", RecordType::AAAA).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert_eq!(found(&answer), [""; 0]);
        assert_eq!(world.a("site.example").await, [ABROAD]);
    })
    .await;
}

#[tokio::test]
async fn https_records_can_be_blocked() {
    run(async || {
        let domestic = always(|query| addresses(query, 60, &[CN]));
        let world = world(domestic, silent(), |settings| {
            settings.answers.https_records = HttpsRecords::Block;
        });
        let answer = world.ask("site.example", RecordType::HTTPS).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert_eq!((answer.answers.len(), world.domestic.asked.get()), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn answers_are_counted_by_where_they_came_from() {
    use crate::stats::NameOutcome;
    run(async || {
        let trusted = always(|query| addresses(query, 60, &[ABROAD]));
        let domestic = always(|query| addresses(query, 60, &[CN]));
        let world = world(domestic, trusted, |settings| {
            list(
                settings,
                &[("bad.example", Some(Route::Block)), ("far.example", Some(Route::Proxy))],
            );
        });
        world.a("near.example").await;
        for _ in 0..3 {
            world.a("far.example").await;
        }
        world.a("bad.example").await;
        for of_the_heartbeat in [&crate::dns::proof_name("token"), "localhost"] {
            world.a(of_the_heartbeat).await;
        }
        let names = &world.resolver.stats.names;
        let counts = NameOutcome::ALL.map(|outcome| (outcome.word(), names.get(outcome)));
        let counts: Vec<_> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counts, [("local", 1), ("cache", 2), ("domestic", 1), ("trusted", 1)]);
    })
    .await;
}

/// By rules and lists that decide, with an answer from the cache or without; not by those that
/// hosts or servers for a domain come before.
#[tokio::test]
async fn queries_are_counted_by_what_decided() {
    use crate::stats::DecidedBy;
    run(async || {
        let trusted = always(|query| addresses(query, 60, &[ABROAD]));
        let domestic = always(|query| addresses(query, 60, &[CN]));
        let world = world(domestic, trusted, |settings| {
            let direct =
                [("near.example", Some(Route::Direct)), ("far.example", Some(Route::Proxy))];
            list(settings, &[&direct[..], &[("bad.example", Some(Route::Block))]].concat());
            let listed = ["cn.example", "near.example"].map(|it| (it.parse().unwrap(), Listed::In));
            let rules = Arc::make_mut(&mut settings.rules);
            rules.china_names = listed.into_iter().collect();
            let here = "far.example".parse().unwrap();
            settings.answers.hosts = [(here, vec!["192.0.2.1".parse().unwrap()])].into();
        });
        for (name, times) in [
            ("other.example", 1),
            ("near.example", 2),
            ("www.far.example", 3),
            ("bad.example", 4),
            ("cn.example", 5),
            ("far.example", 6),
        ] {
            for _ in 0..times {
                world.a(name).await;
            }
        }
        let hits = DecidedBy::ALL.map(|by| (by, world.resolver.stats.hits.get(by)));
        let hits: Vec<_> = hits.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(
            hits,
            [
                (DecidedBy::ProxyNames, 3),
                (DecidedBy::DirectNames, 2),
                (DecidedBy::BlockList, 4),
                (DecidedBy::ChinaList, 5),
            ]
        );
    })
    .await;
}
