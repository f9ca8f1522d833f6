//! HTTPS and SVCB records without the addresses in them (RFC 9460, 7.3).
//!
//! `ipv4hint` and `ipv6hint` let a program connect without an A or AAAA query. Where it matters
//! that each address came through the judgement, they have to go. The message is written anew:
//! answers only, names without compression, unsigned, since a signature covers the hints.
//! Addresses in the additional section (RFC 9460, 4.2) go with the rest of it.

use super::{Reply, address};
use crate::dns::wire::{HEADER, Record, flag, rr, u16_at};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Keys of parameters.
const MANDATORY: u16 = 0;
const V4_HINT: u16 = 4;
const V6_HINT: u16 = 6;

/// The address families whose hints go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HintFamilies {
    /// `ipv4hint`
    pub v4: bool,
    /// `ipv6hint`
    pub v6: bool,
}

impl HintFamilies {
    /// Of both families.
    pub const ALL: HintFamilies = HintFamilies { v4: true, v6: true };

    fn has(self, key: u16) -> bool {
        key == V4_HINT && self.v4 || key == V6_HINT && self.v6
    }
}

/// The addresses that the message hints at.
pub(super) fn hints(reply: &Reply<'_>) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for record in reply.answers().filter(is_binding) {
        let parameters = split(record.data()).map(|(_, parameters)| parameters);
        for (key, value) in parameters.into_iter().flatten() {
            match key {
                V4_HINT => found.extend(
                    value
                        .as_chunks()
                        .0
                        .iter()
                        .map(|it: &[u8; 4]| IpAddr::from(Ipv4Addr::from(*it))),
                ),
                V6_HINT => found.extend(
                    value
                        .as_chunks()
                        .0
                        .iter()
                        .map(|it: &[u8; 16]| IpAddr::from(Ipv6Addr::from(*it))),
                ),
                _ => {}
            }
        }
    }
    found
}

fn is_binding(record: &Record<'_>) -> bool {
    matches!(record.kind, rr::HTTPS | rr::SVCB)
}

/// The message without hints of these families; `None` if it has none, or cannot be read.
pub fn without_hints(reply: &Reply<'_>, families: HintFamilies) -> Option<Vec<u8>> {
    let is_unwanted = |address: IpAddr| match address {
        IpAddr::V4(_) => families.v4,
        IpAddr::V6(_) => families.v6,
    };
    let additional = reply.section(2).filter_map(|record| address(&record));
    let mut changed = reply.answers().any(|record| is_binding(&record))
        && additional.into_iter().any(is_unwanted);
    let mut out = reply.message.get(..reply.name_end + 4)?.to_vec();
    let mut count: u16 = 0;
    for record in reply.answers().filter(|record| record.kind != rr::RRSIG) {
        let mut data = record.data().to_vec();
        if is_binding(&record) {
            data = without(record.data(), families)?;
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

/// A key and its value.
type Parameter<'a> = (u16, &'a [u8]);

/// The data of a record in two parts: priority and target name (never compressed), and the
/// parameters.
fn split(data: &[u8]) -> Option<(&[u8], Vec<Parameter<'_>>)> {
    let mut at = 2;
    loop {
        match *data.get(at)? {
            0 => break,
            length @ 1..=63 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
    let (head, mut rest) = data.split_at_checked(at + 1)?;
    let mut parameters = Vec::new();
    while !rest.is_empty() {
        let (key, length) = (u16_at(rest, 0)?, u16_at(rest, 2)?);
        let (value, next) = rest.get(4..)?.split_at_checked(length.into())?;
        parameters.push((key, value));
        rest = next;
    }
    Some((head, parameters))
}

fn without(data: &[u8], families: HintFamilies) -> Option<Vec<u8>> {
    let (head, parameters) = split(data)?;
    let mut out = head.to_vec();
    for (key, value) in parameters {
        match key {
            MANDATORY => {
                // The keys that must be understood, without those that are gone.
                let is_left = |key: &&[u8]| !u16_at(key, 0).is_some_and(|key| families.has(key));
                let left = value.chunks(2).filter(is_left).collect::<Vec<_>>().concat();
                if !left.is_empty() {
                    put_parameter(&mut out, key, &left)?;
                }
            }
            key if families.has(key) => {}
            _ => put_parameter(&mut out, key, value)?,
        }
    }
    Some(out)
}

fn put_parameter(out: &mut Vec<u8>, key: u16, value: &[u8]) -> Option<()> {
    out.extend(key.to_be_bytes());
    out.extend(u16::try_from(value.len()).ok()?.to_be_bytes());
    out.extend(value);
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

    fn parameters() -> Vec<(SvcParamKey, SvcParamValue)> {
        use SvcParamKey::{Ipv4Hint, Ipv6Hint};
        let v4 = IpHint(vec![A::new(192, 0, 2, 1), A::new(192, 0, 2, 2)]);
        let v6 = IpHint(vec![AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)]);
        let mandatory = Mandatory(vec![SvcParamKey::Alpn, Ipv4Hint]);
        vec![
            (SvcParamKey::Mandatory, SvcParamValue::Mandatory(mandatory)),
            alpn(),
            (Ipv4Hint, SvcParamValue::Ipv4Hint(v4)),
            (Ipv6Hint, SvcParamValue::Ipv6Hint(v6)),
        ]
    }

    #[test]
    fn addresses_go_and_the_rest_stays() {
        let wire = message(parameters());
        let reply = Reply::parse(&wire).unwrap();
        let stripped = without_hints(&reply, HintFamilies::ALL).unwrap();
        assert!(Reply::parse(&stripped).unwrap().hints().is_empty());
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
    fn one_family_goes() {
        let wire = message(parameters());
        let reply = Reply::parse(&wire).unwrap();
        let found = |reply: &Reply<'_>| {
            reply.hints().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(found(&reply), "192.0.2.1 192.0.2.2 2001:db8::1");
        let left = |v4, v6| {
            let stripped = without_hints(&reply, HintFamilies { v4, v6 })?;
            let reply = Reply::parse(&stripped).unwrap();
            assert!(reply.is_whole());
            Some(found(&reply))
        };
        assert_eq!(left(false, true).unwrap(), "192.0.2.1 192.0.2.2");
        assert_eq!(left(true, false).unwrap(), "2001:db8::1");
        assert_eq!(left(false, false), None);
    }

    #[test]
    fn addresses_beside_the_record_go_too() {
        let mut beside = Message::from_vec(&message(vec![alpn()])).unwrap();
        let v6 = RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
        beside.add_additional(Record::from_rdata(name("edge.example.com."), 60, v6));
        let wire = beside.to_vec().unwrap();
        let reply = Reply::parse(&wire).unwrap();
        let stripped = without_hints(&reply, HintFamilies { v4: false, v6: true }).unwrap();
        let stripped = Message::from_vec(&stripped).unwrap();
        assert_eq!((stripped.answers.len(), stripped.additionals.len()), (2, 0));
        assert_eq!(without_hints(&reply, HintFamilies { v4: true, v6: false }), None);
    }

    #[test]
    fn what_has_none_is_left_alone() {
        let wire = message(vec![alpn()]);
        assert_eq!(without_hints(&Reply::parse(&wire).unwrap(), HintFamilies::ALL), None);
    }
}
