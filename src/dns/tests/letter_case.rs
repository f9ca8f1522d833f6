//! Random case in questions over UDP (`dns.case-randomization`), and servers that do not repeat it.

use super::servers::{Script, Server, addresses, always, over_tcp, over_udp_at, say, silent};
use super::{CN, World, run, world};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// Questions come in random case; these servers answer in lower case.
fn lowered(query: &Message, address: &str) -> Message {
    let mut answer = addresses(query, 60, &[address]);
    let name = answer.queries[0].name().to_lowercase();
    answer.queries[0].set_name(name.clone());
    answer.answers.iter_mut().for_each(|record| record.name = name.clone());
    answer
}

fn is_lower(name: &Name) -> bool {
    name.to_ascii() == name.to_ascii().to_lowercase()
}

fn asking(server: SocketAddr) -> World {
    world(silent(), silent(), |settings| {
        settings.servers.china = vec![server.into()];
        settings.servers.case_randomization = true;
    })
}

#[tokio::test]
async fn a_guess_in_another_case_loses_to_the_true_answer() {
    run(async || {
        let both: Script = Rc::new(|query| {
            let true_one = addresses(query, 60, &["198.51.100.7"]);
            vec![say(0, lowered(query, CN)), say(50, true_one)]
        });
        let server = super::over_udp(both);
        let world = asking(server.address);
        for name in ["guessed.example", "guessed-too.example", "once-more.example", "4th.example"] {
            assert_eq!(world.a(name).await, ["198.51.100.7"], "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_does_not_repeat_the_case_is_asked_over_tcp_and_then_in_lower_case() {
    run(async || {
        let over_stream: Server = over_tcp(always(|query| addresses(query, 60, &[CN])), u32::MAX);
        let lower = Rc::new(Cell::new(0));
        let counted = Rc::clone(&lower);
        let over_datagrams: Script = Rc::new(move |query| {
            counted.set(counted.get() + u32::from(is_lower(query.queries[0].name())));
            vec![say(0, lowered(query, CN))]
        });
        let _server = over_udp_at(over_stream.address, over_datagrams);
        let world = asking(over_stream.address);
        for name in ["first-name.example", "second-name.example", "third-name.example"] {
            assert_eq!(world.a(name).await, [CN], "{name}");
        }
        assert_eq!((lower.get(), over_stream.asked.get()), (0, 3));
        let began = Instant::now();
        assert_eq!(world.a("fourth-name.example").await, [CN]);
        assert!(began.elapsed() < Duration::from_millis(200), "{:?}", began.elapsed());
        assert_eq!((lower.get(), over_stream.asked.get()), (1, 3));
    })
    .await;
}

#[tokio::test]
async fn an_answer_in_another_case_is_never_believed_by_itself() {
    run(async || {
        let guessing = super::over_udp(always(|query| lowered(query, CN)));
        let world = asking(guessing.address);
        let answer = world.ask("site.example", RecordType::A).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    })
    .await;
}

#[tokio::test]
async fn a_server_in_lower_case_without_tcp_is_learned_too() {
    run(async || {
        let server = super::over_udp(always(|query| lowered(query, CN)));
        let world = world(silent(), silent(), |settings| {
            settings.servers.china = vec![server.address.into()];
            settings.servers.case_randomization = true;
            settings.servers.timeout = Duration::from_millis(700);
        });
        for name in ["first-name.example", "second-name.example", "third-name.example"] {
            let answer = world.ask(name, RecordType::A).await;
            assert_eq!(answer.metadata.response_code, ResponseCode::ServFail, "{name}");
        }
        assert_eq!(world.a("fourth-name.example").await, [CN]);
    })
    .await;
}
