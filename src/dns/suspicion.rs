//! What the two sides say of the same name, held against each other: lies with domestic addresses,
//! which the judgement believes. Pure.
//!
//! The client has the domestic answer long before the trusted one is there, so nothing is decided
//! for that name. But a liar serves the same address for many names:
//!
//! - names that do not exist, by the trusted side: a provider that rewrites, of which the probes of
//!   [`rewriting`](super::rewriting) may have seen nothing. Three unrelated names are enough;
//! - names that live elsewhere, by the trusted side, where the domestic answer has one address and
//!   no alias: perhaps a warning page, perhaps a small site's near server. Five unrelated names are
//!   worth a line in the log, and no more.

use super::reply::{Reply, TrustedVerdict};
use super::wire::Query;
use crate::ipset::IpSet;
use std::collections::VecDeque;
use std::net::IpAddr;

/// Names that are compared.
const MOST: usize = 64;

/// Unrelated names that do not exist and have the same address.
const DENIED: usize = 3;

/// Unrelated names that live elsewhere and have the same address.
const ELSEWHERE: usize = 5;

/// Addresses of one answer that are looked at.
const MOST_ADDRESSES: usize = 8;

/// What was found out about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// It stands for names that do not exist.
    Rewriting(IpAddr),
    /// It may be that of a warning page.
    WarningPage(IpAddr),
}

/// The last names that were judged, and what each side said.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    names: VecDeque<ComparedName>,
    /// What was found, each once.
    found: VecDeque<IpAddr>,
}

#[derive(Debug)]
struct ComparedName {
    name: Box<[u8]>,
    qtype: u16,
    domestic: Vec<IpAddr>,
    has_alias: bool,
    trusted: Option<Contradiction>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contradiction {
    Denied,
    Elsewhere,
}

impl Comparison {
    /// What was found of this address no longer holds, and has to be found anew.
    pub(super) fn forget(&mut self, address: IpAddr) {
        self.found.retain(|found| *found != address);
        self.names.retain(|compared| !compared.domestic.contains(&address));
    }

    /// A domestic server gave a domestic address.
    pub(super) fn domestic(&mut self, query: &Query, reply: &Reply<'_>) -> Option<Suspicion> {
        let mut addresses = reply.addresses();
        addresses.truncate(MOST_ADDRESSES);
        let judged = self.judged(query);
        judged.has_alias |= reply.has_alias();
        for address in addresses {
            if judged.domestic.len() < MOST_ADDRESSES && !judged.domestic.contains(&address) {
                judged.domestic.push(address);
            }
        }
        self.compare(query)
    }

    /// The trusted side replied.
    pub(super) fn trusted(
        &mut self,
        query: &Query,
        reply: &Reply<'_>,
        verdict: TrustedVerdict,
        china: &IpSet,
    ) -> Option<Suspicion> {
        let is_elsewhere = || !reply.addresses().iter().any(|address| china.contains(*address));
        let contradiction = match verdict {
            TrustedVerdict::Nx => Contradiction::Denied,
            TrustedVerdict::Addresses if is_elsewhere() => Contradiction::Elsewhere,
            _ => return None,
        };
        self.judged(query).trusted = Some(contradiction);
        self.compare(query)
    }

    fn judged(&mut self, query: &Query) -> &mut ComparedName {
        let is_it =
            |judged: &ComparedName| *judged.name == *query.name() && judged.qtype == query.qtype();
        let place = self.names.iter().position(is_it).unwrap_or_else(|| {
            if self.names.len() >= MOST {
                self.names.pop_front();
            }
            self.names.push_back(ComparedName {
                name: query.name().into(),
                qtype: query.qtype(),
                domestic: Vec::new(),
                has_alias: false,
                trusted: None,
            });
            self.names.len() - 1
        });
        &mut self.names[place]
    }

    fn compare(&mut self, query: &Query) -> Option<Suspicion> {
        let judged = self.judged(query);
        let contradiction = judged.trusted?;
        let addresses = judged.domestic.clone();
        let enough = match contradiction {
            Contradiction::Denied => DENIED,
            Contradiction::Elsewhere => ELSEWHERE,
        };
        let is_suspect = |address: &&IpAddr| self.unrelated(contradiction, **address) >= enough;
        let address = *addresses.iter().find(is_suspect)?;
        if self.found.contains(&address) {
            return None;
        }
        if self.found.len() >= MOST {
            self.found.pop_front();
        }
        self.found.push_back(address);
        Some(match contradiction {
            Contradiction::Denied => Suspicion::Rewriting(address),
            Contradiction::Elsewhere => Suspicion::WarningPage(address),
        })
    }

    /// How many unrelated names have this address, and are contradicted so.
    fn unrelated(&self, contradiction: Contradiction, address: IpAddr) -> usize {
        let counts = |judged: &&ComparedName| {
            judged.trusted == Some(contradiction)
                && judged.domestic.contains(&address)
                && (contradiction == Contradiction::Denied
                    || !judged.has_alias && judged.domestic.len() == 1)
        };
        let mut owners: Vec<&[u8]> =
            self.names.iter().filter(counts).map(|judged| owner(&judged.name)).collect();
        owners.sort_unstable();
        owners.dedup();
        owners.len()
    }
}

/// The end of a name that one owner has: two labels, three below domains like `com.cn`.
fn owner(name: &[u8]) -> &[u8] {
    let mut begins = Vec::new();
    let mut at = 0;
    while let Some(length) = name.get(at).filter(|length| **length > 0) {
        begins.push(at);
        at += 1 + usize::from(*length);
    }
    let label = |from_end: usize| begins.len().checked_sub(from_end).map(|index| begins[index]);
    let length = |begin: usize| usize::from(name[begin]);
    let (Some(top), Some(second)) = (label(1), label(2)) else { return name };
    let is_shared = length(top) == 2 && length(second) <= 3;
    let begin = if is_shared { label(3).unwrap_or(second) } else { second };
    &name[begin..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::reply::sample::wire;
    use crate::dns::wire::rr;

    const PAGE: &str = "198.51.100.66";

    fn query(name: &str) -> Query {
        Query::new(&name.parse().unwrap(), rr::A)
    }

    /// Both sides speak of a name, the trusted one first if so wanted.
    fn judge(
        suspicions: &mut Comparison,
        name: &str,
        domestic: &str,
        trusted: (TrustedVerdict, &str),
        trusted_is_first: bool,
    ) -> Option<Suspicion> {
        let china = ["198.51.100.0/24".parse::<ipnet::IpNet>().unwrap()].into_iter().collect();
        let (near, far) = (wire(rr::A, 0, [domestic, "", ""]), wire(rr::A, 0, [trusted.1, "", ""]));
        let (near, far) = (Reply::parse(&near).unwrap(), Reply::parse(&far).unwrap());
        let query = query(name);
        let mut found = Vec::new();
        for trusted_speaks in [trusted_is_first, !trusted_is_first] {
            found.extend(match trusted_speaks {
                true => suspicions.trusted(&query, &far, trusted.0, &china),
                false => suspicions.domestic(&query, &near),
            });
        }
        found.pop()
    }

    fn plain(address: &str) -> String {
        format!("www.example.com 60 A {address}")
    }

    #[test]
    fn an_address_of_three_unrelated_names_that_do_not_exist() {
        let (mut suspicions, denied) = (Comparison::default(), (TrustedVerdict::Nx, ""));
        let mut judge = |name, first| judge(&mut suspicions, name, &plain(PAGE), denied, first);
        assert_eq!(judge("a.one.example", true), None);
        assert_eq!(judge("b.one.example", false), None, "the same owner");
        assert_eq!(judge("c.one.example", false), None, "the same owner");
        assert_eq!(judge("two.com.cn", true), None);
        let page = PAGE.parse().unwrap();
        assert_eq!(judge("three.com.cn", false), Some(Suspicion::Rewriting(page)));
        assert_eq!(judge("four.example", false), None, "it is known");
    }

    #[test]
    fn an_address_of_five_names_that_live_elsewhere() {
        let mut suspicions = Comparison::default();
        let abroad = plain("203.0.113.1");
        let elsewhere = (TrustedVerdict::Addresses, abroad.as_str());
        let page = plain(PAGE);
        for name in ["a.one", "a.two", "a.three", "a.four"] {
            assert_eq!(judge(&mut suspicions, name, &page, elsewhere, false), None);
        }
        let alias = format!("www.example.com 60 CNAME a.cdn\na.cdn 60 A {PAGE}");
        let many = format!("{page}\n{}", plain("198.51.100.67"));
        for domestic in [&alias, &many] {
            let found = judge(&mut suspicions, "a.five", domestic, elsewhere, false);
            assert_eq!(found, None, "a content network: {domestic}");
        }
        let near = plain("198.51.100.9");
        let domestic = (TrustedVerdict::Addresses, near.as_str());
        assert_eq!(judge(&mut suspicions, "a.six", &page, domestic, false), None, "both agree");
        let found = judge(&mut suspicions, "a.seven", &page, elsewhere, true);
        assert_eq!(found, Some(Suspicion::WarningPage(PAGE.parse().unwrap())));
    }

    #[test]
    fn only_the_last_names_are_compared() {
        let (mut suspicions, denied) = (Comparison::default(), (TrustedVerdict::Nx, ""));
        for name in ["a.one", "a.two"] {
            judge(&mut suspicions, name, &plain(PAGE), denied, false);
        }
        for number in 0..MOST {
            let address = format!("198.51.100.{number}");
            judge(&mut suspicions, &format!("a.n{number}"), &plain(&address), denied, false);
        }
        assert_eq!(suspicions.names.len(), MOST);
        assert_eq!(judge(&mut suspicions, "a.three", &plain("198.51.100.200"), denied, true), None);
        assert_eq!(suspicions.unrelated(Contradiction::Denied, PAGE.parse().unwrap()), 0);
    }
}
