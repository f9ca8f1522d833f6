//! Names that only the name server knows that a program asked: of a container bridge, of a cluster,
//! of a VPN. Nothing of it is configured.
//!
//! ```text
//!   box  10.89.0.10  fd00:89::10 == podman0 10.89.0.1  fd00:89::1  fe80::1, dnsmasq
//!                                                      machine   uplink ---- internet
//!   pod  10.42.0.5, dnsmasq == cni0 10.42.0.1
//!           10.43.0.10: translated to the pod, as kube-proxy does it
//!   vpn  10.8.0.1, dnsmasq  == tun 10.8.0.2
//! ```

use crate::counters::Counters;
use crate::peer::names;
use crate::process::{Place, Running, command, finish, sh};
use crate::snet::{Config, DNS_PORT, Snet};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{
    DOMESTIC_NAMES, DOMESTIC_SITE, FOREIGN_SITE, FORGED, Family, SYSTEM_NAMES, sealed, sealed_for,
};
use snet_lab::in_every_variant;
use std::process::Command;
use std::time::{Duration, Instant};

const BRIDGE: &str = "10.89.0.1";
const CLUSTER: &str = "10.43.0.10";
const VPN: &str = "10.8.0.1";

/// Where nobody is: the link is there, the host is not.
const SILENT: &str = "10.8.0.9";

/// A dnsmasq of this machine that asks us what it does not know, or whose questions are captured.
#[test]
fn an_asked_server_that_asks_us_in_turn_ends() {
    sealed(|| {
        let _names = [names::domestic(), names::trusted(), names::system()];
        let (_proxy, proxy) = Upstream::Squid.start(Family::V4);
        let mut config = Config::through(Family::V4, &[proxy]);
        let local = format!("[\"{}\"]", DOMESTIC_NAMES.ip(Family::V4));
        Config::set(&mut config.dns, "local", &local);
        sh(Place::Machine, "ip link add podman0 type bridge");
        sh(Place::Machine, &format!("ip addr add {BRIDGE}/24 dev podman0"));
        sh(Place::Machine, "ip link set podman0 up");
        for upstream in [
            format!("127.0.0.1#{DNS_PORT}"),
            SYSTEM_NAMES.ip(Family::V4).to_string(),
            // Itself, which a redirected query does not reach.
            BRIDGE.to_owned(),
        ] {
            let server = format!("--server={upstream}");
            let known = "--host-record=web.dns.podman,10.89.0.7";
            let _server = dnsmasq(None, BRIDGE, &[&server, known]);
            let snet = Snet::start(Variant::Nft, &config);
            for (number, name) in
                ["nosuch.example", "x.nosuch.dns.podman", "nosuch.local", "y.nosuch.local"]
                    .into_iter()
                    .enumerate()
            {
                let began = Instant::now();
                let heard = dig(Asker::Machine, &format!("@{BRIDGE} {number}.{name}"));
                let context = format!("{upstream} {name}: {heard}\n{}", snet.log());
                assert!(heard.contains("status: NXDOMAIN"), "{context}");
                assert!(began.elapsed() < Duration::from_secs(4), "{context}");
            }
            let heard = dig(Asker::Machine, &format!("+short @{BRIDGE} web.dns.podman"));
            assert_eq!(heard.trim(), "10.89.0.7", "{upstream}\n{}", snet.log());
            snet.stop();
        }
    });
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    Machine,
    Container,
}

in_every_variant!(asked_servers_are_heard);

fn asked_servers_are_heard(variant: Variant) {
    let _names = [names::domestic(), names::trusted(), names::system()];
    let _servers = surroundings(variant);
    let (_proxy, proxy) = Upstream::Squid.start(Family::V4);
    let counters = Counters::start();
    for mode in ["local", "router"] {
        let mut config = Config::through(Family::V4, std::slice::from_ref(&proxy));
        Config::set(&mut config.top, "mode", &format!("\"{mode}\""));
        // The system's server is a foreign one here.
        let local = format!("[\"{}\"]", DOMESTIC_NAMES.ip(Family::V4));
        Config::set(&mut config.dns, "local", &local);
        let snet = Snet::start(variant, &config);
        let askers: &[Asker] =
            if mode == "router" { &[Asker::Machine, Asker::Container] } else { &[Asker::Machine] };
        for asker in askers {
            println!("{mode} {asker:?}");
            knows_and_keeps_apart(*asker, &snet);
            is_not_believed_of_public_names(*asker, &snet);
            does_not_wait_for_the_silent(*asker, &snet);
        }
        assert!(snet.lines("ERROR").is_empty(), "{}", snet.log());
        assert!(!snet.log().contains("come back to us"), "{}", snet.log());
        snet.stop();
    }
    assert_eq!(counters.leaked(), 0, "foreign packets left the machine");
}

/// Each server is heard about its names, over UDP and TCP, and nobody else about them.
fn knows_and_keeps_apart(asker: Asker, snet: &Snet) {
    let other = SYSTEM_NAMES.ip(Family::V4).to_string();
    for (server, name, address) in [
        (BRIDGE, "web.dns.podman", "10.89.0.7"),
        (BRIDGE, "web", "10.89.0.8"),
        (CLUSTER, "app.cluster.example", "10.42.0.77"),
        (CLUSTER, "kubernetes.default.svc.cluster.local", "10.43.0.1"),
        (VPN, "git.corp.example", "10.8.0.5"),
        (VPN, "web", "10.8.0.6"),
    ] {
        for transport in ["+notcp", "+tcp", "+notcp"] {
            let heard = dig(asker, &format!("+short {transport} @{server} {name}"));
            let context = format!("{transport} @{server} {name}\n{}", snet.log());
            assert_eq!(heard.trim(), address, "{context}");
        }
        if name != "web" {
            for server in [BRIDGE, CLUSTER, VPN, &other].into_iter().filter(|s| *s != server) {
                let heard = dig(asker, &format!("@{server} {name}"));
                assert!(heard.contains("status: NXDOMAIN"), "@{server} {name}: {heard}");
            }
        }
        let heard = dig(asker, &format!("@{server} {name} AAAA"));
        assert!(heard.contains("status: NOERROR"), "no other address is no other name: {heard}");
    }
    // The bridge by its other addresses. On another link only who is there can mean the last one.
    let mut others = vec!["fd00:89::1"];
    if asker == Asker::Container {
        others.push("fe80::1%eth0");
    }
    for server in others {
        for transport in ["+notcp", "+tcp"] {
            let heard = dig(asker, &format!("+short {transport} @{server} web.dns.podman"));
            assert_eq!(heard.trim(), "10.89.0.7", "{transport} @{server}\n{}", snet.log());
        }
    }
    let pointer = dig(asker, &format!("+short @{BRIDGE} -x 10.89.0.7"));
    assert_eq!(pointer.trim(), "web.dns.podman.", "{}", snet.log());
    let service = dig(asker, &format!("+short @{VPN} _git._tcp.git.corp.example SRV"));
    assert_eq!(service.trim(), "0 0 22 git.corp.example.", "{}", snet.log());
}

/// The VPN's server lies about the foreign site, and about a name that does not exist.
fn is_not_believed_of_public_names(asker: Asker, snet: &Snet) {
    let foreign = FOREIGN_SITE.ip(Family::V4).to_string();
    let domestic = DOMESTIC_SITE.ip(Family::V4).to_string();
    for (name, address) in [("foreign.example", &foreign), ("domestic.example", &domestic)] {
        let heard = dig(asker, &format!("+short @{VPN} {name}"));
        assert_eq!(heard.trim(), address, "{name}\n{}", snet.log());
    }
    let heard = dig(asker, &format!("@{VPN} nosuch.example"));
    assert!(heard.contains("status: NXDOMAIN"), "{heard}");
}

fn does_not_wait_for_the_silent(asker: Asker, snet: &Snet) {
    let mut longest = Duration::ZERO;
    for number in 0..5 {
        let began = Instant::now();
        let heard = dig(asker, &format!("@{SILENT} {asker:?}{number}.nosuch.example"));
        assert!(heard.contains("status: NXDOMAIN"), "{heard}\n{}", snet.log());
        longest = longest.max(began.elapsed());
        assert!(longest < Duration::from_secs(4), "{longest:?}");
        if number > 0 {
            assert!(began.elapsed() < Duration::from_secs(1), "it is known to be silent");
        }
    }
}

fn dig(asker: Asker, arguments: &str) -> String {
    let mut dig = match asker {
        Asker::Machine => command(Place::Machine, "dig"),
        Asker::Container => inside("box", "dig"),
    };
    dig.args(["+tries=1", "+timeout=6"]).args(arguments.split_whitespace());
    finish(&mut dig).stdout
}

/// A program in a namespace.
fn inside(namespace: &str, program: &str) -> Command {
    let mut command = command(Place::Machine, "nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).arg("--");
    command.arg(crate::tools::path(program));
    command
}

/// Builds all three, and starts their servers.
fn surroundings(variant: Variant) -> [Running; 3] {
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("the namespace is ours");
    for (namespace, bridge, gateway, own) in [
        ("box", "podman0", BRIDGE, "10.89.0.10"),
        ("pod", "cni0", "10.42.0.1", "10.42.0.5"),
        ("vpn", "tun", "10.8.0.2", VPN),
    ] {
        for line in [
            format!("ip netns add {namespace}"),
            format!("ip link add {bridge} type bridge"),
            format!("ip link set {bridge} addrgenmode none"),
            format!("ip link add port-{namespace} type veth peer name eth0 netns {namespace}"),
            format!("ip link set port-{namespace} master {bridge} up"),
            format!("ip link set {bridge} up"),
            format!("ip -n {namespace} link set eth0 addrgenmode none"),
            format!("ip addr add {gateway}/24 dev {bridge}"),
            format!("ip -n {namespace} link set lo up"),
            format!("ip -n {namespace} link set eth0 up"),
            format!("ip -n {namespace} addr add {own}/24 dev eth0"),
            format!("ip -n {namespace} route add default via {gateway}"),
        ] {
            sh(Place::Machine, &line);
        }
    }
    for line in [
        "ip addr add fd00:89::1/64 dev podman0 nodad",
        "ip addr add fe80::1/64 dev podman0 nodad",
        "ip -n box addr add fd00:89::10/64 dev eth0 nodad",
        "ip -n box addr add fe80::10/64 dev eth0 nodad",
        "ip -n box -6 route add default via fd00:89::1",
    ] {
        sh(Place::Machine, line);
    }
    kube_proxy(variant);
    [
        dnsmasq(
            None,
            BRIDGE,
            &["--host-record=web.dns.podman,10.89.0.7", "--host-record=web,10.89.0.8"],
        ),
        dnsmasq(
            Some("pod"),
            "10.42.0.5",
            &[
                "--host-record=app.cluster.example,10.42.0.77",
                "--host-record=kubernetes.default.svc.cluster.local,10.43.0.1",
            ],
        ),
        dnsmasq(
            Some("vpn"),
            VPN,
            &[
                "--host-record=git.corp.example,10.8.0.5",
                "--srv-host=_git._tcp.git.corp.example,git.corp.example,22",
                "--host-record=web,10.8.0.6",
                "--address=/foreign.example/10.66.66.66",
                "--address=/domestic.example/10.66.66.66",
                &format!("--address=/nosuch.example/{}", FORGED.ip(Family::V4)),
            ],
        ),
    ]
}

/// A server that knows these names, and that all others do not exist, unless it asks another.
fn dnsmasq(namespace: Option<&str>, address: &str, records: &[&str]) -> Running {
    let mut open_ports = match namespace {
        Some(namespace) => inside(namespace, "sh"),
        None => Command::new("sh"),
    };
    open_ports.args(["-c", "echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start"]);
    assert!(finish(&mut open_ports).status.success());
    let mut command = match namespace {
        Some(namespace) => inside(namespace, "unshare"),
        None => command(Place::Machine, "unshare"),
    };
    // It wants the right to bind to its port if it asks others.
    command.args(["--user", "--map-user=1000", "--map-group=1000", "--keep-caps", "--"]);
    command.arg(crate::tools::path("dnsmasq")).args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--bind-interfaces",
        "--except-interface=lo",
        "--pid-file=",
        "--log-facility=-",
    ]);
    command.arg(format!("--interface={}", if namespace.is_some() { "eth0" } else { "podman0" }));
    command.args(records);
    if !records.iter().any(|record| record.starts_with("--server=")) {
        command.args(["--local=//", "--local=/#/"]);
    }
    let mut server = Running::start("dnsmasq", &mut command);
    wait::until("a name server of the surroundings", Duration::from_secs(15), || {
        assert!(server.ended().is_none(), "{}", server.log());
        let question = format!("+time=1 @{address} version.bind CH TXT");
        let mut dig = match namespace {
            Some(namespace) => inside(namespace, "dig"),
            None => self::command(Place::Machine, "dig"),
        };
        finish(dig.args(["+tries=1"]).args(question.split_whitespace()))
            .stdout
            .contains("status: NOERROR")
    });
    server
}

/// The rules of kube-proxy for one service with one end point.
fn kube_proxy(variant: Variant) {
    let translated = format!("-d {CLUSTER}/32 -p PROTOCOL --dport 53 -j KUBE-SVC-DNS");
    let mut lines = vec![
        "-N KUBE-SERVICES".to_owned(),
        "-N KUBE-SVC-DNS".into(),
        "-N KUBE-SEP-DNS".into(),
        "-N KUBE-MARK-MASQ".into(),
        "-N KUBE-POSTROUTING".into(),
        "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000".into(),
        "-A KUBE-SVC-DNS -j KUBE-SEP-DNS".into(),
        "-A KUBE-SEP-DNS -s 10.42.0.5/32 -j KUBE-MARK-MASQ".into(),
        "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN".into(),
        "-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000".into(),
        "-A KUBE-POSTROUTING -j MASQUERADE --random-fully".into(),
        "-A OUTPUT -j KUBE-SERVICES".into(),
        "-A PREROUTING -j KUBE-SERVICES".into(),
        "-A POSTROUTING -j KUBE-POSTROUTING".into(),
    ];
    for protocol in ["udp", "tcp"] {
        lines.push(format!("-A KUBE-SERVICES {}", translated.replace("PROTOCOL", protocol)));
        lines.push(format!("-A KUBE-SEP-DNS -p {protocol} -j DNAT --to-destination 10.42.0.5:53"));
    }
    for line in lines {
        let mut iptables = Command::new(variant.folder().join("iptables"));
        let finished = finish(iptables.args(["-t", "nat"]).args(line.split_whitespace()));
        assert!(finished.status.success(), "{line}: {}", finished.stderr);
    }
}
