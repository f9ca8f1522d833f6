//! At every step of its life, from the first to the last, the daemon fails, panics, hangs or is
//! killed ([`Step`]): a failure is one line and leaves nothing, or the world as it was; whatever
//! happens, the network lives and the next start finds nothing in its way.
//!
//! `SNET_STEPS=all` waits for the network at every step, where otherwise only some of those that
//! take the kernel's seconds are looked at.

use crate::client::{echo, try_connect};
use crate::peer::{names, service};
use crate::snet::{self, Config, Snet};
use crate::tables::{assert_same, snapshot};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, Family, Host, sealed_for};
use ::snet::fault::Step;
use nix::sys::signal::Signal;
use snet_lab::in_every_variant;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(10);

/// And what a loaded machine adds.
const AT_ONCE: Duration = Duration::from_secs(3);

in_every_variant!(every_step_is_passed, failing, panicking, killed, hung);

const IPTABLES: &[Step] = &[
    Step::CleanSets,
    Step::MakeSets,
    Step::PutTables,
    Step::LookAtTables,
    Step::NewSets,
    Step::ChangeSets,
    Step::TurnTable,
    Step::DropSets,
    Step::Detach,
];
const NFTABLES: &[Step] = &[Step::MakeTable, Step::MadeTable, Step::ChangeTable, Step::RemoveTable];

/// The subject, and what it is asked to do in its life.
struct Scene {
    variant: Variant,
    file: PathBuf,
    usual: Config,
    other: Config,
    before: String,
    _peers: [crate::process::Running; 2],
}

/// How far a life came.
#[derive(Debug)]
enum End {
    Ended(ExitStatus),
    /// It is stopped by a signal.
    Hangs,
}

impl Scene {
    fn set(variant: Variant) -> Self {
        service::start();
        let (proxy, line) = Upstream::Libev("aes-256-gcm").start(Family::V4);
        // A proxy through which nobody answers would be a warning of its own.
        let peers = [proxy, names::trusted()];
        let usual = Config::through(Family::V4, &[line]).by(variant);
        // Other sets, and other rules in filter and nat.
        let mut other = usual.clone();
        Config::set(&mut other.rules, "block", "[\"100.64.0.0/16\"]");
        Config::set(&mut other.firewall, "quic", "\"direct\"");
        Config::set(&mut other.firewall, "ipv6", "\"block\"");
        let file = usual.write();
        crate::restored::neighbours(variant);
        Scene { variant, file, usual, other, before: snapshot(), _peers: peers }
    }

    /// Starts, reloads and stops one, as far as it goes.
    fn live(&self, act: &str) -> (Snet, End) {
        fs::write(&self.file, self.usual.text()).expect("the tmpfs is writable");
        let mut command = snet::snet(self.variant);
        let mut daemon = Snet::spawn(command.env("SNET_STEP", act).arg("-c").arg(&self.file));
        let said = |word: &'static str| move |daemon: &Snet| daemon.log().contains(word);
        let long = Duration::from_secs(30);
        if let Some(end) = ended_before(&mut daemon, act, long, said("INFO ready")) {
            return (daemon, end);
        }
        let ready = snapshot();
        fs::write(&self.file, self.other.text()).expect("the tmpfs is writable");
        daemon.signal(Signal::SIGHUP);
        if let Some(end) = ended_before(&mut daemon, act, long, said(" reload")) {
            return (daemon, end);
        }
        // The last step of a reload follows its line in the log.
        let what = format!("{act}: after the reload");
        let through = |_: &Snet| reaches(FOREIGN_SITE, Family::V4);
        if let Some(end) = ended_before(&mut daemon, &what, AT_ONCE, through) {
            return (daemon, end);
        }
        if daemon.log().contains("snet goes on as before") {
            assert_same(&lasting(&ready), &lasting(&snapshot()));
        }
        daemon.signal(Signal::SIGTERM);
        let end = ended_before(&mut daemon, act, long, |_| false).expect("it ends");
        (daemon, end)
    }

    fn steps(&self) -> Vec<String> {
        let (daemon, end) = self.live("count");
        assert!(matches!(end, End::Ended(status) if status.success()), "{}", daemon.log());
        let steps = |line: &str| {
            line.strip_prefix("step ")?.split_once(": ").map(|(_, name)| name.to_owned())
        };
        daemon.log().lines().filter_map(steps).collect()
    }

    fn the_next_one_works(&self, what: &str) {
        fs::write(&self.file, self.usual.text()).expect("the tmpfs is writable");
        let next = Snet::ready(snet::snet(self.variant).arg("-c").arg(&self.file));
        through(&format!("{what}: through the next one"));
        next.stop();
        assert_same(&self.before, &snapshot());
    }
}

fn every_step_is_passed(variant: Variant) {
    let names: BTreeSet<String> = Scene::set(variant).steps().into_iter().collect();
    let others = if variant == Variant::Native { IPTABLES } else { NFTABLES };
    let wanted = Step::ALL.iter().filter(|step| !others.contains(step));
    // The tools of iptables are asked for left-overs by either backend.
    let wanted: BTreeSet<String> = wanted
        .chain((variant == Variant::Native).then_some(&Step::CleanSets))
        .map(|step| format!("{step:?}"))
        .collect();
    assert_eq!(names, wanted);
}

fn failing(variant: Variant) {
    each_time(&Scene::set(variant), "fail");
}

fn panicking(variant: Variant) {
    each_time(&Scene::set(variant), "panic");
}

fn each_time(scene: &Scene, act: &str) {
    for (number, name) in (1..).zip(scene.steps()) {
        let what = format!("{act}@{number}, {name}");
        let (daemon, end) = scene.live(&format!("{act}@{number}"));
        let log = daemon.log();
        let End::Ended(status) = end else { panic!("{what}: {end:?}") };
        assert!(status.code().is_some(), "{what}: {status}: {log}");
        if act == "fail" {
            a_failure_is_one_line(status, &log, &what);
        } else {
            // Unless another life has fewer steps.
            let reached = log.contains(&format!("step {number}: "));
            assert_eq!(log.contains(" panicked at "), reached, "{what}: {log}");
        }
        assert_same(&scene.before, &snapshot());
    }
    scene.the_next_one_works(act);
}

/// Unless it could not fail there.
fn a_failure_is_one_line(status: ExitStatus, log: &str, what: &str) {
    let told = log.lines().filter(|line| line.contains("failed on purpose")).count();
    // The name servers of this world do not all answer, which is said sooner or later.
    let is_warning = |line: &str| line.contains(" WARN ") && !line.contains("the name server ");
    let went_on = log.contains("snet goes on as before") || log.lines().any(is_warning);
    if went_on {
        // A reload, or left-overs of the other backend; the start and the stop were as usual.
        assert_eq!((status.code(), told), (Some(0), 1), "{what}: {log}");
    } else if told > 0 {
        assert_eq!((status.code(), told), (Some(69), 1), "{what}: {log}");
    } else {
        assert!(status.success(), "{what}: {log}");
    }
}

/// Without what comes and goes by itself.
fn lasting(snapshot: &str) -> String {
    let passes =
        |line: &&str| line.starts_with("add snet-alive") || line.starts_with("add snet-learned");
    let mut lines: Vec<&str> = snapshot.lines().filter(|line| !passes(line)).collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn killed(variant: Variant) {
    let scene = Scene::set(variant);
    for (number, name) in (1..).zip(scene.steps()) {
        let what = format!("kill@{number}, {name}");
        let (daemon, end) = scene.live(&format!("kill@{number}"));
        // Another life may have fewer steps: what is busy is tried again.
        let reached = daemon.log().contains(&format!("step {number}: "));
        let End::Ended(status) = end else { panic!("{what}: {end:?}") };
        assert_eq!(status.signal() == Some(9), reached, "{what}: {status}");
        drop(daemon);
        if number % 4 == 0 || is_thorough() {
            lives(&what);
        }
        scene.the_next_one_works(&what);
    }
}

fn hung(variant: Variant) {
    let scene = Scene::set(variant);
    for (number, name) in (1..).zip(scene.steps()) {
        if number % 4 != 1 && !is_thorough() {
            continue;
        }
        let what = format!("hang@{number}, {name}");
        let (daemon, end) = scene.live(&format!("hang@{number}"));
        if !daemon.log().contains(&format!("step {number}: ")) {
            continue;
        }
        assert!(matches!(end, End::Hangs), "{what}: {end:?}");
        lives(&what);
        daemon.kill();
        scene.the_next_one_works(&what);
    }
}

fn is_thorough() -> bool {
    std::env::var("SNET_STEPS").is_ok_and(|word| word == "all")
}

/// How its life ended, if it did before this was so.
fn ended_before(
    daemon: &mut Snet,
    what: &str,
    limit: Duration,
    is_so: impl Fn(&Snet) -> bool,
) -> Option<End> {
    let mut end = None;
    wait::until(what, limit, || {
        end = daemon.ended().map(End::Ended).or(is_stopped(daemon).then_some(End::Hangs));
        end.is_some() || is_so(daemon)
    });
    end
}

fn is_stopped(daemon: &Snet) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|fields| fields.trim_start().starts_with('T'))
}

/// Domestic traffic at once, foreign traffic within the promise.
fn lives(what: &str) {
    for family in FAMILIES {
        wait::until(&format!("{what}: domestic"), AT_ONCE, || reaches(DOMESTIC_SITE, family));
        wait::until(what, WITHIN, || reaches(FOREIGN_SITE, family));
    }
}

fn through(what: &str) {
    wait::until(what, AT_ONCE, || reaches(FOREIGN_SITE, Family::V4));
}

fn reaches(site: Host, family: Family) -> bool {
    let stream = try_connect(site.port(family, service::ECHO));
    let echoed = stream.and_then(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        echo(&mut stream, b"hello")
    });
    echoed.is_ok()
}
