use super::sample::{message, query, wire};
use super::*;
use crate::dns::wire::{PLAIN_UDP_SIZE, TCP_SIZE};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::serialize::binary::{BinDecodable, BinEncodable};
use proptest::prelude::*;

const SOA: &str = "example.com 600 SOA 120";

fn addresses(answers: &str) -> Vec<String> {
    let wire = wire(rr::A, 0, [answers, "", ""]);
    Reply::parse(&wire).unwrap().addresses().iter().map(ToString::to_string).collect()
}

fn lifetime(qtype: u16, rcode: u16, sections: [&str; 3]) -> Option<u32> {
    Reply::parse(&wire(qtype, rcode, sections)).unwrap().lifetime()
}

#[test]
fn a_reply_belongs_to_its_question_only() {
    let wire = wire(rr::A, 0, ["www.example.com 60 A 192.0.2.1", "", ""]);
    let reply = Reply::parse(&wire).unwrap();
    assert!(reply.matches(&query("wWw.eXample.com", rr::A, None), 7));
    assert!(!reply.matches(&query("www.example.com", rr::A, None), 8), "id");
    assert!(!reply.matches(&query("www.example.com", rr::AAAA, None), 7), "type");
    assert!(!reply.matches(&query("wwx.example.com", rr::A, None), 7), "name");
    assert!(!reply.matches(&query("example.com", rr::A, None), 7), "name");
}

#[test]
fn what_is_no_reply() {
    let good = wire(rr::A, 0, ["www.example.com 60 A 192.0.2.1", "", ""]);
    let changed = |at: usize, value: u8| {
        let mut wire = good.clone();
        wire[at] = value;
        wire
    };
    assert!(Reply::parse(&good).is_some());
    assert!(Reply::parse(&changed(2, 1)).is_none(), "a query");
    assert!(Reply::parse(&changed(2, 0xa9)).is_none(), "another operation");
    assert!(Reply::parse(&changed(5, 0)).is_none(), "no question");
    assert!(Reply::parse(&changed(5, 2)).is_none(), "two questions");
    let mut bare = good[..HEADER + 17 + 3].to_vec();
    bare[6..HEADER].fill(0);
    assert!(Reply::parse(&good[..HEADER + 17 + 3]).is_none(), "half a question, and a record");
    assert!(Reply::parse(&bare).is_none(), "half a question");
    let cut = changed(2, 0x83);
    let cut = Reply::parse(&cut[..40]).unwrap();
    assert!(cut.truncated() && cut.addresses().is_empty(), "truncated in a record");
}

/// It is the reply, and how the server fails: the next one is asked, and clients get none of it.
#[test]
fn what_cannot_be_read_behind_the_question_is_an_error_of_the_server() {
    let good = wire(rr::A, 0, ["www.example.com 60 A 192.0.2.1", SOA, "x.example 10 A 192.0.2.9"]);
    let asked = query("www.example.com", rr::A, None);
    let answer = HEADER + asked.name().len() + 4;
    let changed = |place: usize, bytes: &[u8]| {
        let mut wire = good.clone();
        wire[place..place + bytes.len()].copy_from_slice(bytes);
        wire
    };
    let pointer = |target: usize| (0xc000 | u16::try_from(target).unwrap()).to_be_bytes();
    let mut name_error = changed(7, &[9]);
    name_error[3] |= 3;
    for (wire, what) in [
        (changed(7, &[9]), "records are missing"),
        (changed(4, &[0, 1, 0xff, 0xff]), "records without end"),
        (good[..good.len() - 1].to_vec(), "cut off"),
        (good[..answer].to_vec(), "nothing behind the question"),
        (changed(answer, &pointer(answer)), "an owner that points to itself"),
        (changed(answer, &pointer(answer + 16)), "an owner that points forward"),
        (changed(answer + 10, &[0xff]), "data that end behind the message"),
        (changed(answer + 11, &[5]), "an address of five bytes"),
        (name_error, "no such name"),
    ] {
        let reply = Reply::parse(&wire).expect(what);
        assert!(reply.matches(&asked, 7) && !reply.is_whole(), "{what}");
        assert_eq!((reply.rcode(), reply.lifetime()), (rcode::SERVFAIL, None), "{what}");
        assert!(reply.addresses().is_empty(), "{what}");
        assert_eq!(classify_trusted(&reply), TrustedVerdict::Err, "{what}");
        let clamp = Clamp::new(std::time::Duration::ZERO, std::time::Duration::MAX);
        let mut out = Vec::new();
        let stored = Stored::new(&reply, Side::Trusted, clamp);
        stored.write(&asked, Ttls::Aged(0), None, TCP_SIZE, &mut out);
        assert_eq!((out.len(), out[3] & 15), (answer, 2), "{what}");
    }
    let mut refusal = changed(7, &[9]);
    refusal[3] |= 1;
    let code = Reply::parse(&refusal).unwrap().rcode();
    assert_eq!(code, rcode::FORMERR, "as servers say to EDNS that repeat its count only");
}

#[test]
fn addresses_are_those_of_the_chain() {
    let direct = "www.example.com 60 A 192.0.2.1\nwww.example.com 60 AAAA 2001:db8::1";
    assert_eq!(addresses(direct), ["192.0.2.1", "2001:db8::1"]);
    let chain = "www.example.com 60 CNAME a.example\na.example 60 CNAME b.example\n\
                 b.example 60 A 192.0.2.1\nc.example 60 A 192.0.2.2";
    assert_eq!(addresses(chain), ["192.0.2.1"], "no address of a name that is not asked for");
    let reversed = "b.example 60 A 192.0.2.1\na.example 60 CNAME b.example\n\
                    www.example.com 60 CNAME a.example";
    assert_eq!(addresses(reversed), ["192.0.2.1"]);
    let ring = "www.example.com 60 CNAME a.example\na.example 60 CNAME www.example.com";
    assert!(addresses(ring).is_empty());
}

#[test]
fn lifetimes() {
    let some = "www.example.com 60 A 192.0.2.1\nwww.example.com 50 A 192.0.2.2";
    assert_eq!(lifetime(rr::A, 0, [some, "", "x.example 10 A 192.0.2.9"]), Some(50));
    let alias = "www.example.com 60 CNAME a.example";
    assert_eq!(lifetime(rr::A, 0, [alias, SOA, ""]), Some(60), "NODATA behind an alias");
    let long = "www.example.com 600 CNAME a.example";
    assert_eq!(lifetime(rr::A, 0, [long, SOA, ""]), Some(120), "NODATA behind a long-lived alias");
    assert_eq!(lifetime(rr::A, 0, ["", SOA, ""]), Some(120), "the minimum");
    assert_eq!(lifetime(rr::A, 3, ["", "example.com 20 SOA 120", ""]), Some(20), "its own TTL");
    assert_eq!(lifetime(rr::A, 0, ["", "", ""]), None, "NODATA without SOA");
    assert_eq!(lifetime(rr::A, 0, [alias, "", ""]), None);
    assert_eq!(lifetime(rr::A, 2, ["", SOA, ""]), None, "SERVFAIL");
    assert_eq!(lifetime(rr::A, 0, ["www.example.com 4294967295 A 192.0.2.1", "", ""]), Some(0));
}

#[test]
fn the_response_code_has_its_upper_bits_in_edns() {
    let mut message = message(rr::A, 0, ["", "", ""]);
    message.metadata.response_code = ResponseCode::BADVERS;
    assert_eq!(Reply::parse(&message.to_bytes().unwrap()).unwrap().rcode(), 16);
}

#[test]
fn answers_of_our_own() {
    let asked = query("wWw.example.com", rr::A, Some(1232));
    let parse = |wire: &[u8]| Message::from_bytes(wire).unwrap();
    let code = |wire: &[u8]| u16::from(parse(wire).metadata.response_code);
    assert_eq!(code(&nodata(&asked, None, 60)), 0);
    assert_eq!(code(&nxdomain(&asked, None, 60)), 3);
    assert_eq!(code(&refused(&asked, None)), 5);
    assert_eq!(code(&blocked(&asked)), 3);
    let failed = servfail(&asked, Some(Ede::unreachable("why")));
    assert_eq!(code(&failed), 2);
    assert!(failed.ends_with(b"\x00\x0f\x00\x05\x00\x16why"), "{failed:?}");
    assert!(parse(&failed).metadata.recursion_available);
    assert_eq!(failed[12..29], *b"\x03wWw\x07example\x03com\x00");
    let plain = servfail(&query("www.example.com", rr::A, None), Some(Ede::STALE));
    assert!(parse(&plain).edns.is_none(), "no EDNS for who does not know it");

    let two = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    let answer = super::addresses(&asked, &two, 60, TCP_SIZE);
    let reply = Reply::parse(&answer).unwrap();
    assert_eq!(reply.addresses(), two[..1]);
    assert_eq!(reply.lifetime(), Some(60));
    let many = vec![two[0]; 100];
    let cut = super::addresses(&asked, &many, 60, usize::from(PLAIN_UDP_SIZE));
    assert!(cut.len() <= 512 && Reply::parse(&cut).unwrap().truncated());
    assert_eq!(parse(&cut).answers.len(), (512 - HEADER - 17 - 4 - 11) / 16, "what fits");
    let localhost = "localhost".parse().unwrap();
    let cut = pointers(&asked, [&localhost; 100], 60, usize::from(PLAIN_UDP_SIZE));
    assert!(cut.len() <= 512 && cut.len() > 512 - 23);
    assert!(parse(&cut).metadata.truncation);
    assert_eq!(parse(&super::addresses(&asked, &many, 60, TCP_SIZE)).answers.len(), 100);
    let any = minimal_any(&query("www.example.com", rr::ANY, None));
    assert_eq!(parse(&any).answers.len(), 1);
}

/// Without an SOA record a cache behind us asks again each time.
#[test]
fn negative_answers_of_our_own_may_be_kept() {
    for name in ["www.example.com", "com", "xn--a.b.c.example"] {
        let asked = query(name, rr::AAAA, Some(1232));
        let v4 = ["192.0.2.1".parse().unwrap()];
        for (answer, code, lifetime) in [
            (nodata(&asked, Some(Ede::FILTERED), 60), 0, 60),
            (nxdomain(&asked, None, 3600), 3, 3600),
            (blocked(&asked), 3, UNTIL_RELOAD),
            (super::addresses(&asked, &v4, 60, TCP_SIZE), 0, 60),
        ] {
            let reply = Reply::parse(&answer).unwrap();
            assert!(reply.is_negative() && reply.is_whole() && !reply.denies_top_level());
            assert_eq!((reply.rcode(), reply.lifetime()), (code, Some(lifetime)));
            let message = Message::from_bytes(&answer).unwrap();
            assert!(message.answers.is_empty());
            assert_eq!(message.authorities.len(), 1);
            let above = name.split_once('.').map_or("", |(_, above)| above);
            let owner = if code == 3 { above } else { name };
            assert_eq!(message.authorities[0].name.to_ascii(), format!("{owner}."));
        }
    }
    let failed = servfail(&query("www.example.com", rr::A, None), None);
    assert_eq!(Reply::parse(&failed).unwrap().counts, [0; 3]);
}

proptest! {
    #[test]
    fn any_bytes(wire in prop::collection::vec(any::<u8>(), 0..120)) {
        check_any(&wire);
    }

    #[test]
    fn nearly_replies(
        changes in prop::collection::vec((0usize..200, any::<u8>()), 0..4), length in 0usize..250,
    ) {
        let mut wire = wire(rr::A, 0, [
            "www.example.com 60 CNAME a.example\na.example 60 CNAME b.example\n\
             b.example 60 A 192.0.2.1",
            SOA,
            "x.example 10 A 192.0.2.9",
        ]);
        for (at, value) in changes {
            if let Some(byte) = wire.get_mut(at) {
                *byte = value;
            }
        }
        wire.truncate(length);
        check_any(&wire);
    }
}

/// Whatever it is, it is read or refused; what is sent on is a reply within the limit.
fn check_any(wire: &[u8]) {
    let Some(reply) = Reply::parse(wire) else { return };
    let _ = (reply.addresses(), reply.lifetime(), classify_trusted(&reply));
    let clamp = Clamp::new(std::time::Duration::ZERO, std::time::Duration::from_secs(86_400));
    let stored = Stored::new(&reply, Side::Trusted, clamp);
    let mut asked = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
    asked.extend(&wire[HEADER..reply.name_end]);
    asked.extend(&reply.qtype().to_be_bytes());
    asked.extend([0, 1]);
    let Ok(query) = Query::parse(&asked) else { return };
    // Only the reply to the question asked is ever sent on.
    if !reply.matches(&query, reply.id()) {
        return;
    }
    for limit in [512, TCP_SIZE] {
        let mut out = Vec::new();
        stored.write(&query, Ttls::Aged(1), None, limit, &mut out);
        assert!(out.len() <= limit);
        let sent = Reply::parse(&out).unwrap();
        assert!(
            sent.matches(&query, 0x1234) && (sent.is_whole() || sent.truncated()),
            "{:02x?} {:02x?} {limit}",
            stored.message(),
            out
        );
    }
}

/// A ladder of compression pointers, each a step on the next, and CNAMEs that stand on its top:
/// cheap to send, and once minutes to read.
#[test]
fn a_ladder_of_pointers_is_no_name() {
    let mut message = vec![0, 1, 0x81, 0x80, 0, 1, 0x0a, 0, 0, 0, 0, 0];
    message.extend(b"\x01a\x00\x00\x01\x00\x01");
    let rungs = 6000u16;
    // The first record carries the ladder in its data.
    message.extend(b"\xc0\x0c\x00\x10\x00\x01\x00\x00\x00\x3c");
    message.extend((rungs * 2).to_be_bytes());
    let mut below = 12u16;
    for _ in 0..rungs {
        let here = u16::try_from(message.len()).unwrap();
        message.extend((0xc000 | below).to_be_bytes());
        below = here;
    }
    for _ in 1..2560 {
        message.extend((0xc000 | below).to_be_bytes());
        message.extend(b"\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x02\xc0\x0c");
    }
    let reply = Reply::parse(&message).unwrap();
    assert!(reply.addresses().is_empty());
    let record = Records::new(&message, 12 + 7, 2).nth(1).flatten().unwrap();
    assert!(record.owner().is_none(), "too many pointers");
}
