//! Clients over TCP: many queries at once, large answers, and crowds.

use super::listening::{Listening, asks_for_probe, question, start_with};
use super::servers::{addresses, always, nothing, over_tcp, over_udp, silent};
use super::{CN, Settings, asking, outbound, run};
use crate::dispatch::{Current, Dispatcher};
use crate::dns::horizon::Horizon;
use crate::dns::household::Household;
use crate::dns::present::Present;
use crate::dns::resolver::Resolver;
use crate::dns::server::streams::serve_one;
use crate::proxy::direct::Direct;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use http::StatusCode;
use std::collections::HashSet;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_local};
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

async fn ask(stream: &mut (impl AsyncWrite + Unpin), id: u16, name: &str) -> io::Result<()> {
    ask_for(stream, id, name, RecordType::A).await
}

async fn ask_for(
    stream: &mut (impl AsyncWrite + Unpin),
    id: u16,
    name: &str,
    kind: RecordType,
) -> io::Result<()> {
    let mut query = question(name);
    query.queries[0].set_query_type(kind);
    query.metadata.id = id;
    let bytes = query.to_vec().unwrap();
    let framed = [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat();
    stream.write_all(&framed).await
}

async fn hear(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Message> {
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
            ask(&mut stream, id, &format!("n{id}.example.")).await.unwrap();
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
        ask_for(&mut stream, 1, "large.example.", RecordType::AAAA).await.unwrap();
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
                ask(&mut stream, number, "first.example.").await.unwrap();
                timeout(PROMPTLY, hear(&mut stream)).await.unwrap().unwrap();
            }
            crowd.push(stream);
        }
        for number in 0..5 {
            let mut stream = connect(&resolver).await;
            ask(&mut stream, number, "newcomer.example.").await.unwrap();
            timeout(PROMPTLY, hear(&mut stream)).await.expect("room was made").unwrap();
            crowd.push(stream);
        }
        assert_eq!(timeout(PROMPTLY, crowd[0].read(&mut [0; 9])).await.unwrap().unwrap(), 0);
        // Those who came late are still there.
        ask(crowd.last_mut().unwrap(), 7, "again.example.").await.unwrap();
        timeout(PROMPTLY, hear(crowd.last_mut().unwrap())).await.unwrap().unwrap();
    })
    .await;
}

/// A client over memory, whose clock stands still but for what is waited for. It is let in by
/// `household.clients`, and finds the answer in `dns.hosts`.
fn guest(
    is_http: bool,
) -> (tokio::io::DuplexStream, JoinHandle<io::Result<()>>, Rc<Present>, Settings) {
    let mut settings = asking(&[]);
    settings.answers.finds_bogus = false;
    let addresses = vec![CN.parse().unwrap()];
    settings.answers.hosts.insert("site.example".parse().unwrap(), addresses);
    let net: ipnet::IpNet = "203.0.113.0/24".parse().unwrap();
    settings.household.clients = [net].into_iter().collect();
    let dispatcher = Dispatcher::new(
        Arc::default(),
        Arc::default(),
        Box::new(Direct::new(outbound())),
        Vec::new(),
    );
    let (current, tls) = (Current::new(dispatcher), super::encrypted::tls());
    let resolver = Resolver::new(
        settings.clone(),
        outbound(),
        current,
        tls,
        Horizon::new(None),
        Default::default(),
    );
    let present = Present::new(resolver);
    let (client, server) = tokio::io::duplex(600);
    let ends = ("203.0.113.9:4000".parse().unwrap(), "198.51.100.1".parse().unwrap());
    let serving = spawn_local(serve_one(Rc::clone(&present), server, ends, is_http));
    (client, serving, present, settings)
}

#[tokio::test(start_paused = true)]
async fn who_never_reads_is_left() {
    run(async || {
        let (mut client, serving, _present, _) = guest(false);
        let mut asked = 0;
        while asked < 1000 && ask(&mut client, 1, "site.example.").await.is_ok() {
            asked += 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        // Those that fill the buffer, and those of the twenty seconds until it is given up.
        assert!((20..60).contains(&asked), "{asked}");
        assert!(serving.await.unwrap().is_err());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_is_no_longer_welcome_has_to_leave() {
    run(async || {
        let (mut client, serving, present, settings) = guest(false);
        ask(&mut client, 1, "site.example.").await.unwrap();
        assert_eq!(hear(&mut client).await.unwrap().answers.len(), 1);
        present.reload(settings.clone());
        ask(&mut client, 2, "site.example.").await.unwrap();
        assert_eq!(hear(&mut client).await.unwrap().answers.len(), 1, "it still is");
        let household = Household::default();
        present.reload(Settings { household, ..settings });
        ask(&mut client, 3, "site.example.").await.unwrap();
        assert!(hear(&mut client).await.is_err());
        assert!(serving.await.unwrap().is_err());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_is_no_longer_welcome_has_to_leave_over_http_too() {
    run(async || {
        let (client, serving, present, settings) = guest(true);
        let (mut client, connection) = h2::client::handshake(client).await.unwrap();
        spawn_local(connection);
        let query = URL_SAFE_NO_PAD.encode(question("site.example.").to_vec().unwrap());
        let mut status = async || {
            let url = format!("https://dns.example/dns-query?dns={query}");
            let request = http::Request::get(url).body(()).unwrap();
            let (response, _) = client.send_request(request, true).unwrap();
            response.await.unwrap().status()
        };
        assert_eq!(status().await, StatusCode::OK);
        let household = Household::default();
        present.reload(Settings { household, ..settings });
        assert_eq!(status().await, StatusCode::FORBIDDEN);
        // The client closes first, or the server does.
        let _ended = timeout(PROMPTLY, serving).await.expect("it is over").unwrap();
    })
    .await;
}
