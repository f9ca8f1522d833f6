//! A program's first bytes that follow a CONNECT of HTTP/2 before its answer.

use super::http2::{Asked, Served, hello, served};
use super::*;
use crate::proxy::first_payload::FirstPayload;
use crate::proxy::https::optimism::Leave;
use bytes::Bytes;
use h2::Reason;
use http::Response;
use std::sync::atomic::AtomicUsize;
use tokio::sync::Notify;

/// A connection that is dialled ahead is worth it nowhere.
pub(super) const FAR: Option<Duration> = Some(Duration::from_secs(3600));

pub(super) fn proxy<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(usize, Served) -> F + Send + Sync + 'static,
) -> (HttpsConnect, Arc<AtomicUsize>) {
    let (port, connections) = served(h2::server::Builder::new(), serve);
    (warm_at(port, FAR), connections)
}

/// A program that has said this, and the connection that was accepted from it.
pub(super) async fn program(says: &[u8]) -> (TcpStream, TcpStream) {
    let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
    let mut program = outbound.tcp(&[listener.local_addr().unwrap()]).await.unwrap();
    let client = listener.accept().await.unwrap().0;
    tokio::io::AsyncWriteExt::write_all(&mut program, says).await.unwrap();
    client.readable().await.unwrap();
    (program, client)
}

async fn carry(proxy: &HttpsConnect, payload: &FirstPayload<'_>) -> Result<Link, Error> {
    let (target, progress) = (Target::Name("example.com".into(), 443), Progress::default());
    let dial = proxy.connect_carrying(&target, &progress, payload);
    timeout(Duration::from_secs(5), dial).await.expect("in time")
}

/// Dials for a program that says "ping", and returns what of it left before the answer; reads the
/// answer, which is said before or after.
pub(super) async fn ping(proxy: &HttpsConnect) -> Result<Vec<u8>, Error> {
    let (_program, client) = program(b"ping").await;
    let payload = FirstPayload::of(&client);
    let mut stream = carry(proxy, &payload).await?.into_stream();
    let taken = payload.into_taken();
    if taken.is_empty() {
        stream.write_all(b"ping").await.unwrap();
    }
    let mut answer = [0; 9];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"hellopong");
    if taken.is_empty() {
        assert_eq!(rest(&client).await, 4, "the relay finds them");
    }
    assert!(client.try_read(&mut [0; 4]).is_err(), "taken once");
    Ok(taken)
}

/// Reads as a relay does.
async fn rest(client: &TcpStream) -> usize {
    loop {
        timeout(Duration::from_secs(5), client.readable()).await.expect("in time").unwrap();
        if let Ok(read) = client.try_read(&mut [0; 9]) {
            return read;
        }
    }
}

/// Waits for "ping", and answers.
pub(super) async fn pong((request, mut respond): Asked, before_the_answer: bool) {
    let mut source = request.into_body();
    if before_the_answer {
        assert_eq!(source.data().await.unwrap().unwrap(), "ping");
    }
    let mut sink = respond.send_response(Response::new(()), false).unwrap();
    sink.send_data(Bytes::from_static(b"hello"), false).unwrap();
    if !before_the_answer {
        assert_eq!(source.data().await.unwrap().unwrap(), "ping");
    }
    sink.send_data(Bytes::from_static(b"pong"), true).unwrap();
}

/// The first tunnel is opened without; from then on the server answers only what came ahead.
async fn pong_all(_: usize, mut connection: Served) {
    let mut is_first = true;
    while let Some(Ok(asked)) = connection.accept().await {
        tokio::spawn(pong(asked, !is_first));
        is_first = false;
    }
}

#[tokio::test]
async fn they_follow_the_request() {
    let (proxy, connections) = proxy(pong_all);
    assert_eq!(ping(&proxy).await.unwrap(), b"", "it is not known yet");
    for _ in 0..3 {
        assert_eq!(ping(&proxy).await.unwrap(), b"ping");
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn they_wait_where_nothing_is_to_be_done_ahead() {
    let (port, _) = served(h2::server::Builder::new(), |_, mut connection: Served| async move {
        while let Some(Ok(asked)) = connection.accept().await {
            tokio::spawn(pong(asked, false));
        }
    });
    let proxy = warm_at(port, None);
    for _ in 0..3 {
        assert_eq!(ping(&proxy).await.unwrap(), b"");
    }
}

#[tokio::test]
async fn one_is_tried_at_a_time() {
    let (proxy, _) = proxy(|_, mut connection: Served| async move {
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            tokio::spawn(async move {
                let mut sink = respond.send_response(Response::new(()), false).unwrap();
                let mut source = request.into_body();
                while let Some(Ok(piece)) = source.data().await {
                    // A trial stays one until something comes back.
                    if piece == "speak" {
                        let _ = sink.send_data(piece, false);
                    }
                }
            });
        }
    });
    drop(connect(&proxy).await.unwrap());
    let (_one, client) = program(b"ping").await;
    let payload = FirstPayload::of(&client);
    let mut trial = carry(&proxy, &payload).await.unwrap().into_stream();
    assert_eq!(payload.into_taken(), b"ping");
    for _ in 0..3 {
        let (_other, client) = program(b"ping").await;
        let payload = FirstPayload::of(&client);
        let _tunnel = carry(&proxy, &payload).await.unwrap();
        assert_eq!(payload.into_taken(), b"");
    }
    trial.write_all(b"speak").await.unwrap();
    trial.read_exact(&mut [0; 5]).await.unwrap();
    assert!(matches!(proxy.optimism.leave(Instant::now()), Some(Leave::Granted)));
}

/// A server that is known to take them answers so once they have come: the program loses nothing.
#[tokio::test]
async fn a_refusal_leaves_them_with_the_program() {
    for status in [403, 502, 0] {
        let (proxy, connections) = proxy(move |_, mut connection: Served| async move {
            let mut count = 0;
            while let Some(Ok(asked)) = connection.accept().await {
                count += 1;
                if count != 3 {
                    tokio::spawn(pong(asked, count > 1));
                    continue;
                }
                tokio::spawn(async move {
                    let (request, mut respond) = asked;
                    assert_eq!(request.into_body().data().await.unwrap().unwrap(), "ping");
                    match status {
                        0 => respond.send_reset(Reason::CONNECT_ERROR),
                        status => {
                            let answer = Response::builder().status(status).body(()).unwrap();
                            respond.send_response(answer, true).unwrap();
                        }
                    }
                });
            }
        });
        ping(&proxy).await.unwrap();
        ping(&proxy).await.unwrap();
        let (_program, client) = program(b"ping").await;
        let payload = FirstPayload::of(&client);
        let error = carry(&proxy, &payload).await.unwrap_err();
        assert!(error.is_targets_fault() && !error.is_unanswered(), "{error}");
        assert!(!payload.is_out(), "{status}: it may be sent elsewhere");
        drop(payload);
        assert_eq!(rest(&client).await, 4);
        assert_eq!(ping(&proxy).await.unwrap(), b"ping", "it still takes them");
        assert_eq!(connections.load(Ordering::Relaxed), 1);
    }
}

/// It refuses every request that something follows.
#[tokio::test]
async fn a_server_that_does_not_take_them_is_asked_without() {
    for resets in [false, true] {
        let (proxy, _) = proxy(move |_, mut connection: Served| async move {
            let mut count = 0;
            while let Some(Ok(asked)) = connection.accept().await {
                count += 1;
                if count != 2 {
                    tokio::spawn(pong(asked, false));
                    continue;
                }
                tokio::spawn(async move {
                    let (request, mut respond) = asked;
                    request.into_body().data().await.unwrap().unwrap();
                    if resets {
                        return respond.send_reset(Reason::PROTOCOL_ERROR);
                    }
                    let answer = Response::builder().status(400).body(()).unwrap();
                    respond.send_response(answer, true).unwrap();
                });
            }
        });
        for _ in 0..4 {
            assert_eq!(ping(&proxy).await.unwrap(), b"", "{resets}");
        }
    }
}

/// It refuses the target, with them and without: that says nothing of them.
#[tokio::test]
async fn a_target_that_is_refused_tells_nothing_of_the_server() {
    let (proxy, _) = proxy(|_, mut connection: Served| async move {
        let mut count = 0;
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            count += 1;
            if count == 2 || count == 3 {
                tokio::spawn(async move {
                    if count == 2 {
                        request.into_body().data().await.unwrap().unwrap();
                    }
                    let answer = Response::builder().status(403).body(()).unwrap();
                    respond.send_response(answer, true).unwrap();
                });
            } else {
                tokio::spawn(pong((request, respond), count > 1));
            }
        }
    });
    ping(&proxy).await.unwrap();
    assert!(ping(&proxy).await.unwrap_err().is_refusal());
    assert_eq!(ping(&proxy).await.unwrap(), b"ping");
}

#[tokio::test]
async fn a_window_that_is_closed_holds_them_back() {
    let mut settings = h2::server::Builder::new();
    settings.initial_window_size(0);
    let (port, _) = served(settings, |_, mut connection: Served| async move {
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            tokio::spawn(async move {
                let _body = request.into_body();
                let mut sink = respond.send_response(Response::new(()), false).unwrap();
                sink.send_data(Bytes::from_static(b"hello"), false).unwrap();
                sink.send_data(Bytes::from_static(b"pong"), true).unwrap();
            });
        }
    });
    let proxy = warm_at(port, FAR);
    drop(hello(&proxy).await);
    for _ in 0..2 {
        let (_program, client) = program(b"ping").await;
        let payload = FirstPayload::of(&client);
        let mut stream = carry(&proxy, &payload).await.unwrap().into_stream();
        assert_eq!(payload.into_taken(), b"");
        stream.read_exact(&mut [0; 9]).await.unwrap();
        assert_eq!(rest(&client).await, 4, "the relay sends them");
    }
}

/// What has been quiet for long may be dead: then nothing is risked.
#[tokio::test]
async fn a_connection_that_was_quiet_is_asked_first() {
    let (proxy, _) = proxy(|_, mut connection: Served| async move {
        let mut count = 0;
        while let Some(Ok(asked)) = connection.accept().await {
            count += 1;
            tokio::spawn(pong(asked, count == 2 || count == 4));
        }
    });
    ping(&proxy).await.unwrap();
    assert_eq!(ping(&proxy).await.unwrap(), b"ping");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    assert_eq!(ping(&proxy).await.unwrap(), b"");
    assert_eq!(ping(&proxy).await.unwrap(), b"ping");
}

/// As a program over a LAN says a long ClientHello: in two packets.
#[tokio::test]
async fn what_comes_in_pieces_leaves_in_pieces() {
    let half: Arc<Notify> = Arc::default();
    let has_half = Arc::clone(&half);
    let (proxy, _) = proxy(move |_, mut connection: Served| {
        let half = Arc::clone(&half);
        async move {
            let mut count = 0;
            while let Some(Ok(asked)) = connection.accept().await {
                count += 1;
                let half = Arc::clone(&half);
                if count < 3 {
                    tokio::spawn(pong(asked, count > 1));
                    continue;
                }
                tokio::spawn(async move {
                    let (request, mut respond) = asked;
                    let (mut body, mut came) = (request.into_body(), Vec::new());
                    while came.len() < 10_000 {
                        came.extend_from_slice(&body.data().await.unwrap().unwrap());
                        if came.len() == 6000 {
                            half.notify_one();
                        }
                    }
                    assert!(came.iter().enumerate().all(|(at, byte)| *byte == at as u8));
                    respond.send_response(Response::new(()), false).unwrap();
                });
            }
        }
    });
    ping(&proxy).await.unwrap();
    ping(&proxy).await.unwrap();
    let bytes: Vec<u8> = (0..10_000_usize).map(|at| at as u8).collect();
    let (mut program, client) = program(&bytes[..6000]).await;
    let payload = FirstPayload::of(&client);
    let says = async {
        has_half.notified().await;
        program.write_all(&bytes[6000..]).await.unwrap();
    };
    let (link, ()) = tokio::join!(carry(&proxy, &payload), says);
    drop(link.unwrap());
    assert_eq!(payload.into_taken(), bytes);
}
