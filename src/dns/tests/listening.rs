//! The listeners: UDP and TCP, garbage, and what a client that sends it gets.

use super::servers::Server;
use super::{CN, addresses, always, asking, found, nothing, outbound, over_udp, say, settings};
use crate::dispatch::{Current, Dispatcher};
use crate::dns::{self, Settings};
use crate::net::udp;
use crate::proxy::direct::Direct;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use std::cell::Cell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::timeout;

pub(super) struct Listening {
    pub(super) address: SocketAddr,
    stop: watch::Sender<bool>,
    /// Open for as long as the resolver runs.
    pub(super) reloads: mpsc::UnboundedSender<dns::Order>,
    ended: JoinHandle<bool>,
}

/// A free port, for UDP and TCP alike.
pub(super) fn free() -> SocketAddr {
    let taken = crate::net::listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    taken.local_addr().unwrap()
}

fn start(china: SocketAddr, cache_file: Option<PathBuf>) -> Listening {
    let mut settings = asking(&[china]);
    settings.cache.file = cache_file;
    start_with(settings)
}

pub(super) fn start_with(settings: Settings) -> Listening {
    // Other tests ask from sockets of their own meanwhile.
    let (address, bound) = (0..20)
        .find_map(|_| {
            let address = free();
            let settings = Settings { listen: vec![address], ..settings.clone() };
            let direct = Box::new(Direct::new(outbound()));
            let dispatcher = Dispatcher::new(Arc::default(), Arc::default(), direct, Vec::new());
            let bound = dns::bind(settings, outbound(), Current::new(dispatcher)).ok()?;
            Some((address, bound))
        })
        .expect("a free port");
    let (stop, stopped) = watch::channel(false);
    let (reloads, reloaded) = mpsc::unbounded_channel();
    let ended = tokio::spawn(dns::spawn(bound, reloaded, stopped));
    Listening { address, stop, reloads, ended }
}

/// A domestic server that answers every name for ten minutes, while it is up.
fn with_a_switch() -> (Server, Rc<Cell<bool>>) {
    let up = Rc::new(Cell::new(true));
    let state = Rc::clone(&up);
    let server = over_udp(Rc::new(move |query: &Message| match state.get() {
        true if asks_for_probe(query) => vec![say(0, nothing(query, ResponseCode::NXDomain))],
        true => vec![say(0, addresses(query, 600, &[CN]))],
        false => vec![],
    }));
    (server, up)
}

pub(super) fn question(name: &str) -> Message {
    let mut query = Message::new(4711, MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    query.queries.push(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    query
}

async fn client(server: SocketAddr) -> UdpSocket {
    outbound().udp(server).await.unwrap()
}

async fn exchange(socket: &UdpSocket, message: &[u8]) -> Option<Message> {
    socket.send(message).await.unwrap();
    let mut buffer = [0; 4096];
    let received = timeout(Duration::from_millis(800), socket.recv(&mut buffer)).await.ok()?;
    Some(Message::from_vec(&buffer[..received.unwrap()]).unwrap())
}

#[tokio::test]
async fn udp_and_tcp_answer_and_garbage_does_no_harm() {
    LocalSet::new()
        .run_until(async {
            let china = over_udp(always(|query| match asks_for_probe(query) {
                true => nothing(query, ResponseCode::NXDomain),
                false => addresses(query, 60, &[CN]),
            }));
            let Listening { address, stop, ended, .. } = start(china.address, None);
            let socket = client(address).await;
            let answer =
                exchange(&socket, &question("a.example.").to_vec().unwrap()).await.unwrap();
            assert_eq!((answer.metadata.id, answer.answers.len()), (4711, 1));

            for garbage in [&b""[..], b"x", &[0xff; 11], &[0xff; 700], &[0; 12]] {
                socket.send(garbage).await.unwrap();
            }
            let mut notify = question("a.example.");
            notify.metadata.op_code = OpCode::Notify;
            // The answers to the garbage come first.
            let mut buffer = [0; 4096];
            while timeout(Duration::from_millis(200), socket.recv(&mut buffer)).await.is_ok() {}
            let answer = exchange(&socket, &notify.to_vec().unwrap()).await.unwrap();
            assert_eq!(answer.metadata.response_code, ResponseCode::NotImp);

            let mut stream = outbound().tcp(&[address]).await.unwrap();
            let two = [question("b.example."), question("c.example.")];
            for query in &two {
                let bytes = query.to_vec().unwrap();
                stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
                stream.write_all(&bytes).await.unwrap();
            }
            for _ in &two {
                let length = stream.read_u16().await.unwrap();
                let mut bytes = vec![0; length.into()];
                stream.read_exact(&mut bytes).await.unwrap();
                let answer = Message::from_vec(&bytes).unwrap();
                assert_eq!(answer.answers.len(), 1, "{answer:?}");
            }
            stream.write_all(&[0, 3, 1, 2, 3]).await.unwrap();
            assert_eq!(stream.read(&mut buffer).await.unwrap(), 0, "garbage ends the connection");

            stop.send(true).unwrap();
            assert!(timeout(Duration::from_secs(5), ended).await.unwrap().unwrap());
        })
        .await;
}

#[tokio::test]
async fn a_taken_port_is_said_with_its_address() {
    let taken = udp::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = taken.local_addr().unwrap();
    let settings = Settings { listen: vec![address], ..settings() };
    let direct = Box::new(Direct::new(outbound()));
    let dispatcher = Dispatcher::new(Arc::default(), Arc::default(), direct, Vec::new());
    let failure = dns::bind(settings, outbound(), Current::new(dispatcher)).unwrap_err();
    assert_eq!(failure.kind(), std::io::ErrorKind::AddrInUse);
    assert!(failure.to_string().contains(&address.to_string()), "{failure}");
}

#[tokio::test]
async fn answers_survive_a_restart() {
    LocalSet::new()
        .run_until(async {
            let (china, up) = with_a_switch();
            let file = std::env::temp_dir().join(format!("snet-cache-{}", std::process::id()));
            for is_up in [true, false] {
                up.set(is_up);
                let listening = start(china.address, Some(file.clone()));
                let Listening { address, stop, ended, reloads: _reloads } = listening;
                let socket = client(address).await;
                let query = question("a.example.").to_vec().unwrap();
                let answer = exchange(&socket, &query).await.expect("an answer, also when silent");
                assert_eq!(found(&answer), [CN]);
                stop.send(true).unwrap();
                assert!(timeout(Duration::from_secs(5), ended).await.unwrap().unwrap());
            }
            std::fs::remove_file(&file).unwrap();
        })
        .await;
}

/// As after a suspend: the time of the answers has gone on, and what was forged before is asked
/// again.
#[tokio::test]
async fn time_that_was_slept_counts() {
    LocalSet::new()
        .run_until(async {
            let (china, up) = with_a_switch();
            let settings = asking(&[china.address]);
            let Listening { address, stop, reloads, ended } = start_with(settings);
            let socket = client(address).await;
            let ask = async || {
                let answer = exchange(&socket, &question("a.example.").to_vec().unwrap()).await;
                answer.unwrap().answers[0].ttl
            };
            assert_eq!(ask().await, 600);
            up.set(false);
            let sleep = async |seconds| {
                let slept = Duration::from_secs(seconds);
                reloads.send(dns::Order::NetworkChanged { slept }).unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
            };
            sleep(0).await;
            assert!((595..=600).contains(&ask().await), "kept");
            sleep(400).await;
            assert!((195..=200).contains(&ask().await), "older");
            stop.send(true).unwrap();
            assert!(timeout(Duration::from_secs(5), ended).await.unwrap().unwrap());
        })
        .await;
}

#[tokio::test]
async fn other_settings_keep_the_answers_that_they_would_give_too() {
    LocalSet::new()
        .run_until(async {
            let (china, up) = with_a_switch();
            let first = asking(&[china.address]);
            let Listening { address, stop, reloads, ended } = start_with(first.clone());
            let socket = client(address).await;
            let ask = async |name: &str| exchange(&socket, &question(name).to_vec().unwrap()).await;
            let mut stream = outbound().tcp(&[address]).await.unwrap();
            assert_eq!(found(&ask("a.example.").await.unwrap()), [CN]);
            up.set(false);

            // Other waits and other logs: what was answered holds.
            let mut next = first.clone();
            next.privacy.log_queries = true;
            next.cache.size /= 2;
            next.servers.timeout = Duration::from_millis(600);
            reloads.send(dns::Order::Settings(Box::new(next.clone()))).unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(found(&ask("a.example.").await.unwrap()), [CN], "kept");

            // A name from the file: it is answered, and nothing of before holds.
            next.answers
                .hosts
                .insert("b.example".parse().unwrap(), vec!["192.0.2.7".parse().unwrap()]);
            reloads.send(dns::Order::Settings(Box::new(next))).unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(found(&ask("b.example.").await.unwrap()), ["192.0.2.7"]);
            let forgotten = ask("a.example.").await.unwrap();
            assert_eq!(forgotten.metadata.response_code, ResponseCode::ServFail);

            // A client that was connected before asks the new one.
            let bytes = question("b.example.").to_vec().unwrap();
            stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            let mut bytes = vec![0; stream.read_u16().await.unwrap().into()];
            stream.read_exact(&mut bytes).await.unwrap();
            assert_eq!(found(&Message::from_vec(&bytes).unwrap()), ["192.0.2.7"]);

            stop.send(true).unwrap();
            assert!(timeout(Duration::from_secs(5), ended).await.unwrap().unwrap());
        })
        .await;
}

/// A made-up name, which the resolver asks for at its start.
pub(super) fn asks_for_probe(query: &Message) -> bool {
    let name = query.queries[0].name().to_ascii();
    [".com.", ".net.", ".cn."].iter().any(|top| name.ends_with(top))
}
