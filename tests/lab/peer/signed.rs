//! A signed zone and what hangs below it, served by unbound: the trusted side of the lab for
//! clients that validate (DNSSEC).
//!
//! | zone | |
//! |---|---|
//! | example | signed: a far copy of `domestic.example`, and `foreign.example` |
//! | unsigned.example | not signed, which the zone above proves: a far copy too |

use crate::process::{FOLDER, Place, Running, command, finish, unprivileged};
use crate::world::{FAMILIES, FAR_COPY, FOREIGN_SITE, Family, Host, TRUSTED_NAMES};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// The server, and the DS record of `example` (RFC 4034, 5): "tag algorithm digest-type digest".
pub fn start() -> (Running, String) {
    let folder = Path::new(FOLDER);
    let below = zone("unsigned.example", &[("www", FAR_COPY)], "");
    let servers = format!("unsigned NS ns.unsigned\nns.unsigned A {}\n", v4(TRUSTED_NAMES));
    let hosts = [("domestic", FAR_COPY), ("foreign", FOREIGN_SITE)];
    let top = zone("example", &hosts, &servers);
    let key = run("ldns-keygen", &["-a", "ECDSAP256SHA256", "-k", "example"]);
    let key = key.trim();
    let signed = folder.join("example.signed").display().to_string();
    run("ldns-signzone", &["-o", "example", "-f", &signed, &top.display().to_string(), key]);
    let ds = fs::read_to_string(folder.join(format!("{key}.ds"))).expect("it was written");
    let ds = ds.split_once("DS\t").expect("a DS record").1.trim().to_owned();

    let mut text = format!(
        "server:\n\
         do-daemonize: no\nusername: \"\"\nchroot: \"\"\ndirectory: \"{FOLDER}\"\npidfile: \"\"\n\
         use-syslog: no\nverbosity: 1\nmodule-config: \"iterator\"\nnum-threads: 1\n\
         access-control: 0.0.0.0/0 allow\naccess-control: ::/0 allow\n"
    );
    for family in FAMILIES {
        // A String takes every write.
        let _ = writeln!(text, "interface: {}", TRUSTED_NAMES.ip(family));
    }
    for (name, file) in [("example", signed), ("unsigned.example", below.display().to_string())] {
        let _ = writeln!(
            text,
            "auth-zone:\nname: \"{name}.\"\nzonefile: \"{file}\"\nfor-downstream: yes\n\
             for-upstream: no"
        );
    }
    text.push_str("remote-control:\ncontrol-enable: no\n");
    let file = crate::process::new_file("signed.conf");
    fs::write(&file, text).expect("the tmpfs is writable");
    let mut unbound = unprivileged(Place::Internet, "unbound");
    let mut server = Running::start("unbound", unbound.args(["-d", "-p", "-c"]).arg(file));
    super::wait_for_listener(&mut server, TRUSTED_NAMES.port(Family::V6, 53));
    (server, ds)
}

fn zone(name: &str, hosts: &[(&str, Host)], more: &str) -> PathBuf {
    let mut text = format!(
        "$ORIGIN {name}.\n$TTL 300\n@ SOA ns host 1 3600 1200 604800 300\n@ NS ns\n\
         ns A {}\n{more}",
        v4(TRUSTED_NAMES)
    );
    for (host, target) in hosts {
        let _ = writeln!(text, "{host} A {}\n{host} AAAA {}", v4(*target), target.ip(Family::V6));
    }
    let file = Path::new(FOLDER).join(format!("{name}.zone"));
    fs::write(&file, text).expect("the tmpfs is writable");
    file
}

fn v4(host: Host) -> std::net::IpAddr {
    host.ip(Family::V4)
}

fn run(program: &str, arguments: &[&str]) -> String {
    let finished = finish(command(Place::Machine, program).current_dir(FOLDER).args(arguments));
    assert!(finished.status.success(), "{program}: {}", finished.stderr);
    finished.stdout
}
