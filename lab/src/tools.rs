//! The programs that the lab needs, and the Debian package that each comes from.
//!
//! A missing one fails the run and names the command that installs it: a test that skips itself
//! proves nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Program and package. `scripts/test.sh` installs the same packages.
const NEEDED: &[(&str, &str)] = &[
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("setsid", "util-linux"),
    ("sha256sum", "coreutils"),
    ("ip", "iproute2"),
    ("ss", "iproute2"),
    ("cc", "gcc"),
    ("xtables-nft-multi", "iptables"),
    ("xtables-legacy-multi", "iptables"),
    ("ipset", "ipset"),
    ("nft", "nftables"),
    ("curl", "curl"),
    ("dig", "bind9-dnsutils"),
    ("ss-server", "shadowsocks-libev"),
    ("ss-local", "shadowsocks-libev"),
    ("squid", "squid"),
    ("htpasswd", "apache2-utils"),
    ("tinyproxy", "tinyproxy"),
    ("haproxy", "haproxy"),
    ("nghttpx", "nghttp2-proxy"),
    ("danted", "dante-server"),
    ("microsocks", "microsocks"),
    ("obfs-local", "simple-obfs"),
    ("obfs-server", "simple-obfs"),
    ("ss-v2ray-plugin", "shadowsocks-v2ray-plugin"),
    ("dnsmasq", "dnsmasq-base"),
    ("nginx", "nginx-light"),
    ("strace", "strace"),
    ("ufw", "ufw"),
    ("firewalld", "firewalld"),
    ("firewall-cmd", "firewalld"),
    ("dbus-daemon", "dbus-daemon"),
    ("unbound", "unbound"),
    ("drill", "ldnsutils"),
    ("kdig", "knot-dnsutils"),
    ("getent", "libc-bin"),
    ("musl-gcc", "musl-tools"),
    ("turnserver", "coturn"),
];

/// What [`kernel`](crate::kernel) needs of these.
const KERNELS: [&str; 6] =
    ["unshare", "ip", "xtables-nft-multi", "xtables-legacy-multi", "ipset", "nft"];

/// Fails with the line that installs it unless all is there that the tests on a kernel need.
pub fn require_kernels() {
    require(|program| KERNELS.contains(&program));
}

fn require(wanted: impl Fn(&str) -> bool) {
    let needed = NEEDED.iter().filter(|(program, _)| wanted(program));
    let missing: Vec<_> = needed.filter(|(program, _)| find(program).is_none()).collect();
    let packages: BTreeSet<_> = missing.iter().map(|(_, package)| *package).collect();
    let packages = packages.into_iter().collect::<Vec<_>>().join(" ");
    let programs: Vec<_> = missing.iter().map(|(program, _)| *program).collect();
    assert!(
        missing.is_empty(),
        "the lab needs {}: apt-get install --no-install-recommends {packages} (or \
         ./scripts/test.sh)",
        programs.join(", ")
    );
}

/// Fails with the install line unless every peer is there.
pub fn require_all() {
    require(|_| true);
    for program in ["ssserver", "systemd-resolved"] {
        assert!(find(program).is_some(), "the lab needs {program}: run ./scripts/test.sh");
    }
}

/// The path of a program, looked for where scripts/test.sh puts what it builds, in PATH, and where
/// Debian puts what only root needs.
pub fn find(program: &str) -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/lab-tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/lib/systemd"].map(PathBuf::from);
    let home = std::env::home_dir().map(|home| home.join(".cargo/bin"));
    std::iter::once(built)
        .chain(std::env::split_paths(&path))
        .chain(usual)
        .chain(home)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// Like [`find`], for a program that [`require_all`] has seen.
pub fn path(program: &str) -> PathBuf {
    find(program).unwrap_or_else(|| panic!("{program} is not installed: run ./scripts/test.sh"))
}
