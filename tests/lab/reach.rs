//! Everything is reached, the right way: the matrix of backend and iptables variant, family of
//! the client, family of the proxy server, cipher and protocol.

use crate::client::{curl, get};
use crate::counters::Counters;
use crate::digest::Digest;
use crate::peer::{names, nginx, service};
use crate::snet::{Config, Snet};
use crate::transfer::digest_of;
use crate::upstream::{UPSTREAMS, Upstream};
use crate::variant::Variant;
use crate::world::{DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, Family, MACHINE, sealed_for};
use snet_lab::in_every_variant;
use std::path::Path;

in_every_variant!(through_proxies_on_ipv4, through_proxies_on_ipv6);

fn through_proxies_on_ipv4(variant: Variant) {
    every_upstream(variant, Family::V4);
}

fn through_proxies_on_ipv6(variant: Variant) {
    every_upstream(variant, Family::V6);
}

fn every_upstream(variant: Variant, family: Family) {
    let file = nginx::file(1 << 20);
    let digest = Digest::of_file(&file);
    let _sites = nginx::sites(Some(&file));
    let _names = [names::domestic(), names::trusted(), names::system()];
    service::start();
    let counters = Counters::start();
    for upstream in UPSTREAMS {
        println!("{upstream:?}");
        let (_server, proxy) = upstream.start(family);
        let mut snet = Snet::start(variant, &Config::through(family, &[proxy]));
        let marked = counters.marked();
        for client in FAMILIES {
            reach(upstream, client, &file, &digest);
        }
        assert!(counters.marked() > marked, "nobody dialled the proxy");
        snet.assert_alive();
        snet.stop();
    }
    assert_eq!(counters.leaked(), 0, "packets for foreign sites left the machine");
    assert_eq!(counters.unmarked(), 0, "a socket of snet was not marked");
}

/// By name and by address, domestic and foreign, down and up.
fn reach(upstream: Upstream, family: Family, file: &Path, digest: &str) {
    let flag = if family == Family::V4 { "-4" } else { "-6" };
    for (name, site, seen_as) in [
        ("foreign", FOREIGN_SITE, upstream.seen_as(FOREIGN_SITE)),
        ("domestic", DOMESTIC_SITE, MACHINE),
    ] {
        let seen_as = seen_as.ip(family).to_string();
        let by_name = curl(&["--fail", flag, &format!("http://{name}.example/who")]);
        assert_eq!(by_name.stdout.trim(), seen_as, "{name}: {}", by_name.stderr);
        assert_eq!(get(&format!("http://{}/who", site.port(family, 80))), seen_as);

        let down = format!("http://{}/file", site.port(family, 80));
        assert_eq!(digest_of(&down), digest, "{name}");
        let up = format!("http://{}/", site.port(family, service::UPLOAD));
        let up = curl(&["-T", &file.display().to_string(), &up]);
        assert_eq!(up.stdout, digest, "{name}: {}", up.stderr);
    }
}
