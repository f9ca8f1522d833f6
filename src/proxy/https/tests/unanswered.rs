//! A program's first bytes that have left, where the answer never comes: when they are sent again.

use super::ahead::{FAR, ping, pong, program, proxy};
use super::http2::Served;
use super::*;
use crate::proxy::first_payload::FirstPayload;
use h2::Reason;

/// REFUSED_STREAM says that it was not worked on; a connection that breaks or goes silent says
/// nothing.
#[tokio::test]
async fn they_are_sent_again_only_where_they_were_not_worked_on() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum End {
        Refuses,
        Breaks,
        FallsSilent,
    }
    for end in [End::Refuses, End::Breaks, End::FallsSilent] {
        let (proxy, connections) = proxy(move |number, mut connection: Served| async move {
            let mut count = 0;
            while let Some(Ok(asked)) = connection.accept().await {
                count += 1;
                if number > 1 || count != 3 {
                    tokio::spawn(pong(asked, number > 1 || count > 1));
                    continue;
                }
                let (request, mut respond) = asked;
                let mut body = request.into_body();
                tokio::select! {
                    came = body.data() => assert_eq!(came.unwrap().unwrap(), "ping"),
                    _ = connection.accept() => {}
                }
                match end {
                    End::Refuses => respond.send_reset(Reason::REFUSED_STREAM),
                    End::Breaks => return,
                    End::FallsSilent => return std::future::pending().await,
                }
            }
        });
        ping(&proxy).await.unwrap();
        ping(&proxy).await.unwrap();
        let again = ping(&proxy).await;
        if end == End::Refuses {
            assert_eq!(again.unwrap(), b"ping");
        } else {
            let error = again.expect_err("nobody knows");
            assert!(error.is_unanswered() && !error.is_targets_fault(), "{end:?}: {error}");
        }
        assert_eq!(ping(&proxy).await.unwrap(), b"ping", "{end:?}");
        let expected = if end == End::Refuses { 1 } else { 2 };
        assert_eq!(connections.load(Ordering::Relaxed), expected, "{end:?}");
    }
}

/// The answer of a server that answers everything but this never comes.
#[tokio::test]
async fn a_stream_that_is_never_answered_keeps_them() {
    let (proxy, _) = proxy(|_, mut connection: Served| async move {
        let (mut count, mut held) = (0, Vec::new());
        while let Some(Ok(asked)) = connection.accept().await {
            count += 1;
            match count {
                3 => held.push(asked),
                _ => drop(tokio::spawn(pong(asked, count > 1))),
            }
        }
    });
    ping(&proxy).await.unwrap();
    ping(&proxy).await.unwrap();
    let (_program, client) = program(b"ping").await;
    let payload = FirstPayload::of(&client);
    let (target, progress) = (Target::Name("example.com".into(), 443), Progress::default());
    let dial = proxy.connect_carrying(&target, &progress, &payload);
    assert!(timeout(Duration::from_millis(300), dial).await.is_err());
    assert!(payload.is_out() && !payload.hold_back(), "it may not be sent elsewhere");
    assert!(progress.is_server_reached());
    assert_eq!(ping(&proxy).await.unwrap(), b"ping", "the server is not blamed");
}

/// Frames of RFC 9113 (4.1), by hand: type, flags, stream, payload.
async fn say(tls: &mut server::TlsStream<TcpStream>, kind: u8, flags: u8, to: u8, what: &[u8]) {
    let head = [0, 0, what.len() as u8, kind, flags, 0, 0, 0, to];
    tls.write_all(&[&head, what].concat()).await.unwrap();
    tls.flush().await.unwrap();
}

/// GOAWAY names the last stream that is worked on.
#[tokio::test]
async fn what_is_behind_the_last_stream_is_sent_again() {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let proxy = warm_at(listener.local_addr().unwrap().port(), FAR);
    tokio::spawn(async move {
        let mut payloads = 0;
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut tls = acceptor(b"h2").accept(tcp).await.unwrap();
            tls.read_exact(&mut [0; 24]).await.unwrap();
            say(&mut tls, SETTINGS, 0, 0, &[]).await;
            let mut head = [0; 9];
            while tls.read_exact(&mut head).await.is_ok() {
                let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
                tls.read_exact(&mut payload).await.unwrap();
                let (kind, stream) = (head[3], head[8]);
                if kind == DATA {
                    assert_eq!(payload, b"ping");
                    payloads += 1;
                    if payloads == 2 {
                        say(&mut tls, GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]).await;
                        break;
                    }
                }
                // 200 (RFC 7541, appendix A); of all but the first behind what came ahead.
                if kind == if stream == 1 { HEADERS } else { DATA } {
                    say(&mut tls, HEADERS, 4, stream, &[0x88]).await;
                }
                if kind == DATA {
                    say(&mut tls, DATA, 0, stream, b"hellopong").await;
                }
            }
            tokio::spawn(async move { tls.read_to_end(&mut Vec::new()).await });
        }
    });
    for _ in 0..3 {
        ping(&proxy).await.unwrap();
    }
}
