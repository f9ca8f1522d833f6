//! What each proxy does, which one is used then, and what is remembered of it. Time is paused: what
//! waits costs nothing and is exact.

use super::*;
use crate::ipset::IpSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

mod ahead;
mod delay;
// They say what rustls says.
#[cfg(feature = "tls")]
mod first_words;
mod life;
mod naming;
mod pins;
mod scripted;

use scripted::{Act, ScriptedProxy};

const TIMEOUT: Duration = Duration::from_secs(5);

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 7));

/// After so long the next proxy is tried besides, where nothing is known.
const PATIENCE: Duration = Duration::from_millis(300);

/// A dispatcher with these proxies, named "a", "b", ..., and a way without proxy.
struct Setup {
    dispatcher: Arc<Dispatcher>,
    acts: Vec<Arc<Mutex<Act>>>,
    dials: Vec<Arc<AtomicUsize>>,
    direct_act: Arc<Mutex<Act>>,
    direct_dials: Arc<AtomicUsize>,
}

fn setup(acts: &[Act]) -> Setup {
    setup_sending(acts, [SendNames::default(); 3])
}

/// The same, each told names as said here.
fn setup_sending(acts: &[Act], ways: [SendNames; 3]) -> Setup {
    let acts: Vec<_> = acts.iter().map(|act| Arc::new(Mutex::new(*act))).collect();
    let dials: Vec<Arc<AtomicUsize>> = acts.iter().map(|_| Arc::default()).collect();
    let names = ["a", "b", "c"].into_iter().zip(ways);
    let upstreams = acts.iter().zip(&dials).zip(names).map(|((act, dials), (name, way))| {
        let proxy = ScriptedProxy { name, act: Arc::clone(act), dials: Arc::clone(dials) };
        Arc::new(Upstream::new(Box::new(proxy), TIMEOUT).sending(way))
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
    let dispatcher = Arc::new(dispatcher);
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
        let result = self.dispatcher.connect(target, None, CLIENT, None, None).await;
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
        // It is overtaken, and not given up for dead.
        (Act::StaySilent, "b", PATIENCE, false),
        (Act::StaySilentBehindTcp, "b", PATIENCE, false),
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
    let setup = setup(&[Act::StaySilentBehindTcp]);
    for rests in [false, false, true] {
        assert!(setup.connect(&foreign()).await.0.is_err());
        assert_eq!(setup.resting(), [rests]);
    }
    setup.never_direct();
}

/// One that is slower than it usually is is overtaken, and passed over from then on.
#[tokio::test(start_paused = true)]
async fn a_dial_that_hangs_is_overtaken() {
    let setup = setup(&[Act::Connect, Act::Connect, Act::Connect]);
    assert_eq!(setup.connect(&foreign()).await.0.unwrap(), "a");
    setup.does(0, Act::StaySilent);
    // Its habit is known: it answered at once.
    let (via, took) = setup.connect(&foreign()).await;
    assert_eq!(via.unwrap(), "b");
    assert!(took <= Duration::from_millis(60), "{took:?}");
    let (via, took) = setup.connect(&foreign()).await;
    assert_eq!((via.unwrap().as_str(), took), ("b", Duration::ZERO), "it is in doubt");
    assert_eq!(setup.dials(), [2, 2, 0]);
    setup.does(1, Act::StaySilent);
    setup.does(2, Act::StaySilentBehindTcp);
    assert!(matches!(setup.connect(&foreign()).await.0, Err(Error::AllProxiesFailed(_))));
    setup.never_direct();
}

/// The first answer counts, also if it comes from the one that was slow.
#[tokio::test(start_paused = true)]
async fn a_failure_of_the_second_leaves_the_first_its_time() {
    let setup = setup(&[Act::StaySilent, Act::RefuseTcp]);
    let target = foreign();
    let (result, took) = setup.connect(&target).await;
    let Err(Error::AllProxiesFailed(causes)) = result else { panic!("none works") };
    assert!(causes[0].starts_with("b: ") && causes[1].starts_with("a: "), "{causes:?}");
    assert!(took >= TIMEOUT && took < TIMEOUT + Duration::from_millis(5), "{took:?}");
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
        self.dispatcher
            .associate("203.0.113.1:443".parse().unwrap(), None, None)
            .await
            .map(|it| it.via.name().to_owned())
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

/// A member that is surely dead is no place for new sessions, unless its UDP answers still.
#[tokio::test(start_paused = true)]
async fn datagrams_avoid_a_member_that_is_surely_dead() {
    let setup = setup(&[Act::Connect; 3]);
    let dies = |is_sure| {
        let mut knowledge = setup.upstream("b").knowledge();
        knowledge.standing.unanswered(Instant::now());
        knowledge.is_sure = is_sure;
    };
    dies(false);
    assert_eq!(setup.associated().await.unwrap(), "b", "that may be a name server's silence");
    dies(true);
    assert_eq!(setup.associated().await.unwrap(), "c");
    tokio::time::advance(Duration::from_secs(1)).await;
    setup.upstream("b").datagrams_answered();
    assert_eq!(setup.associated().await.unwrap(), "b", "a firewall may lose one and not the other");
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
