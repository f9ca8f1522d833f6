//! A stop leaves the kernel's tables as they were found.

use crate::client::{connect, echo};
use crate::peer::service;
use crate::process::{Place, finish, sh};
use crate::snet::{Config, Snet};
use crate::tables::{assert_same, snapshot, snets};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::world::{FOREIGN_SITE, Family, sealed};
use nix::sys::signal::Signal;
use std::process::Command;

#[test]
fn stop_leaves_no_table() {
    sealed(|| stop_restores(Variant::Native));
}

#[test]
fn stop_restores_the_tables_of_iptables_nft() {
    sealed(|| stop_restores(Variant::Nft));
}

#[test]
fn stop_restores_the_tables_of_iptables_legacy() {
    sealed(|| stop_restores(Variant::Legacy));
}

fn stop_restores(variant: Variant) {
    service::start();
    let (_server, proxy) = Upstream::Libev("aes-128-gcm").start(Family::V4);
    let config = Config::through(Family::V4, &[proxy]);
    for has_neighbours in [false, true] {
        if has_neighbours {
            neighbours(variant);
        }
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let before = snapshot();
            let mut snet = Snet::start(variant, &config);
            assert!(snets(&snapshot()), "no rule was installed");
            let mut stream = connect(FOREIGN_SITE.port(Family::V4, service::ECHO));
            echo(&mut stream, b"hello").expect("an echo");
            drop(stream);
            snet.signal(signal);
            assert!(snet.wait().success(), "{}", snet.log());
            assert_same(&before, &snapshot());
        }
    }
}

/// Rules, chains, policies and sets of somebody else, in both variants of iptables.
pub fn neighbours(variant: Variant) {
    for family in ["iptables", "ip6tables"] {
        let host = if family == "iptables" { "203.0.113.250" } else { "2001:db8:f::250" };
        for rule in [
            "-t nat -N DOCKER".to_owned(),
            format!("-t nat -A OUTPUT -d {host} -j DOCKER"),
            format!("-t nat -A DOCKER -d {host} -p tcp --dport 81 -j RETURN"),
            "-t mangle -A OUTPUT -p tcp --dport 82 -j MARK --set-xmark 0x1/0xff".to_owned(),
            "-N ufw-user-output".to_owned(),
            "-A OUTPUT -j ufw-user-output".to_owned(),
            "-P FORWARD DROP".to_owned(),
            format!("-t raw -A OUTPUT -d {host} -j NOTRACK"),
        ] {
            let mut command = Command::new(variant.folder().join(family));
            let finished = finish(command.args(rule.split_whitespace()));
            assert!(finished.status.success(), "{family} {rule}: {}", finished.stderr);
        }
    }
    sh(Place::Machine, "ipset create neighbours hash:net");
    sh(Place::Machine, "ipset add neighbours 203.0.113.248/29");
}

#[test]
fn printing_rules_changes_nothing() {
    sealed(|| {
        let config = Config::through(
            Family::V4,
            &[crate::snet::http_proxy(crate::world::PROXY.port(Family::V4, 3128), None)],
        );
        let before = snapshot();
        let file = config.write().display().to_string();
        let printed = crate::snet::run(Variant::Nft, &["rules", "-c", &file]);
        assert_eq!(printed.code(), Some(0), "{}", printed.stderr);
        assert!(printed.stdout.contains("REDIRECT"), "{}", printed.stdout);
        assert!(printed.stdout.contains("198.51.100.0/24"), "{}", printed.stdout);
        assert_same(&before, &snapshot());
    });
}

#[test]
fn backend_none_installs_nothing() {
    sealed(|| {
        let proxy = crate::snet::http_proxy(crate::world::PROXY.port(Family::V4, 3128), None);
        let mut config = Config::through(Family::V4, &[proxy]);
        Config::set(&mut config.firewall, "backend", "\"none\"");
        let before = snapshot();
        let snet = Snet::start(Variant::Nft, &config);
        assert_same(&before, &snapshot());
        snet.stop();
        assert_same(&before, &snapshot());
    });
}

/// `snet ... 2>&1 | tee log` and Ctrl-C: the reader of the log goes first, and a line that cannot
/// be written must not keep the rules in place.
#[test]
fn a_log_that_nobody_reads_leaves_nothing() {
    sealed(|| {
        let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
        let config = Config::through(Family::V4, &[proxy]).write();
        let before = snapshot();
        let mut command = crate::snet::snet(Variant::Nft);
        let mut child = command
            .args(["-vv", "-c"])
            .arg(config)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("snet runs");
        drop(child.stderr.take());
        let captures = || snapshot() != before;
        crate::wait::until("rules", std::time::Duration::from_secs(20), captures);
        // Some beats, whose lines go nowhere.
        std::thread::sleep(std::time::Duration::from_secs(3));
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it runs");
        let status = child.wait().expect("it is our child");
        assert_eq!(status.code(), Some(0));
        assert_same(&before, &snapshot());
    });
}
