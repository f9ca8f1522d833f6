//! `dns.no-leak`: the trusted side is asked first, on behalf of a domestic network; the domestic
//! side only hears of names whose addresses are domestic.
//!
//! | trusted | then |
//! |---|---|
//! | an address in the China set | the domestic side is asked: it knows nearer addresses (1) |
//! | other addresses, NODATA, NXDOMAIN | the trusted answer |
//! | failed or silent | stale, else SERVFAIL: asking the domestic side would be the leak |
//!
//! (1) The domestic answer counts if it is [`DomesticVerdict::Cn`] and comes within the grace; else
//! the trusted one does.

use super::cache::NameVerdict;
use super::memory::Memory;
use super::policy::QueryPolicy;
use super::reply::{
    Believed, DomesticVerdict, Ede, Reply, Side, Stored, TrustedVerdict, classify, classify_trusted,
};
use super::resolution::{Resolution, TRUSTED_SILENT};
use super::upstream::Upstreams;
use super::wire::Query;
use crate::ipset::IpSet;
use crate::task::spawn_local;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// A domestic side that seems to be down is still given a moment, to notice its return.
const SHORT_GRACE: Duration = Duration::from_millis(50);

/// Answers an address query for a name that no list speaks of.
pub(super) async fn trusted_first(
    policy: &QueryPolicy,
    memory: &Rc<Memory>,
    upstreams: &Rc<Upstreams>,
    query: &Query,
) -> Resolution {
    let for_subnet = query.for_subnet(policy.settings.privacy.no_leak_subnet);
    let message = upstreams.ask_trusted(&for_subnet, policy.settings.servers.timeout).await;
    let Some(reply) = message.as_deref().and_then(Reply::parse) else {
        return Resolution::Stale(TRUSTED_SILENT);
    };
    match believe(&reply, policy.china()) {
        Belief::Domestic => {
            if let Some(nearer) = nearer(policy, memory, upstreams, query).await {
                memory.judged(query, NameVerdict::Domestic, Instant::now());
                return Resolution::fresh(nearer);
            }
        }
        Belief::Foreign => {
            memory.judged(query, NameVerdict::Foreign, Instant::now());
            if policy.hides_if_foreign(query) {
                return Resolution::NoData(Ede::FILTERED);
            }
        }
        Belief::Nothing => {}
    }
    Resolution::fresh(policy.stored(&reply, Side::Trusted))
}

/// The domestic answer, if it is one and comes soon: a good answer is at hand. One that comes later
/// still tells that the side is there.
async fn nearer(
    policy: &QueryPolicy,
    memory: &Rc<Memory>,
    upstreams: &Rc<Upstreams>,
    query: &Query,
) -> Option<Stored> {
    let grace = memory.patience.borrow().grace().max(SHORT_GRACE);
    let patience = policy.settings.servers.timeout;
    let (asked, noted, query) = (Rc::clone(upstreams), Rc::clone(memory), query.clone());
    let asking = spawn_local(async move {
        let message = asked.ask_one_of(&asked.domestic, &query, patience).await;
        if message.is_some() {
            noted.patience.borrow_mut().heard();
        }
        message
    });
    let message = timeout(grace, asking).await.ok().and_then(Result::ok).flatten();
    if message.is_none() {
        memory.patience.borrow_mut().missed();
    }
    let message = message?;
    let reply = Reply::parse(&message)?;
    let verdict =
        classify(&reply, policy.china(), memory.bogus.borrow().all(), Believed::PublicOnly);
    (verdict == DomesticVerdict::Cn).then(|| policy.stored(&reply, Side::Domestic))
}

/// Whose name the trusted side says it is.
#[derive(Debug, PartialEq, Eq)]
enum Belief {
    Domestic,
    Foreign,
    /// No addresses: it does not say.
    Nothing,
}

fn believe(reply: &Reply<'_>, china: &IpSet) -> Belief {
    match classify_trusted(reply) {
        TrustedVerdict::Addresses => {
            match classify(reply, china, &IpSet::default(), Believed::Private) {
                DomesticVerdict::Cn => Belief::Domestic,
                _ => Belief::Foreign,
            }
        }
        TrustedVerdict::NoIp | TrustedVerdict::Nx | TrustedVerdict::Err => Belief::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::reply::sample::wire;
    use crate::dns::wire::rr;
    use ipnet::IpNet;

    #[test]
    fn whose_name_it_is() {
        let china: IpSet = ["198.51.100.0/24".parse::<IpNet>().unwrap()].into_iter().collect();
        let say = |rcode, answers| {
            believe(&Reply::parse(&wire(rr::A, rcode, [answers, "", ""])).unwrap(), &china)
        };
        assert_eq!(say(0, "www.example.com 60 A 198.51.100.1"), Belief::Domestic);
        assert_eq!(say(0, "www.example.com 60 A 203.0.113.1"), Belief::Foreign);
        assert_eq!(
            say(0, "www.example.com 60 A 203.0.113.1\nwww.example.com 60 A 198.51.100.1"),
            Belief::Domestic
        );
        assert_eq!(say(0, "www.example.com 60 CNAME a.example.com"), Belief::Nothing);
        assert_eq!(say(3, ""), Belief::Nothing);
        assert_eq!(say(2, ""), Belief::Nothing);
    }
}
