//! HTTPS and SVCB records without the addresses in them (RFC 9460, 7.3).
//!
//! `ipv4hint` and `ipv6hint` let a program connect without an A or AAAA query. Where it matters
//! that each address came through the judgement, they have to go. The message is written anew:
//! answers only, names without compression, unsigned, since a signature covers the hints.

use super::Reply;
use crate::dns::wire::{HEADER, Record, flag, rr, u16_at};

const RRSIG: u16 = 46;

/// Keys of parameters.
const MANDATORY: u16 = 0;
const HINTS: [u16; 2] = [4, 6];

/// The message without hints; `None` if it has none, or cannot be read.
pub fn without_hints(reply: &Reply<'_>) -> Option<Vec<u8>> {
    let is_binding = |record: &Record<'_>| matches!(record.kind, rr::HTTPS | rr::SVCB);
    let mut changed = false;
    let mut out = reply.message.get(..reply.name_end + 4)?.to_vec();
    let mut count: u16 = 0;
    for record in reply.answers().filter(|record| record.kind != RRSIG) {
        let mut data = record.data().to_vec();
        if is_binding(&record) {
            data = without(record.data())?;
            changed |= data != record.data();
        } else if record.kind == rr::CNAME {
            data = record.data_name()?.as_bytes().to_vec();
        }
        out.extend(record.owner()?.as_bytes());
        out.extend(record.kind.to_be_bytes());
        out.extend(record.class.to_be_bytes());
        out.extend(record.raw_ttl.to_be_bytes());
        out.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        out.extend(data);
        count += 1;
    }
    let flags = u16_at(&out, 2)? & !flag::AD;
    out.get_mut(2..4)?.copy_from_slice(&flags.to_be_bytes());
    out.get_mut(6..8)?.copy_from_slice(&count.to_be_bytes());
    out.get_mut(8..HEADER)?.fill(0);
    changed.then_some(out)
}

/// The data of a record: priority, target name (never compressed), parameters by key.
fn without(data: &[u8]) -> Option<Vec<u8>> {
    let mut at = 2;
    loop {
        match *data.get(at)? {
            0 => break,
            length @ 1..=63 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
    let (head, mut parameters) = data.split_at_checked(at + 1)?;
    let mut out = head.to_vec();
    while !parameters.is_empty() {
        let (key, length) = (u16_at(parameters, 0)?, u16_at(parameters, 2)?);
        let (parameter, rest) = parameters.split_at_checked(4 + usize::from(length))?;
        parameters = rest;
        match key {
            MANDATORY => put_mandatory(&parameter[4..], &mut out)?,
            key if HINTS.contains(&key) => {}
            _ => out.extend(parameter),
        }
    }
    Some(out)
}

/// The list of keys that must be understood, without those that are gone.
fn put_mandatory(keys: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let is_hint = |key: &&[u8]| u16_at(key, 0).is_some_and(|key| HINTS.contains(&key));
    let left: Vec<u8> = keys.chunks(2).filter(|key| !is_hint(key)).flatten().copied().collect();
    if !left.is_empty() {
        out.extend(MANDATORY.to_be_bytes());
        out.extend(u16::try_from(left.len()).ok()?.to_be_bytes());
        out.extend(left);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Message, MessageType, OpCode, Query};
    use hickory_proto::rr::rdata::svcb::{
        Alpn, IpHint, Mandatory, SVCB, SvcParamKey, SvcParamValue,
    };
    use hickory_proto::rr::rdata::{A, AAAA, CNAME, HTTPS};
    use hickory_proto::rr::{Name, RData, Record, RecordType};
    use std::str::FromStr;

    fn name(text: &str) -> Name {
        Name::from_str(text).unwrap()
    }

    fn message(parameters: Vec<(SvcParamKey, SvcParamValue)>) -> Vec<u8> {
        let mut message = Message::new(7, MessageType::Response, OpCode::Query);
        message.metadata.authentic_data = true;
        message.add_query(Query::query(name("www.example.com."), RecordType::HTTPS));
        let alias = RData::CNAME(CNAME(name("edge.example.com.")));
        let binding = RData::HTTPS(HTTPS(SVCB::new(1, name("."), parameters)));
        message.add_answer(Record::from_rdata(name("www.example.com."), 300, alias));
        message.add_answer(Record::from_rdata(name("edge.example.com."), 60, binding));
        message.to_vec().unwrap()
    }

    fn alpn() -> (SvcParamKey, SvcParamValue) {
        (SvcParamKey::Alpn, SvcParamValue::Alpn(Alpn(vec!["h2".into(), "h3".into()])))
    }

    #[test]
    fn addresses_go_and_the_rest_stays() {
        use SvcParamKey::{Ipv4Hint, Ipv6Hint};
        let v4 = IpHint(vec![A::new(192, 0, 2, 1)]);
        let v6 = IpHint(vec![AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)]);
        let mandatory = Mandatory(vec![SvcParamKey::Alpn, Ipv4Hint]);
        let wire = message(vec![
            (SvcParamKey::Mandatory, SvcParamValue::Mandatory(mandatory)),
            alpn(),
            (Ipv4Hint, SvcParamValue::Ipv4Hint(v4)),
            (Ipv6Hint, SvcParamValue::Ipv6Hint(v6)),
        ]);
        let stripped = without_hints(&Reply::parse(&wire).unwrap()).unwrap();
        let stripped = Message::from_vec(&stripped).unwrap();
        assert!(!stripped.metadata.authentic_data);
        assert_eq!(stripped.answers[0], Message::from_vec(&wire).unwrap().answers[0]);
        let RData::HTTPS(HTTPS(binding)) = &stripped.answers[1].data else { panic!() };
        let mandatory = Mandatory(vec![SvcParamKey::Alpn]);
        let expected = [(SvcParamKey::Mandatory, SvcParamValue::Mandatory(mandatory)), alpn()];
        assert_eq!(binding.svc_params, expected);
        assert_eq!(stripped.answers[1].ttl, 60);
    }

    #[test]
    fn what_has_none_is_left_alone() {
        assert_eq!(without_hints(&Reply::parse(&message(vec![alpn()])).unwrap()), None);
    }
}
