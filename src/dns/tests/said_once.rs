//! What the log says of servers that do not answer: the cause, once, and that they work again.

use super::encrypted::{over_https, over_tls, tls};
use super::persistent::{Manner, Take, https_server, https_transport};
use super::servers::{addresses, always, over_tcp, over_udp, reply, silent};
use super::{ABROAD, World, list, outbound, run, world};
use crate::dispatch::{Current, Dispatcher, Upstream};
use crate::dns::upstream::persistent::{Dialler, PersistentConnection};
use crate::dns::wire::{Query, rr};
use crate::dns::{NameServer, Transport};
use crate::proxy::{self, BoxFuture, HalfClose, Link, Progress, Proxy};
use crate::route::Route;
use crate::target::Target;
use hickory_proto::op::ResponseCode;
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{sleep, timeout};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let format = tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone());
        tracing::subscriber::set_default(format.finish())
    }

    fn lines(&self, level: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(level)).map(str::to_owned).collect()
    }
}

/// Foreign names, and one trusted server for them, whose answers are waited for on a machine that
/// stands still for a while, too.
fn asking(address: SocketAddr, transport: Transport) -> World {
    world(silent(), silent(), |settings| {
        list(settings, &[("example", Some(Route::Proxy))]);
        settings.servers.trusted = vec![NameServer { address, transport }];
        settings.servers.timeout = Duration::from_secs(60);
    })
}

async fn ask_for_many(world: &World, kind: &str) {
    for number in 0..14 {
        let _ = world.a(&format!("{kind}{number}.example")).await;
    }
}

#[tokio::test]
async fn the_cause_is_said_once() {
    run(async || {
        let script = || always(|query| addresses(query, 60, &[ABROAD]));
        let https = |path: &str| Transport::Https { name: "dns.example".into(), path: path.into() };
        let refusing = over_tcp(
            always(|query| {
                let mut refusal = reply(query);
                refusal.metadata.response_code = ResponseCode::Refused;
                refusal
            }),
            u32::MAX,
        );
        for (address, transport, expected) in [
            (
                over_tls(script(), u32::MAX).address,
                Transport::Tls { name: "other.example".into() },
                "a certificate for other names than other.example",
            ),
            (over_https(script()).address, https("/wrong"), "404 Not Found; is the path"),
            (over_udp(silent()).address, Transport::Tcp, "refuses connections"),
            (refusing.address, Transport::Tcp, "REFUSED"),
            (over_tcp(script(), 0).address, Transport::Tcp, "ends connections before it answers"),
        ] {
            let log = Log::default();
            let _listening = log.listen();
            ask_for_many(&asking(address, transport), "n").await;
            let warnings = log.lines("WARN");
            assert_eq!(warnings.len(), 1, "{expected}: {warnings:#?}");
            assert!(warnings[0].contains(expected), "{expected}: {warnings:#?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_works_again_is_said_to() {
    run(async || {
        let log = Log::default();
        let _listening = log.listen();
        let is_up = Rc::new(Cell::new(false));
        let state = Rc::clone(&is_up);
        let manner: Manner =
            Rc::new(move |_, _| if state.get() { Take::Answer(0) } else { Take::Status(503) });
        let world = asking(https_server(100, manner).0, https_transport());
        ask_for_many(&world, "first").await;
        assert_eq!((log.lines("WARN").len(), log.lines("works again").len()), (1, 0));
        assert!(log.lines("WARN")[0].contains("503 Service Unavailable"));
        is_up.set(true);
        ask_for_many(&world, "second").await;
        is_up.set(false);
        ask_for_many(&world, "third").await;
        is_up.set(true);
        ask_for_many(&world, "fourth").await;
        assert_eq!((log.lines("WARN").len(), log.lines("works again").len()), (1, 1));
    })
    .await;
}

/// Like shadowsocks: a wrong password is silence. Whatever the address, the connection comes to the
/// same server.
#[derive(Debug)]
struct Mute(SocketAddr);

impl Proxy for Mute {
    fn name(&self) -> &str {
        "mute"
    }

    fn is_heard_at_the_dial(&self) -> bool {
        false
    }

    fn connect<'a>(
        &'a self,
        _: &'a Target,
        _: &'a Progress,
    ) -> BoxFuture<'a, Result<Link, proxy::Error>> {
        Box::pin(async move {
            let stream = Box::new(outbound().tcp(&[self.0]).await.unwrap());
            Ok(Link::Stream { stream, half_close: HalfClose::Forwarded })
        })
    }
}

#[tokio::test]
async fn two_dead_names_do_not_make_a_proxy_suspect() {
    run(async || {
        let log = Log::default();
        let _listening = log.listen();
        let patience = Duration::from_millis(300);
        let dead = over_tcp(silent(), u32::MAX);
        let upstream = Arc::new(Upstream::new(Box::new(Mute(dead.address)), patience));
        let servers = ["192.0.2.1:53", "192.0.2.2:53"].map(|address| {
            let direct = Box::new(proxy::direct::Direct::new(outbound()));
            let upstreams = vec![Arc::clone(&upstream)];
            let dispatcher = Dispatcher::new(Arc::default(), Arc::default(), direct, upstreams);
            let dialler = Dialler {
                current: Current::new(dispatcher),
                through_proxy: true,
                tls: tls(),
                names_of_servers: |_| None,
                patience,
                troubles: Rc::default(),
            };
            let address = address.parse().unwrap();
            let server = NameServer { address, transport: Transport::Tcp };
            PersistentConnection::new(server, dialler)
        });
        let ask = async |name: &str| {
            let query = Query::new(&name.parse().unwrap(), rr::A);
            for server in &servers {
                assert!(timeout(patience, server.ask(&query)).await.is_err());
            }
        };
        for _ in 0..4 {
            ask("dead.example").await;
            ask("lame.example").await;
        }
        sleep(2 * patience).await;
        let suspicions = || log.lines("WARN").iter().filter(|it| it.contains("password")).count();
        assert_eq!(suspicions(), 0, "{:#?}", log.lines("WARN"));
        for _ in 0..3 {
            ask("third.example").await;
        }
        sleep(2 * patience).await;
        assert_eq!(suspicions(), 1, "now it may be the proxy");
    })
    .await;
}
