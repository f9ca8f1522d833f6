//! What each proxy does, which one is used then, and what is remembered of it. Time is paused: what
//! waits costs nothing and is exact.

use super::*;
use crate::ipset::IpSet;
use crate::mark::Fwmark;
use crate::net::{Outbound, Refusal};
use crate::proxy::HalfClose;
use crate::proxy::shadowsocks::cipher::master_key::MasterKey;
use crate::proxy::shadowsocks::cipher::method::Method;
use crate::proxy::shadowsocks::datagram::SaltedDatagrams;
use crate::secret::Secret;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const TIMEOUT: Duration = Duration::from_secs(5);

/// What a proxy does with a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Connect,
    RefuseTcp,
    RefuseCredentials,
    SpeakAnotherProtocol,
    BreakOff,
    /// The proxy works, and does not reach the destination.
    RefuseTarget,
    /// The proxy works, and does not allow the destination.
    ForbidTarget,
    /// This process has no descriptor left.
    RunOutOfDescriptors,
    /// TCP to the server does not come to stand.
    StaySilent,
    /// It stands, and no answer comes.
    StaySilentBehindTcp,
}

#[derive(Debug)]
struct ScriptedProxy {
    name: &'static str,
    act: Arc<Mutex<Act>>,
    dials: Arc<AtomicUsize>,
}

impl Proxy for ScriptedProxy {
    fn name(&self) -> &str {
        self.name
    }

    /// All but "a" carry UDP.
    fn carries_datagrams(&self) -> bool {
        self.name != "a"
    }

    fn associate(&self) -> proxy::BoxFuture<'_, Result<Association, proxy::Error>> {
        let act = *self.act.lock().unwrap();
        Box::pin(async move {
            let failed = |source| proxy::Error::Dial { server: self.name.to_owned(), source };
            match act {
                Act::Connect => {}
                Act::RunOutOfDescriptors => {
                    return Err(failed(io::Error::from_raw_os_error(nix::libc::EMFILE)));
                }
                _ => return Err(failed(io::ErrorKind::NetworkUnreachable.into())),
            }
            let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
            let socket = outbound.udp("127.0.0.1:9".parse().unwrap()).await.map_err(failed)?;
            let key = MasterKey::new(Method::Aes128Gcm, &Secret::new("secret")).unwrap();
            let codec = Box::new(SaltedDatagrams::new(key));
            Ok(Association { socket, codec, lifeline: None })
        })
    }

    fn connect<'a>(
        &'a self,
        target: &'a Target,
        progress: &'a Progress,
    ) -> proxy::BoxFuture<'a, Result<Link, proxy::Error>> {
        self.dials.fetch_add(1, Ordering::Relaxed);
        let (server, act) = (self.name.to_owned(), *self.act.lock().unwrap());
        Box::pin(async move {
            Err(match act {
                Act::Connect => {
                    let stream = Box::new(tokio::io::duplex(1).0);
                    return Ok(Link::Stream { stream, half_close: HalfClose::Forwarded });
                }
                Act::RefuseTcp => {
                    let source = io::ErrorKind::ConnectionRefused.into();
                    proxy::Error::Dial { server, source }
                }
                Act::RefuseCredentials => {
                    proxy::Error::Credentials { server, status: "407".into() }
                }
                Act::SpeakAnotherProtocol => {
                    let found = "SSH".into();
                    proxy::Error::Protocol { server, expected: "HTTP CONNECT", found }
                }
                Act::BreakOff => {
                    let source = io::ErrorKind::UnexpectedEof.into();
                    proxy::Error::Handshake { server, source }
                }
                Act::RefuseTarget => {
                    let (target, status) = (target.to_string(), "503".into());
                    proxy::Error::Target { server, target, status }
                }
                Act::ForbidTarget => {
                    let (target, status) = (target.to_string(), "403".into());
                    proxy::Error::Refused { server, target, status, hint: String::new() }
                }
                Act::RunOutOfDescriptors => {
                    let source = io::Error::from_raw_os_error(nix::libc::EMFILE);
                    proxy::Error::Dial { server, source }
                }
                Act::StaySilent => std::future::pending().await,
                Act::StaySilentBehindTcp => {
                    progress.server_is_reached();
                    std::future::pending().await
                }
            })
        })
    }
}

/// A dispatcher with these proxies, named "a", "b", ..., and a way without proxy.
struct Setup {
    dispatcher: Dispatcher,
    acts: Vec<Arc<Mutex<Act>>>,
    dials: Vec<Arc<AtomicUsize>>,
    direct_act: Arc<Mutex<Act>>,
    direct_dials: Arc<AtomicUsize>,
}

fn setup(acts: &[Act]) -> Setup {
    let acts: Vec<_> = acts.iter().map(|act| Arc::new(Mutex::new(*act))).collect();
    let dials: Vec<Arc<AtomicUsize>> = acts.iter().map(|_| Arc::default()).collect();
    let upstreams = acts.iter().zip(&dials).zip(["a", "b", "c"]).map(|((act, dials), name)| {
        let proxy = ScriptedProxy { name, act: Arc::clone(act), dials: Arc::clone(dials) };
        Arc::new(Upstream::new(Box::new(proxy), TIMEOUT))
    });
    let upstreams = upstreams.collect();
    let direct_act = Arc::new(Mutex::new(Act::Connect));
    let direct_dials = Arc::default();
    let direct = ScriptedProxy {
        name: "direct",
        act: Arc::clone(&direct_act),
        dials: Arc::clone(&direct_dials),
    };
    let set =
        |prefix: &str| -> IpSet { [prefix.parse::<ipnet::IpNet>().unwrap()].into_iter().collect() };
    let rules =
        Rules { block: set("192.0.2.0/24"), direct: set("198.51.100.0/24"), ..Rules::default() };
    let dispatcher = Dispatcher::new(Arc::new(rules), Arc::default(), Box::new(direct), upstreams);
    Setup { dispatcher, acts, dials, direct_act, direct_dials }
}

/// Where a proxy is wanted.
fn foreign() -> Target {
    Target::addr("203.0.113.1:443".parse().unwrap())
}

impl Setup {
    /// The proxy that connects, or the error; and how long that took.
    async fn connect(&self, target: &Target) -> (Result<String, Error>, Duration) {
        let began = Instant::now();
        let result = self.dispatcher.connect(target).await;
        let via = |connected: Connected| {
            connected.via.map_or("direct".into(), |upstream| upstream.name().to_owned())
        };
        (result.map(via), began.elapsed())
    }

    fn does(&self, proxy: usize, act: Act) {
        *self.acts[proxy].lock().unwrap() = act;
    }

    /// Which proxies rest.
    fn resting(&self) -> Vec<bool> {
        let now = Instant::now();
        self.dispatcher.upstreams.iter().map(|it| it.health.is_resting(now)).collect()
    }

    fn dials(&self) -> Vec<usize> {
        self.dials.iter().map(|dials| dials.load(Ordering::Relaxed)).collect()
    }

    fn never_direct(&self) {
        assert_eq!(self.direct_dials.load(Ordering::Relaxed), 0, "it went direct");
    }
}

/// The first proxy does this; then that one is used after so long, and the first one rests or not.
#[tokio::test(start_paused = true)]
async fn a_proxy_that_fails_is_followed_by_the_next() {
    let at_once = Duration::ZERO;
    for (act, used, after, rests) in [
        (Act::Connect, "a", at_once, false),
        (Act::RefuseTcp, "b", at_once, true),
        (Act::RefuseCredentials, "b", at_once, true),
        (Act::SpeakAnotherProtocol, "b", at_once, true),
        (Act::BreakOff, "b", at_once, true),
        (Act::RefuseTarget, "b", at_once, false),
        (Act::RunOutOfDescriptors, "b", at_once, false),
        (Act::StaySilent, "b", TIMEOUT, true),
        (Act::StaySilentBehindTcp, "b", TIMEOUT, false),
    ] {
        let setup = setup(&[act, Act::Connect]);
        let (via, took) = setup.connect(&foreign()).await;
        assert_eq!(via.unwrap(), used, "{act:?}");
        // The timer's own unit is a millisecond.
        let spare = took.checked_sub(after).unwrap_or_else(|| panic!("{act:?}: {took:?}"));
        assert!(spare <= Duration::from_millis(2), "{act:?}: {took:?}");
        assert_eq!(setup.resting(), [rests, false], "{act:?}");
        setup.never_direct();
    }
}

/// Whatever it is that fails, every proxy is asked, its cause is told, and nothing goes direct.
#[tokio::test(start_paused = true)]
async fn when_all_fail_the_connection_is_refused() {
    for (act, cause) in [
        (Act::RefuseTcp, "cannot connect"),
        (Act::RefuseCredentials, "user name or password"),
        (Act::SpeakAnotherProtocol, "does not speak HTTP CONNECT"),
        (Act::BreakOff, "broke off the handshake"),
        (Act::RefuseTarget, "did not connect to 203.0.113.1:443"),
        (Act::RunOutOfDescriptors, "cannot connect"),
        (Act::StaySilent, "no answer within 5s"),
        (Act::StaySilentBehindTcp, "it is there, but gave no answer within 5s"),
    ] {
        let setup = setup(&[act, act]);
        let Err(Error::AllProxiesFailed(causes)) = setup.connect(&foreign()).await.0 else {
            panic!("{act:?}: no proxy works")
        };
        assert!(causes[0].starts_with("a: ") && causes[1].starts_with("b: "), "{causes:?}");
        assert!(causes.iter().all(|told| told.contains(cause)), "{act:?}: {causes:?}");
        assert_eq!(setup.dials(), [1, 1], "{act:?}");
        setup.never_direct();
    }
}

/// It works: it is asked again at once, the next one is tried, and the caller learns that there may
/// be another way.
#[tokio::test(start_paused = true)]
async fn a_forbidden_target_is_told_as_such() {
    for others in [Act::ForbidTarget, Act::RefuseTarget, Act::RefuseTcp] {
        let setup = setup(&[Act::ForbidTarget, others]);
        let Err(Error::Refused(causes)) = setup.connect(&foreign()).await.0 else {
            panic!("{others:?}: it is not allowed")
        };
        assert!(causes[0].contains("does not allow 203.0.113.1:443: 403"), "{causes:?}");
        assert_eq!(causes.len(), 2, "{causes:?}");
        assert!(!setup.resting()[0], "{others:?}");
        setup.does(1, Act::Connect);
        assert_eq!(setup.connect(&foreign()).await.0.unwrap(), "b");
        setup.never_direct();
    }
}

/// A resting proxy comes behind those that answer, and is asked first again after its rest.
#[tokio::test(start_paused = true)]
async fn a_resting_proxy_is_the_last_resort() {
    let setup = setup(&[Act::RefuseTcp, Act::Connect]);
    let via = async || setup.connect(&foreign()).await.0;
    assert_eq!(via().await.unwrap(), "b");
    assert_eq!(via().await.unwrap(), "b");
    assert_eq!(setup.dials(), [1, 2], "the first one rests");
    setup.does(0, Act::Connect);
    setup.does(1, Act::RefuseTcp);
    assert_eq!(via().await.unwrap(), "a", "better than none");
    assert_eq!(setup.dials(), [2, 3]);
    assert_eq!(setup.resting(), [false, true]);
    setup.does(0, Act::RefuseTcp);
    assert!(via().await.is_err());
    setup.never_direct();
    tokio::time::advance(Duration::from_secs(60)).await;
    setup.does(0, Act::Connect);
    assert_eq!(via().await.unwrap(), "a");
    setup.never_direct();
}

/// One connection finds out whether a silent proxy is back; the others are refused at once.
#[tokio::test(start_paused = true)]
async fn only_one_waits_for_a_silent_proxy() {
    let setup = setup(&[Act::StaySilent]);
    assert!(setup.connect(&foreign()).await.0.is_err());
    let target = foreign();
    let (waiting, refused) = tokio::join!(setup.connect(&target), setup.connect(&target));
    assert!(matches!(waiting, (Err(Error::AllProxiesFailed(_)), took) if took >= TIMEOUT));
    assert!(matches!(refused, (Err(Error::AllProxiesDown), Duration::ZERO)), "{refused:?}");
    assert_eq!(setup.dials(), [2]);
    setup.never_direct();
}

/// One dead site says nothing of a proxy that is there; three in a row do.
#[tokio::test(start_paused = true)]
async fn silent_destinations_in_a_row_take_a_proxy_down() {
    let setup = setup(&[Act::StaySilentBehindTcp, Act::Connect]);
    for rests in [false, false, true] {
        assert_eq!(setup.connect(&foreign()).await.0.unwrap(), "b");
        assert_eq!(setup.resting(), [rests, false]);
    }
    setup.never_direct();
}

#[tokio::test(start_paused = true)]
async fn another_network_wakes_every_proxy() {
    let setup = setup(&[Act::RefuseTcp, Act::RefuseTcp]);
    assert!(setup.connect(&foreign()).await.0.is_err());
    assert_eq!(setup.resting(), [true, true]);
    setup.dispatcher.wake();
    assert_eq!(setup.resting(), [false, false]);
}

/// The rules decide whether a proxy is asked at all.
#[tokio::test(start_paused = true)]
async fn blocked_and_direct_destinations_ask_no_proxy() {
    let setup = setup(&[Act::Connect]);
    let blocked = Target::addr("192.0.2.1:443".parse().unwrap());
    assert!(matches!(setup.connect(&blocked).await.0, Err(Error::Blocked)));
    setup.never_direct();
    let direct = Target::addr("198.51.100.1:443".parse().unwrap());
    assert_eq!(setup.connect(&direct).await.0.unwrap(), "direct");
    *setup.direct_act.lock().unwrap() = Act::RefuseTcp;
    assert!(matches!(setup.connect(&direct).await.0, Err(Error::Direct(_))));
    *setup.direct_act.lock().unwrap() = Act::StaySilent;
    let (refused, took) = setup.connect(&direct).await;
    assert!(matches!(refused, Err(Error::DirectTimeout { .. })), "{refused:?}");
    assert!(took >= DIRECT_TIMEOUT && took < DIRECT_TIMEOUT + Duration::from_millis(2));
    assert_eq!(setup.dials(), [0], "it is not tried through a proxy instead");
}

impl Setup {
    /// The proxy that carries an association made now.
    async fn associated(&self) -> Result<String, Error> {
        self.dispatcher.associate().await.map(|it| it.via.name().to_owned())
    }

    fn upstream(&self, name: &str) -> &Upstream {
        self.dispatcher.upstream(name).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn datagrams_go_through_the_first_proxy_that_carries_them() {
    let none = setup(&[Act::Connect]);
    assert!(matches!(none.associated().await, Err(Error::NoDatagrams)));

    let setup = setup(&[Act::Connect; 3]);
    assert_eq!(setup.associated().await.unwrap(), "b");
    setup.upstream("b").datagrams_failed("silence");
    assert_eq!(setup.associated().await.unwrap(), "c", "b rests");
    assert_eq!(setup.resting(), [false; 3], "TCP is another matter");
    setup.upstream("c").datagrams_failed("silence");
    assert_eq!(setup.associated().await.unwrap(), "b", "the last resort");
    setup.upstream("c").datagrams_answered();
    assert_eq!(setup.associated().await.unwrap(), "c");
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(setup.associated().await.unwrap(), "b", "it has rested");
    setup.upstream("b").datagrams_failed("silence");
    setup.dispatcher.wake();
    assert_eq!(setup.associated().await.unwrap(), "b", "another network");
}

#[tokio::test(start_paused = true)]
async fn a_proxy_without_a_way_rests_for_datagrams() {
    let setup = setup(&[Act::Connect, Act::RefuseTcp, Act::RunOutOfDescriptors]);
    let Err(Error::AllProxiesFailed(causes)) = setup.associated().await else {
        panic!("one stood");
    };
    assert_eq!(causes.len(), 2, "{causes:?}");
    let rests = |name| setup.upstream(name).datagrams.is_resting(Instant::now());
    assert!(rests("b") && !rests("c"), "a shortage is ours");
}
