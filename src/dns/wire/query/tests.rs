use super::*;
use crate::dns::wire::flag;
use hickory_proto::op::{Edns as HickoryEdns, Message, MessageType, OpCode, Query as Question};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsOption};
use hickory_proto::rr::{Name as HickoryName, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinEncodable};
use proptest::prelude::*;
use std::str::FromStr;

/// Id 0x1234, RD, one question for `wWw.Example.com` of the type.
fn plain(qtype: u16) -> Vec<u8> {
    let mut wire = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
    wire.extend(b"\x03wWw\x07Example\x03com\x00");
    wire.extend(qtype.to_be_bytes());
    wire.extend([0, 1]);
    wire
}

/// With an OPT record of the size, version and flags, and an option.
fn with_edns(qtype: u16, size: u16, version: u8, flags: u8) -> Vec<u8> {
    let mut wire = plain(qtype);
    wire[11] = 1;
    wire.extend([0, 0, 41]);
    wire.extend(size.to_be_bytes());
    // Client subnet 192.0.2.0/24.
    wire.extend([0, version, flags, 0, 0, 11, 0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2]);
    wire
}

/// What a malformed message is answered with; `None` for silence.
fn answer_to(wire: &[u8]) -> Option<Vec<u8>> {
    let mut answer = Vec::new();
    Query::parse(wire).unwrap_err().write_answer(&mut answer).then_some(answer)
}

/// The response code with its extension, of an answer to `wire`; `None` for silence.
fn error(wire: &[u8]) -> Option<u16> {
    let answer = answer_to(wire)?;
    assert_eq!(answer[..2], wire[..2], "the id is echoed");
    let message = Message::from_bytes(&answer).unwrap();
    assert_eq!(message.metadata.message_type, MessageType::Response);
    Some(message.metadata.response_code.into())
}

#[test]
fn a_plain_query() {
    let query = Query::parse(&plain(rr::AAAA)).unwrap();
    assert_eq!((query.id, query.qtype(), query.qclass()), (0x1234, rr::AAAA, CLASS_IN));
    assert_eq!(query.name(), b"\x03www\x07example\x03com\x00");
    assert_eq!(query.asked(), b"\x03wWw\x07Example\x03com\x00");
    assert_eq!(query.to_name().unwrap().to_string(), "www.example.com");
    assert_eq!((query.edns, query.udp_limit(), query.wants_ad()), (None, 512, false));
    assert_eq!(query.reply_flags(), flag::QR | flag::RD | flag::RA);
}

#[test]
fn edns() {
    let query = Query::parse(&with_edns(1, 4096, 0, 0x80)).unwrap();
    assert_eq!(query.edns, Some(Edns { udp_size: 4096, dnssec_ok: true }));
    assert_eq!((query.udp_limit(), query.wants_ad()), (1232, true));
    assert_eq!(Query::parse(&with_edns(1, 700, 0, 0)).unwrap().udp_limit(), 700);
    assert_eq!(Query::parse(&with_edns(1, 0, 0, 0)).unwrap().udp_limit(), 512);
}

#[test]
fn keys_tell_apart_what_differs() {
    let key = |wire: &[u8]| Query::parse(wire).unwrap().key().to_vec();
    let usual = key(&plain(1));
    assert_eq!(usual, key(&plain(1).to_ascii_lowercase()));
    assert_eq!(usual, key(&with_edns(1, 4096, 0, 0)));
    assert_ne!(usual, key(&plain(28)));
    assert_ne!(usual, key(&with_edns(1, 4096, 0, 0x80)), "DO");
    let mut checking_disabled = plain(1);
    checking_disabled[3] |= 0x10;
    assert_ne!(usual, key(&checking_disabled), "CD");
    let mut not_recursive = plain(1);
    not_recursive[2] = 0;
    assert_ne!(usual, key(&not_recursive), "RD");
    let sibling = Query::parse(&plain(1)).unwrap().with_type(28);
    assert_eq!(sibling.key(), key(&plain(28)));
}

#[test]
fn what_gets_no_answer() {
    let mut response = plain(1);
    response[2] |= 0x80;
    for wire in [&b""[..], &plain(1)[..11], &response] {
        assert!(matches!(Query::parse(wire), Err(MalformedQuery::Silence)));
    }
}

#[test]
fn what_gets_an_error() {
    let changed = |at: usize, value: u8| {
        let mut wire = plain(1);
        wire[at] = value;
        wire
    };
    assert_eq!(error(&changed(2, 0x28)), Some(rcode::NOTIMP), "UPDATE");
    assert_eq!(error(&changed(5, 0)), Some(rcode::FORMERR), "no question");
    assert_eq!(error(&changed(5, 2)), Some(rcode::FORMERR), "two questions");
    let pointer = b"\x00\x00\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x00\x00\x01\x00\x01";
    assert_eq!(error(pointer), Some(rcode::FORMERR), "a pointer in the question");
    assert_eq!(error(&plain(1)[..30]), Some(rcode::FORMERR), "cut off");
    assert_eq!(error(&changed(11, 1)), Some(rcode::FORMERR), "a record is missing");
    assert_eq!(error(&changed(32, 3)), Some(rcode::REFUSED), "class CH");
    assert_eq!(error(&plain(252)), Some(rcode::REFUSED), "AXFR");
    assert_eq!(error(&plain(251)), Some(rcode::REFUSED), "IXFR");
    assert_eq!(error(&plain(41)), Some(rcode::FORMERR), "OPT is no question");
    assert_eq!(error(&with_edns(1, 1232, 1, 0)), Some(rcode::BADVERS));
    let mut twice = with_edns(1, 1232, 0, 0);
    twice[11] = 2;
    twice.extend([0, 0, 41, 4, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(error(&twice), Some(rcode::FORMERR), "two OPT records");
    assert!(Query::parse(&plain(rr::ANY)).is_ok());
}

#[test]
fn an_error_echoes_the_question_as_asked() {
    let answer = answer_to(&plain(252)).unwrap();
    assert_eq!(answer[12..], plain(252)[12..]);
}

#[test]
fn upstream_gets_our_edns_and_no_client_subnet() {
    let query = Query::parse(&with_edns(28, 4096, 0, 0x80)).unwrap();
    let message = Message::from_bytes(&upstream_query(&query, 7)).unwrap();
    assert_eq!(message.metadata.id, 7);
    assert!(message.metadata.recursion_desired && !message.metadata.checking_disabled);
    assert_eq!(message.queries[0].name().to_string(), "www.example.com.");
    assert_eq!(message.queries[0].query_type(), RecordType::AAAA);
    let edns = message.edns.as_ref().unwrap();
    assert!(edns.flags().dnssec_ok && edns.options().as_ref().is_empty());
    assert_eq!(edns.max_payload(), UDP_SIZE);
}

#[test]
fn flags_go_upstream_as_asked() {
    for (high, low) in [(0, 0), (1, 0x10), (0, 0x20), (1, 0x30)] {
        let mut wire = plain(1);
        (wire[2], wire[3]) = (high, low);
        let upstream = upstream_query(&Query::parse(&wire).unwrap(), 1);
        assert_eq!(upstream[2..4], [high, low | 0x20]);
        assert_eq!(upstream[upstream.len() - 4] & 0x80, 0, "DO was not asked");
    }
}

#[test]
fn questions_of_our_own() {
    let name: Name = "ss.example.com".parse().unwrap();
    let wire = upstream_query(&Query::new(&name, rr::A), 9);
    let query = Query::parse(&wire).unwrap();
    assert_eq!((query.id, query.name(), query.qtype()), (9, name.as_wire(), rr::A));
    assert_eq!(query.key(), Query::new(&name, rr::A).key());
}

proptest! {
    #[test]
    fn agrees_with_hickory(
        id: u16, recursion: bool, dnssec: bool, size: u16, edns: bool, subnet: bool,
        text in "[a-zA-Z0-9]{1,20}(\\.[a-zA-Z0-9]{1,20}){0,6}", qtype in 1u16..248,
    ) {
        prop_assume!(qtype != 41);
        let name = HickoryName::from_str(&format!("{text}.")).unwrap();
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = recursion;
        message.add_query(Question::query(name, RecordType::from(qtype)));
        if edns {
            let mut opt = HickoryEdns::new();
            opt.set_max_payload(size).set_dnssec_ok(dnssec);
            if subnet {
                let subnet = ClientSubnet::from_str("192.0.2.0/24").unwrap();
                opt.options_mut().insert(EdnsOption::Subnet(subnet));
            }
            message.set_edns(opt);
        }
        let query = Query::parse(&message.to_bytes().unwrap()).unwrap();
        prop_assert_eq!((query.id, query.qtype()), (id, qtype));
        prop_assert_eq!(query.to_name(), text.parse::<Name>().ok());
        prop_assert_eq!(query.reply_flags() & flag::RD != 0, recursion);
        let expected = edns.then_some(Edns { udp_size: size.max(512), dnssec_ok: dnssec });
        prop_assert_eq!(query.edns, expected);
    }

    #[test]
    fn any_bytes(wire in prop::collection::vec(any::<u8>(), 0..100)) {
        check_any(&wire);
    }

    #[test]
    fn nearly_queries(
        changes in prop::collection::vec((0usize..80, any::<u8>()), 0..4), length in 0usize..80,
    ) {
        let mut wire = with_edns(1, 1232, 0, 0);
        for (at, value) in changes {
            if let Some(byte) = wire.get_mut(at) {
                *byte = value;
            }
        }
        wire.truncate(length);
        check_any(&wire);
    }
}

/// Whatever it is, it is read or refused, and what we then send can be read.
fn check_any(wire: &[u8]) {
    match Query::parse(wire) {
        Ok(query) => {
            let again = Query::parse(&upstream_query(&query, 1)).unwrap();
            assert_eq!((again.name(), again.qtype()), (query.name(), query.qtype()));
            assert!(query.to_name().is_some());
        }
        Err(malformed) => {
            let mut answer = Vec::new();
            if malformed.write_answer(&mut answer) {
                assert!(answer[2] & 0x80 != 0 && answer[..2] == wire[..2]);
            }
        }
    }
}

/// RFC 7871, 6, and what hickory-proto makes of it.
#[test]
fn a_subnet_goes_upstream() {
    use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
    let query = Query::new(&"a.example".parse().unwrap(), rr::A);
    for subnet in ["114.114.114.0/24", "10.0.0.0/7", "2001:db8::/33"] {
        let wire = upstream_query(&query.for_subnet(subnet.parse().unwrap()), 1);
        let message = Message::from_bytes(&wire).unwrap();
        let edns = message.edns.unwrap();
        let Some(EdnsOption::Subnet(found)) = edns.option(EdnsCode::Subnet) else { panic!() };
        assert_eq!(*found, subnet.parse().unwrap());
    }
}
