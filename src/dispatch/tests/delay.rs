//! Tests that somebody asks for.

use super::*;
use crate::proxy::tls::Tls;

const PATIENCE: Duration = Duration::from_secs(2);
const TOOK: Duration = Duration::from_millis(90);

async fn delay(act: Act) -> (Result<(Duration, u16), DelayError>, Setup) {
    let setup = setup(&[act, Act::Connect]);
    let url = DelayUrl::parse("http://foreign.example/generate_204").unwrap();
    let tested = setup.dispatcher.upstreams()[0].delay_of(&url, &Tls::default(), PATIENCE).await;
    (tested, setup)
}

#[tokio::test(start_paused = true)]
async fn the_time_until_the_answer_is_told_and_remembered() {
    for (words, status) in
        [("HTTP/1.1 204 No Content\r\n\r\n", 204), ("HTTP/1.0 403 Forbidden\r\n", 403)]
    {
        let (tested, setup) = delay(Act::Say(words, TOOK)).await;
        assert_eq!(tested, Ok((TOOK, status)));
        let view = setup.dispatcher.upstreams()[0].view(Instant::now());
        assert_eq!(view.tests[0].delay_ms, Some(90));
        assert_eq!(setup.dials(), [1, 0], "no other member is asked");
        setup.never_direct();
    }
}

#[tokio::test(start_paused = true)]
async fn a_test_that_fails_says_how() {
    for (act, error) in [
        (Act::StayMute, DelayError::Late(PATIENCE)),
        (Act::StaySilent, DelayError::Late(PATIENCE)),
        (
            Act::Say("SSH-2.0-OpenSSH_9.2p1\r\n", TOOK),
            DelayError::Failed("foreign.example does not answer in HTTP".into()),
        ),
        (
            Act::RefuseTarget,
            DelayError::Failed("a did not connect to foreign.example:80: 503".into()),
        ),
    ] {
        let (tested, setup) = delay(act).await;
        assert_eq!(tested, Err(error), "{act:?}");
        let view = setup.dispatcher.upstreams()[0].view(Instant::now());
        assert_eq!(view.tests[0].delay_ms, None);
        setup.never_direct();
    }
}

/// The last few are remembered.
#[tokio::test(start_paused = true)]
async fn history_ends() {
    let setup = setup(&[Act::RefuseTarget]);
    let url = DelayUrl::parse("http://foreign.example/").unwrap();
    for _ in 0..30 {
        let tested =
            setup.dispatcher.upstreams()[0].delay_of(&url, &Tls::default(), PATIENCE).await;
        assert!(tested.is_err());
    }
    assert_eq!(setup.dispatcher.upstreams()[0].view(Instant::now()).tests.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn without_a_url_it_is_asked_what_the_watch_asks() {
    let setup = setup(&[Act::Answer(TOOK), Act::StayMute]);
    let name_server = Target::addr("203.0.113.53:53".parse().unwrap());
    let questions =
        MemberQuestions { name_servers: vec![name_server], ..MemberQuestions::default() };
    let [heard, mute] = [0, 1].map(|place| Arc::clone(&setup.dispatcher.upstreams()[place]));
    assert!(heard.usual_delay(questions.clone(), PATIENCE).await.unwrap() < TOOK, "the dial not");
    assert_eq!(mute.usual_delay(questions, PATIENCE).await, Err(DelayError::Late(PATIENCE)));
    setup.never_direct();
}

/// The way without a proxy leads to no service of this machine or network.
#[tokio::test(start_paused = true)]
async fn direct_goes_to_public_addresses_only() {
    let url = DelayUrl::parse("http://foreign.example/").unwrap();
    let setup = setup(&[Act::Connect]);
    *setup.direct_act.lock().unwrap() = Act::Say("HTTP/1.1 200 OK\r\n", TOOK);
    let test = async |addresses: &[&str]| {
        let addresses: Vec<SocketAddr> = addresses.iter().map(|it| it.parse().unwrap()).collect();
        let direct = &*setup.dispatcher.direct;
        direct_delay(direct, &addresses, &url, &Tls::default(), PATIENCE).await
    };
    let near = ["127.0.0.1:80", "192.168.1.1:80", "[::1]:80", "[::ffff:10.0.0.1]:80"];
    assert!(matches!(test(&near).await, Err(DelayError::Failed(_))));
    assert_eq!(setup.direct_dials.load(Ordering::Relaxed), 0);
    assert_eq!(test(&["127.0.0.1:80", "203.0.113.9:80"]).await, Ok((TOOK, 200)));
    assert_eq!(setup.direct_dials.load(Ordering::Relaxed), 1);
}
