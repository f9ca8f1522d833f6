//! systemd-resolved: a stub of the machine that asks one name server.

use crate::process::{FOLDER, Place, Running, command};
use crate::tools;
use crate::wait;
use crate::world::{Family, Host};
use nix::mount::{MsFlags, mount};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Listens on 127.0.0.53 and asks that server. It has no bus, and no user of its own.
pub fn start(server: Host) -> Running {
    let folder = Path::new(FOLDER).join("resolved");
    fs::create_dir_all(&folder).expect("the tmpfs is writable");
    let text = format!(
        "[Resolve]\nDNS={}\nFallbackDNS=\nDomains=~.\nDNSSEC=no\nMulticastDNS=no\nLLMNR=no\n\
         Cache=no\nDNSStubListener=yes\nReadEtcHosts=no\n",
        server.ip(Family::V4)
    );
    fs::write(folder.join("resolved.conf"), text).expect("the tmpfs is writable");
    let none: Option<&Path> = None;
    mount(Some(&folder), "/etc/systemd", none, MsFlags::MS_BIND, none)
        .expect("a mount namespace's owner may bind a folder");
    fs::create_dir_all("/run/systemd/resolve").expect("the tmpfs is writable");
    fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0").expect("it is ours");
    // As an ordinary user it does not look for its own; rights it wants to have, and to give up.
    let mut resolved = command(Place::Machine, "unshare");
    resolved.args(["--user", "--map-user=1000", "--map-group=1000", "--keep-caps", "--"]);
    resolved.arg(tools::path("systemd-resolved"));
    let mut resolved =
        Running::start("systemd-resolved", resolved.env("SYSTEMD_LOG_LEVEL", "info"));
    let mut ended = None;
    let listens = wait::quietly(Duration::from_secs(15), || {
        ended = resolved.ended();
        let mut ss = command(Place::Machine, "ss");
        let sockets = crate::process::finish(ss.args(["-Hnlu", "sport = :53"])).stdout;
        ended.is_some() || sockets.contains("127.0.0.53")
    });
    assert!(listens && ended.is_none(), "no stub: {ended:?}\n{}", resolved.log());
    resolved
}
