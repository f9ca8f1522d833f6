//! The connection of HTTP/2 that is opened before anybody waits for it.

use super::http2::{Served, echo, echo_all, hello, served};
use super::*;
use std::sync::atomic::AtomicUsize;

fn for_four() -> h2::server::Builder {
    let mut settings = h2::server::Builder::new();
    settings.max_concurrent_streams(4);
    settings
}

async fn becomes(connections: &AtomicUsize, count: usize) {
    let counted = async {
        while connections.load(Ordering::Relaxed) != count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(5), counted).await.expect("so many connections");
}

async fn has_place(proxy: &HttpsConnect) {
    while proxy.kept.with_place().is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn it_stands_before_the_others_are_full() {
    for worth in [Some(Duration::ZERO), None, Some(Duration::from_secs(3600))] {
        let (port, connections) = served(for_four(), echo_all);
        let proxy = warm_at(port, worth);
        let mut tunnels = Vec::new();
        for number in 1..=4 {
            tunnels.push(hello(&proxy).await);
            if number == 2 {
                assert_eq!(connections.load(Ordering::Relaxed), 1);
            }
        }
        if worth == Some(Duration::ZERO) {
            becomes(&connections, 2).await;
            has_place(&proxy).await;
        } else {
            assert_eq!(connections.load(Ordering::Relaxed), 1, "{worth:?}");
        }
        tunnels.push(hello(&proxy).await);
        assert_eq!(connections.load(Ordering::Relaxed), 2, "{worth:?}");
    }
}

/// The server says GOAWAY, or breaks the connection: nobody dials, and the next one stands.
#[tokio::test]
async fn it_follows_one_that_leaves() {
    for breaks in [false, true] {
        let (port, connections) =
            served(for_four(), move |number, mut connection: Served| async move {
                while let Some(Ok(asked)) = connection.accept().await {
                    tokio::spawn(echo(asked));
                    match (number, breaks) {
                        (1, true) => {
                            let _ = timeout(Duration::from_millis(100), connection.accept()).await;
                            return;
                        }
                        (1, false) => connection.graceful_shutdown(),
                        _ => {}
                    }
                }
            });
        let proxy = warm_at(port, Some(Duration::ZERO));
        let first = hello(&proxy).await;
        becomes(&connections, 2).await;
        has_place(&proxy).await;
        drop(hello(&proxy).await);
        assert_eq!(connections.load(Ordering::Relaxed), 2, "{breaks}");
        drop(first);
    }
}

/// The network is another one: what was in use there is no sign of what will be.
#[tokio::test]
async fn none_follows_one_that_was_given_up() {
    let (port, connections) = served(for_four(), |_, mut connection: Served| async move {
        let asked = connection.accept().await.unwrap().unwrap();
        tokio::select! {
            () = echo(asked) => {}
            _ = connection.accept() => {}
        }
    });
    let proxy = warm_at(port, Some(Duration::ZERO));
    let first = hello(&proxy).await;
    proxy.network_changed();
    drop(first);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn its_failure_is_told() {
    let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        drop(listener);
        let tls = acceptor(b"h2").accept(tcp).await.unwrap();
        let mut connection: Served = h2::server::handshake(tls).await.unwrap();
        let asked = connection.accept().await.unwrap().unwrap();
        tokio::spawn(echo(asked));
        connection.graceful_shutdown();
        let _ = connection.accept().await;
    });
    let proxy = warm_at(port, Some(Duration::ZERO));
    let _first = hello(&proxy).await;
    timeout(Duration::from_secs(5), proxy.dialled_ahead().unwrap().suspicion())
        .await
        .expect("it is told");
}
