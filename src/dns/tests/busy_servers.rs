//! Servers that close after a few queries, refuse some, fail now and then, or are slow at all of
//! them: each query is asked again, a bounded number of times, and the others go on.

use super::encrypted::over_tls;
use super::persistent::tcp_server;
use super::persistent::{Manner, Take, https_server, https_transport, kept, kept_for, over_https};
use super::servers::{self, addresses, always};
use super::{ABROAD, run};
use crate::dns::Transport;
use crate::dns::upstream::persistent::PersistentConnection;
use crate::dns::wire::{Query, rr};
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(4);

/// Asks for so many names at once. How many are answered, and how long that takes.
async fn crowd(server: &Rc<PersistentConnection>, names: usize) -> (usize, Duration) {
    let (began, mut asking) = (Instant::now(), JoinSet::new());
    for number in 0..names {
        let server = Rc::clone(server);
        asking.spawn_local(async move {
            let query = Query::new(&format!("n{number}.example").parse().unwrap(), rr::A);
            matches!(timeout(PATIENCE, server.ask(&query)).await, Ok(Ok(_)))
        });
    }
    let answered = asking.join_all().await.into_iter().filter(|is| *is).count();
    (answered, began.elapsed())
}

#[tokio::test]
async fn a_server_that_closes_after_each_query_answers_forty_at_once() {
    run(async || {
        let script = || always(|query| addresses(query, 60, &[ABROAD]));
        for each in [1, 3, 20] {
            let server = servers::over_tcp(script(), each);
            let kept = kept(server.address, Transport::Tcp);
            for round in 0..2 {
                let (answered, took) = crowd(&kept, 40).await;
                assert_eq!(answered, 40, "after {each}, round {round}: {took:?}");
            }
            assert_eq!(crowd(&kept, 300).await.0, 300, "after {each}");
        }
        let server = over_tls(script(), 1);
        let kept = kept(server.address, Transport::Tls { name: "dns.example".into() });
        assert_eq!(crowd(&kept, 40).await.0, 40, "over TLS");
    })
    .await;
}

/// As nginx does without being told (`keepalive_requests`), and as some do in a crowd.
#[tokio::test(start_paused = true)]
async fn an_https_server_that_leaves_or_refuses_streams() {
    run(async || {
        let count = Cell::new(0);
        let leaving: Manner = Rc::new(move |_, _| {
            count.set(count.get() + 1);
            if count.get() % 10 == 0 { Take::Leave } else { Take::Answer(10) }
        });
        let busy = Rc::new(Cell::new(0));
        let refusing: Manner = Rc::new(move |_, _| {
            if busy.get() == 8 {
                return Take::Reset(h2::Reason::REFUSED_STREAM);
            }
            busy.set(busy.get() + 1);
            let busy = Rc::clone(&busy);
            tokio::task::spawn_local(async move {
                sleep(Duration::from_millis(10)).await;
                busy.set(busy.get() - 1);
            });
            Take::Answer(10)
        });
        for (what, manner) in [("leaving", leaving), ("refusing", refusing)] {
            let (kept, seen) = over_https(100, manner);
            let (answered, took) = crowd(&kept, 40).await;
            assert_eq!(answered, 40, "{what}, {took:?}, {:?}", seen.so_far());
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_https_server_that_fails_now_and_then() {
    run(async || {
        let count = Cell::new(0);
        let manner: Manner = Rc::new(move |_, _| {
            count.set(count.get() + 1);
            if count.get() % 4 == 0 { Take::Status(503) } else { Take::Answer(0) }
        });
        let (kept, seen) = over_https(100, manner);
        assert_eq!(crowd(&kept, 40).await.0, 40);
        assert_eq!(seen.so_far().0, 1, "on one connection");

        for (status, asked) in [(500, 4), (404, 1), (403, 1)] {
            let (kept, seen) = over_https(100, Rc::new(move |_, _| Take::Status(status)));
            assert_eq!(crowd(&kept, 1).await.0, 0);
            assert_eq!(seen.so_far(), (1, asked), "{status}");
        }
    })
    .await;
}

/// Each answer takes longer than a dead connection should go unnoticed.
#[tokio::test(start_paused = true)]
async fn a_server_that_is_slow_at_everything_is_heard() {
    run(async || {
        let patience = Duration::from_secs(10);
        for is_https in [true, false] {
            let manner: Manner = Rc::new(|_, _| Take::Answer(6000));
            let ((address, seen), transport) = match is_https {
                true => (https_server(100, manner), https_transport()),
                false => (tcp_server(manner), Transport::Tcp),
            };
            let kept = kept_for(patience, address, transport);
            for round in 0..3 {
                let query = Query::new(&format!("n{round}.example").parse().unwrap(), rr::A);
                let began = Instant::now();
                let answer = timeout(patience, kept.ask(&query)).await;
                let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                assert!(answer.is_ok(), "https: {is_https}, {round}: {answer:?}");
                assert_eq!(began.elapsed().as_secs(), 6);
            }
            // The first one was asked elsewhere too, where no PING tells that the server is there;
            // then its pace is known.
            let expected = if is_https { (1, 3) } else { (3, 5) };
            assert_eq!(seen.so_far(), expected, "https: {is_https}");
        }
    })
    .await;
}
