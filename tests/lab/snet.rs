//! The program under test: its configuration file, its life and what it uses.

use crate::peer::unbound::pem;
use crate::process::{FOLDER, Finished, Place, Running, command, finish, new_file};
use crate::variant::Variant;
use crate::wait;
use crate::world::{CHINA, DOMESTIC_NAMES, Family, TRUSTED_NAMES};
use nix::sys::signal::Signal;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The defaults of `listen.tcp-port` and `listen.dns-port`.
pub const TCP_PORT: u16 = 1111;
pub const DNS_PORT: u16 = 1211;

/// A log that grows no more for so long is whole.
const SILENCE: Duration = Duration::from_millis(50);

const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(15);

/// One that is killed may sleep in the kernel until it gets `rtnl_lock`, which all network
/// namespaces share (net/core/rtnetlink.c), and those of other tests are being removed: 11 s have
/// been seen.
const DEATH: Duration = Duration::from_secs(60);

/// A configuration file in the making: the lines of each table.
#[derive(Debug, Clone)]
pub struct Config {
    pub top: Vec<String>,
    pub listen: Vec<String>,
    pub proxies: Vec<String>,
    pub dns: Vec<String>,
    pub rules: Vec<String>,
    pub firewall: Vec<String>,
}

impl Config {
    /// The lab's usual one: everything foreign through these proxies, names asked over `family`.
    pub fn through(family: Family, proxies: &[String]) -> Self {
        let china = Path::new(FOLDER).join("china.txt");
        fs::write(&china, CHINA).expect("the tmpfs is writable");
        Config {
            top: vec!["mode = \"local\"".into()],
            listen: Vec::new(),
            proxies: proxies.to_vec(),
            dns: vec![
                format!("china = [\"{}\"]", DOMESTIC_NAMES.ip(family)),
                format!("trusted = [\"{}\"]", TRUSTED_NAMES.ip(family)),
            ],
            rules: vec![format!("china-ip-file = \"{}\"", china.display())],
            firewall: vec!["backend = \"iptables\"".into()],
        }
    }

    /// The same with the backend of this variant, unless it shall have none.
    pub fn by(&self, variant: Variant) -> Self {
        let mut config = self.clone();
        if config.firewall.iter().any(|line| line == "backend = \"none\"") {
            return config;
        }
        Config::set(&mut config.firewall, "backend", variant.backend());
        config
    }

    /// Replaces the line of a key in a table, or adds it.
    pub fn set(table: &mut Vec<String>, key: &str, value: &str) {
        table.retain(|line| !line.starts_with(&format!("{key} =")));
        table.push(format!("{key} = {value}"));
    }

    /// Writes the file and returns its path.
    pub fn write(&self) -> PathBuf {
        write_config(&self.text())
    }

    /// The file.
    pub fn text(&self) -> String {
        let mut text = self.top.join("\n");
        // Tests wait for the lines of connections.
        text.push_str("\nlog.connections = true\n");
        for (name, lines) in [
            ("listen", &self.listen),
            ("dns", &self.dns),
            ("rules", &self.rules),
            ("firewall", &self.firewall),
        ] {
            text.push_str(&format!("\n[{name}]\n{}\n", lines.join("\n")));
        }
        for proxy in &self.proxies {
            // The lab's proxies have no name server to ask, unless a test gives them one.
            let addresses = match proxy.contains("send-names") {
                true => "",
                false => "send-names = \"off\"\n",
            };
            text.push_str(&format!("\n[[proxy]]\n{}\n{addresses}", proxy.trim_end()));
        }
        text
    }
}

/// Writes a configuration file that only its owner can read.
pub fn write_config(text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = new_file("config.toml");
    fs::write(&path, text).expect("the tmpfs is writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    path
}

/// `[[proxy]]` of type http.
pub fn http_proxy(server: SocketAddr, credentials: Option<(&str, &str)>) -> String {
    proxy("http", server, credentials)
}

/// `[[proxy]]` of type https, with the certificate of `dns.example`.
pub fn https_proxy(server: SocketAddr, credentials: Option<(&str, &str)>) -> String {
    let authority = pem("authority.der", "CERTIFICATE");
    let line = proxy("https", server, credentials);
    format!("{line}tls-name = \"dns.example\"\ntls-ca-file = \"{authority}\"\n")
}

/// `[[proxy]]` of type socks5.
pub fn socks_proxy(server: SocketAddr, credentials: Option<(&str, &str)>) -> String {
    proxy("socks5", server, credentials)
}

fn proxy(kind: &str, server: SocketAddr, credentials: Option<(&str, &str)>) -> String {
    let credentials = credentials.map_or(String::new(), |(username, password)| {
        format!("username = \"{username}\"\npassword = \"{password}\"\n")
    });
    format!("type = \"{kind}\"\nserver = \"{server}\"\nconnect-timeout = \"2s\"\n{credentials}")
}

/// `[[proxy]]` of type shadowsocks.
pub fn shadowsocks(server: SocketAddr, method: &str, password: &str) -> String {
    format!(
        "type = \"shadowsocks\"\nserver = \"{server}\"\nmethod = \"{method}\"\npassword = \
         \"{password}\"\nconnect-timeout = \"2s\"\n"
    )
}

/// A command for snet, with that variant of iptables first in PATH.
pub fn snet(variant: Variant) -> Command {
    variant.folder();
    let mut command = Command::new(env!("CARGO_BIN_EXE_snet"));
    command
        .env("PATH", variant.path())
        .env_remove("JOURNAL_STREAM")
        .stdin(std::process::Stdio::null());
    command
}

/// The same, with so many files that it may have open: prlimit(1).
pub fn with_files(variant: Variant, files: usize) -> Command {
    let usual = snet(variant);
    let mut limited = command(Place::Machine, "prlimit");
    limited.arg(format!("--nofile={files}:{files}")).arg(usual.get_program());
    for (name, value) in usual.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited
}

/// Runs snet to its end.
pub fn run(variant: Variant, arguments: &[&str]) -> Finished {
    finish(snet(variant).args(arguments))
}

/// A running daemon; killed when dropped.
#[derive(Debug)]
pub struct Snet(Running);

impl Snet {
    /// Starts it and waits until it is ready.
    pub fn start(variant: Variant, config: &Config) -> Self {
        Self::ready(snet(variant).arg("-c").arg(config.by(variant).write()))
    }

    /// Starts this command and waits until it is ready.
    pub fn ready(command: &mut Command) -> Self {
        let mut started = Self::spawn(command);
        let ready = wait::quietly(START, || started.is_ready() || started.0.ended().is_some());
        assert!(ready && started.is_ready(), "snet is not ready:\n{}", started.log());
        started
    }

    /// Starts this command and does not wait.
    pub fn spawn(command: &mut Command) -> Self {
        Snet(Running::start("snet", command))
    }

    pub fn is_ready(&self) -> bool {
        self.log().lines().any(|line| line.contains(" ready"))
    }

    /// What it has said so far. The last lines may still wait in its queue.
    pub fn log(&self) -> String {
        self.0.log()
    }

    /// Everything it has said, where it says little: this waits until nothing more is written.
    pub fn whole_log(&self) -> String {
        let (began, mut said) = (Instant::now(), self.0.log());
        loop {
            sleep(SILENCE);
            let now = self.0.log();
            if now == said || began.elapsed() > Duration::from_secs(1) {
                return now;
            }
            said = now;
        }
    }

    /// The lines at this level.
    pub fn lines(&self, level: &str) -> Vec<String> {
        let wanted = format!(" {level} ");
        self.whole_log().lines().filter(|line| line.contains(&wanted)).map(str::to_owned).collect()
    }

    /// Asks it to stop and waits for the end, which has to be a good one.
    pub fn stop(mut self) {
        self.0.signal(Signal::SIGTERM);
        let status = self.0.wait(STOP);
        assert!(status.success(), "snet ended with {status}:\n{}", self.log());
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.0.signal(Signal::SIGKILL);
        self.0.wait(DEATH);
    }

    pub fn signal(&self, signal: Signal) {
        self.0.signal(signal);
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.0.wait(STOP)
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.0.ended()
    }

    pub fn assert_alive(&mut self) {
        if let Some(status) = self.0.ended() {
            panic!("snet ended with {status}:\n{}", self.log());
        }
    }

    pub fn pid(&self) -> nix::unistd::Pid {
        self.0.pid()
    }

    /// How many descriptors it holds.
    pub fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.0.pid());
        fs::read_dir(folder).expect("it runs").count()
    }

    /// Waits until it holds no more descriptors than that.
    pub fn wait_for_descriptors(&self, most: usize) {
        wait::until(&format!("at most {most} descriptors"), Duration::from_secs(15), || {
            self.descriptors() <= most
        });
    }

    /// Processor time used so far, in clock ticks (proc(5), stat: utime and stime).
    pub fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.pid())).expect("it runs");
        let behind_name = stat.rsplit(')').next().expect("a name in brackets");
        let field = |number: usize| behind_name.split_whitespace().nth(number);
        [field(11), field(12)].into_iter().flatten().filter_map(|t| t.parse::<u64>().ok()).sum()
    }

    /// Resident memory in KiB (proc(5), VmRSS).
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

/// dig against the system's name server (or `@server` in the arguments): what it printed.
pub fn dig(arguments: &str) -> String {
    let mut command = command(Place::Machine, "dig");
    command.args(["+tries=1", "+timeout=6"]).args(arguments.split_whitespace());
    finish(&mut command).stdout
}
