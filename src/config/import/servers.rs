//! Files of which only the servers are taken: Clash, sing-box, shadowsocks, links. They are read as
//! the bodies of subscriptions are.

use super::draft::ImportDraft;
use crate::config::ProxyConfig;
use crate::config::link;
use crate::config::provided::unique;
use crate::subscription::format::{
    BodyFormat, ELSEWHERE, PassedOver, SubscriptionBody, UnreadableBody,
};
use std::collections::HashSet;

/// A server that is a program here dials on by itself, and would be captured.
const OF_THIS_MACHINE: &str = "take over the server that this program dials instead; or, to go \
     through it, write a [[proxy]] of its address, and the user that it runs as into \
     rules.direct-users";

/// Reads a file.
pub(super) fn read(bytes: &[u8]) -> Result<ImportDraft, UnreadableBody> {
    let body = SubscriptionBody::read(bytes)?;
    let mut draft = ImportDraft::new(body.format.to_string());
    let mut names = HashSet::new();
    for provided in body.proxies {
        match link::checked(provided.link) {
            Ok(linked) => {
                let mut proxy = ProxyConfig::of_link(linked);
                proxy.name = unique(&proxy.name, &mut names);
                proxy.udp = proxy.udp && provided.udp.unwrap_or(true);
                draft.proxies.push(proxy);
            }
            Err((name, problem)) => draft.leave_out(&format!("{name:?}"), &problem.to_string()),
        }
    }
    passed_over(&mut draft, &body.passed_over);
    if !body.other_keys.is_empty() {
        let what = match body.format {
            BodyFormat::Clash => "only its proxies are taken: rules, groups and DNS are snet's own",
            BodyFormat::SingBox => "only its outbounds are taken: routes and DNS are snet's own",
            BodyFormat::Sip008 | BodyFormat::Shadowsocks | BodyFormat::Links => {
                "only servers are taken"
            }
        };
        draft.leave_out(&body.other_keys.join(", "), what);
    }
    Ok(draft)
}

fn passed_over(draft: &mut ImportDraft, passed_over: &PassedOver) {
    let PassedOver { protocols, others, unfit, unfit_count, information, beyond } = passed_over;
    for (name, problem) in unfit {
        let why = match problem.accepted == ELSEWHERE {
            true => format!("found {}, which is on this machine: {OF_THIS_MACHINE}", problem.found),
            false => problem.to_string(),
        };
        draft.leave_out(&format!("{name:?}"), &why);
    }
    let more = |count: usize| format!("{count} more entries");
    if *unfit_count > unfit.len() {
        draft.leave_out(&more(unfit_count - unfit.len()), "want what snet does not do");
    }
    for (protocol, count) in protocols {
        let plural = if *count == 1 { "y" } else { "ies" };
        let named = others.iter().filter(|(of, _)| of == protocol);
        let mut named: Vec<String> = named.map(|(_, name)| format!("{name:?}")).collect();
        if !named.is_empty() && named.len() < *count {
            named.push("...".into());
        }
        let named = named.join(", ");
        let colon = if named.is_empty() { "" } else { " (" };
        let end = if named.is_empty() { "" } else { ")" };
        draft.leave_out(
            &format!("{count} entr{plural} of {protocol}{colon}{named}{end}"),
            "snet does not speak it",
        );
    }
    for text in information {
        draft.leave_out(&format!("{text:?}"), "information, maybe no server");
    }
    if *beyond > 0 {
        draft.leave_out(&more(*beyond), "too many proxies");
    }
}
