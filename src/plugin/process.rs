//! One run of a plugin's process: begun, ready, ended. All of it is bounded in time.
//!
//! It has a process group of its own: Ctrl-C in a terminal goes to the foreground group, and open
//! connections go through the plugin until they are drained. What a script has started ends with
//! the group.

use super::Launcher;
use super::output::{LastLines, LogLimit, follow};
use super::spec::PluginSpec;
use crate::net::{listen, probe};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a plugin has for its end after SIGTERM.
const GRACE: Duration = Duration::from_secs(1);

/// How long its last words are waited for: a grandchild that left the group may hold the pipe.
const LAST_WORDS: Duration = Duration::from_millis(500);

const STEP: Duration = Duration::from_millis(20);

/// A running plugin, killed when this is dropped.
pub(super) struct PluginProcess {
    child: Child,
    group: Pid,
    /// Where it was told to listen.
    pub(super) local: SocketAddr,
    last: LastLines,
    /// Closed when nothing more will be said.
    said: mpsc::Receiver<()>,
}

impl PluginProcess {
    /// Begins. It does not accept yet.
    pub(super) fn begin(
        spec: &PluginSpec,
        launcher: &Launcher,
        server: SocketAddr,
        limit: &LogLimit,
    ) -> io::Result<Self> {
        let executable = spec.executable().ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "there is no such program in PATH")
        })?;
        let local = free_port()?;
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new(&launcher.program);
        command.args(&launcher.arguments).arg(executable).current_dir("/").process_group(0);
        // Ours may hold what is no business of it, the socket of the service manager among them.
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        // All four always: with one missing v2ray-plugin ignores the others.
        command.env("SS_REMOTE_HOST", server.ip().to_string());
        command.env("SS_REMOTE_PORT", server.port().to_string());
        command.env("SS_LOCAL_HOST", local.ip().to_string());
        command.env("SS_LOCAL_PORT", local.port().to_string());
        let options = spec.options().expose();
        if !options.is_empty() {
            command.env("SS_PLUGIN_OPTIONS", OsStr::from_bytes(options));
        }
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let last = LastLines::default();
        let (saying, said) = mpsc::channel::<()>();
        let (program, lines, limit) = (spec.program().to_owned(), last.clone(), limit.clone());
        thread::Builder::new().name("plugin words".into()).spawn(move || {
            let _saying = saying;
            follow(&program, reader, &lines, &limit);
        })?;
        let child = command.spawn()?;
        // Its copies of the pipe's end are dropped with it: else the pipe would never end.
        drop(command);
        let group = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        Ok(PluginProcess { child, group, local, last, said })
    }

    /// Whether its port accepts.
    pub(super) fn accepts(&self) -> bool {
        probe::accepts(self.local)
    }

    /// How it has ended, and its last words; `None` while it runs.
    pub(super) fn ended(&mut self) -> Option<String> {
        // Not reaped yet: until then its number, which is the group's, is not given away.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        if let Ok(WaitStatus::StillAlive) = waitid(Id::Pid(self.group), flags) {
            return None;
        }
        self.kill_group();
        let how = match self.child.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let _ = self.said.recv_timeout(LAST_WORDS);
        Some(format!("it ended ({how}){}", self.last.quoted()))
    }

    /// What it said last, behind a colon.
    pub(super) fn last_words(&self) -> String {
        self.last.quoted()
    }

    fn kill_group(&self) {
        // ESRCH: nothing of it is left.
        let _ = killpg(self.group, Signal::SIGKILL);
    }
}

impl Drop for PluginProcess {
    fn drop(&mut self) {
        let is_alive = |child: &mut Child| matches!(child.try_wait(), Ok(None));
        if !is_alive(&mut self.child) {
            return;
        }
        let _ = killpg(self.group, Signal::SIGTERM);
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if self.ended().is_some() {
                return;
            }
            thread::sleep(STEP);
        }
        self.kill_group();
        let _ = self.child.wait();
    }
}

/// A port that nothing listens on. Something else may take it before the plugin does: then the
/// plugin ends, and the next run has another.
fn free_port() -> io::Result<SocketAddr> {
    listen::bind(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0))?.local_addr()
}
