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

pub(super) fn about(rules: &Rules, learned: &Learned, ip: &str) -> AddressView {
    let ip = ip.parse().unwrap();
    about_address(rules, ip, decide(rules, ip, None, learned))
}
