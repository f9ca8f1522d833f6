//! A network of its own for one test: the test binary runs itself again under unshare(1).

use super::stillness::unless_still;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Which iptables the system has, as far as the test is concerned; or whether snet uses none.
#[derive(Clone, Copy, Debug)]
pub(super) enum Variant {
    Nft,
    Legacy,
    /// nftables over netlink. The iptables of the system is that of others.
    Native,
}

/// Set in the child: the network namespace of the parent, which must never be touched.
const PARENT: &str = "SNET_LAB_PARENT";

/// Set in the child: its variant.
const VARIANT: &str = "SNET_LAB_VARIANT";

const INSTALL: &str = "apt install iptables ipset nftables iproute2 util-linux";

/// Runs `body`, the test at `path` (as `module_path!` writes it), in fresh user, network and mount
/// namespaces where `iptables` is this variant.
pub(super) fn inside(path: &str, variant: Variant, body: fn()) {
    let here = fs::read_link("/proc/self/ns/net").unwrap();
    if let Some(parent) = std::env::var_os(PARENT) {
        assert_ne!(here.as_os_str(), parent, "not in a namespace of its own");
        prepare();
        return body();
    }
    let (_, test) = path.split_once("::").unwrap();
    let tools = Tools::of(variant);
    let mut search = vec![tools.0.clone()];
    search.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    search.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let mut command = Command::new("unshare");
    command
        .args(["-Urnm", "--"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env("PATH", std::env::join_paths(search).unwrap())
        .env(PARENT, here)
        .env(VARIANT, format!("{variant:?}"));
    let attempt = || {
        let output = command.output().unwrap_or_else(|error| panic!("unshare: {error}; {INSTALL}"));
        let text = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into());
        let [said, complained]: [String; 2] = text;
        let ran = output.status.success() && said.contains("1 passed");
        if ran { Ok(said + &complained) } else { Err((output.status, said + &complained)) }
    };
    match unless_still(attempt) {
        Ok(said) => print!("{said}"),
        Err((status, said)) => panic!("{test} with {variant:?}, {status}:\n{said}"),
    }
}

/// The variant of this lab.
pub(super) fn variant() -> Variant {
    let variant = std::env::var(VARIANT).unwrap();
    let every = [Variant::Nft, Variant::Legacy, Variant::Native];
    every.into_iter().find(|known| format!("{known:?}") == variant).unwrap()
}

/// iptables-legacy wants its lock in /run; addresses shall be usable at once (no duplicate
/// address detection).
fn prepare() {
    let prepared = Path::new("/run/snet-lab");
    if prepared.exists() {
        // A second process of the same test.
        return;
    }
    run("mount -t tmpfs tmpfs /run");
    fs::write(prepared, "").unwrap();
    for interfaces in ["all", "default"] {
        fs::write(format!("/proc/sys/net/ipv6/conf/{interfaces}/accept_dad"), "0").unwrap();
    }
    run("ip link set lo up");
}

/// Runs one command line without quotes; returns its output.
pub(super) fn run(line: &str) -> String {
    let mut words = line.split(' ');
    let tool = words.next().unwrap();
    let output = Command::new(tool)
        .args(words)
        .output()
        .unwrap_or_else(|error| panic!("{tool}: {error}; {INSTALL}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {}: {said}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Waits for what follows from a change of the network.
pub(super) fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A directory in which the plain names are those of one variant.
struct Tools(PathBuf);

impl Tools {
    fn of(variant: Variant) -> Self {
        let program = match variant {
            Variant::Nft | Variant::Native => "xtables-nft-multi",
            Variant::Legacy => "xtables-legacy-multi",
        };
        let target = ["/usr/sbin", "/sbin"]
            .map(|directory| PathBuf::from(directory).join(program))
            .into_iter()
            .find(|file| file.exists())
            .unwrap_or_else(|| panic!("{program} is not installed; {INSTALL}"));
        let name = std::thread::current().name().unwrap_or("test").replace("::", "-");
        let directory =
            std::env::temp_dir().join(format!("snet-lab-{}-{name}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        for family in ["iptables", "ip6tables"] {
            for tool in ["", "-save", "-restore"] {
                symlink(&target, directory.join(format!("{family}{tool}"))).unwrap();
            }
        }
        Tools(directory)
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        // What stays behind are six links in the directory for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}
