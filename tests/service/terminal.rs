//! What a terminal does to those who run in it.

use super::{Folder, Manager, Ports, SNET};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

/// termios(3), TOSTOP. A process that is stopped captures nothing any more.
#[test]
fn a_job_in_the_background_may_log() {
    let folder = Folder::new("background");
    let file = folder.secret("config.toml", &Ports::free().config(""));
    let OpenptyResult { master, slave } = openpty(None, None).unwrap();
    // A child that has it too would keep the window open.
    fcntl(&master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
    let (config, number) = (file.display(), folder.path("pid"));
    let script = format!(
        "stty tostop; {SNET} --dns-only -c {config} & echo $! >{}; read -r line",
        number.display()
    );
    let mut command = Command::new("setsid");
    command.args(["--ctty", "sh", "-mc", &script]).stdin(slave.try_clone().unwrap());
    let manager = Manager::at(&folder.path("notify"));
    command.env("NOTIFY_SOCKET", folder.path("notify")).stdout(Stdio::null()).stderr(slave);
    let mut shell = command.spawn().unwrap();
    drop(command);
    let ready = manager.hears().unwrap();
    assert!(ready.starts_with("READY=1\n"), "{ready}");
    let mut said = String::new();
    let mut window = fs::File::from(master);
    while !said.contains(" ready") {
        let mut wanted = [PollFd::new(window.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut wanted, PollTimeout::from(20_000u16)), Ok(1), "{said}");
        let mut buffer = [0; 4096];
        let length = window.read(&mut buffer).unwrap();
        said.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    let number = fs::read_to_string(number).unwrap().trim().parse().unwrap();
    kill(Pid::from_raw(number), Signal::SIGTERM).unwrap();
    assert!(manager.hears().unwrap().starts_with("STOPPING=1\n"));
    window.write_all(b"\n").unwrap();
    shell.wait().unwrap();
}

/// People see the line of the file, with the place on it marked; programs read one line for each
/// mistake.
#[test]
fn a_mistake_is_marked_at_a_terminal_and_one_line_in_a_pipe() {
    let folder = Folder::new("mistakes");
    let file = folder.secret("config.toml", "mode = \"lokal\"\n\n[lisen]\n");
    let OpenptyResult { master, slave } = openpty(None, None).unwrap();
    fcntl(&master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
    let mut command = Command::new(SNET);
    command.args(["check", "-c"]).arg(&file).env("NO_COLOR", "1");
    let piped = command.output().unwrap();
    command.stdin(slave.try_clone().unwrap()).stdout(Stdio::null()).stderr(slave);
    let mut check = command.spawn().unwrap();
    drop(command);
    let (mut shown, mut window) = (String::new(), fs::File::from(master));
    loop {
        let mut wanted = [PollFd::new(window.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut wanted, PollTimeout::from(20_000u16)), Ok(1), "{shown}");
        let mut buffer = [0; 4096];
        // EIO: the last one that had the terminal is gone.
        match window.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(length) => shown.push_str(&String::from_utf8_lossy(&buffer[..length])),
        }
    }
    assert_eq!(check.wait().unwrap().code(), piped.status.code());
    let shown = shown.replace("\r\n", "\n");
    let path = file.display();
    for marked in [
        format!(
            "error: mode: found \"lokal\"\n --> {path}:1\n  |\n1 | mode = \"lokal\"\n  \
             |        ^^^^^^^ "
        ),
        format!("\n --> {path}:3\n  |\n3 | [lisen]\n  |  ^^^^^ did you mean \"listen\"?\n"),
    ] {
        assert!(shown.contains(&marked), "{marked}\nis not in\n{shown}");
    }
    let piped = String::from_utf8(piped.stderr).unwrap();
    let of_file = |line: &&str| line.contains("config.toml:");
    let lines: Vec<&str> = piped.lines().filter(of_file).collect();
    let begins = [":1: mode: found \"lokal\"; accepted: ", ":3: lisen: found an unknown key"];
    assert!(begins.iter().all(|it| lines.iter().any(|line| line.contains(it))), "{piped}");
    assert!(lines.len() >= 2 && !piped.contains('^') && !piped.contains("-->"), "{piped}");
}
