//! Namespaces of our own: where the selftest happens, and nowhere else.
//!
//! A process leaves the host's namespaces by unshare(2) in plain `main`, before any thread exists
//! (user_namespaces(7)). Without root a new user namespace comes first, in which this user is the
//! root of the others. A pid namespace makes sure that all processes die with the first one.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid};
use std::fs;
use std::io;
use std::path::Path;

/// Why there is no cell.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The kernel, or a security module, says no.
    #[error(
        "this kernel refuses {what} ({source}); run `sudo snet selftest`, or allow them: \
         `sysctl kernel.unprivileged_userns_clone=1` (Debian), \
         `sysctl kernel.apparmor_restrict_unprivileged_userns=0` (Ubuntu), \
         `sysctl user.max_user_namespaces=10000` (others)"
    )]
    Refused {
        /// Which namespaces.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The namespace is there but cannot be prepared.
    #[error("cannot prepare the namespace: {what}: {source}")]
    Prepare {
        /// What failed.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Whether some interface but lo has a route: a network namespace that was made for the selftest
/// has none, whatever it is called.
pub(super) fn is_in_use() -> io::Result<bool> {
    let leads_out = |device: Option<&str>| device.is_some_and(|device| device != "lo");
    let v4 = fs::read_to_string("/proc/self/net/route")?;
    // Does not exist where the kernel has no IPv6.
    let v6 = fs::read_to_string("/proc/self/net/ipv6_route").unwrap_or_default();
    Ok(v4.lines().skip(1).any(|line| leads_out(line.split_whitespace().next()))
        || v6.lines().any(|line| leads_out(line.split_whitespace().last())))
}

/// Names the network namespace of this process (namespaces(7)).
pub(super) fn network() -> io::Result<String> {
    Ok(fs::read_link("/proc/self/ns/net")?.to_string_lossy().into_owned())
}

/// Where others in the cell find this process's network namespace. Not by the number that the
/// process has in the cell: /proc is still the host's, and newer versions of ip(8) look a number
/// up there, where it is another process.
pub(super) fn network_path() -> io::Result<String> {
    // A link to the number that the process has on the host (proc(5)).
    Ok(format!("/proc/{}/ns/net", fs::read_link("/proc/self")?.display()))
}

/// Leaves the host: network, mount and, for the children, pid namespace, with a /run of their own.
/// Without root's rights it takes a user namespace first.
pub(super) fn leave_host() -> Result<(), Error> {
    let flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    if unshare(flags).is_ok() {
        return own_run();
    }
    let (uid, gid) = (Uid::effective(), Gid::effective());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(refused("user namespaces"))?;
    // Ubuntu lets an unknown program have the namespace, but no power in it: these two say so.
    map_to_root(uid, gid).map_err(|source| Error::Refused { what: "user namespaces", source })?;
    unshare(flags).map_err(refused("network and mount namespaces"))?;
    own_run()
}

/// Leaves the machine: a second host.
pub(super) fn leave_network() -> Result<(), Error> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(refused("network namespaces"))
}

/// iptables-legacy puts its lock there, and the selftest its files.
fn own_run() -> Result<(), Error> {
    let prepare = |what| move |errno: nix::Error| Error::Prepare { what, source: errno.into() };
    let nothing: Option<&Path> = None;
    // Nothing that is mounted here may show outside (mount_namespaces(7)).
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
        .map_err(prepare("making mounts private"))?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .map_err(prepare("mounting a tmpfs on /run"))
}

/// This user is root inside (user_namespaces(7): setgroups has to be given up first).
fn map_to_root(uid: Uid, gid: Gid) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

fn refused(what: &'static str) -> impl Fn(nix::Error) -> Error {
    move |errno| Error::Refused { what, source: errno.into() }
}
