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
