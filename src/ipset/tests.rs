use super::list::parse_prefix;
use super::*;
use proptest::prelude::*;

fn set(text: &str) -> IpSet {
    text.split_whitespace().map(|prefix| prefix.parse::<IpNet>().unwrap()).collect()
}

fn has(set: &IpSet, address: &str) -> bool {
    set.contains(address.parse().unwrap())
}

#[test]
fn touching_and_overlapping_prefixes_join() {
    let set = set("192.0.2.0/25 192.0.2.128/25 192.0.2.7/32 2001:db8::/33 2001:db8:8000::/33");
    assert_eq!(set.prefixes_v4().map(|net| net.to_string()).collect::<Vec<_>>(), ["192.0.2.0/24"]);
    assert_eq!(set.prefixes_v6().map(|net| net.to_string()).collect::<Vec<_>>(), ["2001:db8::/32"]);
    assert_eq!(set.count_v4(), 256);
}

#[test]
fn the_ends_of_the_address_space() {
    let all = set("0.0.0.0/0 ::/0");
    assert!(has(&all, "0.0.0.0") && has(&all, "255.255.255.255"));
    assert!(has(&all, "::") && has(&all, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
    assert_eq!(all.prefixes_v4().count(), 1);
    assert!(!has(&IpSet::default(), "0.0.0.0"));
}

#[test]
fn mapped_addresses_are_ipv4() {
    assert!(has(&set("192.0.2.0/24"), "::ffff:192.0.2.1"));
    assert!(!has(&set("::/0"), "::ffff:192.0.2.1"));
}

#[test]
fn reserved_holds_what_is_fixed() {
    let reserved = reserved();
    for inside in [
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.53",
        "169.254.1.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.168.255.255",
        "198.18.0.1",
        "198.19.255.255",
        "224.0.0.251",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fd00::1",
        "ff02::fb",
    ] {
        assert!(has(&reserved, inside), "{inside}");
    }
    for outside in [
        "1.1.1.1",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.0.2.1",
        "198.51.100.1",
        "203.0.113.1",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "::2",
        "2001:db8::1",
        "64:ff9b::808:808",
        "2400::1",
        "192.18.0.1",
    ] {
        assert!(!has(&reserved, outside), "{outside}");
    }
    // Every entry parsed; three pairs of neighbours are one prefix each.
    let prefixes = reserved.prefixes_v4().count() + reserved.prefixes_v6().count();
    assert_eq!(prefixes, reserved::COUNT - 3);
}

#[test]
fn lists_are_read_and_slips_are_named() {
    let list =
        IpSet::parse_list("# c\r\n192.0.2.0/24 # x\r\n\r\n198.51.100.7\n2001:db8::/32").unwrap();
    assert!(has(&list, "198.51.100.7") && has(&list, "192.0.2.9") && has(&list, "2001:db8::1"));
    let problems = IpSet::parse_list("192.0.2.0/24\n192.0.2.1/24\nnonsense").unwrap_err();
    let said: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "line 2: found \"192.0.2.1/24\"; accepted: 192.0.2.0/24 (the prefix without host bits)",
            "line 3: found \"nonsense\"; accepted: an address or prefix, \
             for example 192.0.2.0/24 or 2001:db8::/32",
        ]
    );
}

#[test]
fn the_embedded_list_means_what_it_should() {
    let text =
        concat!(include_str!("../data/china-ipv4.txt"), include_str!("../data/china-ipv6.txt"));
    let china = china();
    assert!(IpSet::parse_list(text).unwrap() == *china, "it is embedded otherwise");
    for inside in ["223.5.5.5", "114.114.114.114", "8.129.0.1", "240e::1"] {
        assert!(has(&china, inside), "{inside}");
    }
    for outside in ["8.8.8.8", "1.1.1.1", "2001:4860:4860::8888"] {
        assert!(!has(&china, outside), "{outside}");
    }
    assert!((250_000_000..450_000_000).contains(&china.count_v4()), "{}", china.count_v4());
    assert!(china.index.is_some());
}

fn prefixes() -> impl Strategy<Value = Vec<IpNet>> {
    let net = prop_oneof![
        // Dense, so that ranges meet within a /16 and across its border.
        (0u32..0x40_000, 8u8..=32).prop_map(|(low, length)| {
            IpNet::new(Ipv4Addr::from(0x0100_0000 + low).into(), length.max(16)).unwrap().trunc()
        }),
        (any::<u128>(), 1u8..=128).prop_map(|(bits, length)| IpNet::new(
            Ipv6Addr::from(bits).into(),
            length
        )
        .unwrap()
        .trunc()),
    ];
    prop::collection::vec(net, 0..200)
}

proptest! {
    #[test]
    fn agrees_with_a_plain_search(
        nets in prefixes(),
        probes in prop::collection::vec(0u32..0x40_000, 50),
    ) {
        let set: IpSet = nets.iter().copied().collect();
        let edges = nets.iter().flat_map(|net| [net.network(), net.broadcast()]);
        let near = edges.flat_map(|edge| match edge {
            IpAddr::V4(v4) => [u32::MAX, 0, 1]
                .map(|d| Ipv4Addr::from(u32::from(v4).wrapping_add(d)).into()),
            IpAddr::V6(v6) => [u128::MAX, 0, 1]
                .map(|d| Ipv6Addr::from(u128::from(v6).wrapping_add(d)).into()),
        });
        let random = probes.iter().map(|low| IpAddr::V4(Ipv4Addr::from(0x0100_0000 + low)));
        for address in near.chain(random).filter(|address| address.to_canonical() == *address) {
            let expected = nets.iter().any(|net| net.contains(&address));
            prop_assert_eq!(set.contains(address), expected, "{}", address);
        }
        let all = set.prefixes_v4().map(IpNet::V4).chain(set.prefixes_v6().map(IpNet::V6));
        let back: IpSet = all.collect();
        prop_assert_eq!(back, set);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[0-9a-f.:/# \n]{0,40}") {
        let _ = IpSet::parse_list(&text);
        let _ = parse_prefix(&text);
    }
}
