//! Which side is believed, and how long one waits for the other.

use super::servers::{Script, addresses, always, asks_for, nothing, say, silent};
use super::{ABROAD, CN, FORGED, found, run, world};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

fn name(query: &Message) -> String {
    query.queries[0].name().to_ascii()
}

#[tokio::test]
async fn a_domestic_name_gets_its_near_address_at_once() {
    run(async || {
        let trusted = Rc::new(|query: &Message| vec![say(600, addresses(query, 60, &[ABROAD]))]);
        let world = world(always(|query| addresses(query, 60, &[CN])), trusted, |_| {});
        let began = Instant::now();
        assert_eq!(world.a("site.example").await, [CN]);
        assert!(began.elapsed() < Duration::from_millis(400), "no wait for the other side");
        assert_eq!(world.a("SITE.example").await, [CN]);
        assert_eq!(world.domestic.asked.get(), 1, "the second came from the cache");
    })
    .await;
}

/// Forged replies come first: with the right number, with a wrong one, many of them.
#[tokio::test]
async fn forged_answers_never_pass() {
    run(async || {
        let forger = Rc::new(|query: &Message| {
            let mut wrong_id = addresses(query, 60, &[CN]);
            wrong_id.metadata.id ^= 1;
            vec![
                say(0, wrong_id),
                say(1, addresses(query, 300, &[FORGED])),
                say(2, addresses(query, 300, &["127.0.0.1"])),
                say(5, addresses(query, 300, &["8.7.198.45"])),
            ]
        });
        let trusted = Rc::new(|query: &Message| vec![say(100, addresses(query, 60, &[ABROAD]))]);
        let world = world(forger, trusted, |_| {});
        for number in 0..20 {
            assert_eq!(world.a(&format!("n{number}.example")).await, [ABROAD]);
        }
        let trust = &world.resolver.stats.trust;
        let counts = [&trust.weighed, &trust.foreign, &trust.forged].map(|it| it.get());
        assert_eq!(counts, [20, 20, 0], "what came first is what was weighed");
    })
    .await;
}

#[tokio::test]
async fn a_silent_domestic_side_costs_a_grace_and_then_none() {
    run(async || {
        let trusted = always(|query| addresses(query, 60, &[ABROAD]));
        let world = world(silent(), trusted, |_| {});
        let began = Instant::now();
        for number in 0..5 {
            assert_eq!(world.a(&format!("n{number}.example")).await, [ABROAD]);
        }
        assert!(began.elapsed() >= Duration::from_millis(1500), "five times the grace");
        let began = Instant::now();
        assert_eq!(world.a("n5.example").await, [ABROAD]);
        assert!(began.elapsed() < Duration::from_millis(250), "the side counts as down");
    })
    .await;
}

#[tokio::test]
async fn a_silent_trusted_side_means_servfail_and_never_the_doubtful_answer() {
    run(async || {
        let foreign = always(|query| addresses(query, 60, &[ABROAD]));
        let world = world(foreign, silent(), |_| {});
        let answer = world.ask("site.example", RecordType::A).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        assert!(answer.answers.is_empty());
        let began = Instant::now();
        let again = world.ask("site.example", RecordType::A).await;
        assert_eq!(again.metadata.response_code, ResponseCode::ServFail);
        assert!(began.elapsed() < Duration::from_millis(400), "a failure is remembered");
        let [refusal] = &world.resolver.stats.refusals.list()[..] else { panic!() };
        assert_eq!((refusal.name.as_deref(), refusal.times), (Some("site.example"), 2));
        let cause = "SERVFAIL: the trusted name servers do not answer; is the proxy up? (EDE 22)";
        assert_eq!(&*refusal.cause, cause);
    })
    .await;
}

#[tokio::test]
async fn nothing_from_the_domestic_side_needs_the_trusted_one_to_confirm() {
    run(async || {
        let domestic = always(|query| nothing(query, ResponseCode::NXDomain));
        let trusted = always(|query| addresses(query, 60, &[ABROAD]));
        let world = world(domestic, trusted, |_| {});
        assert_eq!(world.a("site.example").await, [ABROAD]);
    })
    .await;
}

#[tokio::test]
async fn other_types_follow_the_verdict() {
    run(async || {
        let domestic = always(|query| match asks_for(query, RecordType::A) {
            true => addresses(query, 60, &[CN]),
            false => nothing(query, ResponseCode::NoError),
        });
        let trusted = always(|query| nothing(query, ResponseCode::NXDomain));
        let world = world(domestic, trusted, |_| {});
        let https = world.ask("site.example", RecordType::HTTPS).await;
        assert_eq!(https.metadata.response_code, ResponseCode::NoError, "the domestic answer");
        assert_eq!(world.domestic.asked.get(), 2, "the address first");
        let text = world.ask("unknown.example", RecordType::TXT).await;
        assert_eq!(text.metadata.response_code, ResponseCode::NXDomain, "the trusted answer");
        assert_eq!(world.domestic.asked.get(), 2, "not asked about an unknown name");
    })
    .await;
}

/// Programs ask for both address types at once: the site without IPv6 must not wait for abroad.
#[tokio::test]
async fn a_missing_address_type_is_believed_once_the_other_is_domestic() {
    run(async || {
        let domestic = Rc::new(|query: &Message| match asks_for(query, RecordType::A) {
            true => vec![say(50, addresses(query, 60, &[CN]))],
            false => vec![say(0, nothing(query, ResponseCode::NoError))],
        });
        let world = world(domestic, silent(), |_| {});
        let began = Instant::now();
        let (a, aaaa) = tokio::join!(
            world.ask("site.example", RecordType::A),
            world.ask("site.example", RecordType::AAAA),
        );
        assert_eq!(found(&a), [CN]);
        assert_eq!(aaaa.metadata.response_code, ResponseCode::NoError);
        assert!(began.elapsed() < Duration::from_millis(500), "no wait for the trusted side");
    })
    .await;
}

#[tokio::test]
async fn a_rewriting_provider_is_found_out() {
    run(async || {
        // Everything has a domestic address, says the provider.
        let rewriting = always(|query| addresses(query, 60, &["198.51.100.66", "2001:db8:c::66"]));
        let trusted = always(|query| nothing(query, ResponseCode::NXDomain));
        let world = world(rewriting, trusted, |_| {});
        world.detect_rewriting().await;
        for kind in [RecordType::A, RecordType::AAAA] {
            let answer = world.ask("typo.example", kind).await;
            assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain, "{kind}");
        }
        let trust = &world.resolver.stats.trust;
        assert_eq!((trust.weighed.get(), trust.forged.get()), (2, 2));
        let forging: Vec<_> = trust.forging().iter().map(ToString::to_string).collect();
        assert_eq!(forging, ["198.51.100.66", "2001:db8:c::66"]);
    })
    .await;
}

#[tokio::test]
async fn a_provider_that_rewrites_only_what_people_type_is_found_out() {
    run(async || {
        let rewriting = always(|query| match name(query).starts_with("www.") {
            true => addresses(query, 60, &["198.51.100.66"]),
            false => nothing(query, ResponseCode::NXDomain),
        });
        let trusted = always(|query| nothing(query, ResponseCode::NXDomain));
        let world = world(rewriting, trusted, |_| {});
        world.detect_rewriting().await;
        let answer = world.ask("www.typo.example", RecordType::A).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    })
    .await;
}

#[tokio::test]
async fn a_page_for_some_names_that_do_not_exist_is_found_out_by_comparison() {
    run(async || {
        let page = || always(|query| addresses(query, 60, &["198.51.100.66"]));
        let denying = || always(|query| nothing(query, ResponseCode::NXDomain));
        let ask = |finds| async move {
            let world = world(page(), denying(), |settings| settings.answers.finds_bogus = finds);
            for name in ["typo.one", "typo.two", "typo.three"] {
                world.a(name).await;
                // What the trusted side says comes after the answer.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            world.a("typo.four").await
        };
        assert_eq!(ask(true).await, [""; 0]);
        assert_eq!(ask(false).await, ["198.51.100.66"], "dns.bogus without \"detected\"");
    })
    .await;
}

#[tokio::test]
async fn the_known_warning_pages_are_forged() {
    run(async || {
        let page = always(|query| addresses(query, 60, &["182.43.124.6"]));
        let trusted = always(|query| addresses(query, 60, &[ABROAD]));
        let world = world(page, trusted, |settings| {
            let china = std::iter::once("182.43.124.0/24").map(|text| super::net(&text));
            Arc::make_mut(&mut settings.rules).china = Arc::new(china.collect());
        });
        assert_eq!(world.a("site.example").await, [ABROAD]);
    })
    .await;
}

#[tokio::test]
async fn without_a_leak_the_domestic_side_hears_of_domestic_names_only() {
    run(async || {
        // Far addresses from the trusted side, near ones from the domestic side.
        let trusted = always(|query| match query.queries[0].name().to_ascii().as_str() {
            "cn.example." => addresses(query, 60, &["198.51.100.77"]),
            _ => addresses(query, 60, &[ABROAD]),
        });
        let domestic = always(|query| addresses(query, 60, &[CN]));
        let world = world(domestic, trusted, |settings| settings.privacy.no_leak = true);
        assert_eq!(world.a("foreign.example").await, [ABROAD]);
        assert_eq!(world.domestic.asked.get(), 0);
        assert_eq!(world.a("cn.example").await, [CN]);
        assert_eq!(world.domestic.asked.get(), 1);
    })
    .await;
}

#[tokio::test]
async fn without_a_leak_the_trusted_answer_helps_out() {
    run(async || {
        let trusted = always(|query| addresses(query, 60, &[CN]));
        let world = world(silent(), trusted, |settings| settings.privacy.no_leak = true);
        let began = Instant::now();
        assert_eq!(world.a("cn.example").await, [CN]);
        assert!(began.elapsed() < Duration::from_millis(900), "a grace, no more");
        let down = self::world(always(|query| addresses(query, 60, &[CN])), silent(), |settings| {
            settings.privacy.no_leak = true;
        });
        let answer = down.ask("cn.example", RecordType::A).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(down.domestic.asked.get(), 0, "that would be the leak");
    })
    .await;
}

#[tokio::test]
async fn a_domestic_sibling_ends_the_wait() {
    run(async || {
        // A comes late, AAAA says at once that there is none, the trusted side says nothing.
        let domestic: Script = Rc::new(|query| match asks_for(query, RecordType::A) {
            true => vec![say(150, addresses(query, 60, &[CN]))],
            false => vec![say(0, nothing(query, ResponseCode::NoError))],
        });
        let world = world(domestic, silent(), |_| {});
        let began = Instant::now();
        let (a, aaaa) =
            tokio::join!(world.a("site.example"), world.ask("site.example", RecordType::AAAA));
        assert_eq!((a.as_slice(), found(&aaaa)), ([CN.to_owned()].as_slice(), vec![]));
        assert_eq!(aaaa.metadata.response_code, ResponseCode::NoError);
        assert!(began.elapsed() < Duration::from_millis(700), "not until the deadline");
    })
    .await;
}
