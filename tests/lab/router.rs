//! A a_household behind snet: LAN hosts and a container-like bridge, the whole daemon, real
//! proxies.
//!
//! ```text
//!   lan   192.168.7.10  fd00:7::10 == br-lan   machine  uplink ---- internet
//!   box   172.17.0.10   fd00:17::10 == docker0
//! ```

use crate::counters::Counters;
use crate::digest::Digest;
use crate::peer::{names, nginx, service};
use crate::process::{Finished, Place, command, finish, sh};
use crate::snet::{self, Config, DNS_PORT, Snet, TCP_PORT};
use crate::tables::{assert_same, snapshot, snets};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{
    DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, Family, MACHINE, PROXY, SYSTEM_NAMES, sealed, sealed_for,
};
use snet_lab::in_every_variant;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// A host behind the machine.
#[derive(Debug, Clone, Copy)]
pub struct Guest {
    pub namespace: &'static str,
    bridge: &'static str,
    v4: &'static str,
    v6: &'static str,
}

pub const LAN: Guest = Guest { namespace: "lan", bridge: "br-lan", v4: "192.168.7", v6: "fd00:7:" };
pub const CONTAINER: Guest =
    Guest { namespace: "box", bridge: "docker0", v4: "172.17.0", v6: "fd00:17:" };

impl Guest {
    /// Its bridge, its wire and the router's part of the work, which is not snet's.
    pub fn move_in(self, variant: Variant) {
        let Guest { namespace, bridge, v4, v6 } = self;
        for line in [
            format!("ip netns add {namespace}"),
            format!("ip link add {bridge} type bridge"),
            format!("ip link set {bridge} addrgenmode none"),
            format!("ip link add port-{namespace} type veth peer name eth0 netns {namespace}"),
            format!("ip link set port-{namespace} master {bridge} up"),
            format!("ip link set {bridge} up"),
            format!("ip addr add {v4}.1/24 dev {bridge}"),
            format!("ip addr add {v6}:1/64 dev {bridge} nodad"),
            format!("ip addr add fe80::1/64 dev {bridge} nodad"),
            format!("ip -n {namespace} link set lo up"),
            format!("ip -n {namespace} link set eth0 addrgenmode none up"),
            format!("ip -n {namespace} addr add {v4}.10/24 dev eth0"),
            format!("ip -n {namespace} addr add {v6}:10/64 dev eth0 nodad"),
            format!("ip -n {namespace} addr add fe80::10/64 dev eth0 nodad"),
            format!("ip -n {namespace} route add default via {v4}.1"),
            format!("ip -n {namespace} -6 route add default via {v6}:1"),
        ] {
            sh(Place::Machine, &line);
        }
        for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            fs::write(format!("/proc/sys/net/{setting}"), "1").expect("the namespace is ours");
        }
        for (tool, source) in
            [("iptables", format!("{v4}.0/24")), ("ip6tables", format!("{v6}:/64"))]
        {
            let mut command = Command::new(variant.folder().join(tool));
            command.args(["-t", "nat", "-A", "POSTROUTING", "-s", &source]);
            let finished = finish(command.args(["-o", "uplink", "-j", "MASQUERADE"]));
            assert!(finished.status.success(), "{tool}: {}", finished.stderr);
        }
        wait::until("the guest's wire", Duration::from_secs(10), || {
            let mut curl = self.command("curl");
            let url = format!("http://{}:9/", MACHINE.ip(Family::V4));
            finish(curl.args(["-s", "--max-time", "1", &url])).code() == Some(7)
        });
    }

    pub fn command(self, program: &str) -> Command {
        let mut command = command(Place::Machine, "nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace)).arg("--");
        command.arg(crate::tools::path(program));
        command
    }

    pub fn curl(self, arguments: &[&str]) -> Finished {
        finish(self.command("curl").args(["-sS", "--max-time", "60"]).args(arguments))
    }

    pub fn dig(self, arguments: &str) -> String {
        let mut dig = self.command("dig");
        dig.args(["+tries=1", "+timeout=6"]).args(arguments.split_whitespace());
        finish(&mut dig).stdout
    }

    /// By name and by address, domestic and foreign, down and up, as on the machine itself.
    fn reaches_everything(self, digest: &str, file: &str, snet: &Snet) {
        for family in FAMILIES {
            let flag = if family == Family::V4 { "-4" } else { "-6" };
            for (name, site, seen_as) in
                [("foreign", FOREIGN_SITE, FOREIGN_SITE), ("domestic", DOMESTIC_SITE, MACHINE)]
            {
                let seen_as = seen_as.ip(family).to_string();
                for host in [format!("{name}.example"), site.port(family, 80).to_string()] {
                    let who = self.curl(&["--fail", flag, &format!("http://{host}/who")]);
                    let context = format!("{self:?} {host}: {}\n{}", who.stderr, snet.log());
                    assert_eq!(who.stdout.trim(), seen_as, "{context}");
                }
                let url = format!("http://{}/file", site.port(family, 80));
                let got = format!("/run/lab/{}.file", self.namespace);
                let down = self.curl(&["-o", &got, &url]);
                assert!(down.status.success(), "{}", down.stderr);
                assert_eq!(Digest::of_file(got.as_ref()), digest, "{url}");
                let url = format!("http://{}/", site.port(family, service::UPLOAD));
                let up = self.curl(&["-T", file, &url]);
                assert_eq!(up.stdout, digest, "{url}: {}", up.stderr);
            }
        }
    }
}

pub fn router(family: Family, proxy: String) -> Config {
    let mut config = Config::through(family, &[proxy]);
    Config::set(&mut config.top, "mode", "\"router\"");
    config
}

in_every_variant!(a_household);

fn a_household(variant: Variant) {
    let file = nginx::file(1 << 20);
    let digest = Digest::of_file(&file);
    let path = file.display().to_string();
    let _sites = nginx::sites(Some(&file));
    let _names = [names::domestic(), names::trusted(), names::system()];
    service::start();
    LAN.move_in(variant);
    CONTAINER.move_in(variant);
    let counters = Counters::start();
    let before = snapshot();
    for (upstream, family) in
        [(Upstream::Libev("chacha20-ietf-poly1305"), Family::V4), (Upstream::Squid, Family::V6)]
    {
        println!("{upstream:?} {family:?}");
        let (_server, proxy) = upstream.start(family);
        let snet = Snet::start(variant, &router(family, proxy));
        let (domestic, captured) = (counters.domestic(), counters.captured());
        for guest in [LAN, CONTAINER] {
            guest.reaches_everything(&digest, &path, &snet);
            for server in [SYSTEM_NAMES.ip(Family::V4), FOREIGN_SITE.ip(Family::V6)] {
                let heard = guest.dig(&format!("+short @{server} foreign.example AAAA"));
                assert_eq!(heard.trim(), FOREIGN_SITE.ip(Family::V6).to_string(), "{server}");
            }
            // The router as name server, by all the addresses by which hosts know it.
            for server in
                [format!("{}.1", guest.v4), format!("{}:1", guest.v6), "fe80::1%eth0".into()]
            {
                let heard = guest.dig(&format!("+short @{server} domestic.example"));
                assert_eq!(heard.trim(), DOMESTIC_SITE.ip(Family::V4).to_string(), "{server}");
            }
        }
        assert!(counters.domestic() > domestic, "domestic connections are forwarded");
        // Of each guest two pages, a file down and one up, over either family.
        assert_eq!(counters.captured() - captured, 16, "snet has the foreign ones, and no other");
        strangers_find_nobody();
        assert_eq!(counters.leaked(), 0, "foreign packets left the machine");
        assert_eq!(counters.unmarked(), 0, "a socket of snet was not marked");
        assert!(snet.lines("ERROR").is_empty(), "{}", snet.log());
        snet.stop();
        assert_same(&before, &snapshot());
    }
    let url = format!("http://{}/who", FOREIGN_SITE.port(Family::V4, 80));
    let who = LAN.curl(&[&url]);
    assert_eq!(who.stdout.trim(), MACHINE.ip(Family::V4).to_string(), "after the stop: direct");
}

/// From the uplink side both ports are as if nobody were there.
fn strangers_find_nobody() {
    for family in FAMILIES {
        let address = MACHINE.ip(family).to_string();
        let question = format!("@{address} -p {DNS_PORT} +time=1 +tries=1 foreign.example");
        for transport in ["+notcp", "+tcp"] {
            let mut dig = command(Place::Internet, "dig");
            let heard = finish(dig.arg(transport).args(question.split_whitespace()));
            assert_ne!(heard.code(), Some(0), "{transport} {question}: {}", heard.stdout);
        }
        let mut curl = command(Place::Internet, "curl");
        let url = format!("http://{}/", MACHINE.port(family, TCP_PORT));
        let heard = finish(curl.args(["-s", "--max-time", "1", &url]));
        assert_eq!(heard.code(), Some(28), "a time-out: {}", heard.stderr);
    }
}

#[test]
fn what_lan_hosts_see_of_refusals_and_exemptions() {
    sealed(|| {
        let _sites = nginx::sites(None);
        let _names = [names::domestic(), names::trusted(), names::system()];
        LAN.move_in(Variant::Nft);
        CONTAINER.move_in(Variant::Nft);
        let counters = Counters::start();
        // Nobody listens there: the proxy is down.
        let proxy = snet::http_proxy(PROXY.port(Family::V4, 1), None);
        let mut config = router(Family::V4, proxy);
        Config::set(&mut config.rules, "direct-sources", "[\"172.17.0.10\", \"fd00:17::/64\"]");
        let snet = Snet::start(Variant::Nft, &config);
        for family in FAMILIES {
            let url = format!("http://{}/who", FOREIGN_SITE.port(family, 80));
            let refused = LAN.curl(&[&url]);
            // 7: refused; 56: reset.
            assert!(matches!(refused.code(), Some(7 | 56)), "{}: {}", url, refused.stderr);
            let url = format!("http://{}/who", DOMESTIC_SITE.port(family, 80));
            assert_eq!(LAN.curl(&[&url]).stdout.trim(), MACHINE.ip(family).to_string());
        }
        assert_eq!(counters.leaked(), 0, "a dead upstream never turns into direct");
        for family in FAMILIES {
            let url = format!("http://{}/who", FOREIGN_SITE.port(family, 80));
            assert_eq!(CONTAINER.curl(&[&url]).stdout.trim(), MACHINE.ip(family).to_string());
        }
        let old = CONTAINER.dig("+short foreign.example");
        assert_eq!(old.trim(), names::OLD.ip(Family::V4).to_string(), "its DNS is left alone");
        snet.stop();
    });
}

#[test]
fn a_killed_router_lets_the_household_go() {
    sealed(|| {
        let _sites = nginx::sites(None);
        LAN.move_in(Variant::Nft);
        let (_server, proxy) = Upstream::Libev("aes-128-gcm").start(Family::V4);
        let before = snapshot();
        let snet = Snet::start(Variant::Nft, &router(Family::V4, proxy));
        let who = |site: crate::world::Host| {
            let url = format!("http://{}/who", site.port(Family::V4, 80));
            LAN.curl(&["--connect-timeout", "1", &url]).stdout.trim().to_owned()
        };
        assert_eq!(who(FOREIGN_SITE), FOREIGN_SITE.ip(Family::V4).to_string());
        snet.kill();
        let machine = MACHINE.ip(Family::V4).to_string();
        wait::until("direct again", Duration::from_secs(10), || who(FOREIGN_SITE) == machine);
        assert!(snets(&snapshot()));
        assert_eq!(snet::run(Variant::Nft, &["cleanup"]).code(), Some(0));
        assert_same(&before, &snapshot());
    });
}

#[test]
fn without_a_default_route_the_lan_side_is_asked_for() {
    sealed(|| {
        sh(Place::Machine, "ip route del default");
        sh(Place::Machine, "ip -6 route del default");
        let proxy = snet::http_proxy(PROXY.port(Family::V4, 3128), None);
        let mut config = router(Family::V4, proxy);
        let ended =
            snet::run(Variant::Nft, &["rules", "-c", &config.write().display().to_string()]);
        assert_eq!(ended.code(), Some(69), "{}", ended.stdout);
        assert!(ended.stderr.contains("firewall.interfaces = "), "{}", ended.stderr);
        Config::set(&mut config.firewall, "interfaces", "[\"uplink\"]");
        let ended =
            snet::run(Variant::Nft, &["rules", "-c", &config.write().display().to_string()]);
        assert!(ended.stdout.contains("add snet-lan4 0.0.0.0/0,uplink"), "{}", ended.stderr);
    });
}

/// Another firewall that drops what comes in, loaded while snet runs: hosts lose all foreign sites,
/// and nobody but snet can say why.
#[test]
fn a_door_that_closes_later_is_told_too() {
    sealed(|| {
        LAN.move_in(Variant::Nft);
        let (_server, proxy) = Upstream::Tinyproxy.start(Family::V4);
        let snet = Snet::start(Variant::Nft, &router(Family::V4, proxy));
        let table = "table inet mine {\nchain input {\ntype filter hook input priority 0; policy \
                     drop;\n\
                     iif lo accept\n}\n}\n";
        let file = std::path::Path::new(crate::process::FOLDER).join("mine.nft");
        fs::write(&file, table).expect("the tmpfs is writable");
        sh(Place::Machine, &format!("nft -f {}", file.display()));
        let remedy = "nft insert rule inet mine input ct status dnat accept";
        wait::until("the remedy", Duration::from_secs(15), || snet.log().contains(remedy));
        snet.stop();
    });
}
