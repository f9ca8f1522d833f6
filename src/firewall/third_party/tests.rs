use crate::firewall::third_party::*;

/// What is said of an interface that uplink leads out of.
fn refusal(tables: &[ThirdPartyTable], from: &str, family: Family) -> Option<String> {
    let out = ["uplink".to_owned()];
    let packet = Packet { family, from: Some(from), out: &out, to: None };
    ThirdParty(tables.to_vec()).refusal(Hook::Forward, &packet)
}

/// `FORWARD` with this policy and these rules.
fn saved_with(policy: &str, rules: &[&str]) -> Vec<ThirdPartyTable> {
    let mut chains = vec![format!(":FORWARD {policy} [0:0]\n")];
    let mut lines = String::new();
    for rule in rules {
        let name = rule.split(' ').next().unwrap();
        let chain = format!(":{name} - [0:0]\n");
        if name != "FORWARD" && !chains.contains(&chain) {
            chains.push(chain);
        }
        lines += &format!("-A {rule}\n");
    }
    let text = format!("*filter\n{}{lines}COMMIT\n", chains.concat());
    saved::read(&text, "iptables", Family::V4)
}

fn listed_with(policy: &str, rules: &[&str], more: &str) -> Vec<ThirdPartyTable> {
    let text = format!(
        "table inet mine {{\n\tset names {{\n\t\ttype ifname\n\t\telements = {{ \"iot\",\n\t\t\t     \
         \"tv\" }}\n\t}}\n\n\tchain forward {{\n\t\ttype filter hook forward priority filter; policy \
         {policy};\n\t\t{}\n\t}}\n{more}}}\n",
        rules.join("\n\t\t")
    );
    let read = listed::read(&text);
    assert_eq!(read.len(), 1, "{text}");
    read
}

#[test]
fn rules_of_iptables_that_forward_nothing() {
    for rules in [
        &[][..],
        &["FORWARD -i br-lan -j ACCEPT"],
        &["FORWARD -i br-lan -o uplink -j ACCEPT"],
        &["FORWARD -i br+ -j ACCEPT"],
        &["FORWARD ! -i iot -j ACCEPT"],
        &["FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"],
        &["FORWARD -m state --state RELATED,ESTABLISHED -j ACCEPT"],
        &["FORWARD -m conntrack --ctstate DNAT -j ACCEPT"],
        &["FORWARD -i iot -o br-lan -j ACCEPT"],
        &["FORWARD -i iot -d 192.168.1.0/24 -p tcp -m tcp --dport 9100 -j ACCEPT"],
        &["FORWARD -i iot -p icmp -j ACCEPT"],
        &["FORWARD -i iot -m addrtype --dst-type LOCAL -j ACCEPT"],
        &[
            "FORWARD -i iot -j LOG --log-prefix \"-j ACCEPT \"",
            "FORWARD -i iot -j MARK --set-xmark 0x1/0x1",
        ],
        &[
            "FORWARD -i iot -m comment --comment \"no -j ACCEPT\" -j DROP",
            "FORWARD -i iot -j ACCEPT",
        ],
        &["FORWARD -i iot -g mine", "mine -j RETURN", "FORWARD -i iot -j ACCEPT"],
        &["FORWARD -j mine", "mine -i br-lan -j ACCEPT", "mine -j RETURN", "mine -j ACCEPT"],
        &["FORWARD -m conntrack --ctstate NEW --ctdir ORIGINAL -j SNET-LAN", "SNET-LAN -j ACCEPT"],
    ] {
        let refusal = refusal(&saved_with("DROP", rules), "iot", Family::V4);
        assert!(refusal.is_some_and(|why| why.contains("iptables, table filter")), "{rules:?}");
    }
    let internal = ["FORWARD ! -d 172.18.0.0/16 -i iot -j DROP", "FORWARD -j ACCEPT"];
    let why = refusal(&saved_with("ACCEPT", &internal), "iot", Family::V4).unwrap();
    assert!(why.contains("`FORWARD ! -d 172.18.0.0/16 -i iot -j DROP`"), "{why}");
    assert_eq!(refusal(&saved_with("DROP", &[]), "iot", Family::V6), None, "the other family");
}

#[test]
fn rules_of_iptables_that_may_forward_something() {
    for rules in [
        &["FORWARD -i iot -j ACCEPT"][..],
        &["FORWARD -i io+ -o upl+ -j ACCEPT"],
        &["FORWARD -o uplink -j ACCEPT"],
        &["FORWARD ! -i br-lan -j ACCEPT"],
        &["FORWARD -i iot -p tcp -m tcp --dport 443 -j ACCEPT"],
        &["FORWARD -s 192.168.7.0/24 -j ACCEPT"],
        &["FORWARD -i iot -d 198.51.0.0/16 -j ACCEPT"],
        &["FORWARD -i iot -d 0.0.0.0/1 -j ACCEPT"],
        &["FORWARD -i iot ! -d 192.168.0.0/16 -j ACCEPT"],
        &["FORWARD -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT"],
        &["FORWARD -m conntrack ! --ctstate INVALID -j ACCEPT"],
        &["FORWARD -m set --match-set who src -j ACCEPT"],
        &["FORWARD -m mark --mark 0x1 -j ACCEPT"],
        &["FORWARD -j NFQUEUE --queue-num 1"],
        &["FORWARD -i iot -m time --timestart 22:00 -j DROP", "FORWARD -j ACCEPT"],
        &["FORWARD -i iot -m limit --limit 1/sec -j RETURN", "FORWARD -i iot -j ACCEPT"],
        &["FORWARD -j mine", "mine -i iot -j RETURN", "mine -j DROP", "FORWARD -i iot -j ACCEPT"],
        &["FORWARD -j one", "one -j two", "two -i iot -j ACCEPT", "two -j DROP"],
    ] {
        assert_eq!(refusal(&saved_with("DROP", rules), "iot", Family::V4), None, "{rules:?}");
    }
    assert_eq!(refusal(&saved_with("ACCEPT", &[]), "iot", Family::V4), None);
    // Chains that lead to each other are refused by the kernel; and here they end.
    let round = saved_with("DROP", &["FORWARD -j one", "one -j two", "two -j one"]);
    assert_eq!(refusal(&round, "iot", Family::V4), None);
}

#[test]
fn rules_of_nft_that_forward_nothing() {
    for rules in [
        &[][..],
        &["ct state vmap { established : accept, related : accept }", "ct status dnat accept"],
        &["ct state established,related accept", "ct state { established, related } accept"],
        &["iifname \"br-lan\" accept", "iifname { \"br-lan\", \"wg*\" } accept"],
        &["iifname \"iot\" oifname \"br-lan\" accept", "iifname != \"iot\" accept"],
        &["iifname vmap { \"lo\" : accept, \"br-lan\" : jump lan }", "iif \"lo\" accept"],
        &["ip daddr 10.0.0.0/8 accept", "ip6 daddr fd00::/8 accept", "ip daddr 10.0.0.1 accept"],
        &["meta l4proto ipv6-icmp accept", "icmp type echo-request accept"],
        &["meta l4proto { icmp, ipv6-icmp } accept"],
        &["counter packets 0 bytes 0 log prefix \"accept\" drop", "accept"],
        &["iifname \"iot\" counter drop comment \"accept\"", "accept"],
        &["iifname \"iot\" reject with icmpx admin-prohibited", "accept"],
        &["jump lan", "goto refuse", "accept"],
        &["meta mark set 0x00000001", "tcp flags syn tcp option maxseg size set rt mtu"],
        &["ct state vmap { invalid : drop, new : goto refuse }", "accept"],
    ] {
        let more = "\tchain lan {\n\t\tiifname \"br-lan\" accept\n\t}\n\tchain refuse {\n\t\tmeta \
                    l4proto tcp reject with tcp reset\n\t\treject\n\t}\n";
        for family in Family::ALL {
            let refusal = refusal(&listed_with("drop", rules, more), "iot", family);
            assert!(refusal.is_some_and(|why| why.contains("nft table inet mine")), "{rules:?}");
        }
    }
}

#[test]
fn rules_of_nft_that_may_forward_something() {
    for rules in [
        &["accept"][..],
        &["iifname \"iot\" accept"],
        &["iifname \"iot\" oifname \"uplink\" counter packets 1 bytes 2 accept comment \"drop\""],
        &["iifname { \"br-lan\", \"iot\" } accept"],
        &["iifname @names accept"],
        &["iifname vmap @zones"],
        &["iifname vmap { \"lo\" : accept, \"iot\" : jump lan }"],
        &["iifname . oifname { \"iot\" . \"uplink\" } accept"],
        &["iifname . oifname vmap { \"iot\" . \"uplink\" : accept }"],
        &["iifgroup 3 accept"],
        &["ct state != invalid accept", "ct state ! invalid accept"],
        &["ct state vmap { invalid : drop, new : accept }"],
        &["ip daddr 10.0.0.1-10.9.0.0 accept", "ip6 daddr != fd00::/8 accept"],
        &["meta mark & 0x000000ff == 0x00000001 accept", "tcp dport { 80, 443 } accept"],
        &["tcp dport vmap { 80 : accept }"],
        &["iifname \"iot\" limit rate 25/second drop", "accept"],
        &["queue flags bypass to 1"],
        &["xt match set counter packets 0 bytes 0 accept"],
    ] {
        let more = "\tchain lan {\n\t\toifname \"uplink\" accept\n\t}\n";
        let open = |family| refusal(&listed_with("drop", rules, more), "iot", family).is_none();
        assert!(Family::ALL.into_iter().any(open), "{rules:?}");
    }
    let dormant = "table inet mine {\n\tflags dormant\n\n\tchain forward {\n\t\ttype filter hook \
                   forward priority filter; policy drop;\n\t}\n}\ntable bridge b {\n\tchain forward \
                   {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n";
    assert_eq!(listed::read(dormant), []);
}

/// By their very rules: who is forwarded with them, and who is not.
#[test]
fn neighbours() {
    let of = |text: &str| match text.starts_with('*') {
        true => saved::read(text, "iptables", Family::V4),
        false => listed::read(text),
    };
    for (text, forwarded, shut) in [
        (
            include_str!("../tests/coexistence/docker.rules"),
            &["docker0", "br-lan"][..],
            &["iot"][..],
        ),
        (include_str!("../tests/coexistence/ufw.rules"), &["br-lan"], &["docker0", "iot"]),
        (include_str!("../tests/coexistence/tailscale.rules"), &["br-lan", "tailscale0"], &[]),
        (include_str!("../tests/coexistence/mwan3.rules"), &["br-lan"], &[]),
        (include_str!("../tests/coexistence/firewalld.nft"), &["br-lan"], &["docker0", "iot"]),
        (include_str!("../tests/coexistence/fw4.nft"), &["br-lan"], &["docker0", "iot"]),
    ] {
        let tables = of(text);
        assert!(!tables.is_empty());
        for name in forwarded {
            assert_eq!(refusal(&tables, name, Family::V4), None, "{text}");
        }
        for name in shut {
            assert!(refusal(&tables, name, Family::V4).is_some(), "{name}: {text}");
        }
    }
}

/// What ufw 0.36.2 and firewalld 1.3.3 themselves made, where br-lan may go out by uplink and
/// br-iot not, and firewalld once more before it has a policy; less the chains of other hooks.
#[test]
fn neighbours_as_they_are() {
    let closed = include_str!("real/firewalld-without-policy.nft");
    for (tables, family, lan) in [
        (saved::read(include_str!("real/ufw.save"), "iptables", Family::V4), Family::V4, true),
        (saved::read(include_str!("real/ufw6.save"), "ip6tables", Family::V6), Family::V6, true),
        (listed::read(include_str!("real/firewalld.nft")), Family::V4, true),
        (listed::read(include_str!("real/firewalld.nft")), Family::V6, true),
        (listed::read(closed), Family::V4, false),
    ] {
        assert!(tables.iter().any(|table| table.chains.len() > 3));
        assert_eq!(refusal(&tables, "br-lan", family).is_none(), lan, "{family} {tables:#?}");
        let why = refusal(&tables, "br-iot", family);
        assert!(why.is_some(), "{family} {tables:#?}");
    }
}

/// As libvirt writes them: one network that is routed and one that is isolated.
#[test]
fn an_isolated_network_of_libvirt() {
    let tables = saved_with(
        "ACCEPT",
        &[
            "FORWARD -j LIBVIRT_FWX",
            "FORWARD -j LIBVIRT_FWI",
            "FORWARD -j LIBVIRT_FWO",
            "LIBVIRT_FWX -i virbr1 -o virbr1 -j ACCEPT",
            "LIBVIRT_FWX -i virbr0 -o virbr0 -j ACCEPT",
            "LIBVIRT_FWI -o virbr1 -j REJECT --reject-with icmp-port-unreachable",
            "LIBVIRT_FWI -d 192.168.122.0/24 -o virbr0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "LIBVIRT_FWI -o virbr0 -j REJECT --reject-with icmp-port-unreachable",
            "LIBVIRT_FWO -i virbr1 -j REJECT --reject-with icmp-port-unreachable",
            "LIBVIRT_FWO -s 192.168.122.0/24 -i virbr0 -j ACCEPT",
            "LIBVIRT_FWO -i virbr0 -j REJECT --reject-with icmp-port-unreachable",
        ],
    );
    assert_eq!(refusal(&tables, "virbr0", Family::V4), None);
    assert!(refusal(&tables, "virbr1", Family::V4).unwrap().contains("LIBVIRT_FWO -i virbr1"));
    assert_eq!(refusal(&tables, "br-lan", Family::V4), None);
}

#[test]
fn without_a_known_way_out_every_way_is_one() {
    let tables = saved_with("DROP", &["FORWARD -i iot -o ppp0 -j ACCEPT"]);
    let packet = Packet { family: Family::V4, from: Some("iot"), out: &[], to: None };
    let others = ThirdParty(tables);
    assert_eq!(others.refusal(Hook::Forward, &packet), None);
    let out = ["uplink".to_owned(), "ppp0".to_owned()];
    assert_eq!(others.refusal(Hook::Forward, &Packet { out: &out, ..packet }), None);
    assert!(others.refusal(Hook::Forward, &Packet { out: &out[..1], ..packet }).is_some());
}

#[test]
fn what_goes_to_one_address() {
    let tables = saved_with("ACCEPT", &["FORWARD -d 203.0.113.9/32 -j REJECT"]);
    let to = |address: &str| {
        let to = Some(address.parse().unwrap());
        let packet = Packet { family: Family::V4, from: Some("iot"), out: &[], to };
        ThirdParty(tables.clone()).refusal(Hook::Forward, &packet)
    };
    assert!(to("203.0.113.9").unwrap().contains("-j REJECT"));
    assert_eq!(to("203.0.113.8"), None);
}
