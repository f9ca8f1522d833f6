//! Others flush, reorder and reload the firewall while traffic flows: the rules are back within
//! seconds, it is told once, and domestic traffic never notices.

use crate::client::{connect, echo, try_connect};
use crate::counters::Counters;
use crate::peer::service;
use crate::process::{FOLDER, Place, Running, command, finish};
use crate::snet::{self, Config, Snet, write_config};
use crate::stop::Stop;
use crate::tables::snapshot;
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, Family, sealed_for};
use nix::mount::{MsFlags, mount};
use snet_lab::in_every_variant;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

in_every_variant!(flushed_under_traffic);

/// From the flush to rules that are whole again. A look every five seconds is the worst case, and a
/// mend takes its while.
const SECONDS: Duration = Duration::from_secs(10);

/// From rules that are whole to the proof that they capture, which begins at once.
const PROVEN: Duration = Duration::from_secs(3);

/// What others do, in lines of a shell with this variant of iptables.
const MEANS: &[(&str, &str)] = &[
    ("iptables -F", "iptables -F; ip6tables -F"),
    (
        "every table flushed",
        "for tool in iptables ip6tables; do for table in nat raw filter; do \
         $tool -t $table -F; done; done",
    ),
    (
        "chains flushed and deleted",
        "for tool in iptables ip6tables; do for table in nat raw filter; do \
         $tool -t $table -F; $tool -t $table -X; done; done",
    ),
    (
        "a script that begins by removing all there is",
        "for tool in iptables ip6tables; do for table in nat raw filter; do \
         $tool -t $table -F; $tool -t $table -X; done; done; ipset flush; ipset destroy",
    ),
    (
        "iptables-restore of a saved file",
        "for tool in iptables ip6tables; do \
         printf '*nat\\nCOMMIT\\n*filter\\n:FORWARD DROP\\nCOMMIT\\n*raw\\nCOMMIT\\n' | \
         $tool-restore; done",
    ),
    ("ipset flush", "ipset flush"),
    (
        "docker is restarted",
        "iptables -t nat -F DOCKER; iptables -t nat -I OUTPUT -d 203.0.113.250 -j DOCKER; \
         iptables -N DOCKER-USER; iptables -I FORWARD -j DOCKER-USER; \
         iptables -I OUTPUT -p tcp -j ACCEPT",
    ),
    ("nft flush ruleset", "nft list table inet lab > counters; nft flush ruleset; nft -f counters"),
];

fn flushed_under_traffic(variant: Variant) {
    service::start();
    let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
    let file = Config::through(Family::V4, &[proxy]).by(variant).write();
    crate::restored::neighbours(variant);
    let counters = Counters::start();
    let stop = &AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = Stop(stop);
        for family in FAMILIES {
            scope.spawn(move || {
                let mut living = connect(DOMESTIC_SITE.port(family, service::ECHO));
                while !stop.load(Ordering::Relaxed) {
                    echo(&mut living, b"still there?").expect("a living domestic connection");
                    let mut new = connect(DOMESTIC_SITE.port(family, service::ECHO));
                    echo(&mut new, b"hello").expect("a new domestic connection");
                    thread::sleep(Duration::from_millis(20));
                }
            });
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // Directly for a moment, and one that is redirected just then may be lost.
                    let _ = try_connect(FOREIGN_SITE.port(family, service::ECHO))
                        .and_then(|mut stream| echo(&mut stream, b"hello"));
                    thread::sleep(Duration::from_millis(20));
                }
            });
        }
        for (what, script) in MEANS {
            a_life(variant, &file, &counters, what, script);
        }
        // They come last: under their policies (drop) a flush by somebody else ends all traffic,
        // and so does one of them beside the other.
        let ufw = Ufw::enable();
        a_life(variant, &file, &counters, "ufw reload", "ufw reload");
        drop(ufw);
        let _firewalld = Firewalld::start();
        a_life(variant, &file, &counters, "firewalld reload", "firewall-cmd --reload");
        a_filter_is_told_with_its_remedy(variant, &file);
    });
}

/// What Debian's firewalld does unless it is told otherwise.
fn a_filter_is_told_with_its_remedy(variant: Variant, file: &Path) {
    shell(
        variant,
        "sed -i s/^RFC3964_IPv4=.*/RFC3964_IPv4=yes/ firewalld/firewalld.conf; \
         firewall-cmd --reload",
    );
    let daemon = Snet::ready(snet::snet(variant).arg("-c").arg(file));
    let stream = try_connect(FOREIGN_SITE.port(Family::V6, service::ECHO));
    assert!(stream.is_err(), "then it need not be told");
    let told = daemon.lines("WARN");
    assert!(told.iter().any(|line| line.contains("RFC3964_IPv4=no")), "{}", daemon.log());
    daemon.stop();
}

/// One for each means: more of them in a few minutes would be a fight.
fn a_life(variant: Variant, file: &Path, counters: &Counters, what: &str, script: &str) {
    let daemon = Snet::ready(snet::snet(variant).arg("-c").arg(file));
    let whole = ours(&snapshot());
    shell(variant, script);
    let begun = Instant::now();
    let disturbed = ours(&snapshot()) != whole;
    wait::until(&format!("{what}: the rules are back"), SECONDS, || ours(&snapshot()) == whole);
    let took = begun.elapsed();
    if disturbed && what == "iptables -F" {
        // Longer than until the next look, once for all.
        thread::sleep(Duration::from_secs(6));
    }
    assert_eq!(ours(&snapshot()), whole, "{what}: and they stay");
    // They act as soon as they are proven to capture.
    wait::until(&format!("{what}: captured"), PROVEN, || captures(counters));
    let told: Vec<String> = daemon.lines("WARN");
    let told: Vec<&String> = told.iter().filter(|line| line.contains("another program")).collect();
    println!("{what}: disturbed {disturbed}, whole after {took:?}, told {told:?}");
    // Where others take their time a look may fall into the middle of it.
    let most = if what == "iptables -F" { 1 } else { 2 };
    assert!(told.len() >= usize::from(disturbed) && told.len() <= most, "{}", daemon.log());
    daemon.stop();
    assert_eq!(ours(&snapshot()), "", "{what}: and they go");
}

/// Whether foreign connections that begin now, of both families, are captured.
fn captures(counters: &Counters) -> bool {
    let captured = counters.captured();
    let echoes = |family| {
        let stream = try_connect(FOREIGN_SITE.port(family, service::ECHO));
        stream.and_then(|mut stream| echo(&mut stream, b"hello")).is_ok()
    };
    FAMILIES.into_iter().all(echoes) && counters.captured() >= captured + 2
}

/// What of snet's is there, and what stands before it in filter.
fn ours(snapshot: &str) -> String {
    let mut table = "";
    let mut before = String::new();
    for line in snapshot.lines() {
        if line.starts_with('*') {
            (table, before) = (line, before + "\n");
        }
        if table == "*filter" && line.starts_with("-A OUTPUT") && before.ends_with('\n') {
            before.push_str(line);
        }
    }
    let before: Vec<_> = before.lines().filter(|line| line.contains("SNET")).collect();
    // Also the tables in which a proof is traced for a moment: snapshots after the end see the
    // rest.
    let passing =
        ["add snet-alive", "add snet-rejected", "add snet-learned", "table inet snet-trace"];
    let lines = snapshot.lines().filter(|line| line.to_lowercase().contains("snet"));
    let lasting = lines.filter(|line| !passing.iter().any(|passes| line.starts_with(passes)));
    // A set that is made again has another number to begin with.
    let mut lines: Vec<_> =
        lasting.map(|line| line.split(" initval ").next().unwrap_or(line)).collect();
    lines.sort_unstable();
    lines.extend(before);
    lines.join("\n")
}

pub fn shell(variant: Variant, script: &str) {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = command(Place::Machine, "sh");
    command.args(["-c", script]).current_dir(FOLDER);
    command.env("PATH", format!("{}:{path}:/usr/sbin:/sbin", variant.folder().display()));
    command.env("DBUS_SYSTEM_BUS_ADDRESS", BUS);
    let finished = finish(&mut command);
    println!("{script}: {}\n{}{}", finished.status, finished.stdout, finished.stderr);
}

const BUS: &str = "unix:path=/run/lab/bus";

/// The real ufw, with a configuration of its own.
struct Ufw;

impl Ufw {
    fn enable() -> Self {
        own_copy("/etc/ufw", "ufw");
        own_copy("/etc/default", "default");
        shell(Variant::Nft, "ufw --force enable; ufw default allow outgoing");
        Ufw
    }
}

impl Drop for Ufw {
    fn drop(&mut self) {
        shell(Variant::Nft, "ufw --force disable");
    }
}

/// The real firewalld, with a configuration and a bus of its own.
struct Firewalld(#[expect(dead_code, reason = "killed by their drop")] [Running; 2]);

impl Firewalld {
    fn start() -> Self {
        own_copy("/etc/firewalld", "firewalld");
        // Otherwise captured IPv6 is rejected, see below.
        shell(Variant::Nft, "sed -i s/^RFC3964_IPv4=.*/RFC3964_IPv4=no/ firewalld/firewalld.conf");
        let allowed = "<policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/>\
            <allow send_type=\"method_call\"/><allow send_destination=\"*\"/>\
            <allow receive_sender=\"*\"/></policy>";
        let bus = write_config(&format!(
            "<busconfig><type>system</type><listen>{BUS}</listen>\
             <auth>EXTERNAL</auth>{allowed}</busconfig>"
        ));
        let mut dbus = command(Place::Machine, "dbus-daemon");
        dbus.arg(format!("--config-file={}", bus.display())).args(["--nofork", "--nopidfile"]);
        let dbus = Running::start("dbus-daemon", &mut dbus);
        wait::until("a bus", Duration::from_secs(20), || Path::new("/run/lab/bus").exists());
        let mut firewalld = command(Place::Machine, "firewalld");
        firewalld.args(["--nofork", "--nopid"]).env("DBUS_SYSTEM_BUS_ADDRESS", BUS);
        let firewalld = Running::start("firewalld", &mut firewalld);
        wait::until("firewalld", Duration::from_secs(60), || {
            let mut state = command(Place::Machine, "firewall-cmd");
            state.arg("--state").env("DBUS_SYSTEM_BUS_ADDRESS", BUS);
            finish(&mut state).status.success()
        });
        Firewalld([firewalld, dbus])
    }
}

/// Covers the folder by a copy, in this mount namespace only.
fn own_copy(folder: &str, name: &str) {
    let copy = Path::new(FOLDER).join(name);
    let copied = finish(command(Place::Machine, "cp").args(["-a", folder]).arg(&copy));
    assert!(copied.status.success(), "{}", copied.stderr);
    let none: Option<&Path> = None;
    mount(Some(&copy), folder, none, MsFlags::MS_BIND, none)
        .expect("a mount namespace's owner may bind a folder");
}
