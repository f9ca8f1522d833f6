//! Name servers whose replies cannot be read behind the question: they have failed.

use super::servers::{addresses, always, over_tcp, over_udp, say, silent};
use super::{ABROAD, CN, asking, found, run, world};
use crate::net::udp;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::{RData, Record};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A server over UDP whose replies are made of queries byte by byte.
fn raw_server(replies: impl Fn(&[u8]) -> Vec<Vec<u8>> + 'static) -> SocketAddr {
    let bound = udp::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = bound.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        let socket = bound.listen().unwrap();
        let mut buffer = [0; 4096];
        loop {
            socket.readable().await.unwrap();
            let Ok((length, asker)) = socket.try_receive(&mut buffer) else { continue };
            for reply in replies(&buffer[..length]) {
                socket.reply(&asker, &reply).unwrap();
            }
        }
    });
    address
}

/// A reply with one address, whose owner is a pointer that points to itself.
fn endless_owner(query: &[u8]) -> Vec<u8> {
    let name = query[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let question_end = 12 + name + 4;
    let mut reply = query[..question_end].to_vec();
    reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    reply.extend((0xc000 | u16::try_from(question_end).unwrap()).to_be_bytes());
    reply.extend([0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 198, 51, 100, 1]);
    reply
}

/// The same over TCP: an address of five bytes.
fn long_address(query: &Message) -> Message {
    let mut reply = super::servers::reply(query);
    let data = RData::Unknown { code: RecordType::A, rdata: NULL::with(vec![7; 5]) };
    reply.answers.push(Record::from_rdata(query.queries[0].name().clone(), 60, data));
    reply
}

#[tokio::test]
async fn the_next_server_is_asked_at_once() {
    run(async || {
        let malformed = raw_server(|query| vec![endless_owner(query)]);
        let near = over_udp(always(|query| addresses(query, 60, &["192.168.1.9"])));
        let domestic = over_udp(always(|query| addresses(query, 60, &[CN])));
        let trusted = always(|query| addresses(query, 60, &[ABROAD]));
        let broken = over_tcp(always(long_address), u32::MAX);
        let world = world(silent(), trusted, |settings| {
            settings.servers.china = asking(&[malformed, domestic.address]).servers.china;
            settings.servers.local = vec![malformed, near.address];
            settings.servers.trusted.insert(0, broken.address.into());
            super::list(settings, &[("near.example", Some(crate::route::Route::Direct))]);
        });
        let began = Instant::now();
        assert_eq!(world.a("nas").await, ["192.168.1.9"]);
        assert_eq!(world.a("site.example").await, [CN], "judged");
        assert_eq!(world.a("www.near.example").await, [CN], "asked of the domestic side only");
        let text = world.ask("other.example", RecordType::TXT).await;
        assert_eq!(text.metadata.response_code, ResponseCode::NoError, "the second trusted one");
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
        assert!(broken.asked.get() > 0);
    })
    .await;
}

#[tokio::test]
async fn a_client_never_gets_one() {
    run(async || {
        let malformed = raw_server(|query| vec![endless_owner(query)]);
        let world = world(silent(), always(long_address), |settings| {
            settings.servers.china = asking(&[malformed]).servers.china;
            settings.servers.local = vec![malformed];
        });
        for name in ["nas", "site.example"] {
            let answer = world.ask(name, RecordType::A).await;
            assert_eq!(answer.metadata.response_code, ResponseCode::ServFail, "{name}");
            assert!(found(&answer).is_empty(), "{name}");
        }
    })
    .await;
}

/// One with another number is a guess, and says nothing of the server.
#[tokio::test]
async fn a_guess_is_ignored() {
    run(async || {
        let guessed = raw_server(|query| {
            let mut guess = endless_owner(query);
            guess[0] ^= 0xff;
            let truth = addresses(&Message::from_vec(query).unwrap(), 60, &["192.168.1.9"]);
            vec![guess, b"\0".to_vec(), truth.to_vec().unwrap()]
        });
        let other = over_udp(Rc::new(|query| vec![say(0, addresses(query, 60, &["192.168.1.8"]))]));
        let world = world(silent(), silent(), |settings| {
            settings.servers.local = vec![guessed, other.address];
        });
        assert_eq!(world.a("nas").await, ["192.168.1.9"]);
        assert_eq!(other.asked.get(), 0);
    })
    .await;
}
