//! Replies for tests, built by hickory-proto and so by other people's reading of the RFCs.

use crate::dns::wire::Query;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query as Question, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinEncodable;
use std::str::FromStr;

/// A record from "owner ttl type data".
fn record(text: &str) -> Record {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [owner, ttl, kind, data] = words[..] else { panic!("not a record: {text}") };
    let name = |text: &str| Name::from_str(&format!("{text}.")).unwrap();
    let data = match kind {
        "A" => RData::A(A(data.parse().unwrap())),
        "AAAA" => RData::AAAA(AAAA(data.parse().unwrap())),
        "CNAME" => RData::CNAME(CNAME(name(data))),
        "TXT" => RData::TXT(TXT::new(vec![data.into()])),
        // The minimum.
        "SOA" => RData::SOA(SOA::new(name("a"), name("b"), 1, 2, 3, 4, data.parse().unwrap())),
        _ => panic!("not a type: {kind}"),
    };
    Record::from_rdata(name(owner), ttl.parse().unwrap(), data)
}

/// A reply to `www.example.com` for the type: records of answer, authority, additional section
/// (one a line), response code, and an OPT record.
pub fn message(qtype: u16, rcode: u16, sections: [&str; 3]) -> Message {
    let mut message = Message::new(7, MessageType::Response, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.response_code = ResponseCode::from(0, u8::try_from(rcode).unwrap());
    let name = Name::from_str("www.example.com.").unwrap();
    message.add_query(Question::query(name, RecordType::from(qtype)));
    let read = |text: &str| text.lines().map(record).collect::<Vec<_>>();
    message.add_answers(read(sections[0]));
    message.add_authorities(read(sections[1]));
    message.add_additionals(read(sections[2]));
    message.set_edns(Edns::new());
    message
}

/// The same in wire form.
pub fn wire(qtype: u16, rcode: u16, sections: [&str; 3]) -> Vec<u8> {
    message(qtype, rcode, sections).to_bytes().unwrap()
}

/// A client's query for `name`, in the case as given, with or without EDNS.
pub fn query(name: &str, qtype: u16, edns: Option<u16>) -> Query {
    let mut wire = b"\x42\x42\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
    for label in name.split('.') {
        wire.push(u8::try_from(label.len()).unwrap());
        wire.extend(label.bytes());
    }
    wire.push(0);
    wire.extend(qtype.to_be_bytes());
    wire.extend([0, 1]);
    if let Some(size) = edns {
        wire[11] = 1;
        wire.extend([0, 0, 41]);
        wire.extend(size.to_be_bytes());
        wire.extend([0; 6]);
    }
    Query::parse(&wire).unwrap()
}
