//! The files that snet makes: none of them in the place of another's.

use super::{Daemon, Folder, Ports, SNET, text};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

/// `snet --dns-only` to its end, which has to be an early one.
fn refused(file: &Path) -> Output {
    let snet = ["20", SNET, "--dns-only", "-c"];
    Command::new("timeout").args(snet).arg(file).output().unwrap()
}

fn with_socket(path: &Path) -> String {
    format!("{}[control]\nsocket = \"{}\"\n", Ports::free().config(""), path.display())
}

#[test]
fn a_control_socket_takes_nobodys_place() {
    let folder = Folder::new("occupied");
    let at = |name: &str| folder.path(name);
    fs::write(at("file"), "precious").unwrap();
    fs::create_dir(at("folder")).unwrap();
    mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
    symlink(at("file"), at("link")).unwrap();
    for (name, what) in [
        ("file", "a regular file"),
        ("folder", "a directory"),
        ("fifo", "a FIFO"),
        ("link", "a symbolic link"),
    ] {
        let file = folder.secret("config.toml", &with_socket(&at(name)));
        let output = refused(&file);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(69), "{name}: {said}");
        assert!(said.contains(&format!("{} is {what}", at(name).display())), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(fs::symlink_metadata(at(name)).is_ok(), "{name} is gone");
    }
    assert_eq!(fs::read_to_string(at("file")).unwrap(), "precious");

    let itself = folder.secret("config.toml", &with_socket(&at("config.toml")));
    let before = fs::read_to_string(&itself).unwrap();
    for command in [&["check", "-c"][..], &["--dns-only", "-c"]] {
        let output = Command::new(SNET).args(command).arg(&itself).output().unwrap();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains("control.socket: found"), "{said}");
        assert!(said.contains("(the configuration file itself)"), "{said}");
    }
    assert_eq!(fs::read_to_string(&itself).unwrap(), before);
}

/// The daemon with rules, in a cell: `snet reload` has to reach this one.
#[test]
fn a_control_socket_of_a_living_program_stays() {
    let folder = Folder::new("answered");
    let path = folder.path("socket");
    let living = UnixListener::bind(&path).unwrap();
    let config = format!("[control]\nsocket = \"{}\"\n", path.display());
    let mut daemon = Daemon::in_a_cell("answered-cell", &config, "");
    let status = daemon.child.wait().unwrap();
    let said = daemon.log();
    assert_eq!(status.code(), Some(69), "{said}");
    assert!(said.contains(&format!("{} is the socket of process", path.display())), "{said}");
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());

    // The resolver alone goes on without.
    let file = folder.secret("config.toml", &with_socket(&path));
    let mut command = Command::new(SNET);
    let daemon =
        Daemon::spawn(Folder::new("answered-dns"), command.args(["--dns-only", "-c"]).arg(file));
    daemon.ready();
    let said = daemon.stop();
    assert!(said.contains("`snet reload` reaches that one"), "{said}");
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());

    // What a dead one left is replaced.
    drop(living);
    let file = folder.secret("config.toml", &with_socket(&path));
    let mut command = Command::new(SNET);
    let daemon =
        Daemon::spawn(Folder::new("answered-dead"), command.args(["--dns-only", "-c"]).arg(file));
    daemon.ready();
    daemon.stop();
    assert!(!path.exists());
}

/// `control.socket` is taken once: a reload that changes it is refused, by whichever way it comes.
#[test]
fn a_reload_leaves_the_control_socket_where_it_is() {
    let folder = Folder::new("moved");
    let (here, there) = (folder.path("here"), folder.path("there"));
    let usual = with_socket(&here);
    let file = folder.secret("config.toml", &usual);
    let mut command = Command::new(SNET);
    let daemon =
        Daemon::spawn(Folder::new("moved-log"), command.args(["--dns-only", "-c"]).arg(&file));
    daemon.ready();
    let reload = |socket: &Path| {
        let output = Command::new(SNET).args(["reload", "--socket"]).arg(socket).output().unwrap();
        (output.status.code(), text(&output))
    };
    let moved = usual.replace(&here.display().to_string(), &there.display().to_string());
    fs::write(&file, &moved).unwrap();
    let (code, said) = reload(&here);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("control.socket cannot change while snet runs"), "{said}");
    daemon.signal(Signal::SIGHUP);
    // RELOADING=1 and READY=1, twice.
    let told: Vec<String> = (0..4).map(|_| daemon.manager.hears()).collect();
    assert!(told[3].starts_with("READY=1"), "{told:?}");
    assert!(!there.exists());
    assert_eq!(reload(&there).0, Some(69), "nobody is there");
    fs::write(&file, usual).unwrap();
    assert_eq!(reload(&here).0, Some(0), "the old one answers");
    let said = daemon.stop();
    assert_eq!(said.matches("nothing has changed").count(), 2, "{said}");
    assert!(!here.exists());
}
