//! `explain` says what then happens.

use super::*;

pub(super) fn rules(direct: &str, name: Option<(&str, Route)>) -> Rules {
    let direct = direct.split_whitespace().map(|text| text.parse::<ipnet::IpNet>().unwrap());
    let mut rules = Rules { direct: direct.collect(), ..Rules::default() };
    if let Some((name, route)) = name {
        rules.names.insert(&name.parse().unwrap(), route);
    }
    rules
}

#[test]
fn a_way_that_no_route_leads_to_is_told() {
    let capture = |what: &str, state: &str| CaptureView {
        what: what.into(),
        state: state.into(),
        is_good: true,
        since: 1,
    };
    let board = [capture("IPv4", "captured, and proven"), capture("IPv6", NO_ROUTE)];
    let (rules, learned) = (rules("", None), Learned::default());
    let notes = |ip: &str| {
        let addresses = vec![about(&rules, &learned, ip)];
        let mut view = ExplainView { addresses, ..ExplainView::default() };
        tell_missing_routes(&board, &mut view);
        view.notes.join("\n")
    };
    assert_eq!(notes("203.0.113.1"), "");
    assert!(notes("2001:db8::1").starts_with("this machine has no route for IPv6"));
}

#[test]
fn a_port_with_rules_of_its_own_is_told() {
    assert!(port_note(53).is_some_and(|note| note.contains("port 53")));
    assert!(port_note(443).is_some_and(|note| note.contains("firewall.quic")));
    assert_eq!(port_note(80), None);
}

pub(super) fn about(rules: &Rules, learned: &Learned, ip: &str) -> AddressView {
    let ip = ip.parse().unwrap();
    about_address(rules, ip, decide(rules, ip, None, learned))
}
