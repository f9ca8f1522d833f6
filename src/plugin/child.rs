//! What the child does before it is the plugin: `snet plugin-child PARENT PROGRAM`, never typed by
//! a person. A fork of a process with threads must not do this work itself (fork(2)); a fresh
//! process may.
//!
//! The order matters. Another user first, while there are the rights for it. Then every capability,
//! and no_new_privs, so that exec(2) gives root's child none of them back (capabilities(7)). The
//! signal at the parent's death last: the kernel forgets it when the user or the capabilities
//! change (PR_SET_PDEATHSIG(2const)). A parent that died before that is found out by its number.
//!
//! Root's child becomes another user or nothing: root without a capability still owns root's files,
//! and comes by every right through them. CAP_KILL belongs to it: without that neither snet nor the
//! kernel in its name could end a process of another user (kill(2)). Only where no other user
//! exists, in a container that maps root alone, does the plugin run as that.

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Pid, Uid, getppid, setgid, setgroups, setuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
};
use std::convert::Infallible;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// The hidden command.
pub const COMMAND: &str = "plugin-child";

/// The user that owns nothing, on every distribution.
const NOBODY: u32 = 65534;

/// What the daemon has to keep so that a plugin may run as another user.
pub const RIGHTS_FOR_ANOTHER_USER: CapabilitySet =
    CapabilitySet::SETUID.union(CapabilitySet::SETGID).union(CapabilitySet::KILL);

/// Gives up all rights, binds its life to that of `parent`, and becomes `program`.
///
/// # Errors
/// What the kernel said, and of which step.
pub fn become_plugin(parent: i32, program: &Path) -> io::Result<Infallible> {
    let held = capabilities(None).map_err(io::Error::from).map_err(step("capabilities"))?;
    if Uid::effective().is_root() && nobody_exists() {
        if !held.effective.contains(RIGHTS_FOR_ANOTHER_USER) {
            return Err(io::Error::other(
                "snet lacks CAP_SETUID, CAP_SETGID or CAP_KILL, with which root's plugin becomes \
                 another user: restart snet if a reload brought its first plugin, else add them \
                 to the service's CapabilityBoundingSet",
            ));
        }
        become_nobody()?;
    }
    // Where the kernel forbids even this, none are left in that set by the next step.
    let _ = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, sets).map_err(io::Error::from).map_err(step("capset"))?;
    prctl::set_no_new_privs().map_err(io::Error::from).map_err(step("no_new_privs"))?;
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from).map_err(step("pdeathsig"))?;
    if getppid() != Pid::from_raw(parent) {
        return Err(io::Error::other("its parent is gone"));
    }
    Err(step("exec")(Command::new(program).exec()))
}

/// Whether a plugin that is started now may run. Root's may not without another user.
pub fn can_drop_root() -> bool {
    let held =
        || capabilities(None).is_ok_and(|held| held.effective.contains(RIGHTS_FOR_ANOTHER_USER));
    !Uid::effective().is_root() || !nobody_exists() || held()
}

/// Whether this user namespace has that user (user_namespaces(7), uid_map).
fn nobody_exists() -> bool {
    // Unreadable: then the steps themselves say whether there is one.
    std::fs::read_to_string("/proc/self/uid_map").map_or(true, |map| has_nobody(&map))
}

fn has_nobody(uid_map: &str) -> bool {
    let numbers = |line: &str| -> Option<[u64; 3]> {
        let numbers: Vec<u64> = line.split_whitespace().flat_map(str::parse).collect();
        numbers.try_into().ok()
    };
    let mut ranges = uid_map.lines().filter_map(numbers);
    ranges.any(|[first, _, length]| (first..first + length).contains(&u64::from(NOBODY)))
}

fn become_nobody() -> io::Result<()> {
    setgroups(&[]).map_err(io::Error::from).map_err(step("setgroups"))?;
    setgid(Gid::from_raw(NOBODY)).map_err(io::Error::from).map_err(step("setgid"))?;
    setuid(Uid::from_raw(NOBODY)).map_err(io::Error::from).map_err(step("setuid"))
}

fn step(what: &'static str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_may_have_no_other_user() {
        assert!(has_nobody("         0          0 4294967295\n"));
        assert!(has_nobody("0 100000 65535\n65534 65534 1\n"));
        assert!(!has_nobody("0 1000 1\n"));
        assert!(!has_nobody("0 100000 65534\n"));
        assert!(!has_nobody(""));
    }
}
