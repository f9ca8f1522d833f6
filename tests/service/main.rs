//! snet as a service: what it tells its manager, which rights it keeps, what it never tells, and
//! what `scripts/install.sh` puts and leaves where. Each daemon runs in namespaces of its own or
//! on loopback ports of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::disallowed_methods, reason = "the test's own sockets carry no mark")]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use snet::config::{Config, Purpose};
use snet_lab::executable;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

mod files;
mod openwrt;
mod packages;
mod plugins;
mod ports;
mod terminal;
mod threads;

use ports::Ports;

const SNET: &str = env!("CARGO_BIN_EXE_snet");

/// capabilities(7), linux/capability.h.
const NET_BIND_SERVICE: u64 = 1 << 10;
const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;

/// Longer than any start takes; a failing test waits for it, no other.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn it_keeps_no_right_that_it_does_not_need() {
    let daemon = Daemon::in_a_cell("rights", "", "");
    daemon.ready();
    for set in ["CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"] {
        assert_eq!(daemon.capabilities(set), NET_ADMIN | NET_RAW, "{set}");
    }
    assert_eq!(daemon.status_line("NoNewPrivs"), "1");
    daemon.stop();
}

#[test]
fn a_low_port_costs_one_right_more() {
    let daemon = Daemon::in_a_cell("low-port", "[listen]\ndns-port = 53\n", "");
    daemon.ready();
    assert_eq!(daemon.capabilities("CapEff"), NET_ADMIN | NET_RAW | NET_BIND_SERVICE);
    daemon.stop();
}

#[test]
fn the_resolver_alone_runs_as_an_ordinary_user() {
    let folder = Folder::new("ordinary");
    // Where that user may read it.
    let program = folder.path("snet");
    executable::copy(SNET, &program);
    let user = nix::unistd::Uid::effective();
    let (launcher, user) = match user.is_root() {
        true => ("setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all", 65534),
        false => ("setpriv", user.as_raw()),
    };
    let file = folder.path("config.toml");
    let ports = Ports::free();
    fs::write(&file, ports.config("")).unwrap();
    // The system's own snet has the place of the control socket already.
    let _another = UnixListener::bind(ports.control()).unwrap();
    let launcher =
        format!("exec {launcher} {} --dns-only -c {}", program.display(), file.display());
    let daemon = Daemon::spawn(folder, Command::new("sh").args(["-c", &launcher]));
    daemon.ready();
    // proc_pid(5): what can be dumped belongs to its user, the rest to root.
    assert_eq!(fs::metadata(daemon.proc("mem")).unwrap().uid(), 0);
    assert!(daemon.status_line("Uid").starts_with(&user.to_string()));
    assert_eq!(daemon.capabilities("CapEff"), 0);
    let log = daemon.stop();
    assert!(log.contains("reaches that one, not this"), "{log}");
    fs::remove_file(ports.control()).unwrap();
}

#[test]
fn a_killed_daemon_leaves_no_core_dump() {
    // As far as the shell is concerned there would be one.
    let mut daemon = Daemon::in_a_cell("core", "", "prlimit --core=unlimited");
    daemon.ready();
    daemon.signal(Signal::SIGABRT);
    let status = daemon.child.wait().unwrap();
    assert_eq!(status.signal(), Some(nix::libc::SIGABRT));
    assert!(!status.core_dumped());
}

#[test]
fn a_manager_learns_of_the_start_and_of_the_end() {
    let mut daemon = Daemon::in_a_cell("manager", "", "");
    let ready = daemon.tells();
    assert!(ready.starts_with("READY=1\nSTATUS=TCP port 1111 and DNS port 1211 on "), "{ready}");
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.tells().starts_with("STOPPING=1\n"));
    assert!(daemon.child.wait().unwrap().success());
}

/// A proxy that sends everything back: the worst case for what is quoted in the log.
#[test]
fn no_secret_in_the_log() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = proxy.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in proxy.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap_or(0);
            let _ = stream.write_all(&request[..length]);
        }
    });
    let shadowsocks = format!(
        "[[proxy]]\ntype = \"shadowsocks\"\nserver = \"{address}\"\n\
         method = \"aes-256-gcm\"\npassword = \"{PASSWORD}\"\n"
    );
    assert!(everything_said(&shadowsocks).contains("the connection ended"));
    let http = format!(
        "[[proxy]]\ntype = \"http\"\nserver = \"{address}\"\n\
         username = \"me\"\npassword = \"{PASSWORD}\"\n"
    );
    assert!(everything_said(&http).contains("HTTP CONNECT"));
}

/// The log of a query that goes through this proxy; what is said about it elsewhere is looked at
/// on the way.
fn everything_said(proxy: &str) -> String {
    let folder = Folder::new("no-secret");
    let ports = Ports::free();
    let file = folder.secret("config.toml", &ports.config(proxy));
    let output = Command::new(SNET).args(["check", "-c"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert_no_secret(&text(&output));
    let loaded = Config::load(&file, Purpose::Daemon).unwrap();
    assert_no_secret(&format!("{loaded:?}"));

    let daemon =
        Daemon::spawn(folder, Command::new(SNET).args(["-vv", "--dns-only", "-c"]).arg(&file));
    daemon.ready();
    // Nobody knows the name: the trusted side is asked, through the proxy.
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(QUESTION, ("127.0.0.1", ports.dns)).unwrap();
    client.recv(&mut [0; 512]).unwrap();
    let log = daemon.stop();
    assert_no_secret(&log);
    log
}

/// `example.com. A IN`, recursion desired.
const QUESTION: &[u8] =
    b"\x70\x75\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01";

#[test]
fn installed_upgraded_removed_purged() {
    let root = Folder::new("installed");
    let said = root.install(&[]);
    assert!(said.contains("no systemd here"), "{said}");
    let config = root.path("etc/snet/config.toml");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&config), 0o600);
    assert_eq!(mode(&root.path("usr/local/bin/snet")), 0o755);
    let unit = fs::read_to_string(root.path(UNIT)).unwrap();
    assert!(unit.contains("\nExecStart=/usr/local/bin/snet -c /etc/snet/config.toml\n"), "{unit}");
    assert!(unit.contains("\nExecStopPost=-/usr/local/bin/snet cleanup --keep-closed\n"), "{unit}");
    let program = "usr/local/bin/snet";
    let pages = PAGES.map(|page| format!("usr/local/share/{page}"));
    let installed = ["etc/snet/config.toml", UNIT, program].into_iter();
    let installed: Vec<_> = installed.chain(pages.iter().map(String::as_str)).collect();
    assert_eq!(root.files(), installed);
    for page in &pages {
        assert_eq!(mode(&root.path(page)), 0o644, "{page}");
        assert!(fs::read_to_string(root.path(page)).unwrap().contains("explain"), "{page}");
    }

    fs::write(&config, "edited").unwrap();
    let said = root.install(&[]);
    assert!(said.contains("upgrading") && said.contains("kept"), "{said}");
    assert_eq!(fs::read_to_string(&config).unwrap(), "edited");

    root.install(&["--remove"]);
    assert_eq!(root.files(), ["etc/snet/config.toml"]);
    root.install(&["--purge"]);
    assert!(root.files().is_empty(), "{:?}", root.files());
    // Twice does no harm.
    root.install(&["--purge"]);
}

/// systemctl is a script that writes down what it is asked; snet is "active" if a file says so.
#[test]
fn only_a_good_configuration_is_started() {
    let root = Folder::new("started");
    fs::create_dir_all(root.path("run/systemd/system")).unwrap();
    fs::create_dir_all(root.path("bin")).unwrap();
    let systemctl = root.path("bin/systemctl");
    let script = "#!/bin/sh\ncd \"$DESTDIR\" && echo \"$*\" >>asked\n\
                  case $* in *is-active*) [ -e active ];; esac\n";
    executable::write(script, &systemctl);
    let asked = || {
        let asked = fs::read_to_string(root.path("asked")).unwrap();
        fs::remove_file(root.path("asked")).unwrap();
        asked
    };

    let said = root.install(&[]);
    assert!(said.contains("next: edit"), "{said}");
    assert!(!asked().contains("enable"), "an example must not be started");

    let config = root.path("etc/snet/config.toml");
    fs::write(&config, PROXY).unwrap();
    assert!(root.install(&[]).contains("snet runs"));
    assert!(asked().contains("enable --now snet.service"));

    fs::write(root.path("active"), "").unwrap();
    assert!(root.install(&[]).contains("restarted"));
    assert!(asked().contains("\nrestart snet.service"));

    fs::write(&config, "mode = \"nonsense\"\n").unwrap();
    let output = root.run_install(&[]);
    let said = text(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("nonsense") && said.contains("left alone"), "{said}");
    assert!(!asked().contains("restart"));

    root.install(&["--purge"]);
    assert!(asked().starts_with("disable --now snet.service\ndaemon-reload\n"));
    assert_eq!(root.files(), ["active", "bin/systemctl"]);
}

/// Where `man` and the shells look, below share/.
const PAGES: [&str; 4] = [
    "bash-completion/completions/snet",
    "fish/vendor_completions.d/snet.fish",
    "man/man8/snet.8",
    "zsh/site-functions/_snet",
];

const UNIT: &str = "etc/systemd/system/snet.service";
const PROXY: &str = "[[proxy]]\ntype = \"http\"\nserver = \"192.0.2.9:8080\"\n";

const PASSWORD: &str = "HUNTER2-is-not-to-be-seen";
/// `me:` and the password, in base64, less its end.
const BASIC: &str = "bWU6SFVOVEVSM";

fn assert_no_secret(text: &str) {
    for secret in ["HUNTER2", BASIC] {
        assert!(!text.contains(secret), "{secret} is in: {text}");
    }
}

// Namespaces and processes.

/// A folder of the test's own, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("snet-service-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        Folder(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn secret(&self, name: &str, content: &str) -> PathBuf {
        let file = self.path(name);
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        file
    }
}

/// As the root of a machine that `scripts/install.sh` works on.
impl Folder {
    fn run_install(&self, arguments: &[&str]) -> Output {
        let path = std::env::var("PATH").unwrap();
        Command::new("sh")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/install.sh"))
            .args(["--binary", SNET])
            .args(arguments)
            .env("DESTDIR", &self.0)
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env_remove("PREFIX")
            .output()
            .unwrap()
    }

    /// What it said.
    fn install(&self, arguments: &[&str]) -> String {
        let output = self.run_install(arguments);
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    }

    /// All files, sorted.
    fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => files
                        .push(path.strip_prefix(&self.0).unwrap().to_string_lossy().into_owned()),
                }
            }
        }
        files.sort();
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What `NOTIFY_SOCKET` names.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Manager(socket)
    }

    fn hears(&self) -> std::io::Result<String> {
        let mut buffer = [0; 1024];
        loop {
            let length = self.0.recv(&mut buffer)?;
            if &buffer[..length] != b"WATCHDOG=1" {
                return Ok(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
        }
    }
}

/// A process of snet, and who it reports to.
struct Daemon {
    child: Child,
    manager: Manager,
    folder: Folder,
}

impl Daemon {
    /// `command` has to end in an exec of snet.
    fn spawn(folder: Folder, command: &mut Command) -> Self {
        let manager = Manager::at(&folder.path("notify"));
        let child = command
            .env("NOTIFY_SOCKET", folder.path("notify"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path("log")).unwrap())
            .spawn()
            .unwrap();
        Daemon { child, manager, folder }
    }

    /// The whole daemon, in user, network and mount namespaces of its own. `launcher`: what comes
    /// before snet on the command line.
    fn in_a_cell(name: &str, config: &str, launcher: &str) -> Self {
        let folder = Folder::new(name);
        let file = folder.secret("config.toml", &format!("{config}{PROXY}"));
        let script = format!(
            "mount -t tmpfs none /run && ip link set lo up && exec {launcher} {SNET} -c {}",
            file.display()
        );
        Self::spawn(folder, Command::new("unshare").args(["-Urnm", "sh", "-c", &script]))
    }

    fn ready(&self) {
        let told = self.tells();
        assert!(told.starts_with("READY=1\n"), "{told}: {}", self.log());
    }

    /// What its manager hears.
    fn tells(&self) -> String {
        self.manager.hears().unwrap_or_else(|error| panic!("{error}; its log: {}", self.log()))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path("log")).unwrap()
    }

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(file)
    }

    fn status_line(&self, name: &str) -> String {
        line_of(&fs::read_to_string(self.proc("status")).unwrap(), name).into()
    }

    fn capabilities(&self, set: &str) -> u64 {
        u64::from_str_radix(&self.status_line(set), 16).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// And what it has said by then.
    fn stop(mut self) -> String {
        self.signal(Signal::SIGTERM);
        let status = self.child.wait().unwrap();
        let log = self.log();
        assert!(status.success(), "{status}: {log}");
        log
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already, unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// proc_pid_status(5)
fn line_of<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap().trim()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}
