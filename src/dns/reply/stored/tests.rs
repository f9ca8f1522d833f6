use super::*;
use crate::dns::reply::sample::{message, query, wire};
use crate::dns::wire::{TCP_SIZE, rr};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::serialize::binary::{BinDecodable, BinEncodable};

fn clamp(min: u64, max: u64) -> Clamp {
    Clamp::new(Duration::from_secs(min), Duration::from_secs(max))
}

fn stored(wire: &[u8], clamp: Clamp) -> Stored {
    Stored::new(&Reply::parse(wire).unwrap(), Side::Trusted, clamp)
}

fn write(stored: &Stored, query: &Query, ttls: Ttls, limit: usize) -> Message {
    let mut out = b"in front".to_vec();
    stored.write(query, ttls, None, limit, &mut out);
    assert!(out.len() - 8 <= limit);
    Message::from_bytes(out.strip_prefix(b"in front").unwrap()).unwrap()
}

const CHAIN: &str = "www.example.com 300 CNAME a.example\na.example 60 A 192.0.2.1";

#[test]
fn the_meaning_survives_and_the_hop_does_not() {
    let wire = wire(rr::A, 3, [CHAIN, "example.com 90 SOA 80", "x.example 100 A 192.0.2.9"]);
    let stored = stored(&wire, clamp(0, 86_400));
    let original = Message::from_bytes(&wire).unwrap();
    let sent = write(&stored, &query("wwW.Example.com", rr::A, None), Ttls::Aged(0), TCP_SIZE);
    assert_eq!(sent.metadata.id, 0x4242);
    assert_eq!(sent.metadata.response_code, original.metadata.response_code);
    assert!(sent.metadata.recursion_available && !sent.metadata.authoritative);
    assert_eq!(sent.queries[0].name().to_string(), "wwW.Example.com.");
    assert_eq!(sent.answers, original.answers);
    assert_eq!(sent.additionals, original.additionals);
    assert_eq!(sent.authorities.len(), 1);
    assert!(sent.edns.is_none() && original.edns.is_some());
    let edns = write(&stored, &query("www.example.com", rr::A, Some(4096)), Ttls::Aged(0), 1232);
    assert_eq!(edns.edns.unwrap().max_payload(), 1232);
    assert_eq!(edns.additionals, original.additionals);
}

#[test]
fn ttls_count_down() {
    let wire = wire(rr::A, 0, [CHAIN, "", "x.example 100 A 192.0.2.9"]);
    let stored = stored(&wire, clamp(0, 86_400));
    assert_eq!(stored.lifetime(), 60);
    let ttls = |ttls| {
        let sent = write(&stored, &query("www.example.com", rr::A, None), ttls, TCP_SIZE);
        sent.all_sections().map(|record| record.ttl).collect::<Vec<_>>()
    };
    assert_eq!(ttls(Ttls::Aged(0)), [300, 60, 100]);
    assert_eq!(ttls(Ttls::Aged(59)), [241, 1, 41]);
    assert_eq!(ttls(Ttls::Aged(200)), [100, 0, 0]);
    assert_eq!(ttls(Ttls::AtMost(70)), [70, 60, 70]);
}

#[test]
fn ttls_are_clamped() {
    let ttls = |wire: &[u8], clamp| {
        let stored = stored(wire, clamp);
        let sent = write(&stored, &query("www.example.com", rr::A, None), Ttls::Aged(0), TCP_SIZE);
        (stored.lifetime(), sent.all_sections().map(|record| record.ttl).collect::<Vec<_>>())
    };
    let positive = wire(rr::A, 0, [CHAIN, "", ""]);
    assert_eq!(ttls(&positive, clamp(100, 200)), (100, vec![200, 100]));
    assert_eq!(ttls(&positive, clamp(0, 10)), (10, vec![10, 10]));
    let negative = wire(rr::A, 3, ["", "example.com 90 SOA 80", ""]);
    assert_eq!(ttls(&negative, clamp(0, 86_400)), (80, vec![80]), "the SOA says how long");
    let long = wire(rr::A, 3, ["", "example.com 86400 SOA 86400", ""]);
    assert_eq!(ttls(&long, clamp(0, 86_400)), (10_800, vec![10_800]));
    let error = wire(rr::A, 2, ["", "example.com 90 SOA 80", ""]);
    assert_eq!(stored(&error, clamp(60, 86_400)).lifetime(), 0, "errors are not kept");
    let bare = wire(rr::A, 3, ["", "", ""]);
    assert_eq!(stored(&bare, clamp(60, 86_400)).lifetime(), 0);
}

#[test]
fn ttls_are_capped() {
    let wire = wire(rr::A, 0, [CHAIN, "", "x.example 3 A 192.0.2.9"]);
    let capped = stored(&wire, clamp(0, 86_400)).capped(5);
    assert_eq!(capped.lifetime(), 5);
    let sent = write(&capped, &query("www.example.com", rr::A, None), Ttls::Aged(0), TCP_SIZE);
    assert_eq!(sent.all_sections().map(|record| record.ttl).collect::<Vec<_>>(), [5, 5, 3]);
    assert_eq!(capped.addresses(), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
}

#[test]
fn addresses_are_those_of_the_reply() {
    let stranger = format!("{CHAIN}\nc.example 60 A 192.0.2.2");
    for answers in [CHAIN, &stranger, "www.example.com 60 AAAA 2001:db8::1", ""] {
        let wire = wire(rr::A, 0, [answers, "", "x.example 3 A 192.0.2.9"]);
        let reply = Reply::parse(&wire).unwrap();
        assert_eq!(stored(&wire, clamp(0, 100)).addresses(), reply.addresses(), "{answers}");
    }
}

#[test]
fn what_does_not_fit_goes() {
    let answers = |count: u8| {
        (0..count)
            .map(|number| format!("www.example.com 60 A 192.0.2.{number}"))
            .collect::<Vec<_>>()
    };
    let glue = (0..20).map(|n| format!("ns{n}.example 60 A 192.0.2.{n}")).collect::<Vec<_>>();
    let wire = |count| wire(rr::A, 0, [&answers(count).join("\n"), "", &glue.join("\n")]);
    let plain = query("www.example.com", rr::A, None);
    let sent = write(&stored(&wire(25), clamp(0, 100)), &plain, Ttls::Aged(1), plain.udp_limit());
    assert_eq!((sent.answers.len(), sent.additionals.len()), (25, 0));
    assert!(!sent.metadata.truncation);
    let many = stored(&wire(100), clamp(0, 100));
    let cut = write(&many, &plain, Ttls::Aged(1), plain.udp_limit());
    assert!(cut.metadata.truncation);
    assert_eq!(cut.answers.len(), (512 - 12 - 17 - 4) / 16, "what fits");
    assert!(cut.answers.iter().all(|record| record.ttl == 59));
    let edns = query("www.example.com", rr::A, Some(1232));
    let cut = write(&many, &edns, Ttls::Aged(1), edns.udp_limit());
    assert!(cut.metadata.truncation && cut.edns.is_some());
    assert_eq!(cut.answers.len(), (1232 - 12 - 17 - 4 - 11) / 16);
    let whole = write(&many, &edns, Ttls::Aged(1), TCP_SIZE);
    assert_eq!((whole.answers.len(), whole.additionals.len()), (100, 20));
}

/// RFC 2181, 9: TC is for what is required.
#[test]
fn the_authority_goes_without_a_word() {
    let eight = (0..8).map(|n| format!("www.example.com 60 A 192.0.2.{n}")).collect::<Vec<_>>();
    let long = "a".repeat(60);
    let servers = (0..6).map(|n| format!("{long}.{n}.example 90 SOA 80")).collect::<Vec<_>>();
    let stored =
        stored(&wire(rr::A, 0, [&eight.join("\n"), &servers.join("\n"), ""]), clamp(0, 100));
    assert!(stored.message.len() > 549);
    let plain = query("www.example.com", rr::A, None);
    let sent = write(&stored, &plain, Ttls::Aged(1), plain.udp_limit());
    assert_eq!((sent.answers.len(), sent.authorities.len()), (8, 0));
    assert!(!sent.metadata.truncation);
}

/// RFC 8914, 3.
#[test]
fn an_extended_error_is_the_first_to_go() {
    let stored = stored(&wire(rr::A, 0, [CHAIN, "", ""]), clamp(0, 100));
    let asked = query("www.example.com", rr::A, Some(1232));
    let room = stored.message.len() + 11;
    for (limit, expected) in [(room, room), (room + 5, room), (room + 6, room + 6)] {
        let mut out = Vec::new();
        stored.write(&asked, Ttls::AtMost(30), Some(Ede::STALE), limit, &mut out);
        assert_eq!(out.len(), expected);
        assert!(!Message::from_bytes(&out).unwrap().metadata.truncation);
    }
}

#[test]
fn the_limit_is_exact() {
    let stored = stored(&wire(rr::A, 0, [CHAIN, "", ""]), clamp(0, 100));
    let asked = query("www.example.com", rr::A, Some(1232));
    let length = stored.message.len() + 11;
    assert!(!write(&stored, &asked, Ttls::Aged(1), length).metadata.truncation);
    assert!(write(&stored, &asked, Ttls::Aged(1), length - 1).metadata.truncation);
}

#[test]
fn authentic_only_from_the_trusted_side_to_who_asks() {
    let mut message = message(rr::A, 0, [CHAIN, "", ""]);
    message.metadata.authentic_data = true;
    let wire = message.to_bytes().unwrap();
    let reply = Reply::parse(&wire).unwrap();
    let plain = query("www.example.com", rr::A, None);
    let mut asking = b"\x12\x34\x01\x20\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
    asking.extend(b"\x03www\x07example\x03com\x00\x00\x01\x00\x01");
    let asking = Query::parse(&asking).unwrap();
    let authentic = |side, query| {
        let stored = Stored::new(&reply, side, clamp(0, 100));
        write(&stored, query, Ttls::Aged(0), TCP_SIZE).metadata.authentic_data
    };
    assert!(authentic(Side::Trusted, &asking));
    assert!(!authentic(Side::Trusted, &plain));
    assert!(!authentic(Side::Domestic, &asking));
}

#[test]
fn high_response_codes_need_edns() {
    let mut message = message(rr::A, 0, ["", "", ""]);
    message.metadata.response_code = ResponseCode::BADVERS;
    let stored = stored(&message.to_bytes().unwrap(), clamp(0, 100));
    let code =
        |query| u16::from(write(&stored, &query, Ttls::Aged(0), TCP_SIZE).metadata.response_code);
    assert_eq!(code(query("www.example.com", rr::A, None)), rcode::SERVFAIL);
    assert_eq!(code(query("www.example.com", rr::A, Some(1232))), rcode::BADVERS);
}

#[test]
fn an_extended_error_is_written() {
    let stored = stored(&wire(rr::A, 0, [CHAIN, "", ""]), clamp(0, 100));
    let mut out = Vec::new();
    let asked = query("www.example.com", rr::A, Some(1232));
    stored.write(&asked, Ttls::AtMost(30), Some(Ede::STALE), TCP_SIZE, &mut out);
    assert!(out.ends_with(b"\x00\x0f\x00\x02\x00\x03"));
    assert!(Message::from_bytes(&out).is_ok());
}
