//! The text against files, and against what the kernel has of the same rules.
//! `SNET_BLESS=1 cargo test --lib firewall::tests::nftables::golden` writes the files anew; read
//! the difference before you commit it.

use super::super::router;
use super::offload::has_flowtables;
use super::{ruleset, run, set};
use crate::exempt_programs::ExemptPrograms;
use crate::family::Family;
use crate::firewall::nftables::kernel_table::KernelTable;
use crate::firewall::nftables::{TableOwner, render};
use crate::firewall::policy::{Datagrams, Ipv6};
use crate::firewall::ruleset::Ruleset;
use crate::firewall::switch::OnFailure;
use crate::ipset::IpSet;
use ipnet::IpNet;
use snet_lab::cgroup::Cgroups;
use snet_lab::in_variants;
use snet_lab::kernel::sealed_for;
use std::path::Path;

in_variants!([Native] nft_takes_the_text, the_kernel_has_what_the_text_says, cgroups_are_what_nft_takes_them_for);

/// A name, and rules. Together they hold everything that a table of ours may hold.
fn examples() -> [(&'static str, Ruleset); 12] {
    let listeners = vec!["127.0.0.1".parse().unwrap(), "2001:db8:2::2".parse().unwrap()];
    let open_end = set("224.0.0.0/3 198.51.100.0/31 198.51.100.2/32 ff00::/8");
    [
        ("proxy", ruleset()),
        (
            "ipv6-block-quic-direct",
            ruleset().with(|policy| {
                policy.ipv6 = Ipv6::Block;
                policy.quic = Datagrams::Direct;
            }),
        ),
        (
            "ipv6-direct",
            ruleset()
                .with_rules(|rules| rules.proxy = set("0.0.0.0/0 ::/0"))
                .with(|policy| policy.ipv6 = Ipv6::Direct),
        ),
        (
            "no-listener",
            ruleset()
                .with_rules(|rules| rules.block = open_end)
                .with(|policy| policy.listeners = listeners),
        ),
        ("router", router()),
        ("router-counted", router().with(|policy| policy.counts_direct = true)),
        ("router-offload", offloading()),
        ("left-alone", ruleset().with(|policy| policy.exempt = users())),
        ("router-left-alone", router().with(|policy| policy.exempt = users())),
        ("router-ipv6-block", router().with(|policy| policy.ipv6 = Ipv6::Block)),
        (
            "udp",
            ruleset().with(|policy| {
                policy.quic = Datagrams::Proxy;
                policy.udp = Datagrams::Proxy;
            }),
        ),
        (
            "router-udp",
            router().with(|policy| {
                policy.udp = Datagrams::Proxy;
                policy.on_failure = OnFailure::Closed;
                policy.exempt = users();
            }),
        ),
    ]
}

fn offloading() -> Ruleset {
    let mut ruleset = router().with(|policy| policy.lan.as_mut().unwrap().offload = true);
    ruleset.environment.offload.devices = ["br-lan".into(), "eth0".into()].into();
    ruleset
}

fn users() -> ExemptPrograms {
    ExemptPrograms { users: vec![0, 990], cgroups: Vec::new() }
}

/// nft(8) looks a cgroup up when it reads the text, so this one has to be there.
fn cgroups_are_what_nft_takes_them_for() {
    let groups = Cgroups::mount();
    let (outer, inner) = (Cgroups::name("a.slice"), Cgroups::name("a.slice") + "/b.service");
    groups.make(&outer);
    groups.make(&inner);
    let cgroups = vec![inner, outer];
    let exempt = ExemptPrograms { users: vec![990], cgroups };
    for ruleset in [ruleset(), router()] {
        let mut ruleset = ruleset.with(|policy| policy.exempt = exempt.clone());
        ruleset.environment.cgroups = ruleset.policy.exempt.observe();
        assert_eq!(ruleset.environment.absent_cgroups().count(), 0);
        compare_with_nft("cgroups", &ruleset);
    }
}

#[test]
fn the_text_is_that_of_the_files() {
    for (name, ruleset) in examples() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/firewall/nftables/golden");
        let file = directory.join(name).with_extension("nft");
        let text = render(&ruleset);
        if std::env::var_os("SNET_BLESS").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, golden, "{} differs", file.display());
    }
}

/// What a kernel without TPROXY gets.
#[test]
fn what_cannot_be_captured_is_rejected() {
    let wanted = ruleset().with(|policy| policy.udp = Datagrams::Proxy);
    assert!(render(&wanted).contains("tproxy"));
    let mut possible = wanted;
    possible.environment.datagrams.without(&Family::ALL, &"no TPROXY");
    let text = render(&possible);
    assert!(!text.contains("tproxy") && !text.contains("older4"));
    let foreign = |text: &str| {
        let (_, chain) = text.split_once("chain foreign4 {").unwrap();
        chain.split_once('}').unwrap().0.to_owned()
    };
    assert!(foreign(&text).contains("meta l4proto udp reject"));
    let direct = possible.with(|policy| policy.uncapturable_udp = Datagrams::Direct);
    let chain = foreign(&render(&direct));
    assert!(!chain.contains("l4proto udp") && chain.contains("udp dport 443 reject"), "{chain}");
}

const FILE: &str = "/run/rules.nft";

fn nft_takes_the_text() {
    // Not the whole list: in a lab nft may not send so much at once.
    let china = crate::ipset::china();
    let part = china.prefixes_v4().map(IpNet::V4).step_by(10);
    let part = part.chain(china.prefixes_v6().map(IpNet::V6).step_by(10)).collect::<IpSet>();
    let large = ruleset().with_rules(|rules| rules.china = part.into());
    for ruleset in examples().map(|(_, ruleset)| ruleset).into_iter().chain([large]) {
        if !prepared(&ruleset) {
            continue;
        }
        std::fs::write(FILE, render(&ruleset)).unwrap();
        run(&format!("nft -c -f {FILE}"));
        assert_eq!(run("nft list ruleset"), "");
    }
}

/// What nft shows of the table, and of the instructions of its rules. Without the owner, which nft
/// would be until it ends, and without what passes with time.
fn shown() -> (Vec<String>, Vec<String>) {
    let table = run("nft list table inet snet");
    let lines = table.lines().filter(|line| !line.contains("flags owner") && !line.is_empty());
    let lines = lines.map(|line| {
        let line = line.split(" # progname").next().unwrap();
        let words = line.split(' ').scan(false, |skip, word| {
            let skipped = std::mem::replace(skip, word == "expires");
            Some(if skipped || word == "expires" { "" } else { word })
        });
        words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ").replace(',', "")
    });
    let code = run("nft --debug=netlink list table inet snet");
    // Handles are numbered as things are made.
    let instructions = code.lines().map(str::trim).filter(|line| line.starts_with('['));
    (lines.collect(), instructions.map(String::from).collect())
}

fn the_kernel_has_what_the_text_says() {
    for (name, ruleset) in examples() {
        if prepared(&ruleset) {
            compare_with_nft(name, &ruleset);
        }
    }
}

/// A flowtable has only devices that are there. `false`: this kernel has no flowtables.
fn prepared(ruleset: &Ruleset) -> bool {
    let devices: Vec<&str> = ruleset.environment.offload.devices().collect();
    if !devices.is_empty() && !has_flowtables() {
        return false;
    }
    for device in devices {
        run(&format!("ip link add {device} type bridge"));
    }
    true
}

fn compare_with_nft(name: &str, ruleset: &Ruleset) {
    let handle = KernelTable::install(TableOwner::open().unwrap(), ruleset.clone()).unwrap();
    let ours = shown();
    handle.remove().unwrap();

    std::fs::write(FILE, render(ruleset).replace("\tflags owner\n", "")).unwrap();
    run(&format!("nft -f {FILE}"));
    let theirs = shown();
    run("nft delete table inet snet");

    assert!(ours.1.len() > 100, "{name}: {} instructions", ours.1.len());
    pretty(name, &ours.0, &theirs.0);
    pretty(name, &ours.1, &theirs.1);
}

fn pretty(name: &str, ours: &[String], theirs: &[String]) {
    let differs = ours.iter().zip(theirs).position(|(ours, theirs)| ours != theirs);
    let at = differs.unwrap_or(ours.len().min(theirs.len()));
    let around = |lines: &[String]| {
        lines[at.saturating_sub(2).min(lines.len())..(at + 3).min(lines.len())].join("\n")
    };
    assert!(ours == theirs, "{name}, by netlink:\n{}\nby nft:\n{}", around(ours), around(theirs));
}
