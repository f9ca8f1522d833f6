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
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a plugin has for its end after SIGTERM.
const GRACE: Duration = Duration::from_secs(1);

/// How long its last words are waited for: a grandchild that left the group may still speak.
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
    words: UnixStream,
    is_reaped: bool,
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
        // Unlike a pipe it can be shut down from here, whoever holds its other end.
        let (reader, writer) = UnixStream::pair()?;
        let words = reader.try_clone()?;
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
        let (stdout, stderr) = (OwnedFd::from(writer.try_clone()?), OwnedFd::from(writer));
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let last = LastLines::default();
        let (saying, said) = mpsc::channel::<()>();
        let (program, lines, limit) = (spec.program().to_owned(), last.clone(), limit.clone());
        thread::Builder::new().name("plugin words".into()).spawn(move || {
            let _saying = saying;
            follow(&program, reader, &lines, &limit);
        })?;
        let child = command.spawn()?;
        // Its copies of the other end are dropped with it: else the words would never end.
        drop(command);
        let group = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        Ok(PluginProcess { child, group, local, last, said, words, is_reaped: false })
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
        let how = self.end_group();
        let _ = self.said.recv_timeout(LAST_WORDS);
        Some(format!("it ended ({how}){}", self.last.quoted()))
    }

    /// What it said last, behind a colon.
    pub(super) fn last_words(&self) -> String {
        self.last.quoted()
    }

    /// Ends what is left of the group, and says how the plugin has ended. Only before it is reaped
    /// is the group's number surely its own.
    fn end_group(&mut self) -> String {
        // ESRCH: nothing of it is left.
        let _ = killpg(self.group, Signal::SIGKILL);
        let status = self.child.wait();
        self.is_reaped = true;
        status.map_or_else(|error| error.to_string(), |status| status.to_string())
    }
}

impl Drop for PluginProcess {
    fn drop(&mut self) {
        if !self.is_reaped {
            let _ = killpg(self.group, Signal::SIGTERM);
            let deadline = Instant::now() + GRACE;
            while !self.is_reaped && Instant::now() < deadline {
                if self.ended().is_none() {
                    thread::sleep(STEP);
                }
            }
        }
        if !self.is_reaped {
            self.end_group();
        }
        // What has left the group is not waited for, and the thread that reads its words ends.
        let _ = self.words.shutdown(Shutdown::Both);
    }
}

/// A port that nothing listens on. Something else may take it before the plugin does: then the
/// plugin ends, and the next run has another.
fn free_port() -> io::Result<SocketAddr> {
    listen::bind(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0))?.local_addr()
}
