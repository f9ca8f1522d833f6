//! `snet top`, the command, in a terminal of its own beside a daemon that the test plays: what it
//! shows, what it asks for, and that it leaves the terminal as it found it.

#![cfg(feature = "top")]

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::tcgetattr;
use nix::unistd::Pid;
use snet::view::{FlowView, StatusView};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

const SNET: &str = env!("CARGO_BIN_EXE_snet");

/// Longer than anything takes; a failing test waits for it, no other.
const PATIENCE: Duration = Duration::from_secs(20);

const ROWS: usize = 24;
const COLUMNS: usize = 80;

#[test]
fn without_a_terminal_it_names_what_programs_read() {
    let top = Command::new(SNET).arg("top").stdin(Stdio::null()).output().expect("it is built");
    assert_eq!(top.status.code(), Some(64));
    assert!(top.stdout.is_empty());
    let said = String::from_utf8_lossy(&top.stderr);
    assert!(said.contains("snet status --json"), "{said}");
}

#[test]
fn without_a_daemon_it_leaves_the_terminal_alone() {
    let mut top = Top::run(&new_socket("none"));
    assert_eq!(top.ends(), Some(69));
    top.sees(|screen| screen.contains("no snet answers at "));
    assert!(!top.raw.contains("\x1b["), "{:?}", top.raw);
}

#[test]
fn it_shows_closes_and_quits() {
    let socket = new_socket("quits");
    let daemon = PlayedDaemon::at(&socket, "one.example");
    let mut top = Top::run(&socket);
    let before = top.modes.clone();
    top.sees(|screen| screen.contains("one.example") && screen.contains("Rx Total: 0 B"));
    assert_ne!(top.modes_now(), before, "it reads key by key");
    top.press("jx");
    top.sees(|screen| screen.contains("Close (y/n)? tcp one.example:443 from 192.0.2.7:40000"));
    top.press("y");
    let closed = daemon.asked.iter().find(|verb| verb.starts_with("close"));
    assert_eq!(closed.as_deref(), Some("close 9\n"));
    top.sees(|screen| screen.contains("closed it"));
    top.press("q");
    assert_eq!(top.ends(), Some(0));
    top.has_been_given_back();
}

#[test]
fn it_goes_on_when_the_daemon_is_back() {
    let socket = new_socket("back");
    let daemon = PlayedDaemon::at(&socket, "one.example");
    let mut top = Top::run(&socket);
    top.sees(|screen| screen.contains("one.example"));
    drop(daemon);
    top.sees(|screen| screen.contains("asking again") && !screen.contains("one.example"));
    let _daemon = PlayedDaemon::at(&socket, "two.example");
    top.sees(|screen| screen.contains("two.example") && !screen.contains("asking again"));
    // A signal is no reason to leave the terminal as it is.
    kill(Pid::from_raw(top.child.id() as i32), Signal::SIGTERM).expect("it runs");
    assert_eq!(top.ends(), Some(0));
    top.has_been_given_back();
}

/// `snet top` in a terminal.
struct Top {
    child: Child,
    window: File,
    /// The other end, which keeps the modes of the terminal.
    terminal: OwnedFd,
    /// The modes before it ran.
    modes: String,
    raw: String,
}

impl Top {
    fn run(socket: &Path) -> Self {
        let size =
            Winsize { ws_row: ROWS as u16, ws_col: COLUMNS as u16, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(Some(&size), None).expect("a terminal");
        fcntl(&master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("it is ours");
        let modes = modes(&slave);
        let end = || Stdio::from(slave.try_clone().expect("a descriptor"));
        let child = Command::new(SNET)
            .args(["top", "--socket"])
            .arg(socket)
            .env("TERM", "xterm")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("it is built");
        let window = File::from(master);
        Top { child, window, terminal: slave, modes, raw: String::new() }
    }

    fn press(&mut self, keys: &str) {
        self.window.write_all(keys.as_bytes()).expect("a terminal");
    }

    /// Waits until the screen is so.
    fn sees(&mut self, is_so: impl Fn(&str) -> bool) {
        let begun = Instant::now();
        while !is_so(&screen(&self.raw)) {
            assert!(begun.elapsed() < PATIENCE, "{}", screen(&self.raw));
            self.read();
        }
    }

    fn read(&mut self) {
        let mut wanted = [PollFd::new(self.window.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(PATIENCE).expect("it is short");
        let ready = poll(&mut wanted, patience);
        assert_eq!(ready, Ok(1), "{}", screen(&self.raw));
        let mut buffer = [0; 4096];
        let length = self.window.read(&mut buffer).expect("a terminal");
        self.raw.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }

    fn ends(&mut self) -> Option<i32> {
        self.child.wait().expect("a child").code()
    }

    fn modes_now(&self) -> String {
        modes(&self.terminal)
    }

    /// It left the screen that it had entered, and the modes are those of the beginning.
    fn has_been_given_back(&mut self) {
        while !self.raw.contains("\x1b[?1049l") {
            self.read();
        }
        assert!(self.raw.contains("\x1b[?1049h"));
        assert_eq!(self.modes_now(), self.modes);
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn modes(terminal: &OwnedFd) -> String {
    format!("{:?}", tcgetattr(terminal).expect("a terminal"))
}

/// What stands on the screen after all this: of ECMA-48 no more than ratatui uses.
fn screen(raw: &str) -> String {
    let mut cells = vec![vec![' '; COLUMNS]; ROWS];
    let (mut row, mut column) = (0, 0);
    let mut rest = raw;
    while let Some(next) = rest.chars().next() {
        rest = &rest[next.len_utf8()..];
        if next == '\x1b' {
            let Some(end) = rest.find(|c: char| c.is_ascii_alphabetic()) else { break };
            let arguments = rest[..end].trim_start_matches('[');
            match rest.as_bytes()[end] {
                b'H' => {
                    let (y, x) = arguments.split_once(';').unwrap_or(("1", "1"));
                    let place = |text: &str| text.parse().unwrap_or(1_usize) - 1;
                    (row, column) = (place(y), place(x));
                }
                b'J' => cells.iter_mut().flatten().for_each(|cell| *cell = ' '),
                _ => {}
            }
            rest = &rest[end + 1..];
        } else if next == '\n' {
            (row, column) = (row + 1, 0);
        } else if !next.is_control() {
            if let Some(cell) = cells.get_mut(row).and_then(|cells| cells.get_mut(column)) {
                *cell = next;
            }
            column += 1;
        }
    }
    let lines: Vec<String> = cells.into_iter().map(|cells| cells.into_iter().collect()).collect();
    lines.join("\n")
}

/// Answers as a daemon with one connection does, until it is dropped.
struct PlayedDaemon {
    socket: PathBuf,
    /// What it was asked.
    asked: Receiver<String>,
    stop: Sender<()>,
    thread: Option<thread::JoinHandle<()>>,
}

impl PlayedDaemon {
    fn at(socket: &Path, host: &str) -> Self {
        let listener = UnixListener::bind(socket).expect("a socket");
        let (asking, asked) = channel();
        let (stop, stopped) = channel();
        let host = host.to_owned();
        let thread = thread::spawn(move || {
            while stopped.try_recv().is_err() {
                let (mut client, _) = listener.accept().expect("a client");
                let mut verb = String::new();
                // It may be the one that wakes us.
                let _ = client.read_to_string(&mut verb);
                let answer = match verb.trim_end() {
                    "status" => serde_json::to_string(&status()),
                    "flows" => serde_json::to_string(&[flow(&host)]),
                    other => Ok(other.to_owned()),
                };
                let answer = answer.expect("it can be written");
                let _ = client.write_all(format!("ok\n{answer}\n").as_bytes());
                let _ = asking.send(verb);
            }
        });
        PlayedDaemon { socket: socket.into(), asked, stop, thread: Some(thread) }
    }
}

impl Drop for PlayedDaemon {
    fn drop(&mut self) {
        let _ = self.stop.send(());
        let _ = std::os::unix::net::UnixStream::connect(&self.socket);
        let _ = self.thread.take().expect("it runs").join();
        let _ = fs::remove_file(&self.socket);
    }
}

fn status() -> StatusView {
    StatusView { version: "1.2.3".into(), pid: 77, uptime: 65, ..StatusView::default() }
}

fn flow(host: &str) -> FlowView {
    FlowView {
        id: 9,
        network: "tcp".into(),
        client: "192.0.2.7:40000".parse().expect("an address"),
        destination: "203.0.113.1:443".parse().expect("an address"),
        name: Some(host.into()),
        is_open: true,
        proxy: Some("tokyo".into()),
        group: None,
        reason: "foreign".into(),
        age: 5,
        up: 1,
        down: 2,
    }
}

/// A path that no other test has.
fn new_socket(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("snet-top-{name}-{}.sock", std::process::id()))
}
