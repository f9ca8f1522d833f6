//! What a reply says of the very name that was asked for, and nothing else: for a sender who is
//! believed about that name only.
//!
//! Clients keep what else stands in an answer. An alias with an address behind it, or an address in
//! the additional section, would speak of another name.

use super::{HintFamilies, Reply, UNTIL_RELOAD, addresses, nodata, without_hints};
use crate::dns::wire::{HEADER, Query, TCP_SIZE, rcode, rr};
use std::net::IpAddr;

/// The message. `None` for one that is no answer, says that there is no such name, or speaks of
/// other names only.
pub fn confined(query: &Query, reply: &Reply<'_>) -> Option<Vec<u8>> {
    if reply.rcode() != rcode::NOERROR || reply.truncated() {
        return None;
    }
    if reply.is_negative() {
        // Name servers of containers send no SOA record with it.
        return Some(nodata(query, None, reply.lifetime().unwrap_or(UNTIL_RELOAD)));
    }
    if matches!(query.qtype(), rr::A | rr::AAAA) {
        let of_type = |address: &IpAddr| address.is_ipv4() == (query.qtype() == rr::A);
        let found: Vec<IpAddr> = reply.addresses().into_iter().filter(of_type).collect();
        let ttl = reply.lifetime().unwrap_or(0);
        return (!found.is_empty()).then(|| addresses(query, &found, ttl, TCP_SIZE));
    }
    let is_own = |owner: &[u8]| owner == query.name();
    if !reply.answers().all(|record| record.owner().is_some_and(|name| is_own(name.as_bytes()))) {
        return None;
    }
    if let Some(stripped) = without_hints(reply, HintFamilies::ALL) {
        return Some(stripped);
    }
    // Names in what is kept point backwards, never into what is cut off.
    let mut message = reply.message.get(..reply.ends[0])?.to_vec();
    message.get_mut(6..8)?.copy_from_slice(&reply.counts[0].to_be_bytes());
    message.get_mut(8..HEADER)?.fill(0);
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::reply::sample::{query, wire};

    const NAME: &str = "www.example.com";

    fn confine(qtype: u16, rcode: u16, sections: [&str; 3]) -> Option<Vec<u8>> {
        let message = wire(qtype, rcode, sections);
        confined(&query(NAME, qtype, None), &Reply::parse(&message)?)
    }

    #[test]
    fn an_alias_goes_and_its_address_stays() {
        let alias = "www.example.com 60 CNAME bank.example\nbank.example 30 A 10.0.0.1";
        let message = confine(rr::A, 0, [alias, "", "bank.example 60 A 10.0.0.2"]).unwrap();
        let reply = Reply::parse(&message).unwrap();
        assert_eq!(reply.counts, [1, 0, 0]);
        assert_eq!(reply.addresses(), ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(reply.lifetime(), Some(30));
        assert!(!message.windows(5).any(|bytes| bytes == b"\x04bank"));
    }

    #[test]
    fn nothing_is_said_of_other_names() {
        const TXT: u16 = 16;
        let text = "www.example.com 60 TXT hello";
        let message = confine(TXT, 0, [text, "", "bank.example 60 A 10.0.0.2"]).unwrap();
        assert_eq!(Reply::parse(&message).unwrap().counts, [1, 0, 0]);
        let others = "www.example.com 60 CNAME bank.example\nbank.example 60 TXT hello";
        assert!(confine(TXT, 0, [others, "", ""]).is_none());
        assert!(confine(rr::A, 0, ["bank.example 60 A 10.0.0.2", "", ""]).is_none());
    }

    #[test]
    fn no_such_record_is_an_answer_and_no_such_name_is_none() {
        let nodata = confine(rr::AAAA, 0, ["", "", ""]).unwrap();
        assert!(Reply::parse(&nodata).unwrap().is_negative());
        assert_eq!(Reply::parse(&nodata).unwrap().lifetime(), Some(UNTIL_RELOAD));
        assert!(confine(rr::A, 3, ["", "", ""]).is_none());
        assert!(confine(rr::A, 2, ["", "", ""]).is_none());
    }
}
