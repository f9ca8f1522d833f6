use super::*;
use crate::dns::reply::sample::{message, wire};
use crate::dns::wire::rr;
use hickory_proto::serialize::binary::BinEncodable;
use ipnet::IpNet;

fn set(text: &str) -> IpSet {
    text.split_whitespace().map(|prefix| prefix.parse::<IpNet>().unwrap()).collect()
}

/// The verdict about a reply with these addresses.
fn judge(addresses: &str, believed: Believed) -> DomesticVerdict {
    let answers: Vec<String> = addresses
        .split_whitespace()
        .map(|address| {
            let kind = if address.contains(':') { "AAAA" } else { "A" };
            format!("www.example.com 60 {kind} {address}")
        })
        .collect();
    judge_wire(&wire(rr::A, 0, [&answers.join("\n"), "", ""]), believed)
}

fn judge_wire(wire: &[u8], believed: Believed) -> DomesticVerdict {
    let china = set("192.0.2.0/24 2001:db8:c::/48 10.9.0.0/16");
    let bogus = set("203.0.113.66/32 2001:db8:bad::/48");
    classify(&Reply::parse(wire).unwrap(), &china, &bogus, believed)
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
        assert_eq!(judge(addresses, Believed::PublicOnly), expected, "{addresses}");
    }
}

#[test]
fn private_addresses_are_for_local_names() {
    for address in
        ["10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "fe80::1", "fec0::1"]
    {
        assert_eq!(judge(address, Believed::PublicOnly), DomesticVerdict::Bogus, "{address}");
        assert_eq!(judge(address, Believed::Private), DomesticVerdict::Foreign, "{address}");
    }
    assert_eq!(judge("10.9.0.1", Believed::Private), DomesticVerdict::Cn);
}

#[test]
fn the_machine_itself_is_for_names_that_a_list_has() {
    for address in ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", "169.254.1.1"] {
        assert_eq!(judge(address, Believed::Private), DomesticVerdict::Bogus, "{address}");
        assert_eq!(judge(address, Believed::PrivateAndOwn), DomesticVerdict::Foreign, "{address}");
    }
    for address in ["0.0.0.0", "::", "224.0.0.1", "203.0.113.66"] {
        assert_eq!(judge(address, Believed::PrivateAndOwn), DomesticVerdict::Bogus, "{address}");
    }
}

#[test]
fn without_addresses() {
    let alias = "www.example.com 60 CNAME a.example";
    assert_eq!(
        judge_wire(&wire(rr::A, 0, [alias, "", ""]), Believed::PublicOnly),
        DomesticVerdict::NoIp
    );
    assert_eq!(
        judge_wire(&wire(rr::A, 3, ["", "", ""]), Believed::PublicOnly),
        DomesticVerdict::Nx
    );
    for rcode in [1, 2, 4, 5, 9] {
        assert_eq!(
            judge_wire(&wire(rr::A, rcode, ["", "", ""]), Believed::PublicOnly),
            DomesticVerdict::Err
        );
    }
}

#[test]
fn a_truncated_reply_is_an_error() {
    let mut message = message(rr::A, 0, ["www.example.com 60 A 192.0.2.1", "", ""]);
    message.metadata.truncation = true;
    let wire = message.to_bytes().unwrap();
    assert_eq!(judge_wire(&wire, Believed::PublicOnly), DomesticVerdict::Err);
    assert_eq!(classify_trusted(&Reply::parse(&wire).unwrap()), TrustedVerdict::Err);
}

#[test]
fn with_global_scope_nothing_is_domestic() {
    let wire = wire(rr::A, 0, ["www.example.com 60 A 192.0.2.1", "", ""]);
    let none = IpSet::default();
    assert_eq!(
        classify(&Reply::parse(&wire).unwrap(), &none, &none, Believed::PublicOnly),
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
