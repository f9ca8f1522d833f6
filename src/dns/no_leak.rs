//! `dns.no-leak`: the trusted side is asked first, on behalf of a domestic network; the domestic
//! side only hears of names whose addresses are domestic.
//!
//! | trusted | then |
//! |---|---|
//! | an address in the China set | the domestic side is asked: it knows nearer addresses. Its answer counts if it is [`DomesticVerdict::Cn`] and comes within the grace; else the trusted one |
//! | other addresses, NODATA, NXDOMAIN | the trusted answer |
//! | failed or silent | stale, else SERVFAIL: asking the domestic side would be the leak |

use super::cache::NameVerdict;
use super::flight::{Outcome, TRUSTED_SILENT};
use super::reply::{DomesticVerdict, Ede, Reply, Side, TrustedVerdict, classify, classify_trusted};
use super::resolver::Resolver;
use super::wire::{Query, rr};
use crate::ipset::IpSet;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::timeout;

/// A domestic side that seems to be down is still given a moment, to notice its return.
const SHORT_GRACE: Duration = Duration::from_millis(50);

impl Resolver {
    /// Answers an address query for a name that nobody listed.
    pub(super) async fn judge_without_leak(self: &Rc<Self>, query: &Query) -> Outcome {
        let for_subnet = query.for_subnet(self.settings.privacy.no_leak_subnet);
        let asked = timeout(self.settings.servers.timeout, self.trusted.ask(&for_subnet)).await;
        let message = asked.ok().and_then(Result::ok);
        let Some(reply) = message.as_deref().and_then(Reply::parse) else {
            return Outcome::Stale(TRUSTED_SILENT);
        };
        match believe(&reply, &self.settings.rules.china) {
            Belief::Domestic => {
                if let Some(nearer) = self.nearer(query).await {
                    self.remember(query, NameVerdict::Domestic);
                    return nearer;
                }
            }
            Belief::Foreign => {
                self.remember(query, NameVerdict::Foreign);
                if self.settings.no_foreign_aaaa && query.qtype() == rr::AAAA {
                    return Outcome::NoData(Ede::FILTERED);
                }
            }
            Belief::Nothing => {}
        }
        self.take(query, &reply, Side::Trusted)
    }

    /// The domestic answer, if it is one and comes soon: a good answer is at hand.
    async fn nearer(self: &Rc<Self>, query: &Query) -> Option<Outcome> {
        let grace = self.patience.borrow().grace().max(SHORT_GRACE);
        let message = self.ask_servers(&self.domestic, query, grace).await;
        match &message {
            Some(_) => self.patience.borrow_mut().heard(),
            None => self.patience.borrow_mut().missed(),
        }
        let message = message?;
        let reply = Reply::parse(&message)?;
        let verdict = classify(&reply, &self.settings.rules.china, &self.bogus.borrow(), false);
        (verdict == DomesticVerdict::Cn).then(|| self.take(query, &reply, Side::Domestic))
    }
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
        TrustedVerdict::Addresses => match classify(reply, china, &IpSet::default(), true) {
            DomesticVerdict::Cn => Belief::Domestic,
            _ => Belief::Foreign,
        },
        TrustedVerdict::NoIp | TrustedVerdict::Nx | TrustedVerdict::Err => Belief::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::reply::sample::wire;
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
