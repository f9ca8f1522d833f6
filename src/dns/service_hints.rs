//! Which addresses in HTTPS and SVCB records (RFC 9460) a client gets. It connects to them as to
//! those of A and AAAA records, so what holds for these holds for them:
//!
//! | the name | hints |
//! |---|---|
//! | any | none of a family in `dns.block-types` |
//! | foreign, with `firewall.ipv6 = "block"` | none of IPv6 |
//! | judged domestic: in the domestic record, one of them domestic | all |
//! | judged domestic: in the trusted record, or hints at foreign addresses only | none (1) (2) |
//!
//! (1) They would lead past the near addresses that were judged.
//! (2) But all if the client validates (DO) and the trusted record is signed: without its hints it
//! has no signature and counts as forged, and such a client gets far addresses that it can
//! validate as well ([`flights`](super::flights)). What a domestic server calls signed is no
//! reason: who does not look would be led away.
//!
//! What the first two lines forbid goes with the signature, as an AAAA record that is filtered is
//! denied without a proof: who validates has to do without the record.
//!
//! A record without hints says the rest: which protocols, which port, whose keys. Hints that cannot
//! be true are for [`classify`](super::reply::classify).

use super::cache::NameVerdict;
use super::policy::{Ask, QueryPolicy};
use super::reply::{HintFamilies, Reply, Side, Stored, without_hints};
use super::wire::{Query, rr};

/// The answer without the hints that the client is not to get.
pub(super) fn chosen(
    policy: &QueryPolicy,
    query: &Query,
    stored: Stored,
    verdict: Option<NameVerdict>,
) -> Stored {
    if !matches!(query.qtype(), rr::HTTPS | rr::SVCB) {
        return stored;
    }
    let Some(reply) = Reply::parse(stored.message()) else { return stored };
    let unwanted = unwanted(policy, query, &reply, stored.side(), verdict);
    let stripped = without_hints(&reply, unwanted);
    match stripped.as_deref().and_then(Reply::parse) {
        Some(stripped) => Stored::new(&stripped, stored.side(), policy.clamp()),
        None => stored,
    }
}

fn unwanted(
    policy: &QueryPolicy,
    query: &Query,
    reply: &Reply<'_>,
    side: Side,
    verdict: Option<NameVerdict>,
) -> HintFamilies {
    let is_blocked = |qtype| policy.settings.answers.block_types.contains(&qtype);
    let mut unwanted = HintFamilies { v4: is_blocked(rr::A), v6: is_blocked(rr::AAAA) };
    match policy.ask(query) {
        Ask::Forward(_) | Ask::Local | Ask::Domestic => {}
        Ask::Both | Ask::TrustedFirst | Ask::SideOfAddresses
            if verdict == Some(NameVerdict::Domestic) =>
        {
            let is_domestic = |address: &_| policy.china().contains(*address);
            let can_be_validated = query.dnssec_ok() && side == Side::Trusted && reply.is_signed();
            if can_be_validated {
                unwanted.v6 |= policy.settings.no_foreign_aaaa;
            } else if side == Side::Trusted || !reply.hints().iter().any(is_domestic) {
                unwanted = HintFamilies::ALL;
            }
        }
        Ask::Trusted | Ask::Both | Ask::TrustedFirst | Ask::SideOfAddresses => {
            unwanted.v6 |= policy.settings.no_foreign_aaaa;
        }
    }
    unwanted
}
