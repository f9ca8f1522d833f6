//! The files that snet makes: none of them in the place of another's.

use super::{Daemon, Folder, PATIENCE, Ports, SNET, UNIT, text};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs;
use std::net::UdpSocket;
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
    let ports = Ports::free();
    let usual = ports.control().display().to_string();
    ports.config("").replace(&usual, &path.display().to_string())
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
    assert!(said.contains("control.socket, which only a start reads: restart snet"), "{said}");
    daemon.signal(Signal::SIGHUP);
    // RELOADING=1 and READY=1, twice.
    let told: Vec<String> = (0..4).map(|_| daemon.tells()).collect();
    assert!(told[3].starts_with("READY=1"), "{told:?}");
    assert!(!there.exists());
    assert_eq!(reload(&there).0, Some(69), "nobody is there");
    fs::write(&file, usual).unwrap();
    assert_eq!(reload(&here).0, Some(0), "the old one answers");
    let said = daemon.stop();
    assert_eq!(said.matches("snet goes on as before").count(), 2, "{said}");
    assert!(!here.exists());
}

/// A domestic name server: whoever runs is at this address for an hour, and nobody else exists.
fn name_server() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            let name = query[12..length].iter().position(|byte| *byte == 0).unwrap();
            let mut answer = query[..12 + name + 5].to_vec();
            if query[13..].starts_with(b"run") {
                answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4, 223, 5, 5, 5]);
            } else {
                answer[2..12].copy_from_slice(&[0x81, 0x83, 0, 1, 0, 0, 0, 0, 0, 0]);
            }
            socket.send_to(&answer, client).unwrap();
        }
    });
    port
}

/// `runNN.example. A IN`
fn question(number: usize) -> Vec<u8> {
    let mut query = b"\x70\x75\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05".to_vec();
    query.extend(format!("run{number:02}").bytes());
    query.extend(b"\x07example\x00\x00\x01\x00\x01");
    query
}

#[test]
fn every_stop_keeps_the_answers_however_short_the_run_was() {
    const RUNS: usize = 40;
    let folder = Folder::new("answers");
    let (cache, ports) = (folder.path("dns.cache"), Ports::free());
    let config = ports
        .config("")
        .replace("127.0.0.1:9", &format!("127.0.0.1:{}", name_server()))
        .replace("[dns]\n", &format!("[dns]\ncache-file = \"{}\"\n", cache.display()));
    let file = folder.secret("config.toml", &config);
    let kept = |number: usize| {
        let content = fs::read(&cache).unwrap_or_default();
        let label = format!("run{number:02}");
        content.windows(label.len()).any(|window| window == label.as_bytes())
    };
    let mut lost = Vec::new();
    for number in 0..RUNS {
        let mut command = Command::new(SNET);
        let log = Folder::new(&format!("answers-{number}"));
        let daemon = Daemon::spawn(log, command.args(["--dns-only", "-c"]).arg(&file));
        daemon.ready();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.send_to(&question(number), ("127.0.0.1", ports.dns)).unwrap();
        let mut answer = [0; 512];
        let length = client.recv(&mut answer).unwrap();
        assert!(answer[..length].windows(4).any(|bytes| bytes == [223, 5, 5, 5]));
        daemon.stop();
        if !kept(number) {
            lost.push(number);
        }
    }
    assert!(lost.is_empty(), "lost the answers of {} runs of {RUNS}: {lost:?}", lost.len());
    assert!((0..RUNS).all(kept), "each run keeps those of the ones before");
    assert!(!folder.path("dns.cache.new").exists());
}

#[test]
fn answers_are_kept_in_no_place_of_anothers() {
    let folder = Folder::new("no-answers");
    fs::write(folder.path("file"), "precious").unwrap();
    for (path, found) in [
        ("no/dns.cache", "no (No such file or directory"),
        ("file", "file, which is a file that snet has not written"),
    ] {
        let cache = folder.path(path);
        let config = Ports::free()
            .config("")
            .replace("[dns]\n", &format!("[dns]\ncache-file = \"{}\"\n", cache.display()));
        let file = folder.secret("config.toml", &config);
        for command in [&["check", "--dns-only", "-c"][..], &["--dns-only", "-c"]] {
            let output = Command::new(SNET).args(command).arg(&file).output().unwrap();
            let said = text(&output);
            assert_eq!(output.status.code(), Some(78), "{said}");
            assert!(said.contains("config.toml:6: dns.cache-file: found"), "{said}");
            assert!(said.contains(found), "{said}");
        }
    }
    assert_eq!(fs::read_to_string(folder.path("file")).unwrap(), "precious");
}

/// Under ProtectSystem=strict nothing can be written but what the unit says.
#[test]
fn the_unit_has_a_folder_for_answers_and_a_purge_takes_it_away() {
    let root = Folder::new("state");
    root.install(&[]);
    let unit = fs::read_to_string(root.path(UNIT)).unwrap();
    assert!(unit.contains("\nStateDirectory=snet\nStateDirectoryMode=0700\n"), "{unit}");
    assert!(
        fs::read_to_string("config.example.toml").unwrap().contains("\"/var/lib/snet/dns.cache\"")
    );
    fs::create_dir_all(root.path("var/lib/snet")).unwrap();
    fs::write(root.path("var/lib/snet/dns.cache"), "").unwrap();
    root.install(&["--remove"]);
    assert!(root.path("var/lib/snet/dns.cache").exists());
    root.install(&["--purge"]);
    assert!(root.files().is_empty(), "{:?}", root.files());
}
