use super::*;
use crate::dns::household::Household;
use crate::dns::reply::sample::query;
use crate::dns::settings::{AnswerSettings, CacheSettings, PrivacySettings, ServerSettings};
use crate::domain::{DomainMap, Listed};
use crate::route::Rules;
use std::collections::HashMap;
use std::sync::Arc;

const TXT: u16 = 16;
const NS: u16 = 2;
const DS: u16 = 43;

fn settings() -> Settings {
    let mut forward = DomainMap::default();
    forward.insert(&"corp.example".parse().unwrap(), vec!["10.0.0.53:53".parse().unwrap()]);
    forward.insert(&"lab.invalid".parse().unwrap(), vec!["10.0.0.53:53".parse().unwrap()]);
    let mut rules = Rules::default();
    for (name, route) in [("direct.example", Route::Direct), ("proxy.example", Route::Proxy)] {
        rules.names.insert(&name.parse().unwrap(), route);
    }
    let list = |names: [&str; 2]| {
        let listed = [Listed::In, Listed::Otherwise];
        names.map(|name| name.parse().unwrap()).into_iter().zip(listed).collect()
    };
    rules.blocked_names = list(["block.example", "not.block.example"]);
    rules.china_names = list(["china.example", "not.china.example"]);
    let hosts = HashMap::from([("www.proxy.example".parse().unwrap(), Vec::new())]);
    Settings {
        listen: Vec::new(),
        household: Household::default(),
        rules: Arc::new(rules),
        no_foreign_aaaa: true,
        servers: ServerSettings { forward, ..ServerSettings::default() },
        cache: CacheSettings::default(),
        privacy: PrivacySettings::default(),
        answers: AnswerSettings { hosts, block_types: vec![TXT], ..AnswerSettings::default() },
    }
}

#[test]
fn what_becomes_of_a_query() {
    let policy = QueryPolicy::new(settings());
    let servers = ["10.0.0.53:53".parse().unwrap()];
    let known = Plan::Known;
    for (name, qtype, expected) in [
        ("www.proxy.example", TXT, known(KnownAnswer::Hosts)),
        ("a.localhost", rr::A, known(KnownAnswer::Localhost)),
        ("a.invalid", rr::A, known(KnownAnswer::NxDomain)),
        ("lab.invalid", rr::A, Plan::Ask(Ask::Forward(&servers))),
        ("_dns.resolver.arpa", rr::A, known(KnownAnswer::NoData)),
        ("www.block.example", rr::A, known(KnownAnswer::Blocked)),
        ("not.block.example", rr::A, Plan::Ask(Ask::Both)),
        ("direct.example", TXT, known(KnownAnswer::Filtered)),
        ("proxy.example", rr::AAAA, known(KnownAnswer::Filtered)),
        ("proxy.example", rr::ANY, known(KnownAnswer::Any)),
        ("git.corp.example", rr::A, Plan::Ask(Ask::Forward(&servers))),
        ("nas", rr::A, Plan::Ask(Ask::Local)),
        ("com", DS, Plan::Ask(Ask::SideOfAddresses)),
        // Avahi asks so whether a name server has the zone.
        ("local", rr::SOA, Plan::Ask(Ask::Local)),
        ("lan", NS, Plan::Ask(Ask::Local)),
        ("internal", DS, Plan::Ask(Ask::Local)),
        ("direct.example", rr::HTTPS, Plan::Ask(Ask::Domestic)),
        ("proxy.example", rr::HTTPS, Plan::Ask(Ask::Trusted)),
        ("www.china.example", rr::A, Plan::Ask(Ask::Domestic)),
        ("not.china.example", rr::A, Plan::Ask(Ask::Both)),
        ("www.example", rr::AAAA, Plan::Ask(Ask::Both)),
        ("www.example", rr::HTTPS, Plan::Ask(Ask::SideOfAddresses)),
    ] {
        assert_eq!(policy.plan(&query(name, qtype, None), None), expected, "{name} {qtype}");
    }
}

#[test]
fn a_verdict_hides_ipv6_and_no_leak_asks_the_trusted_side_first() {
    let mut settings = settings();
    settings.privacy.no_leak = true;
    let policy = QueryPolicy::new(settings);
    let (a, aaaa) = (query("www.example", rr::A, None), query("www.example", rr::AAAA, None));
    let foreign = Some(NameVerdict::Foreign);
    assert_eq!(policy.plan(&aaaa, None), Plan::Ask(Ask::TrustedFirst));
    assert_eq!(policy.plan(&aaaa, foreign), Plan::Known(KnownAnswer::Filtered));
    assert_eq!(policy.plan(&a, foreign), Plan::Ask(Ask::TrustedFirst));
    assert!(policy.keeps(&a, foreign) && !policy.keeps(&aaaa, foreign));
}

#[test]
fn which_answers_of_a_former_run_still_hold() {
    let policy = QueryPolicy::new(settings());
    let holds = |name, side| policy.still_gives(&query(name, rr::A, None), side, None);
    for (name, of_domestic, of_trusted) in [
        ("block.example", false, false),
        ("git.corp.example", false, false),
        ("nas", false, false),
        ("direct.example", true, true),
        ("proxy.example", false, true),
        // The China list is empty here.
        ("www.example", false, true),
    ] {
        assert_eq!(holds(name, Side::Domestic), of_domestic, "{name}");
        assert_eq!(holds(name, Side::Trusted), of_trusted, "{name}");
    }
}
