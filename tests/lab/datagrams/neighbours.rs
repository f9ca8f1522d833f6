//! Beside other firewalls, played by their rules: UDP is captured, and nothing of it leaves
//! directly, also when they load their rules again. Where one of them drops what is captured, the
//! log says so with the command that lets it pass.

use super::talker::Talker;
use super::{PLACES, lan, router};
use crate::counters::Counters;
use crate::peer::service;
use crate::process::{FOLDER, Place, finish, sh};
use crate::router::{CONTAINER, LAN};
use crate::snet::Snet;
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{FAMILIES, FOREIGN_SITE, Family, sealed_for};
use snet_lab::in_every_variant;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

in_every_variant!(ufw, firewalld, fw4, docker);

/// The rules of others as the kernel tests have them, for the addresses of this LAN.
macro_rules! rules {
    ($file:literal) => {
        include_str!(concat!("../../../src/firewall/tests/coexistence/", $file))
            .replace("192.168.1.0/24", "192.168.7.0/24")
    };
}

/// Loads rules as their owner does.
fn load(variant: Variant, tool: &str, options: &[&str], text: &str) {
    let file = Path::new(FOLDER).join(format!("rules.{tool}"));
    fs::write(&file, text).expect("the tmpfs is writable");
    let mut command = match tool {
        "nft" => Command::new(snet_lab::tools::path(tool)),
        _ => Command::new(variant.folder().join(tool)),
    };
    let finished = finish(command.args(options).arg(&file));
    assert!(finished.status.success(), "{tool}: {}", finished.stderr);
}

fn ufw(variant: Variant) {
    let v4 = rules!("ufw.rules");
    let v6 = v4.replace(
        "-A ufw-before-input -j ufw-not-local\n",
        "-A ufw-before-input -p ipv6-icmp -j ACCEPT\n",
    );
    let v6: Vec<_> = v6.lines().filter(|line| !line.contains("BROADCAST")).collect();
    let v6 = format!("{}\n", v6.join("\n"));
    let others = || {
        load(variant, "iptables-restore", &["--noflush"], &v4);
        load(variant, "ip6tables-restore", &["--noflush"], &v6);
    };
    assert_eq!(beside(variant, &PLACES, others), 0);
}

fn firewalld(variant: Variant) {
    let others = || load(variant, "nft", &["-f"], &rules!("firewalld.nft"));
    // Nobody can accept for it: INPUT, and for what iptables has taken, its reverse path filter.
    let remedies = if variant == Variant::Native { 1 } else { 2 };
    assert_eq!(beside(variant, &PLACES, others), remedies);
}

fn fw4(variant: Variant) {
    let others = || load(variant, "nft", &["-f"], &rules!("fw4.nft"));
    assert_eq!(beside(variant, &PLACES, others), 0);
}

fn docker(variant: Variant) {
    service::start();
    lan(variant);
    CONTAINER.move_in(variant);
    let places = [None, Some(LAN.namespace), Some(CONTAINER.namespace)];
    let others = || load(variant, "iptables-restore", &["--noflush"], &rules!("docker.rules"));
    assert_eq!(beside_settled(variant, &places, others), 0);
}

fn beside(variant: Variant, places: &[Option<&str>], others: impl Fn()) -> usize {
    service::start();
    lan(variant);
    beside_settled(variant, places, others)
}

/// The life of our rules beside others'. Returns how many remedies were told.
fn beside_settled(variant: Variant, places: &[Option<&str>], others: impl Fn()) -> usize {
    others();
    let counters = Counters::start();
    let (_proxy, line) = Upstream::Rust("aes-128-gcm").start(Family::V4);
    let config = router(Family::V4, line);
    let mut snet = Snet::start(variant, &config);
    let silent = || -> Vec<_> {
        let flow = |place: Option<&str>, family| {
            let talker = Talker::of(place, FOREIGN_SITE.port(family, service::ECHO));
            (!talker.is_answered(b"hello")).then(|| format!("{place:?} {family:?}"))
        };
        let of = |place: &Option<&str>| FAMILIES.map(|family| flow(*place, family));
        places.iter().flat_map(of).flatten().collect()
    };
    let remedies = remedies(&snet);
    if !remedies.is_empty() {
        assert_ne!(silent(), [] as [String; 0], "no remedy was needed: {}", snet.log());
        assert_eq!(counters.leaked(), 0, "something left directly");
        snet.stop();
        remedies.iter().for_each(|remedy| drop(sh(Place::Machine, remedy)));
        snet = Snet::start(variant, &config);
    }
    assert_eq!(silent(), [] as [String; 0], "{}", snet.log());
    others();
    remedies.iter().for_each(|remedy| drop(sh(Place::Machine, remedy)));
    wait::until("all of it is captured again", Duration::from_secs(15), || silent().is_empty());
    assert_eq!(counters.leaked(), 0, "something left directly");
    snet.stop();
    remedies.len()
}

/// The commands that the log names for UDP.
fn remedies(snet: &Snet) -> Vec<String> {
    let lines = snet.lines("WARN").into_iter().filter(|line| line.contains(" UDP "));
    lines
        .filter_map(|line| {
            Some(format!("nft insert rule {}", line.split_once("nft insert rule ")?.1))
        })
        .collect()
}
