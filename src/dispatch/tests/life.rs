//! What becomes of connections when a member dies, lives and comes back, with somebody who watches.
//! Hours pass in no time.

use super::super::attempt::Over;
use super::super::question::MemberQuestions;
use super::super::standing::Rank;
use super::*;
use crate::stats::Meter;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::interval;
use tokio::time::sleep;

const AT_ONCE: Act = Act::Answer(Duration::from_millis(20));

impl Setup {
    /// Watches until the handle is dropped.
    fn watch(&self) -> Watching {
        let name_servers = vec![Target::addr("192.0.2.53:53".parse().unwrap())];
        let questions = MemberQuestions { name_servers, ..MemberQuestions::default() };
        let watching = tokio::spawn(Arc::clone(&self.dispatcher).watch(questions));
        Watching(watching.abort_handle())
    }

    fn rank(&self, name: &str) -> Rank {
        self.upstream(name).rank(Instant::now())
    }

    /// Who carries a connection now, and how long that takes.
    async fn via(&self) -> (String, Duration) {
        let (via, took) = self.connect(&foreign()).await;
        (via.unwrap(), took)
    }
}

struct Watching(AbortHandle);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Twenty seconds of bytes.
async fn flow(meter: &Meter) {
    for _ in 0..200 {
        meter.down.add(1);
        sleep(Duration::from_millis(100)).await;
    }
}

async fn seconds(count: u64) {
    sleep(Duration::from_secs(count)).await;
}

/// A wrong password, or a port of something else: the second one is used before any connection is
/// lost.
#[tokio::test(start_paused = true)]
async fn a_mute_first_member_is_not_used() {
    let setup = setup(&[Act::StayMute, AT_ONCE]);
    let _watching = setup.watch();
    sleep(Duration::from_millis(50)).await;
    assert_eq!(setup.rank("a"), Rank::Unproven);
    assert_eq!(setup.via().await.0, "b");
    seconds(5).await;
    assert_eq!([setup.rank("a"), setup.rank("b")], [Rank::Down, Rank::Good]);
    let cause = setup.upstream("a").knowledge().cause.clone();
    assert!(cause.contains("nothing comes back"), "{cause}");
    assert_eq!(setup.via().await.0, "b");
    setup.does(0, AT_ONCE);
    seconds(60).await;
    assert_eq!(setup.via().await.0, "a", "its password is right now");
}

/// Fifty new connections a second, and the first member dies in each way there is.
#[tokio::test(start_paused = true)]
async fn no_connection_is_lost_with_a_member() {
    let dead = [
        Act::RefuseTcp,
        Act::BreakOff,
        Act::StaySilent,
        Act::StaySilentBehindTcp,
        Act::Answer(Duration::from_secs(2)),
    ];
    for act in dead {
        let setup = Arc::new(setup(&[AT_ONCE, AT_ONCE]));
        let _watching = setup.watch();
        for _ in 0..50 {
            sleep(Duration::from_millis(20)).await;
            assert_eq!(setup.via().await.0, "a");
        }
        setup.does(0, act);
        let mut ticks = interval(Duration::from_millis(20));
        let mut connections = JoinSet::new();
        for _ in 0..500 {
            ticks.tick().await;
            let setup = Arc::clone(&setup);
            connections.spawn(async move { setup.via().await });
        }
        let (mut count, mut longest) = (0, Duration::ZERO);
        while let Some(served) = connections.join_next().await {
            let (via, took) = served.unwrap();
            assert_eq!(via, "b", "{act:?}");
            count += 1;
            longest = longest.max(took);
        }
        assert_eq!(count, 500);
        assert!(longest <= Duration::from_millis(400), "{act:?}: {longest:?}");
        // Back within a minute, and it stays.
        setup.does(0, AT_ONCE);
        for second in 0..60 {
            if setup.via().await.0 == "a" {
                break;
            }
            assert!(second < 59, "{act:?}: it is not used again");
            seconds(1).await;
        }
        for _ in 0..20 {
            assert_eq!(setup.via().await.0, "a", "{act:?}");
            seconds(1).await;
        }
        setup.never_direct();
    }
}

/// Dials succeed, as those of shadowsocks do; what is sent is not answered.
#[tokio::test(start_paused = true)]
async fn connections_without_an_answer_tell_of_a_dead_member() {
    let setup = setup(&[AT_ONCE, AT_ONCE]);
    let _watching = setup.watch();
    seconds(1).await;
    setup.does(0, Act::StayMute);
    let meters: Vec<Arc<Meter>> = (1..=2)
        .map(|port| {
            let meter = Arc::<Meter>::default();
            meter.up.add(500);
            setup.upstream("a").awaits(&meter, SocketAddr::from(([203, 0, 113, 1], port)));
            meter
        })
        .collect();
    sleep(Duration::from_millis(900)).await;
    assert_eq!(setup.via().await.0, "a", "they have not waited for long");
    seconds(2).await;
    assert_eq!((setup.rank("a"), setup.via().await.0.as_str()), (Rank::Doubted, "b"));
    seconds(4).await;
    assert_eq!(setup.rank("a"), Rank::Down);
    // What lives on it is given up once it is surely dead, unless it shows that it lives.
    let [silent, alive] = &meters[..] else { unreachable!() };
    let upstream = setup.upstream("a");
    let given_up =
        tokio::time::timeout(Duration::from_secs(20), upstream.dies(|| silent.down.get()));
    let flows = async {
        tokio::select! {
            () = upstream.dies(|| alive.down.get()) => panic!("its bytes flow"),
            () = flow(alive) => {}
        }
    };
    let (given_up, ()) = tokio::join!(given_up, flows);
    assert!(given_up.is_ok(), "it hangs on a dead proxy");
}

/// The only name server falls silent, and a site has answered by "a": where that is.
async fn only_a_site_answers(setup: &Setup) -> SocketAddr {
    seconds(1).await;
    setup.does(0, Act::StayMuteForNames);
    let site = SocketAddr::from(([203, 0, 113, 1], 443));
    let answered = Arc::<Meter>::default();
    answered.up.add(500);
    setup.upstream("a").awaits(&answered, site);
    answered.down.add(1);
    seconds(1).await;
    site
}

/// One that has answered over TLS is asked when the only name server does not answer.
#[cfg(feature = "tls")]
#[tokio::test(start_paused = true)]
async fn a_name_server_that_nobody_reaches_condemns_no_member() {
    let setup = setup(&[AT_ONCE, Act::RefuseTcp]);
    let _watching = setup.watch();
    let site = only_a_site_answers(&setup).await;
    let upstream = setup.upstream("a");
    assert_eq!(upstream.witness(), Some(site));
    upstream.doubt(Instant::now());
    assert_eq!(setup.rank("a"), Rank::Doubted);
    seconds(10).await;
    assert_eq!(setup.rank("a"), Rank::Good);
    assert!(upstream.knowledge().cause.is_empty());
}

/// The site could be asked over TLS alone: that it was not is no silence of its own.
#[cfg(not(feature = "tls"))]
#[tokio::test(start_paused = true)]
async fn who_speaks_no_tls_asks_no_site() {
    let setup = setup(&[AT_ONCE, Act::RefuseTcp]);
    let _watching = setup.watch();
    only_a_site_answers(&setup).await;
    let upstream = setup.upstream("a");
    upstream.doubt(Instant::now());
    seconds(10).await;
    let knowledge = upstream.knowledge();
    assert!(!knowledge.cause.is_empty() && !knowledge.is_sure, "{}", knowledge.cause);
}

/// Nothing else can be asked, and nobody else hears from there: it is not called dead, and what
/// lives on it goes on.
#[tokio::test(start_paused = true)]
async fn one_silence_alone_proves_nothing() {
    let setup = setup(&[Act::StayMuteForNames, Act::StayMuteForNames]);
    let _watching = setup.watch();
    let idle = setup.upstream("a").dies(|| 0);
    assert!(tokio::time::timeout(Duration::from_secs(60), idle).await.is_err());
    let told = setup.upstream("a").describe(Instant::now());
    assert!(told.contains("a: no answer for") && told.contains("192.0.2.53:53"), "{told}");
    assert_eq!(setup.via().await.0, "a", "none is better");
    // What comes back for a program speaks for it.
    let answered = Arc::<Meter>::default();
    answered.up.add(500);
    setup.upstream("a").awaits(&answered, SocketAddr::from(([203, 0, 113, 1], 80)));
    answered.down.add(1);
    seconds(1).await;
    assert!(setup.rank("a") < Rank::Down);
}

/// Another member hears from there: so it is this one. The other is asked for that, if it was not
/// lately.
#[tokio::test(start_paused = true)]
async fn what_others_hear_condemns_a_silent_member() {
    let setup = setup(&[AT_ONCE, AT_ONCE]);
    let _watching = setup.watch();
    seconds(20 * 60).await;
    assert_eq!(setup.dials(), [1, 1]);
    setup.does(0, Act::StayMute);
    // The group is in use.
    setup.via().await;
    setup.upstream("a").doubt(Instant::now());
    let dead = tokio::time::timeout(Duration::from_secs(30), setup.upstream("a").dies(|| 0)).await;
    assert!(dead.is_ok() && setup.rank("b") == Rank::Good);
    assert!(setup.upstream("a").describe(Instant::now()).starts_with("a: down for"));
    assert_eq!(setup.dials()[1], 2, "it was asked once more");
}

/// Slow sites are no dead member: it answers the question, and is used as before.
#[tokio::test(start_paused = true)]
async fn slow_destinations_do_not_move_anybody() {
    let setup = setup(&[AT_ONCE, AT_ONCE]);
    let _watching = setup.watch();
    seconds(1).await;
    let mut meters = Vec::new();
    for round in 0..600u16 {
        let meter = Arc::<Meter>::default();
        meter.up.add(500);
        setup.upstream("a").awaits(&meter, SocketAddr::from(([203, 0, 113, 1], round)));
        meters.push(meter);
        sleep(Duration::from_millis(500)).await;
        assert_eq!(setup.via().await.0, "a", "round {round}");
    }
}

/// Nobody wants them: each is asked twice an hour at most, dead or alive.
#[tokio::test(start_paused = true)]
async fn idle_members_are_left_alone() {
    let setup = setup(&[AT_ONCE, Act::StaySilent, AT_ONCE]);
    let _watching = setup.watch();
    seconds(10 * 3600).await;
    for dials in setup.dials() {
        assert!((10..=21).contains(&dials), "{:?}", setup.dials());
    }
}

/// A network change and a reload ask everybody at once.
#[tokio::test(start_paused = true)]
async fn everybody_is_asked_when_the_watch_begins() {
    let setup = setup(&[AT_ONCE, AT_ONCE]);
    for times in 1..4 {
        let _watching = setup.watch();
        seconds(1).await;
        assert_eq!(setup.dials(), [times; 2]);
    }
    setup.dispatcher.wake();
    let _watching = setup.watch();
    seconds(1).await;
    assert_eq!(setup.dials(), [4; 2]);
}

/// One proxy alone: it is asked at the start, and then left in peace while it serves.
#[tokio::test(start_paused = true)]
async fn a_single_member_is_asked_once() {
    let setup = setup(&[AT_ONCE]);
    let _watching = setup.watch();
    seconds(24 * 3600).await;
    assert_eq!(setup.dials(), [1]);
    assert_eq!(setup.rank("a"), Rank::Good);
}

/// A server whose port is open says nothing by that of what is behind it.
#[tokio::test(start_paused = true)]
async fn a_dial_alone_ends_no_warning_of_a_member_that_is_asked() {
    let setup = setup(&[Act::RefuseTcp, AT_ONCE]);
    let _watching = setup.watch();
    seconds(60).await;
    let member = setup.upstream("a");
    assert!(member.is_warned_of());
    setup.does(0, Act::StayMute);
    while member.dial(&foreign(), Over::Fresh, None).await.is_err() {
        seconds(1).await;
    }
    assert!(member.is_warned_of() && setup.rank("a") == Rank::Down);
    setup.does(0, AT_ONCE);
    seconds(3600).await;
    assert!(!member.is_warned_of());
}

#[tokio::test(start_paused = true)]
async fn a_warning_of_a_member_holds_until_it_works() {
    let setup = setup(&[Act::RefuseTcp]);
    let is_warned_of = || setup.upstream("a").is_warned_of();
    assert!(!is_warned_of());
    assert!(setup.connect(&foreign()).await.0.is_err());
    assert!(is_warned_of());
    setup.does(0, Act::Connect);
    seconds(60).await;
    setup.via().await;
    assert!(!is_warned_of());
}

#[tokio::test(start_paused = true)]
async fn a_member_that_a_reload_takes_away_is_warned_of_no_more() {
    let (gone, stays) = (setup(&[Act::RefuseTcp]), setup(&[Act::RefuseTcp]));
    assert!(gone.connect(&foreign()).await.0.is_err());
    assert!(stays.connect(&foreign()).await.0.is_err());
    gone.dispatcher.is_succeeded_by(&stays.dispatcher);
    assert!(!gone.upstream("a").is_warned_of());
    // A connection that was on its way fails later.
    gone.upstream("a").fails("late".into());
    assert!(!gone.upstream("a").is_warned_of());
    stays.dispatcher.is_succeeded_by(&stays.dispatcher);
    assert!(stays.upstream("a").is_warned_of());
}

/// A proxy that was given no name has its server's, and a line about it would say that twice.
#[tokio::test]
async fn a_name_is_said_once() {
    let named = |name| {
        let (act, dials) = (Arc::new(Mutex::new(AT_ONCE)), Arc::default());
        Upstream::new(Box::new(ScriptedProxy { name, act, dials }), TIMEOUT)
    };
    let server = named("192.0.2.1:80");
    for (told, expected) in [
        ("cannot connect to 192.0.2.1:80: refused", "cannot connect to it: refused"),
        ("192.0.2.1:80 does not speak HTTP", "it does not speak HTTP"),
        ("no answer from 192.0.2.1:8080, [192.0.2.1:80]", "no answer from 192.0.2.1:8080, [it]"),
        ("nothing", "nothing"),
    ] {
        assert_eq!(server.nameless(told), expected);
    }
    assert_eq!(named("a").nameless("a word with a"), "a word with a");
}
