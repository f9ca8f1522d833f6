//! Clients over TCP: many queries at once, large answers, and crowds.

use super::listening::{Listening, asks_for_probe, question, start_with};
use super::servers::{addresses, always, nothing, over_tcp, over_udp, silent};
use super::{CN, asking, outbound, run};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use std::collections::HashSet;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PROMPTLY: Duration = Duration::from_secs(5);

fn answer(query: &Message) -> Message {
    match asks_for_probe(query) {
        true => nothing(query, ResponseCode::NXDomain),
        false => addresses(query, 60, &[CN]),
    }
}

async fn connect(to: &Listening) -> TcpStream {
    outbound().tcp(&[to.address]).await.unwrap()
}

async fn ask(stream: &mut TcpStream, id: u16, name: &str) {
    ask_for(stream, id, name, RecordType::A).await;
}

async fn ask_for(stream: &mut TcpStream, id: u16, name: &str, kind: RecordType) {
    let mut query = question(name);
    query.queries[0].set_query_type(kind);
    query.metadata.id = id;
    let bytes = query.to_vec().unwrap();
    let framed = [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat();
    stream.write_all(&framed).await.unwrap();
}

async fn hear(stream: &mut TcpStream) -> std::io::Result<Message> {
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes).await?;
    Ok(Message::from_vec(&bytes).unwrap())
}

/// Three times as many as are worked on at a time, before the first answer is read.
#[tokio::test]
async fn every_query_of_a_pipeline_is_answered_once() {
    run(async || {
        let china = over_udp(always(answer));
        let mut settings = asking(&[china.address]);
        // On a busy machine two hundred answers take longer than the second of the other tests.
        settings.servers.timeout = PROMPTLY;
        let resolver = start_with(settings);
        let mut stream = connect(&resolver).await;
        for id in 0..200 {
            ask(&mut stream, id, &format!("n{id}.example.")).await;
        }
        let mut waiting: HashSet<u16> = (0..200).collect();
        while !waiting.is_empty() {
            let answer = timeout(PROMPTLY, hear(&mut stream)).await.unwrap().unwrap();
            let id = answer.metadata.id;
            assert!(waiting.remove(&id), "{id} was answered twice");
            assert_eq!(answer.queries[0].name().to_string(), format!("n{id}.example."));
            assert_eq!(answer.answers.len(), 1);
        }
    })
    .await;
}

#[tokio::test]
async fn an_answer_of_28_kib_comes_whole() {
    const RECORDS: usize = 1_000;
    run(async || {
        let (china, trusted) = (
            over_udp(silent()),
            over_tcp(always(|query| addresses(query, 60, &["2001:db8:f::1"; RECORDS])), u32::MAX),
        );
        let mut settings = asking(&[china.address]);
        settings.servers.trusted = vec![trusted.address.into()];
        // The server of this test is slow at it.
        settings.servers.timeout = PROMPTLY;
        let resolver = start_with(settings);
        let mut stream = connect(&resolver).await;
        ask_for(&mut stream, 1, "large.example.", RecordType::AAAA).await;
        let answer = timeout(PROMPTLY, hear(&mut stream)).await.unwrap().unwrap();
        assert_eq!(answer.answers.len(), RECORDS, "{:?}", answer.metadata);
    })
    .await;
}

/// More clients than there is room for, all of them idle: they make way, the longest idle first.
#[tokio::test]
async fn who_is_idle_makes_way() {
    run(async || {
        let china = over_udp(always(answer));
        let resolver = start_with(asking(&[china.address]));
        let mut crowd = Vec::new();
        for number in 0..16 {
            let mut stream = connect(&resolver).await;
            // One half has asked before, the other half never says a word.
            if number % 2 == 0 {
                ask(&mut stream, number, "first.example.").await;
                timeout(PROMPTLY, hear(&mut stream)).await.unwrap().unwrap();
            }
            crowd.push(stream);
        }
        for number in 0..5 {
            let mut stream = connect(&resolver).await;
            ask(&mut stream, number, "newcomer.example.").await;
            timeout(PROMPTLY, hear(&mut stream)).await.expect("room was made").unwrap();
            crowd.push(stream);
        }
        assert_eq!(timeout(PROMPTLY, crowd[0].read(&mut [0; 9])).await.unwrap().unwrap(), 0);
        // Those who came late are still there.
        ask(crowd.last_mut().unwrap(), 7, "again.example.").await;
        timeout(PROMPTLY, hear(crowd.last_mut().unwrap())).await.unwrap().unwrap();
    })
    .await;
}
