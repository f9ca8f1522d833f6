//! Rules that were saved to a file while snet ran, and that are loaded at the next boot.
//!
//! Saved rules name our sets, which are not there then: iptables-restore refuses the whole file,
//! and the machine comes up without its firewall. The same goes for what nft lists of tables of
//! iptables that ask ipset. Only read, and a bounded part of it.
//!
//! Source: netfilter-persistent(8), the init scripts of Debian, Fedora, Arch, Alpine and Gentoo.

use super::names::PREFIX;
use super::names::TABLE;
use super::names::is_ours;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Where distributions keep what is loaded at a boot.
const FILES: [&str; 17] = [
    "etc/iptables.rules",
    "etc/iptables.up.rules",
    "etc/iptables.conf",
    "etc/ip6tables.rules",
    "etc/ip6tables.up.rules",
    "etc/ip6tables.conf",
    "etc/sysconfig/iptables",
    "etc/sysconfig/ip6tables",
    "etc/sysconfig/ipset",
    "etc/sysconfig/nftables.conf",
    "etc/ipset.conf",
    "etc/nftables.conf",
    "etc/nftables.nft",
    "var/lib/iptables/rules-save",
    "var/lib/ip6tables/rules-save",
    "var/lib/ipset/rules-save",
    "var/lib/nftables/rules-save",
];

/// Every file in these.
const FOLDERS: [&str; 4] = ["etc/iptables", "etc/ipset.d", "etc/nftables", "etc/nftables.d"];

/// Of copies that are not loaded.
const COPIES: [&str; 7] = [".bak", ".old", ".orig", ".save", ".rpmsave", ".dpkg-old", "~"];

/// In one folder.
const MOST_FILES: usize = 64;

/// Of one file; a long list of addresses comes behind its name.
const MOST_BYTES: u64 = 4 * 1024 * 1024;

/// Those that name something of ours, each in one line with its remedy.
pub(super) fn told(root: &Path) -> Vec<String> {
    let listed = FOLDERS.iter().flat_map(|folder| {
        let entries = fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
        let is_copy =
            |file: &PathBuf| COPIES.iter().any(|end| file.to_string_lossy().ends_with(end));
        entries.take(MOST_FILES).map(|entry| entry.path()).filter(move |file| !is_copy(file))
    });
    let mut files: Vec<PathBuf> = FILES.iter().map(|file| root.join(file)).chain(listed).collect();
    files.sort();
    files.iter().filter_map(|file| tell(file, &read(file)?)).collect()
}

/// Nothing of what cannot be read, and nothing that is no file.
fn read(file: &Path) -> Option<String> {
    if !fs::metadata(file).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(file).ok()?.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn tell(file: &Path, text: &str) -> Option<String> {
    let line = text.lines().map(str::trim_start).find(|line| names_ours(line))?;
    let file = file.display();
    // iptables-save, with counters or without, and ipset save: a line stands for itself.
    let is_of_lines =
        [":", "-A ", "[", "create ", "add "].iter().any(|begin| line.starts_with(begin));
    let remedy = if is_of_lines {
        format!("take them out: sed -i.bak -e '/SNET/d' -e '/snet-/d' {file}")
    } else {
        format!("save it again while snet is stopped: nft list ruleset > {file}")
    };
    Some(format!(
        "{file} was saved while snet ran and names its chains or sets, which are not there at a boot: the \
         whole file is then refused, and its firewall stays open; {remedy} (and stop snet before the \
         next time it is saved)"
    ))
}

fn names_ours(line: &str) -> bool {
    if line.starts_with('#') {
        return false;
    }
    let is_table = line
        .strip_prefix("table inet ")
        .is_some_and(|rest| rest.split([' ', '{']).next() == Some(TABLE));
    let mut words = line.split([' ', '"', '@', ';']).map(|word| word.trim_start_matches(':'));
    is_table || words.any(|word| is_ours(word) || word.starts_with(PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_while_snet_ran_is_found_wherever_it_is_kept() {
        let root = std::env::temp_dir().join(format!("snet-saved-files-{}", std::process::id()));
        let write = |file: &str, text: &str| {
            let file = root.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        assert_eq!(told(&root), [] as [String; 0]);
        write("etc/iptables/rules.v4", "*nat\n:OUTPUT ACCEPT [0:0]\n:SNET - [0:0]\nCOMMIT\n");
        write("etc/iptables/rules.v6", "*nat\n[0:0] -A OUTPUT -j SNET\nCOMMIT\n");
        write("etc/iptables/ipsets", "create mine hash:ip\ncreate snet-china4 hash:net\n");
        write("etc/sysconfig/iptables", "-A OUTPUT -m set --match-set snet-lan4 src -j ACCEPT\n");
        write("etc/nftables.conf", "flush ruleset\ntable inet snet {\n}\n");
        write("etc/nftables.d/10.nft", "table ip nat {\n\tchain SNET {\n\t}\n}\n");
        // Not ours, or only talk of it.
        write("etc/ipset.conf", "create snetwork hash:net\nadd other-snet- 192.0.2.0/24\n");
        write("etc/sysconfig/ip6tables", "# SNET\n:SNETWORK - [0:0]\n-A INPUT -j SNETWORK\n");
        write("etc/nftables.nft", "table inet snetwork {\n}\ntable ip snet {\n}\n");
        write("etc/iptables/rules.v4.bak", "*nat\n:SNET - [0:0]\nCOMMIT\n");
        fs::create_dir_all(root.join("etc/iptables/folder")).unwrap();
        let told = told(&root);
        let files: Vec<&str> = told
            .iter()
            .map(|told| told.split(" was").next().unwrap())
            .map(|file| file.strip_prefix(root.to_str().unwrap()).unwrap())
            .collect();
        assert_eq!(
            files,
            [
                "/etc/iptables/ipsets",
                "/etc/iptables/rules.v4",
                "/etc/iptables/rules.v6",
                "/etc/nftables.conf",
                "/etc/nftables.d/10.nft",
                "/etc/sysconfig/iptables"
            ]
        );
        for told in &told {
            let remedy = if told.contains("/etc/nftables") { "nft list ruleset" } else { "sed -i" };
            assert!(told.contains(remedy), "{told}");
        }
        fs::remove_dir_all(root).unwrap();
    }
}
