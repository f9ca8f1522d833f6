//! Rules in the tables of iptables-nft that iptables cannot read, and rules saved to a file.

use super::installed::Handle;
use super::ruleset;
use crate::family::Family;
use crate::firewall::netlink::nat_chains;
use crate::firewall::{Backend, saved_files};
use snet_lab::Variant;
use snet_lab::kernel::{run, sealed_for, variant};
use snet_lab::{in_every_variant, in_variants};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

in_variants!([Nft] a_table_that_iptables_cannot_read_means_nftables);
in_variants!([Legacy] legacy_tables_do_not_mind_native_rules);
in_variants!([Nft] a_masquerade_of_a_table_of_nft_is_seen);
in_every_variant!(rules_saved_while_snet_runs_are_refused_until_they_are_mended);

/// One that iptables-nft has no word for.
const RULE: &str = "meta mark set numgen inc mod 2";

fn a_table_that_iptables_cannot_read_means_nftables() {
    assert_eq!(Backend::of_system(), Backend::Iptables);
    for (family, table) in [("ip", "nat"), ("ip6", "filter"), ("ip6", "raw")] {
        let tool = if family == "ip" { "iptables" } else { "ip6tables" };
        run(&format!("{tool} -t {table} -A OUTPUT -p tcp --dport 9 -j ACCEPT"));
        run(&format!("nft add rule {family} {table} OUTPUT {RULE}"));
        assert_eq!(Backend::of_system(), Backend::Nftables, "{family} {table}");
        let refused = Handle::install(ruleset()).unwrap_err().to_string();
        assert!(refused.contains("firewall.backend = \"nftables\""), "{refused}");
        let installed = Backend::of_system().prepare().unwrap().install(ruleset()).unwrap();
        assert!(run("nft list tables").contains("table inet snet"));
        installed.remove().unwrap();
        run(&format!("nft delete table {family} {table}"));
        assert_eq!(Backend::of_system(), Backend::Iptables, "{family} {table}");
    }
    // Where we have no part.
    run("iptables -t mangle -A OUTPUT -p tcp --dport 9 -j ACCEPT");
    run(&format!("nft add rule ip mangle OUTPUT {RULE}"));
    assert_eq!(Backend::of_system(), Backend::Iptables);
    Handle::install(ruleset()).unwrap().remove().unwrap();
}

fn legacy_tables_do_not_mind_native_rules() {
    run("nft add table ip nat");
    run("nft add chain ip nat OUTPUT { type nat hook output priority -100 ; }");
    run(&format!("nft add rule ip nat OUTPUT {RULE}"));
    assert_eq!(Backend::of_system(), Backend::Iptables);
    Handle::install(ruleset()).unwrap().remove().unwrap();
}

/// An old kernel must not get a second one in front of it.
fn a_masquerade_of_a_table_of_nft_is_seen() {
    let seen = || Family::ALL.map(|family| nat_chains::are_elsewhere(family).unwrap());
    run("iptables -t nat -A POSTROUTING -j MASQUERADE");
    run("ip6tables -t nat -A POSTROUTING -j MASQUERADE");
    assert_eq!(seen(), [false, false], "iptables' own");
    run("nft add table ip home");
    run("nft add chain ip home out { type nat hook postrouting priority srcnat ; }");
    run("nft add rule ip home out masquerade");
    assert_eq!(seen(), [true, false]);
    run("nft add table inet both");
    run("nft add chain inet both out { type nat hook postrouting priority srcnat ; }");
    assert_eq!(seen(), [true, true]);
}

/// `iptables-restore < file`, as at a boot.
fn restore(file: &Path) -> Output {
    let file = fs::File::open(file).unwrap();
    let mut command = Command::new("iptables-restore");
    command.stdin(file).stderr(Stdio::piped()).output().unwrap()
}

fn rules_saved_while_snet_runs_are_refused_until_they_are_mended() {
    let root = Path::new("/run/root");
    let file = root.join("etc/iptables/rules.v4");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    run("iptables -A INPUT -p tcp --dport 22 -j DROP");
    let handle = Handle::install(ruleset()).unwrap();
    fs::write(&file, run("iptables-save")).unwrap();
    handle.remove().unwrap();
    let told = saved_files::told(root);
    if matches!(variant(), Variant::Native) {
        assert_eq!(told, [] as [String; 0], "nothing of ours is in these tables");
        assert!(restore(&file).status.success());
        return;
    }
    // The boot: neither our sets nor any rule is there.
    run("iptables -F INPUT");
    let refused = restore(&file);
    assert!(!refused.status.success(), "{refused:?}");
    assert!(!run("iptables -S INPUT").contains("22"), "the door stays open");
    assert_eq!(told.len(), 1, "{told:?}");
    let (_, remedy) = told[0].split_once(": sed ").unwrap();
    let remedy = remedy.split(" (").next().unwrap();
    run(&format!("sed {}", remedy.replace('\'', "")));
    let restored = restore(&file);
    assert!(restored.status.success(), "{restored:?}");
    assert!(run("iptables -S INPUT").contains("--dport 22 -j DROP"));
    assert!(!run("iptables-save").contains("SNET"));
    assert_eq!(saved_files::told(root), [] as [String; 0]);
}
