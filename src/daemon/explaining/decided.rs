//! What the rules say of a name or an address, in words. Pure.

use crate::domain::Name;
use crate::firewall::KernelAnswer;
use crate::route::{Decision, GroupPlace, Learned, Reason, Route, Rules};
use crate::target::Target;
use crate::view::{AddressView, KernelView, NameView};
use std::net::{IpAddr, SocketAddr};

/// The port of which most people think.
const USUAL_PORT: u16 = 443;

/// Whom a question is about that names no port, or one.
pub(super) fn destination(ip: IpAddr, port: Option<u16>) -> Target {
    Target::addr(SocketAddr::new(ip, port.unwrap_or(USUAL_PORT)))
}

/// `None`: the operator made no groups.
pub(super) fn group_name(rules: &Rules, GroupPlace(place): GroupPlace) -> Option<String> {
    rules.via.groups().get(place).filter(|name| !name.is_empty()).cloned()
}

pub(super) fn decide(rules: &Rules, ip: IpAddr, port: Option<u16>, learned: &Learned) -> Decision {
    rules.route(&destination(ip, port), learned, std::time::Instant::now())
}

pub(super) fn about_name(rules: &Rules, name: &Name) -> NameView {
    let wire = name.as_wire();
    let route = rules.name_route(wire);
    let group = group_name(rules, rules.via.of_name(wire));
    NameView {
        name: name.to_string(),
        matches: rules.mentions(wire),
        route: route.map(|route| route_word(route).to_owned()),
        group: group.filter(|_| route == Some(Route::Proxy)),
        records: Vec::new(),
    }
}

pub(super) fn about_address(rules: &Rules, ip: IpAddr, decision: Decision) -> AddressView {
    let matches = rules.holders(ip);
    let reason = match decision.reason {
        Reason::Rule => format!("{} has it", matches.first().unwrap_or(&"a rule")),
        Reason::Learned => "a name with a rule led there".into(),
        Reason::Reserved => "it never leaves the local networks".into(),
        Reason::China => "it is on the domestic list".into(),
        Reason::Foreign => "nothing says that it is domestic".into(),
        Reason::Name | Reason::Claimed | Reason::Asked => decision.reason.word().into(),
    };
    AddressView {
        address: ip,
        route: route_word(decision.route).into(),
        reason,
        matches: matches.into_iter().map(str::to_owned).collect(),
        group: None,
        proxy: None,
        kernel: None,
    }
}

/// `route`: what the rules of the daemon say.
pub(super) fn kernel_view(answer: &KernelAnswer, route: &str) -> KernelView {
    let KernelAnswer { sets, rung, route: taken, acts, is_closed } = answer;
    let word = route_word(*taken);
    KernelView {
        sets: sets.iter().map(|set| (*set).to_owned()).collect(),
        route: word.into(),
        reason: rung.clone(),
        acts: *acts,
        is_closed: *is_closed,
        agrees: word == route,
    }
}

pub(super) fn route_word(route: Route) -> &'static str {
    match route {
        Route::Direct => "direct",
        Route::Proxy => "proxy",
        Route::Block => "block",
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{about, rules};
    use super::*;

    #[test]
    fn an_address_has_its_reason() {
        let rules = rules("203.0.113.0/24", None);
        let learned = Learned::default();
        let view = about(&rules, &learned, "203.0.113.1");
        assert_eq!((&*view.route, &*view.reason), ("direct", "rules.direct has it"));
        let minute = std::time::Duration::from_secs(60);
        learned.learn("198.51.100.1".parse().unwrap(), Route::Block, minute);
        let view = about(&rules, &learned, "198.51.100.1");
        assert_eq!((&*view.route, &*view.reason), ("block", "a name with a rule led there"));
        let view = about(&rules, &learned, "198.51.100.2");
        assert_eq!((&*view.route, &*view.reason), ("proxy", "nothing says that it is domestic"));
    }

    #[test]
    fn a_kernel_that_does_otherwise_is_told() {
        let answer = KernelAnswer {
            sets: vec!["servers"],
            rung: "its set servers has it".into(),
            route: Route::Direct,
            acts: true,
            is_closed: false,
        };
        assert!(kernel_view(&answer, "direct").agrees);
        assert!(!kernel_view(&answer, "proxy").agrees);
        assert_eq!(kernel_view(&answer, "proxy").sets, ["servers"]);
    }
}
