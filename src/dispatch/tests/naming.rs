//! Names in the place of addresses: who is told them, and for which destinations. A proxy that
//! reaches nothing tells what it was asked for.

use super::*;

fn told(is_sole: bool) -> ToldName {
    ToldName { name: "far.example".into(), is_sole }
}

/// What each member was told, each with its own `send-names`.
async fn asked_for(target: &str, told: Option<&ToldName>) -> [String; 3] {
    let ways = [SendNames::Auto, SendNames::Always, SendNames::Off];
    let setup = setup_sending(&[Act::RefuseTarget; 3], ways);
    let target = Target::addr(target.parse().unwrap());
    let result = setup.dispatcher.connect(&target, None, CLIENT, told, None).await;
    let Err(Error::AllProxiesFailed(causes)) = result else { panic!("none works: {result:?}") };
    setup.never_direct();
    let asked = causes.iter().map(|cause| {
        let after = cause.split("did not connect to ").nth(1).unwrap();
        after.split_once(": ").unwrap().0.to_owned()
    });
    asked.collect::<Vec<_>>().try_into().unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_member_is_told_what_fits_it() {
    let (name, address) = ("far.example:443", "203.0.113.1:443");
    assert_eq!(asked_for(address, Some(&told(true))).await, [name, name, address]);
    assert_eq!(asked_for(address, Some(&told(false))).await, [address, name, address]);
    assert_eq!(asked_for(address, None).await, [address; 3]);
    let address = "[2001:db8:f::1]:443";
    assert_eq!(asked_for(address, Some(&told(true))).await, [name, name, address]);
}

#[tokio::test(start_paused = true)]
async fn name_servers_are_told_by_address() {
    for address in ["203.0.113.1:53", "203.0.113.1:853"] {
        assert_eq!(asked_for(address, Some(&told(true))).await, [address; 3]);
    }
}

/// The address decides, whatever the name is.
#[tokio::test(start_paused = true)]
async fn a_name_changes_no_route() {
    let setup = setup(&[Act::Connect]);
    let blocked = Target::addr("192.0.2.1:443".parse().unwrap());
    let result = setup.dispatcher.connect(&blocked, None, CLIENT, Some(&told(true)), None).await;
    assert!(matches!(result, Err(Error::Blocked)));
    let direct = Target::addr("198.51.100.1:443".parse().unwrap());
    let connected =
        setup.dispatcher.connect(&direct, None, CLIENT, Some(&told(true)), None).await.unwrap();
    assert!(connected.via.is_none());
    assert_eq!(setup.dials(), [0]);
}
