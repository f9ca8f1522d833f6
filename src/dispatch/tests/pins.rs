//! A member that the operator has pinned.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Three members: the first is the best without a word.
fn three() -> Setup {
    setup(&[Act::Answer(Duration::ZERO); 3])
}

fn now(setup: &Setup) -> (Option<String>, Option<String>) {
    let view = setup.dispatcher.groups()[0].view(Instant::now());
    (view.now, view.pinned)
}

#[tokio::test(start_paused = true)]
async fn it_carries_until_the_pin_ends() {
    let setup = three();
    let via = async || setup.connect(&foreign()).await.0.unwrap();
    assert_eq!(via().await, "a");
    setup.dispatcher.pin("PROXY", Some("c")).unwrap();
    assert_eq!(via().await, "c");
    assert_eq!(now(&setup), (Some("c".into()), Some("c".into())));
    setup.dispatcher.pin("PROXY", Some("b")).unwrap();
    assert_eq!(via().await, "b");
    setup.dispatcher.pin("PROXY", None).unwrap();
    assert_eq!(via().await, "a");
    assert_eq!(now(&setup), (Some("a".into()), None));
    setup.never_direct();
}

/// A pin makes no network dead: while its member is down the others carry, and it gets its
/// connections back when it has answered for a while.
#[tokio::test(start_paused = true)]
async fn while_it_is_down_the_others_carry() {
    let setup = three();
    let via = async || setup.connect(&foreign()).await.0.unwrap();
    let name_server = Target::addr("203.0.113.53:53".parse().unwrap());
    let questions =
        MemberQuestions { name_servers: vec![name_server], ..MemberQuestions::default() };
    let watching = tokio::spawn(Arc::clone(&setup.dispatcher).watch(questions));
    setup.dispatcher.pin("PROXY", Some("c")).unwrap();
    tokio::time::sleep(SECOND).await;
    assert_eq!(via().await, "c");
    setup.does(2, Act::RefuseTcp);
    for _ in 0..5 {
        assert_eq!(via().await, "a");
        tokio::time::sleep(SECOND).await;
    }
    assert_eq!(now(&setup), (Some("a".into()), Some("c".into())));
    setup.does(2, Act::Answer(Duration::ZERO));
    let mut waited = 0;
    while via().await != "c" {
        waited += 1;
        assert!(waited < 120, "it does not come back");
        tokio::time::sleep(SECOND).await;
    }
    setup.never_direct();
    watching.abort();
}

#[tokio::test(start_paused = true)]
async fn its_datagrams_go_the_same_way() {
    let setup = setup(&[Act::Connect; 3]);
    let via = async || {
        let first = "203.0.113.1:443".parse().unwrap();
        let associated = setup.dispatcher.associate(first, None, None).await.unwrap();
        associated.via.name().to_owned()
    };
    assert_eq!(via().await, "b", "\"a\" carries none");
    setup.dispatcher.pin("PROXY", Some("c")).unwrap();
    assert_eq!(via().await, "c");
    setup.dispatcher.pin("PROXY", Some("a")).unwrap();
    assert_eq!(via().await, "b", "it carries none");
}

#[tokio::test(start_paused = true)]
async fn a_pin_outlives_its_generation_and_a_member_that_is_gone() {
    let former = three();
    former.dispatcher.pin("PROXY", Some("c")).unwrap();
    let pins = former.dispatcher.pins();
    assert_eq!(pins, [("PROXY".to_owned(), "c".to_owned())].into());
    let next = setup(&[Act::Connect; 2]);
    next.dispatcher.take_over_pins(&pins);
    assert_eq!(next.connect(&foreign()).await.0.unwrap(), "a");
    assert_eq!(now(&next), (Some("a".into()), Some("c".into())));
    let third = three();
    third.dispatcher.take_over_pins(&next.dispatcher.pins());
    assert_eq!(third.connect(&foreign()).await.0.unwrap(), "c");
}

#[test]
fn what_is_not_there_cannot_be_pinned() {
    let setup = three();
    let said = |group: &str, member: Option<&str>| {
        setup.dispatcher.pin(group, member).unwrap_err().to_string()
    };
    assert_eq!(said("auto", Some("a")), "found the group \"auto\"; accepted: PROXY");
    assert_eq!(said("auto", None), "found the group \"auto\"; accepted: PROXY");
    assert_eq!(
        said("PROXY", Some("d")),
        "found \"d\", which is no member of PROXY; accepted: a, b, c"
    );
    assert!(setup.dispatcher.pins().is_empty());
}
