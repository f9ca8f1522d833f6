//! A kernel, or tools, without a part that only the capture of UDP needs: played by tools that
//! refuse what names it.

use super::listener::Listener;
use super::{FOREIGN, PORT, house, with_udp};
use crate::firewall::tests::installed::Handle;
use crate::firewall::tests::life_cycle::state;
use crate::firewall::tests::router_of_the_network;
use crate::firewall::{Backend, cleanup, shortfalls};
use crate::search_path;
use snet_lab::in_both_variants;
use snet_lab::internet::{Seen, at, greet, refused, tcp};
use snet_lab::kernel::{run, sealed_for, variant};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

in_both_variants!(a_missing_part_is_named_and_costs_udp_only, a_reload_finds_it_too);

/// What is refused, by which tools, and the package that is named.
const PARTS: [(&str, &[&str], &str); 4] = [
    ("TPROXY", &RESTORES, "iptables-mod-tproxy"),
    ("--notrack", &RESTORES, "iptables-mod-conntrack-extra"),
    ("--add-set", &RESTORES, "kmod-ipt-ipset"),
    ("hash:ip,port,ip", &["ipset"], "kmod-ipt-ipset"),
];
const RESTORES: [&str; 2] = ["iptables-restore", "ip6tables-restore"];

/// Puts a tool in the place of this one that refuses a text with this word.
fn refuse(word: &str, tool: &str) {
    let kept = Path::new("/run/kept").join(tool);
    if !kept.exists() {
        let real = fs::canonicalize(search_path::find(tool).unwrap()).unwrap();
        fs::create_dir_all("/run/kept").unwrap();
        symlink(real, &kept).unwrap();
    }
    let script = format!(
        "#!/bin/sh\ntext=$(cat)\ncase \"$text\" in *'{word}'*)\n\
         echo 'No chain/target/match by that name.' >&2; exit 1;;\nesac\n\
         printf '%s\\n' \"$text\" | {} \"$@\"\n",
        kept.display()
    );
    let place = variant().folder().join(tool);
    let _ = fs::remove_file(&place);
    fs::write(&place, script).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
}

fn allow(tool: &str) {
    let place = variant().folder().join(tool);
    fs::remove_file(&place).unwrap();
    symlink(fs::canonicalize(Path::new("/run/kept").join(tool)).unwrap(), place).unwrap();
}

fn a_missing_part_is_named_and_costs_udp_only() {
    let house = house();
    greet(TcpListener::bind(at("::", 1111)).unwrap(), b'S');
    let _listener = Listener::start(1111);
    let there = FOREIGN.map(|to| house.internet.udp(at(to, PORT)));
    let wanted = || with_udp(router_of_the_network());
    let before = state();
    assert_eq!(shortfalls(Backend::Iptables, wanted()), [] as [&str; 0]);
    assert_eq!(state(), before, "the trial leaves nothing");
    for (word, tools, package) in PARTS {
        tools.iter().for_each(|tool| refuse(word, tool));
        let told = shortfalls(Backend::Iptables, wanted());
        assert!(told.len() == 1 && told.iter().all(|line| line.contains(package)), "{told:?}");
        assert_eq!(state(), before, "{word}: the trial leaves nothing");
        let handle = Handle::install(wanted()).unwrap();
        for (foreign, there) in FOREIGN.iter().zip(&there) {
            assert!(refused(at(foreign, PORT), there, None), "{word}: {foreign}");
            assert_eq!(tcp(at(foreign, 80), None), Seen::Captured, "{word}: {foreign}");
        }
        handle.remove().unwrap();
        tools.iter().for_each(|tool| allow(tool));
    }
    assert_eq!(cleanup().unwrap().to_string(), "nothing to clean");
}

fn a_reload_finds_it_too() {
    let house = house();
    greet(TcpListener::bind(at("::", 1111)).unwrap(), b'S');
    let there = FOREIGN.map(|to| house.internet.udp(at(to, PORT)));
    let handle = Handle::install(router_of_the_network()).unwrap();
    RESTORES.iter().for_each(|tool| refuse("TPROXY", tool));
    handle.replace(with_udp(router_of_the_network())).unwrap();
    for (foreign, there) in FOREIGN.iter().zip(&there) {
        assert!(refused(at(foreign, PORT), there, None), "{foreign}");
        assert_eq!(tcp(at(foreign, 80), None), Seen::Captured, "{foreign}");
    }
    assert!(!run("iptables -t mangle -S").contains("SNET"));
    handle.remove().unwrap();
}
