//! Names that only the asked server knows.

use super::servers::{
    Script, Server, addresses, always, asks_for, nothing, over_udp, reply, silent,
};
use super::{ABROAD, CN, World, found, list, run, world};
use crate::dns::Settings;
use crate::route::Route;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

const INSIDE: &str = "10.89.0.7";

fn name(query: &Message) -> String {
    query.queries[0].name().to_ascii().to_ascii_lowercase()
}

/// What the public sides say: `site.example` exists, and nothing else.
fn public() -> Script {
    always(|query| match name(query).as_str() {
        "site.example." => addresses(query, 60, &[ABROAD]),
        _ => nothing(query, ResponseCode::NXDomain),
    })
}

/// Without the top-level domain too.
fn public_without_top_level() -> Script {
    always(|query| {
        let mut reply = nothing(query, ResponseCode::NXDomain);
        let host = Name::from_ascii("a.root.").unwrap();
        let soa = RData::SOA(SOA::new(host.clone(), host, 1, 1, 1, 1, 60));
        reply.authorities = vec![Record::from_rdata(Name::root(), 60, soa)];
        reply
    })
}

fn inside() -> Server {
    over_udp(always(|query| addresses(query, 60, &[INSIDE])))
}

fn with(public: Script, adjust: impl FnOnce(&mut Settings)) -> World {
    world(Rc::clone(&public), public, adjust)
}

async fn code(world: &World, name: &str, kind: RecordType) -> ResponseCode {
    world.ask(name, kind).await.metadata.response_code
}

#[tokio::test]
async fn a_name_that_does_not_exist_in_public_is_asked_there() {
    run(async || {
        let (world, inside, other) = (with(public(), |_| {}), inside(), silent_nx());
        assert_eq!(code(&world, "web.dns.podman", RecordType::A).await, ResponseCode::NXDomain);
        world.asked.set(Some(inside.address));
        assert_eq!(world.a("web.dns.podman").await, [INSIDE]);
        assert_eq!(world.a("WEB.dns.podman").await, [INSIDE]);
        assert_eq!(inside.asked.get(), 1, "its answer is kept");
        world.asked.set(Some(other.address));
        assert_eq!(code(&world, "web.dns.podman", RecordType::A).await, ResponseCode::NXDomain);
        world.asked.set(None);
        assert_eq!(code(&world, "web.dns.podman", RecordType::A).await, ResponseCode::NXDomain);
        // No address of the other type: there is such a name after all.
        world.asked.set(Some(inside.address));
        let other = world.ask("web.dns.podman", RecordType::AAAA).await;
        assert_eq!(other.metadata.response_code, ResponseCode::NoError);
        assert!(other.answers.is_empty());
    })
    .await;
}

fn silent_nx() -> Server {
    over_udp(always(|query| nothing(query, ResponseCode::NXDomain)))
}

#[tokio::test]
async fn no_public_name_can_be_forged_there() {
    run(async || {
        let (world, inside) = (with(public(), |_| {}), inside());
        world.asked.set(Some(inside.address));
        assert_eq!(world.a("site.example").await, [ABROAD]);
        assert_eq!(world.ask("site.example", RecordType::AAAA).await.answers.len(), 0);
        assert_eq!(inside.asked.get(), 0, "a name that exists is not asked there");
        for forged in [&[ABROAD][..], &[INSIDE, ABROAD], &[CN], &["127.0.0.1"], &["0.0.0.0"]] {
            let forged: &'static [&'static str] = Vec::leak(forged.to_vec());
            let forger = over_udp(always(move |query| addresses(query, 60, forged)));
            world.asked.set(Some(forger.address));
            let answer = world.ask("nosuch.example", RecordType::A).await;
            assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain, "{forged:?}");
            assert_eq!((forger.asked.get(), found(&answer).len()), (1, 0));
            world.a("nosuch.example").await;
            assert_eq!(forger.asked.get(), 1, "not asked again at once");
        }
    })
    .await;
}

#[tokio::test]
async fn an_answer_speaks_of_the_name_asked_for_only() {
    run(async || {
        let server = over_udp(always(|query| {
            let mut reply = reply(query);
            let (own, bank) =
                (query.queries[0].name().clone(), Name::from_ascii("bank.example.").unwrap());
            let alias = RData::CNAME(CNAME(bank.clone()));
            reply.answers.push(Record::from_rdata(own, 60, alias));
            let address = RData::A(INSIDE.parse::<std::net::Ipv4Addr>().unwrap().into());
            reply.answers.push(Record::from_rdata(bank, 60, address));
            reply
        }));
        let world = with(public(), |_| {});
        world.asked.set(Some(server.address));
        for asked in ["web.dns.podman", "web"] {
            let answer = world.ask(asked, RecordType::A).await;
            assert_eq!(found(&answer), [INSIDE]);
            let owners: Vec<String> =
                answer.answers.iter().map(|record| record.name.to_ascii()).collect();
            assert_eq!(owners, [format!("{asked}.")]);
        }
    })
    .await;
}

#[tokio::test]
async fn local_names_go_there_first() {
    run(async || {
        let local = over_udp(always(|query| addresses(query, 60, &["192.168.1.9"])));
        let knows = over_udp(always(|query| match name(query).as_str() {
            "nas.lan." => addresses(query, 60, &["2001:db8:1::5", ABROAD]),
            "7.0.89.10.in-addr.arpa." => {
                let mut reply = reply(query);
                let name = RData::PTR(hickory_proto::rr::rdata::PTR(
                    Name::from_ascii("web.dns.podman.").unwrap(),
                ));
                let own = query.queries[0].name().clone();
                reply.answers.push(Record::from_rdata(own, 60, name));
                reply
            }
            _ => nothing(query, ResponseCode::NXDomain),
        }));
        let world = with(public(), |settings| {
            settings.servers.local = vec![local.address];
            let corp = "corp.lan".parse().unwrap();
            settings.servers.forward.insert(&corp, vec![local.address]);
        });
        assert_eq!(world.a("nas.lan").await, ["192.168.1.9"]);
        world.asked.set(Some(knows.address));
        assert_eq!(world.a("nas.lan").await, [ABROAD], "no public name has this suffix");
        assert_eq!(world.a("printer.lan").await, ["192.168.1.9"], "then the others");
        let pointer = world.ask("7.0.89.10.in-addr.arpa", RecordType::PTR).await;
        assert_eq!(pointer.answers.len(), 1);
        assert_eq!(knows.asked.get(), 3);
        assert_eq!(world.a("x.corp.lan").await, ["192.168.1.9"]);
        assert_eq!(knows.asked.get(), 3, "dns.forward says who knows");
        world.asked.set(None);
        assert_eq!(world.a("nas.lan").await, ["192.168.1.9"]);
        // Where the asked server is the one for local names anyway there is one answer for all.
        world.asked.set(Some(local.address));
        let asked = local.asked.get();
        assert_eq!(world.a("nas.lan").await, ["192.168.1.9"]);
        assert_eq!(local.asked.get(), asked);
        assert_eq!((world.domestic.asked.get(), world.trusted.asked.get()), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn a_silent_server_costs_little_and_only_once() {
    run(async || {
        let server = over_udp(silent());
        let world = with(public(), |_| {});
        world.asked.set(Some(server.address));
        let began = Instant::now();
        assert_eq!(code(&world, "a.dns.podman", RecordType::A).await, ResponseCode::NXDomain);
        assert!(began.elapsed() < Duration::from_millis(1000), "the time of a query");
        assert_eq!(code(&world, "b.dns.podman", RecordType::A).await, ResponseCode::NXDomain);
        assert_eq!(code(&world, "nas", RecordType::A).await, ResponseCode::NXDomain);
        assert_eq!(server.asked.get(), 1, "passed over");
    })
    .await;
}

#[tokio::test]
async fn other_types_count_where_the_address_does() {
    run(async || {
        let text = |query: &Message| {
            let mut reply = reply(query);
            let own = query.queries[0].name().clone();
            let text = RData::TXT(TXT::new(vec!["inside".into()]));
            reply.answers.push(Record::from_rdata(own, 60, text));
            reply
        };
        let server = over_udp(always(move |query| match name(query).as_str() {
            _ if asks_for(query, RecordType::TXT) => text(query),
            "corp.example." | "web.corp.example." => addresses(query, 60, &[INSIDE]),
            "lying.example." => addresses(query, 60, &[ABROAD]),
            "site.example." => addresses(query, 60, &[INSIDE]),
            _ => nothing(query, ResponseCode::NXDomain),
        }));
        let world = with(public(), |_| {});
        world.asked.set(Some(server.address));
        for (name, counts) in [
            ("web.corp.example", true),
            ("_ldap._tcp.corp.example", true),
            ("lying.example", false),
            ("_ldap._tcp.lying.example", false),
            ("unknown.example", false),
            // The name that the service belongs to exists in public.
            ("_ldap._tcp.site.example", false),
        ] {
            let answer = world.ask(name, RecordType::TXT).await;
            let expected = if counts { ResponseCode::NoError } else { ResponseCode::NXDomain };
            assert_eq!(answer.metadata.response_code, expected, "{name}");
            assert_eq!(answer.answers.len(), usize::from(counts), "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_not_to_leak_goes_there_only_without_a_top_level_domain() {
    run(async || {
        let secret: fn(&mut Settings) = |settings| settings.privacy.no_leak = true;
        let proxied: fn(&mut Settings) = |settings| {
            list(settings, &[("example", Some(Route::Proxy)), ("podman", Some(Route::Proxy))]);
        };
        for adjust in [secret, proxied] {
            let (world, inside) = (with(public(), adjust), inside());
            world.asked.set(Some(inside.address));
            let heard = code(&world, "git.corp.example", RecordType::A).await;
            assert_eq!((heard, inside.asked.get()), (ResponseCode::NXDomain, 0));
            let world = with(public_without_top_level(), adjust);
            world.asked.set(Some(inside.address));
            assert_eq!(world.a("web.dns.podman").await, [INSIDE]);
        }
    })
    .await;
}

#[tokio::test]
async fn it_helps_while_the_trusted_side_is_silent_if_the_name_was_denied_before() {
    run(async || {
        let silent = Rc::new(std::cell::Cell::new(false));
        let falls_silent = Rc::clone(&silent);
        let trusted: Script = Rc::new(move |query| match falls_silent.get() {
            true => vec![],
            // To be asked again at once.
            false => {
                let mut reply = nothing(query, ResponseCode::NXDomain);
                for record in &mut reply.authorities {
                    record.ttl = 1;
                }
                vec![super::say(0, reply)]
            }
        });
        let domestic = always(|query| nothing(query, ResponseCode::NXDomain));
        let world = world(domestic, trusted, |_| {});
        let inside = inside();
        assert_eq!(code(&world, "web.dns.podman", RecordType::A).await, ResponseCode::NXDomain);
        silent.set(true);
        world.resolver.memory.cache.borrow_mut().age(Duration::from_secs(2));
        world.asked.set(Some(inside.address));
        assert_eq!(world.a("web.dns.podman").await, [INSIDE]);
        let heard = code(&world, "new.dns.podman", RecordType::A).await;
        assert_eq!(heard, ResponseCode::ServFail, "who knows whether it exists?");
        assert_eq!(inside.asked.get(), 1);
    })
    .await;
}

#[tokio::test]
async fn we_are_no_other_server() {
    run(async || {
        let inside = inside();
        let world = with(public(), |settings| settings.listen = vec![inside.address]);
        world.asked.set(Some(inside.address));
        assert_eq!(code(&world, "web.dns.podman", RecordType::A).await, ResponseCode::NXDomain);
        // Neither is one with a public address.
        world.asked.set(Some("203.0.113.53:53".parse().unwrap()));
        assert_eq!(code(&world, "web.dns.podman", RecordType::A).await, ResponseCode::NXDomain);
        assert_eq!(inside.asked.get(), 0);
    })
    .await;
}
