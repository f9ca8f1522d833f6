use super::*;
use crate::dns::reply::sample::{message, wire};
use crate::dns::wire::rr;
use hickory_proto::serialize::binary::BinEncodable;
use ipnet::IpNet;

fn set(text: &str) -> IpSet {
    text.split_whitespace().map(|prefix| prefix.parse::<IpNet>().unwrap()).collect()
}

/// The verdict about a reply with these addresses.
fn judge(addresses: &str, name_is_local: bool) -> DomesticVerdict {
    let answers: Vec<String> = addresses
        .split_whitespace()
        .map(|address| {
            let kind = if address.contains(':') { "AAAA" } else { "A" };
            format!("www.example.com 60 {kind} {address}")
        })
        .collect();
    judge_wire(&wire(rr::A, 0, [&answers.join("\n"), "", ""]), name_is_local)
}

fn judge_wire(wire: &[u8], name_is_local: bool) -> DomesticVerdict {
    let china = set("192.0.2.0/24 2001:db8:c::/48 10.9.0.0/16");
    let bogus = set("203.0.113.66/32 2001:db8:bad::/48");
    classify(&Reply::parse(wire).unwrap(), &china, &bogus, name_is_local)
}

#[test]
fn by_address() {
    for (addresses, expected) in [
        ("192.0.2.1", DomesticVerdict::Cn),
        ("2001:db8:c::1", DomesticVerdict::Cn),
        ("198.51.100.1 192.0.2.1", DomesticVerdict::Cn),
        ("198.51.100.1", DomesticVerdict::Foreign),
        ("2001:db8::1", DomesticVerdict::Foreign),
        ("203.0.113.66", DomesticVerdict::Bogus),
        ("2001:db8:bad::1", DomesticVerdict::Bogus),
        ("192.0.2.1 203.0.113.66", DomesticVerdict::Bogus),
        ("192.0.2.1 127.0.0.1", DomesticVerdict::Bogus),
        ("0.0.0.0", DomesticVerdict::Bogus),
        ("0.1.2.3", DomesticVerdict::Bogus),
        ("127.8.9.1", DomesticVerdict::Bogus),
        ("169.254.1.1", DomesticVerdict::Bogus),
        ("224.0.0.1", DomesticVerdict::Bogus),
        ("243.185.187.39", DomesticVerdict::Bogus),
        ("255.255.255.255", DomesticVerdict::Bogus),
        ("::", DomesticVerdict::Bogus),
        ("::1", DomesticVerdict::Bogus),
        ("ff02::1", DomesticVerdict::Bogus),
        // The IPv4 inside is judged.
        ("::ffff:192.0.2.1", DomesticVerdict::Cn),
        ("64:ff9b::192.0.2.1", DomesticVerdict::Cn),
        ("::ffff:198.51.100.1", DomesticVerdict::Foreign),
        ("64:ff9b::198.51.100.1", DomesticVerdict::Foreign),
        ("::ffff:127.0.0.1", DomesticVerdict::Bogus),
        ("64:ff9b::203.0.113.66", DomesticVerdict::Bogus),
        ("", DomesticVerdict::NoIp),
    ] {
        assert_eq!(judge(addresses, false), expected, "{addresses}");
    }
}

#[test]
fn private_addresses_are_for_local_names() {
    for address in
        ["10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "fe80::1", "fec0::1"]
    {
        assert_eq!(judge(address, false), DomesticVerdict::Bogus, "{address}");
        assert_eq!(judge(address, true), DomesticVerdict::Foreign, "{address}");
    }
    assert_eq!(judge("10.9.0.1", true), DomesticVerdict::Cn);
    assert_eq!(judge("127.0.0.1", true), DomesticVerdict::Bogus);
}

#[test]
fn without_addresses() {
    let alias = "www.example.com 60 CNAME a.example";
    assert_eq!(judge_wire(&wire(rr::A, 0, [alias, "", ""]), false), DomesticVerdict::NoIp);
    assert_eq!(judge_wire(&wire(rr::A, 3, ["", "", ""]), false), DomesticVerdict::Nx);
    for rcode in [1, 2, 4, 5, 9] {
        assert_eq!(judge_wire(&wire(rr::A, rcode, ["", "", ""]), false), DomesticVerdict::Err);
    }
}

#[test]
fn a_truncated_reply_is_an_error() {
    let mut message = message(rr::A, 0, ["www.example.com 60 A 192.0.2.1", "", ""]);
    message.metadata.truncation = true;
    let wire = message.to_bytes().unwrap();
    assert_eq!(judge_wire(&wire, false), DomesticVerdict::Err);
    assert_eq!(classify_trusted(&Reply::parse(&wire).unwrap()), TrustedVerdict::Err);
}

#[test]
fn with_global_scope_nothing_is_domestic() {
    let wire = wire(rr::A, 0, ["www.example.com 60 A 192.0.2.1", "", ""]);
    let none = IpSet::default();
    assert_eq!(
        classify(&Reply::parse(&wire).unwrap(), &none, &none, false),
        DomesticVerdict::Foreign
    );
}

#[test]
fn the_trusted_side_is_not_doubted() {
    let judge = |rcode, answers| {
        classify_trusted(&Reply::parse(&wire(rr::A, rcode, [answers, "", ""])).unwrap())
    };
    assert_eq!(judge(0, "www.example.com 60 A 127.0.0.1"), TrustedVerdict::Addresses);
    assert_eq!(judge(0, "www.example.com 60 A 0.0.0.0"), TrustedVerdict::Addresses);
    assert_eq!(judge(0, "www.example.com 60 CNAME a.example"), TrustedVerdict::NoIp);
    assert_eq!(judge(3, ""), TrustedVerdict::Nx);
    assert_eq!(judge(2, ""), TrustedVerdict::Err);
}
