//! Ports are shared late and closed soon; numbers, questions and answers belong together.

use super::*;
use crate::dns::wire::{Query, rr};
use crate::mark::Fwmark;
use crate::net::Refusal;
use std::collections::HashSet;
use tokio::net::UdpSocket;
use tokio::task::LocalSet;
use tokio::time::timeout;

fn question(name: &str) -> Vec<Question> {
    vec![Question::plain(&Query::new(&name.parse().unwrap(), rr::A))]
}

fn server() -> (UdpSocket, SocketAddr) {
    use socket2::{Domain, Socket, Type};
    let server = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), None).unwrap();
    server.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = server.local_addr().unwrap().as_socket().unwrap();
    (UdpSocket::from_std(server.into()).unwrap(), address)
}

fn sockets() -> QuestionSockets {
    QuestionSockets::new(Outbound::new(Fwmark::SNET, Refusal::Harmless), Rc::default())
}

fn port(asking: &SharedConversation) -> u16 {
    asking.socket.socket.local_addr().unwrap().port()
}

fn places(sockets: &QuestionSockets) -> usize {
    sockets.outbound.allowance().questions.available_permits()
}

async fn run(test: impl AsyncFnOnce()) {
    LocalSet::new().run_until(test()).await;
}

#[tokio::test(start_paused = true)]
async fn ports_are_shared_late_and_closed_soon() {
    run(async || {
        let ((_server, address), sockets) = (server(), sockets());
        let all = places(&sockets);
        let mut asking = Vec::new();
        for number in 0..SPREAD {
            asking.push(sockets.begin(address, question(&format!("n{number}"))).await.unwrap());
        }
        let ports: HashSet<u16> = asking.iter().map(port).collect();
        assert_eq!(ports.len(), SPREAD, "each has its own");
        for number in SPREAD..8 * SPREAD {
            asking.push(sockets.begin(address, question(&format!("n{number}"))).await.unwrap());
        }
        assert_eq!(asking.iter().map(port).collect::<HashSet<_>>(), ports);
        let used: HashSet<u16> = asking[SPREAD..].iter().map(port).collect();
        assert!(used.len() > SPREAD / 2, "at random: {}", used.len());
        assert_eq!(places(&sockets), all - SPREAD);

        tokio::time::sleep(LIFE + Duration::from_millis(1)).await;
        assert_eq!(places(&sockets), all - SPREAD, "questions wait there");
        let next = sockets.begin(address, question("next")).await.unwrap();
        assert!(!ports.contains(&port(&next)), "they are too old");
        drop((asking, next));
        tokio::time::sleep(LIFE + Duration::from_millis(1)).await;
        assert_eq!(places(&sockets), all);
        assert!(sockets.young.borrow().is_empty());
    })
    .await;
}

#[tokio::test]
async fn the_same_question_waits_once_on_a_socket() {
    run(async || {
        let ((_server, address), sockets) = (server(), sockets());
        let mut asking = Vec::new();
        for _ in 0..2 * SPREAD {
            asking.push(sockets.begin(address, question("same.example")).await.unwrap());
        }
        assert_eq!(asking.iter().map(port).collect::<HashSet<_>>().len(), 2 * SPREAD);
    })
    .await;
}

/// Each of two questions hears what was said to it, and nothing that was said to the other or
/// under another number.
#[tokio::test]
async fn a_datagram_answers_one_question() {
    run(async || {
        let ((server, address), sockets) = (server(), sockets());
        let first = sockets.begin(address, question("first.example")).await.unwrap();
        let socket = Rc::clone(&first.socket);
        let second = socket.enter(question("second.example"));
        let reply = |to: &SharedConversation, number: u16| {
            let mut reply = to.forms()[0].message().to_vec();
            reply[..2].copy_from_slice(&number.to_be_bytes());
            reply[2] |= 0x80;
            reply
        };
        let ids = [first.forms()[0].id(), second.forms()[0].id()];
        let client = first.socket.socket.local_addr().unwrap();
        for guess in (0..=u16::MAX).step_by(251).filter(|guess| !ids.contains(guess)) {
            server.send_to(&reply(&first, guess), client).await.unwrap();
            tokio::task::yield_now().await;
        }
        server.send_to(&reply(&first, ids[1]), client).await.unwrap();
        server.send_to(&reply(&second, ids[0]), client).await.unwrap();
        let heard = timeout(Duration::from_millis(50), first.receive(true)).await;
        assert!(heard.is_err(), "a guess was believed");
        for asking in [&second, &first] {
            let said = reply(asking, asking.forms()[0].id());
            server.send_to(&said, client).await.unwrap();
            let heard = timeout(Duration::from_secs(5), asking.receive(true)).await;
            let Ok(Ok(Datagram::Answer(0, heard))) = heard else { panic!("nothing came") };
            assert_eq!(heard, said);
        }
        server.send_to(&reply(&first, ids[0]), client).await.unwrap();
        let late = timeout(Duration::from_millis(50), first.receive(true)).await;
        assert!(late.is_err(), "it is answered");
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_not_there_fails_all_who_wait() {
    run(async || {
        let ((server, address), sockets) = (server(), sockets());
        drop(server);
        let first = sockets.begin(address, question("first.example")).await.unwrap();
        let second = Rc::clone(&first.socket).enter(question("second.example"));
        first.send(0).await.unwrap();
        for asking in [first, second] {
            let heard = timeout(Duration::from_secs(5), asking.receive(true)).await.unwrap();
            let error = heard.err().expect("nobody is there");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        }
    })
    .await;
}
