//! Name servers that are silent, hang up, cut short or ask us back.

use super::servers::{Script, addresses, always, nothing, over_tcp, over_udp, reply, say, silent};
use super::{ABROAD, CN, FORGED, found, run, world};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use std::rc::Rc;
use std::time::Duration;

#[tokio::test]
async fn the_second_server_of_a_list_helps() {
    run(async || {
        let refusing = over_udp(always(|query| {
            let mut refusal = reply(query);
            refusal.metadata.response_code = ResponseCode::Refused;
            refusal
        }));
        let knowing = over_udp(always(|query| addresses(query, 60, &["192.168.1.9"])));
        let world = world(silent(), silent(), |settings| {
            settings.servers.local = vec![refusing.address, knowing.address];
        });
        assert_eq!(world.a("nas").await, ["192.168.1.9"]);
    })
    .await;
}

#[tokio::test]
async fn identical_queries_share_a_flight() {
    run(async || {
        let slow = Rc::new(|query: &Message| vec![say(100, addresses(query, 60, &[CN]))]);
        let world = world(slow, silent(), |_| {});
        let (a, b, c) =
            tokio::join!(world.a("site.example"), world.a("SITE.example"), world.a("site.example"));
        assert_eq!([a, b, c], [[CN], [CN], [CN]]);
        assert_eq!(world.domestic.asked.get(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_ends_is_dialled_again() {
    run(async || {
        // Each connection answers one query, reads another and closes.
        let asked = std::cell::Cell::new(0);
        let every_other: Script = Rc::new(move |query| {
            asked.set(asked.get() + 1);
            match asked.get() % 2 {
                1 => vec![say(0, addresses(query, 60, &[ABROAD]))],
                _ => vec![],
            }
        });
        let trusted = over_tcp(every_other, 2);
        let foreign = always(|query| addresses(query, 60, &[FORGED]));
        let world = world(foreign, silent(), |settings| {
            settings.servers.trusted = vec![trusted.address.into()]
        });
        for number in 0..4 {
            assert_eq!(world.a(&format!("n{number}.example")).await, [ABROAD]);
        }
        assert_eq!(trusted.asked.get(), 7, "three were asked twice");
    })
    .await;
}

/// As dnsmasq does after a hundred.
#[tokio::test]
async fn a_server_that_closes_after_some_queries_answers_them_all() {
    run(async || {
        let foreign = always(|query| addresses(query, 60, &[FORGED]));
        let trusted = over_tcp(always(|query| addresses(query, 60, &[ABROAD])), 20);
        let world = world(foreign, silent(), |settings| {
            settings.servers.trusted = vec![trusted.address.into()]
        });
        let world = Rc::new(world);
        let mut asking = tokio::task::JoinSet::new();
        for number in 0..100 {
            let world = Rc::clone(&world);
            asking.spawn_local(async move { world.a(&format!("n{number}.example")).await });
        }
        let answers = asking.join_all().await;
        let missing = answers.iter().filter(|answer| **answer != [ABROAD]).count();
        assert_eq!(missing, 0, "of {}", answers.len());
    })
    .await;
}

#[tokio::test]
async fn the_second_trusted_server_helps() {
    run(async || {
        let failing = over_tcp(
            always(|query| {
                let mut failure = reply(query);
                failure.metadata.response_code = ResponseCode::ServFail;
                failure
            }),
            u32::MAX,
        );
        let trusted = always(|query| addresses(query, 60, &[ABROAD]));
        let world = world(silent(), trusted, |settings| {
            settings.servers.trusted.insert(0, failing.address.into());
        });
        assert_eq!(world.a("one.example").await, [ABROAD]);
        assert_eq!(world.a("two.example").await, [ABROAD]);
        assert_eq!(failing.asked.get(), 1, "the one that answered is asked first from then on");
    })
    .await;
}

#[tokio::test]
async fn a_truncated_reply_is_fetched_over_tcp() {
    run(async || {
        let domestic = over_tcp(always(|query| addresses(query, 60, &[CN])), u32::MAX);
        let truncating = crate::net::udp::bind(domestic.address).unwrap().listen().unwrap();
        tokio::task::spawn_local(async move {
            let mut buffer = [0; 512];
            loop {
                truncating.readable().await.unwrap();
                let Ok((length, asker)) = truncating.try_receive(&mut buffer) else { continue };
                let mut cut = reply(&Message::from_vec(&buffer[..length]).unwrap());
                cut.metadata.truncation = true;
                truncating.reply(&asker, &cut.to_vec().unwrap()).unwrap();
            }
        });
        let world = world(silent(), silent(), |settings| {
            settings.servers.china = vec![domestic.address.into()]
        });
        assert_eq!(world.a("site.example").await, [CN]);
        assert_eq!(domestic.asked.get(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_stale_answer_is_better_than_none() {
    run(async || {
        let up = Rc::new(std::cell::Cell::new(true));
        let state = Rc::clone(&up);
        let trusted: Script = Rc::new(move |query| match state.get() {
            true => vec![say(0, addresses(query, 1, &[ABROAD]))],
            false => vec![],
        });
        let foreign = always(|query| addresses(query, 1, &[FORGED]));
        let world = world(foreign, trusted, |_| {});
        assert_eq!(world.a("site.example").await, [ABROAD]);
        up.set(false);
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let answer = world.ask("site.example", RecordType::A).await;
        assert_eq!(found(&answer), [ABROAD]);
        assert_eq!(answer.answers[0].ttl, 1);
        assert_eq!(world.domestic.asked.get(), 2, "it was tried");
        assert_eq!(world.a("site.example").await, [ABROAD]);
        assert_eq!(world.domestic.asked.get(), 2, "and not again at once");
    })
    .await;
}

#[tokio::test]
async fn a_name_server_that_asks_us_back_is_refused() {
    run(async || {
        // Keeps what it was asked.
        let heard = Rc::new(std::cell::RefCell::new(Vec::new()));
        let names = Rc::clone(&heard);
        let domestic = always(move |query| {
            names.borrow_mut().push(query.queries[0].name().to_ascii());
            nothing(query, ResponseCode::NXDomain)
        });
        let world = world(domestic, silent(), |_| {});
        world.detect_rewriting().await;
        let name = heard.borrow()[0].trim_end_matches('.').to_owned();
        let answer = world.ask(&name, RecordType::A).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    })
    .await;
}

/// FORMERR or NOTIMP to EDNS, with the question or without, or nothing at all: each is asked again
/// without it, and the next question is without it at once.
#[tokio::test]
async fn servers_that_do_not_know_edns() {
    run(async || {
        for (kind, code) in [
            (StrangeServer::Refusing, ResponseCode::FormErr),
            (StrangeServer::Refusing, ResponseCode::NotImp),
            (StrangeServer::Bare, ResponseCode::FormErr),
            (StrangeServer::Bare, ResponseCode::NoError),
            (StrangeServer::Silent, ResponseCode::NoError),
        ] {
            let script: Script = Rc::new(move |query| {
                let mut refusal = reply(query);
                refusal.metadata.response_code = code;
                match (query.edns.is_some(), kind) {
                    (false, _) => vec![say(0, addresses(query, 60, &["192.168.1.9"]))],
                    (true, StrangeServer::Refusing) => vec![say(0, refusal)],
                    (true, StrangeServer::Bare) => vec![say(0, bare(refusal))],
                    (true, StrangeServer::Silent) => vec![],
                }
            });
            let server = over_udp(script);
            let world = world(silent(), silent(), |settings| {
                settings.servers.local = vec![server.address];
                settings.servers.timeout = Duration::from_secs(4);
            });
            for name in ["nas", "printer"] {
                assert_eq!(world.a(name).await, ["192.168.1.9"], "{kind:?} {code:?} {name}");
            }
            let before = server.asked.get();
            assert_eq!(world.a("lamp").await, ["192.168.1.9"]);
            assert_eq!(server.asked.get(), before + 1, "{kind:?} {code:?}: it is remembered");
        }
    })
    .await;
}

/// A refusal without the question moves on at once, not after the time for an answer.
#[tokio::test]
async fn a_bare_refusal_moves_on() {
    run(async || {
        let refusing = over_udp(always(|query| {
            let mut refusal = reply(query);
            refusal.metadata.response_code = ResponseCode::Refused;
            bare(refusal)
        }));
        let knowing = over_udp(always(|query| addresses(query, 60, &["192.168.1.9"])));
        let world = world(silent(), silent(), |settings| {
            settings.servers.local = vec![refusing.address, knowing.address];
        });
        let began = tokio::time::Instant::now();
        assert_eq!(world.a("nas").await, ["192.168.1.9"]);
        assert!(began.elapsed() < Duration::from_millis(600), "{:?}", began.elapsed());
        assert_eq!(refusing.asked.get(), 1);
    })
    .await;
}

/// The same over the connection of the trusted side.
#[tokio::test]
async fn a_trusted_server_that_does_not_know_edns() {
    run(async || {
        for is_bare in [false, true] {
            let trusted: Script = Rc::new(move |query| {
                let mut refusal = reply(query);
                refusal.metadata.response_code = ResponseCode::FormErr;
                vec![say(
                    0,
                    match (query.edns.is_some(), is_bare) {
                        (false, _) => addresses(query, 60, &[ABROAD]),
                        (true, false) => refusal,
                        (true, true) => bare(refusal),
                    },
                )]
            });
            let world = world(silent(), trusted, |_| {});
            for (number, asked) in [(1, 2), (2, 3), (3, 4)] {
                assert_eq!(world.a(&format!("n{number}.example")).await, [ABROAD]);
                assert_eq!(world.trusted.asked.get(), asked, "it is remembered");
            }
        }
    })
    .await;
}

/// Without the question.
fn bare(mut reply: Message) -> Message {
    reply.queries.clear();
    reply
}

#[derive(Clone, Copy, Debug)]
enum StrangeServer {
    Refusing,
    Bare,
    Silent,
}
