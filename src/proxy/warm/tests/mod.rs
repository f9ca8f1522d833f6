//! Connections that are dialled ahead, to a server on loopback. The clock stands still unless a
//! test lets it go on.

mod ends;
mod scripted;

use super::demand::{LIFE, MOST};
use super::{DialledAhead, Warm, WarmCounts};
use crate::plugin::spec::PluginSpec;
use crate::plugin::{Launcher, Plugin};
use crate::proxy::endpoint::Endpoint;
use crate::proxy::server::ProxyServer;
use crate::proxy::{BoxFuture, Error, Progress, Proxy};
use crate::target::Target;
use scripted::{Order, PAYLOAD, PLACES, PROTOCOLS, Protocol, Street, proxy};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

fn target() -> Target {
    Target::addr("192.0.2.1:443".parse().unwrap())
}

/// What became of one connection.
#[derive(Debug)]
struct Served {
    was_ready: bool,
    /// Whether the payload came back.
    echo: io::Result<()>,
}

/// Dials, sends a payload of this number, and reads it back.
async fn use_one(proxy: Arc<dyn Proxy>, number: u64) -> Result<Served, Error> {
    let (target, progress) = (target(), Progress::default());
    let mut stream = proxy.connect(&target, &progress).await?.into_stream();
    let mut payload = [0; PAYLOAD];
    payload[..8].copy_from_slice(&number.to_be_bytes());
    let echo = async {
        stream.write_all(&payload).await?;
        stream.flush().await?;
        let mut back = [0; PAYLOAD];
        stream.read_exact(&mut back).await?;
        assert_eq!(back, payload);
        Ok(())
    };
    let echo = echo.await;
    Ok(Served { was_ready: progress.was_connection_ready(), echo })
}

/// So many at once.
async fn use_many(proxy: &Arc<dyn Proxy>, numbers: std::ops::Range<u64>) -> Vec<Served> {
    let dials: Vec<_> =
        numbers.map(|number| tokio::spawn(use_one(Arc::clone(proxy), number))).collect();
    let mut served = Vec::new();
    for dial in dials {
        served.push(dial.await.unwrap().unwrap());
    }
    served
}

#[tokio::test(start_paused = true)]
async fn the_server_sees_the_connection_before_the_request() {
    for protocol in PROTOCOLS {
        let street = Street::new(protocol);
        sleep(Duration::from_secs(5)).await;
        assert_eq!(street.seen.accepted(), 0, "nothing before the first dial");
        assert!(!use_many(&street.proxy, 0..1).await[0].was_ready);
        street.seen.becomes_idle(1).await;
        for number in 1..5 {
            let served = use_many(&street.proxy, number..number + 1).await;
            assert!(served[0].was_ready && served[0].echo.is_ok(), "{protocol:?}: {served:?}");
            street.seen.becomes_idle(number as usize + 1).await;
        }
        let counts = street.proxy.dialled_ahead().unwrap().counts();
        assert_eq!(counts, WarmCounts { used: 4, ..WarmCounts::default() });
        assert_eq!(street.places(), PLACES - 5);
    }
}

/// A page: one connection, then thirty at once, and again thirty.
#[tokio::test(start_paused = true)]
async fn most_of_a_page_finds_them_ready() {
    let street = Street::new(Protocol::Shadowsocks);
    use_many(&street.proxy, 0..1).await;
    street.seen.becomes_idle(1).await;
    use_many(&street.proxy, 1..31).await;
    // With the first one.
    street.seen.becomes_idle(31).await;
    let served = use_many(&street.proxy, 31..61).await;
    assert!(served.iter().all(|served| served.was_ready));
    assert_eq!(street.seen.payloads().len(), 61);
    // After minutes without a socket a click brings them back, before the page asks for them.
    street.seen.becomes_idle(MOST).await;
    sleep(Duration::from_secs(100)).await;
    street.seen.becomes_idle(0).await;
    assert!(!use_many(&street.proxy, 61..62).await[0].was_ready);
    street.seen.becomes_idle(MOST).await;
    let served = use_many(&street.proxy, 62..92).await;
    assert!(served.iter().all(|served| served.was_ready));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_after_a_rest() {
    for protocol in PROTOCOLS {
        let street = Street::new(protocol);
        let half = MOST as u64 / 2;
        use_many(&street.proxy, 0..half).await;
        use_many(&street.proxy, half..2 * half).await;
        street.seen.becomes_idle(MOST).await;
        sleep(LIFE - Duration::from_secs(1)).await;
        assert_eq!(street.seen.idle(), MOST);
        sleep(Duration::from_secs(2)).await;
        street.seen.becomes_idle(0).await;
        assert_eq!(street.places(), PLACES);
        sleep(Duration::from_secs(60)).await;
        assert_eq!((street.seen.idle(), street.places()), (0, PLACES));
    }
}

#[tokio::test(start_paused = true)]
async fn none_where_none_are_wanted() {
    for protocol in PROTOCOLS {
        // Switched off; too near to be worth it; no descriptor is left.
        let cases = [
            Street::with(protocol, PLACES, None),
            Street::with(protocol, PLACES, Some(Duration::from_secs(3600))),
            Street::with(protocol, 0, Some(Duration::ZERO)),
        ];
        for street in cases {
            for number in 0..4 {
                assert!(!use_many(&street.proxy, number..number + 1).await[0].was_ready);
                sleep(Duration::from_millis(100)).await;
            }
            assert_eq!((street.seen.accepted(), street.seen.idle()), (4, 0));
        }
    }
    // A plugin makes the connections.
    let street = Street::new(Protocol::Http);
    let endpoint = Arc::new(Endpoint::new("127.0.0.1", 1));
    let spec = PluginSpec::of_link("obfs-local").unwrap();
    let plugin = Arc::new(Plugin::new(spec, Box::new(Vec::new), Launcher::own()));
    let server = ProxyServer::new("p".into(), endpoint, street.allowance.clone());
    assert!(server.warm(Some(Duration::ZERO)).behind(Some(plugin)).warms().is_none());
}

#[tokio::test(start_paused = true)]
async fn all_are_closed_when_they_may_lead_nowhere() {
    type End = fn(&Street);
    // And how many dials lead somewhere afterwards.
    let ends: [(End, usize); 3] = [
        (|street| street.proxy.dialled_ahead().unwrap().give_up(), 1),
        (|street| street.endpoint.miss(), 1),
        (|street| assert!(street.endpoint.resolved(vec!["127.0.0.2".parse().unwrap()])), 0),
    ];
    for protocol in PROTOCOLS {
        for (end, reached) in ends {
            let street = Street::new(protocol);
            use_many(&street.proxy, 0..4).await;
            street.seen.becomes_idle(4).await;
            end(&street);
            let progress = Progress::default();
            let dialled = street.proxy.connect(&target(), &progress).await;
            assert_eq!((dialled.is_ok(), progress.was_connection_ready()), (reached > 0, false));
            drop(dialled);
            street.seen.becomes_idle(5 * reached).await;
            assert_eq!(street.seen.accepted(), 8 + 6 * reached);
        }
        let street = Street::new(protocol);
        use_many(&street.proxy, 0..4).await;
        street.seen.becomes_idle(4).await;
        let Street { seen, proxy, .. } = &street;
        // A reload without it.
        let seen = Arc::clone(seen);
        assert_eq!(Arc::strong_count(proxy), 1);
        let allowance = street.allowance.clone();
        drop(street);
        seen.becomes_idle(0).await;
        assert_eq!(allowance.allowance().warm.available_permits(), PLACES);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dial_ahead_that_fails_is_told_and_held_against_nobody() {
    let mut street = Street::new(Protocol::Http);
    use_many(&street.proxy, 0..2).await;
    street.seen.becomes_idle(2).await;
    street.close().await;
    // A ready one serves, and the one that shall take its place cannot be dialled.
    assert!(use_many(&street.proxy, 2..3).await[0].was_ready);
    timeout(Duration::from_secs(1), street.proxy.dialled_ahead().unwrap().suspicion())
        .await
        .unwrap();
    assert!(street.proxy.dialled_ahead().unwrap().counts().failed > 0);
    let missed = timeout(Duration::from_millis(10), street.endpoint.was_missed()).await;
    assert!(missed.is_err(), "the server is not blamed");
    // But the next dial asks it.
    let progress = Progress::default();
    assert!(street.proxy.connect(&target(), &progress).await.is_err());
    assert_eq!(street.places(), PLACES);
}

#[tokio::test(start_paused = true)]
async fn a_probe_takes_none_and_asks_for_none() {
    let street = Street::new(Protocol::Http);
    let probe = Progress::of_probe();
    drop(street.proxy.connect(&target(), &probe).await.unwrap());
    sleep(Duration::from_millis(10)).await;
    assert_eq!(street.seen.accepted(), 1);
    use_many(&street.proxy, 0..1).await;
    street.seen.becomes_idle(1).await;
    drop(street.proxy.connect(&target(), &probe).await.unwrap());
    assert!(!probe.was_connection_ready());
    assert_eq!(street.seen.idle(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dial_on_a_ready_one_that_is_given_up_tells_whether_the_server_took_the_request() {
    let street = Street::new(Protocol::Http);
    use_many(&street.proxy, 0..1).await;
    street.seen.becomes_idle(1).await;
    let listener = crate::net::listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let at = listener.local_addr().unwrap();
    let (silent, _) = proxy(Protocol::Http, at, &street.allowance, Some(Duration::ZERO));
    // The kernel accepts; nobody answers.
    let (target, progress) = (target(), Progress::default());
    let dial = silent.connect(&target, &progress);
    assert!(timeout(Duration::from_secs(1), dial).await.is_err());
    assert!(!progress.was_connection_ready() && progress.is_server_reached());
    sleep(Duration::from_millis(10)).await;
    let progress = Progress::default();
    let dial = silent.connect(&target, &progress);
    assert!(timeout(Duration::from_secs(1), dial).await.is_err());
    assert!(progress.is_server_reached());
    assert_eq!(silent.dialled_ahead().unwrap().counts().used, 1);
}

/// The resolver dials on a thread of its own.
#[test]
fn they_outlive_the_runtime_of_who_asked_for_them() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let street = runtime.block_on(async { Street::new(Protocol::Shadowsocks) });
    let (proxy, seen) = (Arc::clone(&street.proxy), Arc::clone(&street.seen));
    std::thread::spawn(move || {
        let short = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        short.block_on(async {
            use_many(&proxy, 0..1).await;
            seen.becomes_idle(1).await;
            // Used where another runtime drives it.
            assert!(use_many(&proxy, 1..2).await[0].was_ready);
            seen.becomes_idle(2).await;
        });
    })
    .join()
    .unwrap();
    let served = runtime.block_on(use_many(&street.proxy, 2..3));
    assert!(served[0].was_ready && served[0].echo.is_ok(), "{served:?}");
}

/// The server goes silent: what is ready is closed, and somebody is told, long before the dial that
/// found it out is given up.
#[tokio::test(start_paused = true)]
async fn a_dial_ahead_that_is_slow_is_told_while_it_lasts() {
    const USUAL: Duration = Duration::from_millis(100);
    let street = Street::new(Protocol::Http);
    let server =
        ProxyServer::new("p".into(), Arc::clone(&street.endpoint), street.allowance.clone());
    let server = Arc::new(server.warm(Some(Duration::ZERO)));
    let (is_slow, dialled) = (Arc::new(AtomicBool::new(false)), Arc::clone(&server));
    let is_slow_now = Arc::clone(&is_slow);
    let ahead = move || -> BoxFuture<'static, Result<TcpStream, Error>> {
        let (server, is_slow) = (Arc::clone(&dialled), is_slow_now.load(Ordering::Relaxed));
        Box::pin(async move {
            if is_slow {
                sleep(USUAL * 10).await;
            }
            server.dial_ahead(&[]).await
        })
    };
    let warm = Warm::of(&server, Box::new(ahead)).unwrap();
    let dial = async || {
        let progress = Progress::default();
        let ready = warm.take(&progress);
        if ready.is_none() {
            let dial = async {
                sleep(USUAL).await;
                Ok(())
            };
            Warm::timing(Some(&warm), &progress, dial).await.unwrap();
        }
        ready.is_some()
    };
    let are_ready = async |count| {
        for _ in 0..20_000 {
            if warm.ready() == count {
                return;
            }
            std::thread::sleep(Duration::from_micros(100));
            tokio::task::yield_now().await;
        }
        panic!("{} are ready, and not {count}", warm.ready());
    };
    assert_eq!([dial().await, dial().await], [false, false]);
    are_ready(2).await;
    is_slow.store(true, Ordering::Relaxed);
    assert!(dial().await);
    assert_eq!(warm.ready(), 1);
    let told = async |milliseconds| {
        timeout(Duration::from_millis(milliseconds), warm.suspicion()).await.is_ok()
    };
    assert!(!told(395).await && warm.ready() == 1, "it may still come");
    assert!(told(10).await);
    assert_eq!(warm.ready(), 0);
    // Those that came late show that the server is there.
    sleep(USUAL * 10).await;
    are_ready(2).await;
    assert_eq!([dial().await, dial().await], [true, true]);
    // Others are dialled ahead once a dial has shown how long it takes now.
    sleep(USUAL * 10).await;
    assert_eq!(warm.ready(), 0);
    is_slow.store(false, Ordering::Relaxed);
    assert!(!dial().await);
    are_ready(3).await;
}
