//! What the child does before it is the plugin: `snet plugin-child PARENT PROGRAM`, never typed by
//! a person. A fork of a process with threads must not do this work itself (fork(2)); a fresh
//! process may.
//!
//! The order matters. Another user first, while there are the rights for it. Then every capability,
//! and no_new_privs, so that exec(2) gives root's child none of them back (capabilities(7)). The
//! signal at the parent's death last: the kernel forgets it when the user or the capabilities
//! change (PR_SET_PDEATHSIG(2const)). A parent that died before that is found out by its number.
//!
//! Another user only together with CAP_KILL: without that neither snet nor the kernel in its name
//! could end a process of another user (kill(2)).

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
    if Uid::effective().is_root()
        && held.effective.contains(RIGHTS_FOR_ANOTHER_USER)
        && let Err(error) = become_nobody()
    {
        // A user namespace without other users, a filter of system calls. What was given up is.
        eprintln!("it runs as root, without root's capabilities: {error}");
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

fn become_nobody() -> io::Result<()> {
    setgroups(&[]).map_err(io::Error::from).map_err(step("setgroups"))?;
    setgid(Gid::from_raw(NOBODY)).map_err(io::Error::from).map_err(step("setgid"))?;
    setuid(Uid::from_raw(NOBODY)).map_err(io::Error::from).map_err(step("setuid"))
}

fn step(what: &'static str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}
