//! Dials that send a program's first bytes before the answer: they reach one server at most.

use super::*;
use crate::mark::Fwmark;
use crate::net::{Outbound, Refusal, listen};
use tokio::net::TcpStream;

/// A program, and the connection that was accepted from it.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
    let program = outbound.tcp(&[listener.local_addr().unwrap()]).await.unwrap();
    (program, listener.accept().await.unwrap().0)
}

/// The proxy that connects, or the error; how long that took; and whether the bytes are out.
async fn carry(setup: &Setup) -> (Result<String, Error>, Duration, bool) {
    let (_program, client) = pair().await;
    let (payload, began) = (FirstPayload::of(&client), Instant::now());
    let connected = setup.dispatcher.connect(&foreign(), None, CLIENT, None, Some(&payload)).await;
    let via = connected.map(|it| it.via.map_or("direct".into(), |via| via.name().to_owned()));
    (via, began.elapsed(), payload.is_out())
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_out_are_sent_nowhere_else() {
    for (act, least) in
        [(Act::TakeBytesAndStaySilent, TIMEOUT), (Act::TakeBytesAndBreak, Duration::ZERO)]
    {
        let setup = setup(&[act, Act::Connect]);
        let (via, took, is_out) = carry(&setup).await;
        assert!(matches!(via, Err(Error::AllProxiesFailed(_))), "{act:?}: {via:?}");
        assert!(is_out && took >= least, "{act:?}: {took:?}");
        assert_eq!(setup.dials(), [1, 0], "{act:?}");
        // It has a chance to show that it lives; no verdict is passed.
        assert_eq!(setup.resting(), [false, false]);
        tokio::time::advance(PATIENCE).await;
        setup.does(0, Act::Connect);
        assert_eq!(setup.connect(&foreign()).await.0.unwrap(), "b", "{act:?}: it is doubted");
        setup.never_direct();
    }
}

/// While the first connection still waits.
#[tokio::test(start_paused = true)]
async fn a_member_that_is_slow_behind_them_is_passed_over() {
    let setup = setup(&[Act::TakeBytesAndStaySilent, Act::Connect]);
    let waiting = carry(&setup);
    let later = async {
        tokio::time::sleep(2 * PATIENCE + Duration::from_millis(10)).await;
        setup.connect(&foreign()).await
    };
    let (waited, (via, took)) = tokio::join!(waiting, later);
    assert!(waited.0.is_err());
    assert_eq!((via.unwrap().as_str(), took), ("b", Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_leaves_them_to_the_next() {
    let setup = setup(&[Act::TakeBytesAndRefuse, Act::TakeBytesAndRefuse, Act::Connect]);
    let (via, _, is_out) = carry(&setup).await;
    assert_eq!((via.unwrap().as_str(), is_out), ("c", false));
    assert_eq!(setup.dials(), [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn none_of_several_dials_may_send_them() {
    let setup = setup(&[Act::StaySilent, Act::Answer(Duration::from_millis(100))]);
    let (_program, client) = pair().await;
    let payload = FirstPayload::of(&client);
    let connected = setup.dispatcher.connect(&foreign(), None, CLIENT, None, Some(&payload)).await;
    assert_eq!(connected.unwrap().via.unwrap().name(), "b");
    assert!(!payload.leaves(1));
}
