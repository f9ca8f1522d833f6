//! Programs that the lab runs: to their end within a time, or in the background until dropped.

use crate::tools;
use crate::wait;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{OpenptyResult, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Where the lab keeps its files: on the sealed tmpfs, gone with the namespace.
pub const FOLDER: &str = "/run/lab";

/// A foreground program gets this long.
const LIMIT: Duration = Duration::from_secs(300);

/// Which host runs a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Where snet and its clients run.
    Machine,
    /// The rest of the world.
    Internet,
}

/// A command for `program` on that host, with nothing on stdin.
pub fn command(place: Place, program: &str) -> Command {
    let mut command = match place {
        Place::Machine => Command::new(tools::path(program)),
        Place::Internet => {
            let mut command = Command::new(tools::path("nsenter"));
            command.arg("--net=/run/netns/internet").arg("--").arg(tools::path(program));
            command
        }
    };
    command.stdin(Stdio::null());
    command
}

/// A command for a program that must not think that it is root: seen from root it would drop
/// groups, which a user namespace that maps one user forbids. So it gets a nested one.
pub fn unprivileged(place: Place, program: &str) -> Command {
    let mut command = command(place, "unshare");
    command.args(["--user", "--map-user=1000", "--map-group=1000", "--"]);
    command.arg(tools::path(program));
    command
}

/// How a foreground program ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code, or the signal that ended it.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Finished {
    /// The exit code; `None` after a signal.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

/// Runs a command to its end, which is bounded.
pub fn finish(command: &mut Command) -> Finished {
    let (out, err) = (new_file("out"), new_file("err"));
    let create = |path: &Path| File::create(path).expect("the lab's folder is writable");
    let mut child = command
        .stdout(create(&out))
        .stderr(create(&err))
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let mut status = None;
    let ended = wait::quietly(LIMIT, || {
        status = child.try_wait().expect("a child can be waited for");
        status.is_some()
    });
    if !ended {
        let _ = child.kill();
        let _ = child.wait();
        panic!("{command:?} did not end within {} s", LIMIT.as_secs());
    }
    let read = |path: &Path| {
        let bytes = fs::read(path).expect("the output was written");
        let _ = fs::remove_file(path);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let status = status.expect("the child ended");
    Finished { status, stdout: read(&out), stderr: read(&err) }
}

/// Runs a program that has to succeed and returns what it printed.
pub fn run<S: AsRef<OsStr>>(place: Place, program: &str, arguments: &[S]) -> String {
    let mut command = command(place, program);
    let finished = finish(command.args(arguments));
    assert!(
        finished.status.success(),
        "{command:?}: {}\n{}{}",
        finished.status,
        finished.stdout,
        finished.stderr
    );
    finished.stdout
}

/// Like [`run`], with the arguments in one string.
pub fn sh(place: Place, line: &str) -> String {
    let mut words = line.split_whitespace();
    let program = words.next().expect("the line names a program");
    run(place, program, &words.collect::<Vec<_>>())
}

/// A program in the background; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
    name: String,
}

impl Running {
    /// Starts it; both its outputs go to one file.
    pub fn start(name: &str, command: &mut Command) -> Self {
        let log = new_file(name);
        let file = File::create(&log).expect("the lab's folder is writable");
        let child = command
            .stdout(file.try_clone().expect("a file can be cloned"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Running { child, log, name: name.to_owned() }
    }

    /// Starts it; what it says on standard error goes there.
    pub fn telling(name: &str, command: &mut Command, listener: OwnedFd) -> Self {
        let child = command
            .stdout(Stdio::null())
            .stderr(listener)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Running { child, log: new_file(name), name: name.to_owned() }
    }

    /// Its process number.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("process numbers are small"))
    }

    /// Everything it has printed so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("a child that was not waited for can be signalled");
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let mut status = None;
        let ended = wait::quietly(limit, || {
            status = self.ended();
            status.is_some()
        });
        assert!(ended, "{} did not end within {limit:?}:\n{}", self.name, self.log());
        status.expect("it ended")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}", self.name, tail(&self.log()));
        }
    }
}

/// A terminal: the end of its window, which no child inherits, and the end of its programs.
pub fn terminal() -> (OwnedFd, OwnedFd) {
    let OpenptyResult { master, slave } = openpty(None, None).expect("a terminal");
    fcntl(&master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("it is ours");
    (master, slave)
}

/// The last lines: enough to see why.
fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// A path in the lab's folder that nobody else has.
pub fn new_file(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    Path::new(FOLDER).join(format!("{name}.{number}"))
}
