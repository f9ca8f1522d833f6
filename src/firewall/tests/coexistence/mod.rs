//! Beside other firewalls: their rules are there before, and change while ours are installed.
//!
//! The rules are those of the programs, shortened and fitted to the addresses of [`House`].

use super::installed::Handle;
use super::router_of_the_network as router;
use super::ruleset;
use crate::firewall::{conflicts, monitor};
use crate::mark::Fwmark;
use crate::route::Route;
use snet_lab::Variant;
use snet_lab::house::{House, bridge};
use snet_lab::internet::{Host, Seen, any, at, datagram, greet, tcp, udp};
use snet_lab::kernel::{run, sealed_for, until, variant};
use snet_lab::{in_both_variants, in_every_variant, in_variants};
use std::net::{TcpListener, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

in_every_variant!(docker, ufw, tailscale, marks_of_others, firewalld, fw4);
in_variants!([Nft] what_cannot_be_mended_keeps_nobody_from_the_rest);
in_both_variants!(
    more_interfaces_than_fit_keep_nothing_from_being_mended,
    a_door_that_is_closed_is_told_with_its_key,
    rules_that_are_flushed_come_back,
    sets_that_are_emptied_are_filled_and_the_learned_is_asked_for,
    a_release_is_not_undone
);

const FOREIGN: [&str; 2] = ["198.51.100.1", "2001:db8:f::1"];

/// Loads rules as their owner does.
fn load(tool: &str, arguments: &[&str], text: &str) {
    let mut child = Command::new(tool).args(arguments).stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{tool}");
}

/// Everything a stop has to restore.
fn state() -> String {
    let tables = run("nft list tables");
    let foreign = tables.lines().filter(|line| line.starts_with("table inet"));
    let foreign: String = foreign.map(|table| run(&format!("nft list {table}"))).collect();
    let routes = ["ip rule", "ip -6 rule", "ip route show table all"].map(run).concat();
    super::life_cycle::state() + &foreign + &routes
}

struct Home {
    house: House,
    resolver: UdpSocket,
}

impl Home {
    fn new() -> Self {
        let house = House::build();
        run("iptables -t nat -F POSTROUTING");
        house.internet.greet(80, b'I');
        house.one.greet(80, b'O');
        for port in [1111, 1211] {
            greet(TcpListener::bind(at("::", port)).unwrap(), b'S');
        }
        let resolver = udp(at("::", 1211));
        Home { house, resolver }
    }

    /// What router mode promises to this host, whoever else is there.
    fn holds_for(&self, host: &Host, foreign: &'static [&'static str]) {
        for address in foreign.iter().copied() {
            assert_eq!(host.run(move || tcp(at(address, 80), None)), Seen::Captured, "{address}");
            let to = at(address, 53);
            let there = self.house.internet.udp(to);
            let asked = datagram(&host.udp(any(to, 0)), to, &there, Some(&self.resolver));
            assert_eq!(asked, Seen::Captured, "DNS to {address}");
        }
        assert_eq!(host.run(|| tcp(at("203.0.113.1", 80), None)), Seen::Direct, "domestic");
    }

    fn holds(&self) {
        self.holds_for(&self.house.one, &FOREIGN);
        // The machine itself, and its own sockets.
        assert_eq!(tcp(at(FOREIGN[0], 80), None), Seen::Captured);
        assert_eq!(tcp(at(FOREIGN[0], 80), Some(Fwmark::SNET.value())), Seen::Direct);
    }

    /// The whole life of our rules beside somebody else's; `change` is what those do meanwhile.
    fn beside(&self, change: impl FnOnce()) {
        let before = state();
        let handle = Handle::install(router()).unwrap();
        self.holds();
        change();
        self.holds();
        handle.remove().unwrap();
        let (before, after) = (before.lines(), state());
        let after = after.lines();
        let difference: Vec<_> =
            after.clone().filter(|line| !before.clone().any(|b| b == *line)).collect();
        assert!(before.eq(after), "{difference:#?}");
    }
}

fn docker() {
    let home = Home::new();
    let [container, other] = bridge("docker0", "172.17.0", "fd00:17:");
    container.greet(80, b'C');
    let rules = include_str!("docker.rules");
    load("iptables-restore", &[], rules);
    let published = || {
        let to = at("192.0.2.2", 8080);
        assert_eq!(home.house.internet.run(move || tcp(to, None)), Seen::Direct, "from outside");
        assert_eq!(home.house.one.run(move || tcp(to, None)), Seen::Direct, "from the LAN");
    };
    let captured = || {
        home.holds_for(&container, &FOREIGN[..1]);
        home.holds_for(&other, &FOREIGN[..1]);
        published();
        std::fs::write("/proc/sys/net/ipv4/icmp_ratelimit", "0").unwrap();
        let there = home.house.internet.udp(at("::", 443));
        let to = at(FOREIGN[0], 443);
        assert!(container.run(move || refused_by_message(to, there)), "QUIC");
    };
    published();
    home.beside(|| {
        captured();
        // The daemon starts anew: its jumps come first in FORWARD, and accept.
        for chain in ["DOCKER-FORWARD", "DOCKER-USER"] {
            run(&format!("iptables -D FORWARD -j {chain}"));
            run(&format!("iptables -I FORWARD -j {chain}"));
        }
        let jumps = !matches!(variant(), Variant::Native);
        until("our jump is the first again", || {
            if !jumps {
                return true;
            }
            let forward = run("iptables -S FORWARD");
            forward.lines().nth(1).is_some_and(|first| first.ends_with("-j SNET-LAN"))
        });
        captured();
    });
    published();
}

/// Whether the refusal of a datagram comes back as a message; one that is not refused must arrive.
fn refused_by_message(to: std::net::SocketAddr, there: UdpSocket) -> bool {
    let client = udp(any(to, 0));
    client.connect(to).unwrap();
    client.send(b"datagram").unwrap();
    match client.recv(&mut [0; 8]) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => true,
        _ => {
            there.recv(&mut [0; 64]).unwrap();
            false
        }
    }
}

fn ufw() {
    let home = Home::new();
    run("iptables -t nat -A POSTROUTING -s 192.168.1.0/24 -o uplink -j MASQUERADE");
    let v4 = include_str!("ufw.rules");
    let v6 = v4.replace(
        "-A ufw-before-input -j ufw-not-local\n",
        "-A ufw-before-input -p ipv6-icmp -j ACCEPT\n",
    );
    let v6: String =
        v6.lines().filter(|l| !l.contains("BROADCAST")).map(|l| format!("{l}\n")).collect();
    let start = || {
        load("iptables-restore", &["--noflush"], v4);
        load("ip6tables-restore", &["--noflush"], &v6);
    };
    start();
    if matches!(variant(), Variant::Native) {
        // The remedy that is told where the policy is to drop.
        for tool in ["iptables", "ip6tables"] {
            run(&format!("{tool} -I INPUT -m conntrack --ctstate DNAT -j ACCEPT"));
        }
    }
    home.beside(|| {
        // `ufw reload`: its chains are emptied and filled again.
        for tool in ["iptables", "ip6tables"] {
            for chain in ["INPUT", "FORWARD", "OUTPUT"] {
                let rules = run(&format!("{tool} -S {chain}"));
                for rule in rules.lines().filter_map(|line| line.strip_prefix("-A ")) {
                    if rule.contains(" -j ufw-") {
                        run(&format!("{tool} -D {rule}"));
                    }
                }
            }
        }
        start();
    });
}

fn tailscale() {
    let home = Home::new();
    run("ip tuntap add dev tailscale0 mode tun");
    run("ip address add 100.101.102.103/32 dev tailscale0");
    run("ip link set tailscale0 up");
    run("ip route add 100.64.0.0/10 dev tailscale0 table 52");
    run("ip rule add pref 5210 fwmark 0x80000/0xff0000 lookup main");
    run("ip rule add pref 5270 lookup 52");
    load("iptables-restore", &["--noflush"], include_str!("tailscale.rules"));
    let before = router();
    assert!(before.environment.lan.uplinks.iter().eq(["uplink"]));
    home.beside(|| {
        // An exit node is chosen.
        run("ip route add default dev tailscale0 table 52");
        run("ip rule add pref 5000 to 198.51.100.0/24 lookup main");
        run("ip rule add pref 5001 to 203.0.113.0/24 lookup main");
        run("ip rule add pref 5002 to 192.0.2.0/24 lookup main");
        let lan = match variant() {
            Variant::Native => "nft list set inet snet lan4",
            Variant::Nft | Variant::Legacy => "ipset list snet-lan4",
        };
        until("the exit node is an uplink", || !run(lan).contains("tailscale0"));
        run("ip rule del pref 5000");
        run("ip rule del pref 5001");
        run("ip rule del pref 5002");
        run("ip route del default dev tailscale0 table 52");
    });
}

fn marks_of_others() {
    let home = Home::new();
    load("iptables-restore", &["--noflush"], include_str!("mwan3.rules"));
    home.beside(|| {});
}

fn firewalld() {
    let home = Home::new();
    let rules = include_str!("firewalld.nft");
    load("nft", &["-f", "-"], rules);
    home.beside(|| load("nft", &["-f", "-"], rules));
}

fn fw4() {
    let home = Home::new();
    let rules = include_str!("fw4.nft");
    load("nft", &["-f", "-"], rules);
    home.beside(|| load("nft", &["-f", "-"], rules));
}

/// A firewall that knows nothing of LAN hosts at the machine's own ports.
fn a_door_that_is_closed_is_told_with_its_key() {
    let home = Home::new();
    let rules = include_str!("fw4.nft").replace("iifname \"br-lan\" accept", "jump handle_reject");
    load("nft", &["-f", "-"], &rules);
    let ruleset = router();
    let doubts = || conflicts::all(&router(), &[], true);
    let told = doubts().into_iter().find(|doubt| doubt.contains("nft table inet fw4")).unwrap();
    let _handle = Handle::install(ruleset).unwrap();
    let closed = home.house.one.run(|| {
        let to = at(FOREIGN[0], 80);
        std::net::TcpStream::connect_timeout(&to, Duration::from_millis(300)).is_err()
    });
    assert!(closed, "an accept of ours is not final there");
    let seen = || home.house.one.run(|| tcp(at(FOREIGN[0], 80), None));
    let (_, key) = told.split_once(": nft ").unwrap();
    run(&format!("nft {key}"));
    assert_eq!(seen(), Seen::Captured);
    home.holds();
    assert!(!doubts().iter().any(|doubt| doubt.contains("nft table")));

    std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
    assert!(doubts().iter().any(|doubt| doubt.contains("sysctl -w net.ipv4.ip_forward=1")));
}

/// As `iptables-restore < saved` and many a script do.
fn rules_that_are_flushed_come_back() {
    let home = Home::new();
    run("iptables -t nat -A POSTROUTING -s 192.168.1.0/24 -o uplink -j MASQUERADE");
    home.beside(|| {
        let running = state();
        let saved = "*nat\n-A POSTROUTING -s 192.168.1.0/24 -o uplink -j MASQUERADE\nCOMMIT\n\
                     *filter\nCOMMIT\n*raw\nCOMMIT\n";
        // Twice: they are looked at once after the start, whether there was word or not.
        for _ in 0..2 {
            load("iptables-restore", &[], saved);
            run("ip6tables -t nat -F OUTPUT");
            run("ip6tables -t raw -F SNET");
            until("the rules are back", || state() == running);
        }
    });
}

fn sets_that_are_emptied_are_filled_and_the_learned_is_asked_for() {
    let internet = snet_lab::internet::Internet::build();
    internet.greet(80, b'I');
    greet(TcpListener::bind(at("127.0.0.1", 1111)).unwrap(), b'S');
    let handle = Handle::install(ruleset()).unwrap();
    handle.learn("198.51.100.9".parse().unwrap(), Route::Direct, Duration::from_secs(600));
    assert!(!handle.forgot());
    for what in ["ipset flush snet-china4", "ipset flush"] {
        run(what);
        until("they are filled again", || handle.forgot());
        assert!(!handle.forgot(), "{what}: told once");
        assert_eq!(tcp(at("203.0.113.1", 80), None), Seen::Direct, "{what}: domestic");
    }
    // The switch was emptied too, until the next beat.
    until("forgotten", || tcp(at("198.51.100.9", 80), None) == Seen::Captured);
    assert_eq!(tcp(at("198.51.100.80", 80), None), Seen::Direct, "a server");
    handle.remove().unwrap();
}

/// Native rules in a table of iptables-nft: there nothing can be written any more.
fn what_cannot_be_mended_keeps_nobody_from_the_rest() {
    let handle = Handle::install(ruleset()).unwrap();
    let jumps = |tool: &str| run(&format!("{tool} -t nat -S OUTPUT")).matches("-j SNET").count();
    run("nft add rule ip nat OUTPUT meta mark set numgen inc mod 2");
    run("ip6tables -t nat -F OUTPUT");
    until("the other family is whole again", || jumps("ip6tables") == 1);
    drop(handle);
}

/// ipset takes 64.
fn more_interfaces_than_fit_keep_nothing_from_being_mended() {
    let _home = Home::new();
    let add = |number: u32| {
        run(&format!("ip link add d{number} type bridge"));
        run(&format!("ip address add 10.9.{number}.1/24 dev d{number}"));
        run(&format!("ip link set d{number} up"));
    };
    (0..60).for_each(add);
    let handle = Handle::install(router()).unwrap();
    (60..70).for_each(add);
    let lan = || run("ipset list snet-lan4").lines().filter(|line| line.contains(",d")).count();
    until("the set is full", || lan() >= 63);
    run("iptables -t nat -F OUTPUT");
    until("flushed rules come back", || run("iptables -t nat -S OUTPUT").contains("-j SNET"));
    handle.remove().unwrap();
}

fn a_release_is_not_undone() {
    let handle = Handle::install(ruleset()).unwrap();
    handle.release().unwrap();
    // Longer than it would take.
    std::thread::sleep(monitor::backoff::INTERVAL + Duration::from_secs(2));
    assert!(!run("iptables -t nat -S OUTPUT").contains("SNET"));
    assert!(run("iptables -t nat -S").contains("SNET"));
    handle.remove().unwrap();
}
