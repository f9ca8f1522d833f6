//! A crowd that nobody has to open connections for.

use super::*;
use proptest::prelude::*;

const LIMIT: u32 = 9488;

fn host(number: u8) -> IpAddr {
    IpAddr::from([192, 168, 7, number])
}

/// Hosts of one /64.
fn neighbour(number: u16) -> IpAddr {
    IpAddr::from([0xfd00, 7, 0, 0, 0, 0, 0, number])
}

/// Asks until it is refused; how many it got.
fn greedy(shares: &mut Shares, client: IpAddr) -> u32 {
    (0..).take_while(|_| shares.enter(client).is_ok()).count().try_into().unwrap()
}

#[test]
fn who_is_alone_gets_three_quarters_and_leaves_room_for_a_row_of_others() {
    let mut shares = Shares::new(LIMIT, true);
    assert_eq!(greedy(&mut shares, host(1)), LIMIT - LIMIT / 4);
    let got: Vec<u32> = (2..9).map(|number| greedy(&mut shares, host(number))).collect();
    assert_eq!(got, [1186, 593, 297, 148, 74, 37, 19], "each comes to half of what was left");
    assert_eq!(greedy(&mut shares, host(1)), 0);
}

#[test]
fn one_machine_has_the_whole_limit_for_itself() {
    let mut shares = Shares::new(LIMIT, false);
    assert_eq!(greedy(&mut shares, host(1)), LIMIT);
    let refusal = shares.enter(host(1)).unwrap_err();
    assert_eq!(refusal.why, Shortage::Full, "nobody is to blame");
    // The mode changes while it runs: what is open was counted.
    shares.set_by_source(true);
    shares.leave(host(1));
    assert!(shares.enter(host(1)).is_err() && shares.enter(host(2)).is_ok());
}

#[test]
fn a_neighbour_in_the_same_network_gets_in() {
    let mut shares = Shares::new(LIMIT, true);
    assert_eq!(greedy(&mut shares, neighbour(1)), LIMIT - LIMIT / 4);
    assert!(greedy(&mut shares, neighbour(2)) > LIMIT / 16);
    assert!(greedy(&mut shares, host(1)) > LIMIT / 32);
}

#[test]
fn a_host_with_many_addresses_leaves_an_eighth_to_others() {
    let mut shares = Shares::new(LIMIT, true);
    let got = (0..u16::MAX).filter(|number| shares.enter(neighbour(*number)).is_ok()).count();
    assert_eq!(u32::try_from(got).unwrap(), LIMIT - LIMIT / 8);
    let refusal = shares.enter(neighbour(u16::MAX)).unwrap_err();
    let network = Claimant::Network("fd00:7::".parse().unwrap());
    assert!(matches!(refusal.why, Shortage::Share { source, .. } if source == network));
    assert_eq!(network.to_string(), "fd00:7::/64");
    assert!(greedy(&mut shares, host(1)) >= LIMIT / 16);
}

#[test]
fn a_share_that_is_used_up_is_told_once_and_again_after_it_had_passed() {
    let mut shares = Shares::new(LIMIT, true);
    let news = |shares: &mut Shares| {
        let refusal = shares.enter(host(1)).unwrap_err();
        let held = shares.connections(Claimant::Host(host(1)));
        assert_eq!(refusal.why, Shortage::Share { source: Claimant::Host(host(1)), held });
        refusal.is_news
    };
    let all = (0..LIMIT).filter(|_| shares.enter(host(1)).is_ok()).count();
    // The refusals of the loop were the first.
    assert!(!news(&mut shares));
    shares.leave(host(1));
    shares.enter(host(1)).unwrap();
    assert!(!news(&mut shares), "one more or less is no change");
    (0..all / 2 + 1).for_each(|_| shares.leave(host(1)));
    (0..all / 2 + 1).for_each(|_| shares.enter(host(1)).unwrap());
    assert!(news(&mut shares) && !news(&mut shares));
}

#[test]
fn a_crowd_without_a_culprit_is_told_once() {
    let mut shares = Shares::new(64, true);
    (0..64).for_each(|number| shares.enter(host(number)).unwrap());
    let refusal = shares.enter(host(65)).unwrap_err();
    assert_eq!(refusal, Denied { why: Shortage::Full, is_news: true });
    shares.leave(host(1));
    shares.enter(host(66)).unwrap();
    assert!(!shares.enter(host(67)).unwrap_err().is_news);
    (10..20).for_each(|number| shares.leave(host(number)));
    (10..20).for_each(|number| shares.enter(host(number)).unwrap());
    assert!(shares.enter(host(67)).unwrap_err().is_news);
}

fn clients() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        // Two that ask without end, and a few beside them.
        4 => Just(host(1)),
        2 => Just(neighbour(1)),
        1 => (2..9u8).prop_map(host),
        1 => (2..9u16).prop_map(neighbour),
    ]
}

proptest! {
    #[test]
    fn whatever_the_crowd_does(
        limit in 16..200u32,
        steps in proptest::collection::vec((clients(), prop::bool::weighted(0.7)), 1..800),
    ) {
        let mut shares = Shares::new(limit, true);
        let mut held: HashMap<IpAddr, u32> = HashMap::new();
        for (client, opens) in steps {
            let open: u32 = held.values().sum();
            let free = limit - open;
            let own = held.entry(client).or_default();
            if opens {
                let is_in = shares.enter(client).is_ok();
                prop_assert!(!is_in || free > 0, "never beyond the limit");
                prop_assert!(is_in || free <= limit / 4, "nobody is refused while there is much");
                let is_left = free > limit / 4 || *own < free;
                prop_assert!(!is_in || is_left, "what is left is for others");
                if client.is_ipv4() && *own < free {
                    prop_assert!(is_in, "a newcomer gets in");
                }
                *own += u32::from(is_in);
            } else if *own > 0 {
                *own -= 1;
                shares.leave(client);
            }
            prop_assert_eq!(shares.open(), held.values().sum::<u32>());
        }
        for (client, held) in held {
            (0..held).for_each(|_| shares.leave(client));
        }
        prop_assert!(shares.open() == 0 && shares.held.is_empty(), "nothing is left behind");
    }
}
