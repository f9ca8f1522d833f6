//! `snet selftest` finds what is broken, says so, and says what it lacks. Runs the debug binary,
//! whose parts can be broken on purpose (`src/fault/`).
//!
//! Whatever is tried here that could change a host happens in a namespace made by unshare(1).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use snet_lab::executable;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const SNET: &str = env!("CARGO_BIN_EXE_snet");

fn selftest() -> Command {
    with("iptables")
}

fn with(backend: &str) -> Command {
    let mut command = Command::new(SNET);
    command.args(["selftest", "--backend", backend]);
    command
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(both).unwrap()
}

/// What was tried in the rows that end with this word.
fn tried<'a>(text: &'a str, verdict: &str) -> Vec<&'a str> {
    let rows = text.lines().filter(|line| line.ends_with(verdict));
    rows.map(|line| line[..38].trim_end()).collect()
}

fn must_be_well(output: &Output) {
    let text = text(output);
    assert!(output.status.success(), "{text}");
    assert_eq!(tried(&text, "FAILED"), [""; 0], "{text}");
    assert!(tried(&text, " ok").len() > 30, "{text}");
    assert!(!text.contains("skipped"), "{text}");
    let last = text.lines().last().unwrap();
    let named = last.contains(", iptables ") || last.ends_with(", nftables");
    assert!(last.starts_with("selftest: ") && named, "{text}");
    assert!(!text.contains('\x1b'), "colours are for terminals: {text}");
}

/// One line that says `what`, and the exit code that says "not here".
fn must_be_one_line(output: &Output, what: &str) {
    let text = text(output);
    assert_eq!(output.status.code(), Some(69), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(what), "{text}");
}

/// A shell's script as root of a user namespace; `$0` is snet.
fn in_namespaces(flags: &str, script: &str) -> Output {
    Command::new("unshare").args([flags, "sh", "-ec", script, SNET]).output().unwrap()
}

/// A folder that goes away again.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("snet-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn all_is_well() {
    must_be_well(&selftest().output().unwrap());
    must_be_well(&with("nftables").output().unwrap());
}

/// With both, one after the other.
#[test]
fn each_backend_is_tried() {
    let output = Command::new(SNET).arg("selftest").output().unwrap();
    must_be_well(&output);
    let text = text(&output);
    let ends: Vec<&str> = text.lines().filter(|line| line.starts_with("selftest: ")).collect();
    assert_eq!(ends.len(), 2, "{text}");
    assert!(ends[0].contains(", iptables ") && ends[1].ends_with(", nftables"), "{text}");
}

/// /usr/sbin, where Debian has the firewall tools, is searched beside PATH: it is hidden by a mount
/// namespace.
const WITHOUT_TOOLS: &str = "mount -t tmpfs none /usr/sbin; exec \"$0\" selftest";

#[test]
fn nftables_needs_no_firewall_tool() {
    let output = in_namespaces("-Urm", WITHOUT_TOOLS);
    must_be_well(&output);
    assert!(text(&output).trim_end().ends_with(", nftables"), "{}", text(&output));
}

/// With the PATH of an ordinary user on Debian, where no firewall tool is.
#[test]
fn as_an_ordinary_user() {
    let folder = Folder::new("ordinary");
    let program = folder.0.join("snet");
    executable::copy(SNET, &program);
    let nobody = "--reuid=65534 --regid=65534 --clear-groups --bounding-set=-all";
    let mut command = match nix::unistd::Uid::effective().is_root() {
        true => {
            let mut command = Command::new("setpriv");
            command.args(nobody.split(' ')).arg(&program);
            command
        }
        false => Command::new(&program),
    };
    let output = command.arg("selftest").env("PATH", "/usr/local/bin:/usr/bin:/bin").output();
    must_be_well(&output.unwrap());
}

#[test]
fn with_either_variant_of_iptables() {
    for variant in ["nft", "legacy"] {
        let program = PathBuf::from(format!("/usr/sbin/xtables-{variant}-multi"));
        assert!(program.exists(), "missing {program:?}: `apt install iptables`");
        let folder = Folder::new(variant);
        for tool in ["iptables", "ip6tables"] {
            for act in ["", "-save", "-restore"] {
                let link = folder.0.join(format!("{tool}{act}"));
                std::os::unix::fs::symlink(&program, link).unwrap();
            }
        }
        let path = format!("{}:{}", folder.0.display(), std::env::var("PATH").unwrap());
        let output = selftest().env("PATH", path).output().unwrap();
        must_be_well(&output);
        let named = if variant == "nft" { "(nf_tables)" } else { "(legacy)" };
        assert!(text(&output).trim_end().ends_with(named), "{}", text(&output));
    }
}

/// Newer versions of ip(8) look the number of a process up in /proc, which is the host's: there it
/// is another process, in the host's network (findings/iproute2_finds_netns_of_a_pid_in_proc.sh).
#[test]
fn ip_is_given_no_number_of_a_process() {
    let folder = Folder::new("ip");
    let script = "#!/bin/sh\n\
                  batch=$(cat)\n\
                  case $batch in *netns\\ [0-9]*) echo \"$batch\" >&2; exit 255 ;; esac\n\
                  PATH=${PATH#*:}\n\
                  echo \"$batch\" | ip \"$@\"\n";
    executable::write(script, &folder.0.join("ip"));
    let path = format!("{}:{}", folder.0.display(), std::env::var("PATH").unwrap());
    must_be_well(&with("nftables").env("PATH", path).output().unwrap());
}

/// Each fault breaks the rows that name it, and some row that has nothing to do with it is well.
#[test]
#[cfg(debug_assertions)]
fn each_fault_is_found() {
    let faults: [(&str, &[&str], &str); 6] = [
        (
            "split",
            &[
                "foreign site",
                "foreign site, IPv6",
                "foreign QUIC",
                "foreign UDP",
                "foreign UDP, IPv6",
                "all proxies down: foreign site",
                "foreign packets without snet's mark",
                "foreign packets past the proxies",
            ],
            "foreign name, forged answers first",
        ),
        (
            "capture",
            &["domestic QUIC", "domestic QUIC, IPv6", "domestic connections inside the daemon"],
            "domestic site",
        ),
        (
            "mark",
            &["domestic name: its near address", "foreign packets without snet's mark"],
            "foreign name, forged answers first",
        ),
        ("relay", &["foreign site", "foreign site, IPv6", "foreign, half-closed"], "domestic site"),
        (
            "half-close",
            &["foreign site", "foreign, half-closed", "then HTTP CONNECT: foreign site"],
            "foreign server that speaks first",
        ),
        (
            "judgement",
            &["foreign name, forged answers first", "all proxies down: foreign name"],
            "foreign site",
        ),
    ];
    for (fault, broken, whole) in faults {
        for backend in ["iptables", "nftables"] {
            let output = with(backend).env("SNET_FAULT", fault).output().unwrap();
            let text = text(&output);
            assert_eq!(output.status.code(), Some(1), "{fault}: {text}");
            let failed = tried(&text, "FAILED");
            for row in broken {
                assert!(failed.contains(row), "{fault}: {row}: {text}");
            }
            assert!(tried(&text, " ok").contains(&whole), "{fault}: {whole}: {text}");
            assert!(
                text.contains("last words") && text.contains("please report"),
                "{fault}: {text}"
            );
        }
    }
}

#[test]
fn a_daemon_that_cannot_start_is_quoted() {
    let folder = Folder::new("no-ipset");
    let tool = folder.0.join("ipset");
    let script =
        "#!/bin/sh\n[ \"$1\" = save ] && exit\necho Cannot open session to kernel. >&2\nexit 1\n";
    executable::write(script, &tool);
    let path = format!("{}:{}", folder.0.display(), std::env::var("PATH").unwrap());
    let output = selftest().env("PATH", path).output().unwrap();
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(tried(&text, "FAILED"), ["start"], "{text}");
    assert!(text.contains("Cannot open session to kernel"), "{text}");
}

#[test]
fn a_missing_tool_is_one_line() {
    let output = in_namespaces("-Urm", &format!("{WITHOUT_TOOLS} --backend iptables"));
    must_be_one_line(&output, "apt install");
}

#[test]
fn a_kernel_that_refuses_is_one_line() {
    // Namespaces in which one may have no further ones (namespaces(7), setpriv(1)).
    let refusals = [
        "echo 0 > /proc/sys/user/max_net_namespaces; exec \"$0\" selftest",
        "echo 0 > /proc/sys/user/max_user_namespaces; \
         exec setpriv --bounding-set=-all --inh-caps=-all \"$0\" selftest",
    ];
    for script in refusals {
        must_be_one_line(&in_namespaces("-Ur", script), "sudo snet selftest");
    }
}

#[test]
fn a_host_is_left_as_it_was() {
    let state = " (ip link; ip address; ip route; iptables-save; ip6tables-save; ipset save) \
                 | grep -v '^[#:]'";
    let script = format!(
        "mount -t tmpfs none /run; PATH=$PATH:/usr/sbin; ip link set lo up; \
         iptables -A OUTPUT -d 203.0.113.0/24 -j DROP; ipset create theirs hash:ip; \
         before=$({state}); \"$0\" selftest; after=$({state}); \
         test -n \"$before\"; test \"$before\" = \"$after\"; test -z \"$(ls /run | grep snet)\""
    );
    must_be_well(&in_namespaces("-Urnm", &script));
}

/// The hidden subcommand, by hand, where there is a network.
#[test]
fn a_host_is_not_taken_for_a_cell() {
    let script = "PATH=$PATH:/usr/sbin; ip link add one type veth peer name two; \
                  ip address add 192.0.2.9/24 dev one; ip link set one up; ip link set two up; \
                  before=$(ip -oneline link | wc -l); \
                  \"$0\" selftest-host machine 'net:[1]' iptables && exit 1; code=$?; \
                  test $(ip -oneline link | wc -l) = $before; exit $code";
    must_be_one_line(&in_namespaces("-Urnm", script), "still in the host's network");
}

#[test]
fn everything_ends_with_the_first_process() {
    let mut outermost = selftest().stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(outermost.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.starts_with("start")));
    let children = descendants(outermost.id());
    assert!(children.len() >= 4, "cell, machine, internet and daemon: {children:?}");
    outermost.kill().unwrap();
    outermost.wait().unwrap();
    let began = Instant::now();
    while children.iter().any(|pid| is_alive(*pid)) {
        assert!(began.elapsed() < Duration::from_secs(10), "somebody is left of {children:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn descendants(of: u32) -> Vec<u32> {
    let children = format!("/proc/{of}/task/{of}/children");
    let children = fs::read_to_string(children).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    children.flat_map(|pid| [vec![pid], descendants(pid)].concat()).collect()
}

/// A zombie whose parent has not yet asked for it counts as gone.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}
