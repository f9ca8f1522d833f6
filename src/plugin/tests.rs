//! Little shell scripts as plugins, with a launcher that takes no rights away.

use super::*;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// What is longer than this does not happen any more.
const LIMIT: Duration = Duration::from_secs(20);

struct Script(PathBuf);

impl Script {
    fn new(text: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("snet-plugin-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        let script = Script(folder);
        let text = text.replace("FOLDER", &script.0.display().to_string());
        // Written whole before it has its name: a file that is open for writing cannot be run.
        fs::write(script.0.join("new"), format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(script.0.join("new"), Permissions::from_mode(0o755)).unwrap();
        fs::rename(script.0.join("new"), script.0.join("plugin")).unwrap();
        script
    }

    fn plugin(&self, options: &str, server: ServerAddresses) -> Plugin {
        let program = self.0.join("plugin").display().to_string();
        let spec = PluginSpec::new(program, PluginSpec::options_of(options).unwrap());
        let launcher = Launcher { program: "/usr/bin/env".into(), arguments: Vec::new() };
        Plugin::new(spec, server, launcher)
    }

    fn said(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap_or_default()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Listens on the port it was told, and accepts until it is ended.
const LISTEN: &str = "exec python3 -c 'import os, socket
listener = socket.create_server((\"127.0.0.1\", int(os.environ[\"SS_LOCAL_PORT\"])))
print(\"listening\", flush=True)
while True: listener.accept()'";

fn at(address: &str) -> ServerAddresses {
    let address: SocketAddr = address.parse().unwrap();
    Box::new(move || vec![address])
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn is_alive(pid: &str) -> bool {
    Path::new("/proc").join(pid.trim()).join("exe").read_link().is_ok()
}

async fn address(plugin: &Plugin) -> Result<SocketAddr, NotRunning> {
    timeout(LIMIT, plugin.address()).await.expect("an answer")
}

#[tokio::test]
async fn it_is_ready_when_its_port_accepts_and_ends_with_its_owner() {
    let script =
        Script::new(&format!("env > FOLDER/env; echo $$ > FOLDER/pid; sleep 0.2; {LISTEN}"));
    let plugin = script.plugin("obfs=http;a\\;b", at("[2001:db8::1]:8388"));
    let address = address(&plugin).await.unwrap();
    assert!(crate::net::probe::accepts(address));
    let told = script.said("env");
    for line in [
        "SS_REMOTE_HOST=2001:db8::1",
        "SS_REMOTE_PORT=8388",
        "SS_LOCAL_HOST=127.0.0.1",
        &format!("SS_LOCAL_PORT={}", address.port()),
        "SS_PLUGIN_OPTIONS=obfs=http;a\\;b",
    ] {
        assert!(told.lines().any(|told| told == line), "{line} is not in\n{told}");
    }
    assert!(!told.contains("CARGO"), "the environment goes on:\n{told}");
    let pid = script.said("pid");
    assert!(is_alive(&pid));
    plugin.stop();
    timeout(LIMIT, plugin.is_gone()).await.expect("it ends");
    assert!(!is_alive(&pid));
    assert!(!crate::net::probe::accepts(address));
}

#[tokio::test]
async fn one_that_ends_fails_dials_with_its_last_words_and_is_started_again() {
    let script =
        Script::new("echo run >> FOLDER/runs; echo usage: none; echo no obfs= >&2; exit 3");
    let plugin = script.plugin("", at("192.0.2.1:1"));
    let why = address(&plugin).await.unwrap_err().to_string();
    assert_eq!(
        why,
        "it ended (exit status: 3): usage: none; no obfs= (does it want plugin-options?)"
    );
    // Known as dead, nobody waits for the next start.
    let asked = Instant::now();
    address(&plugin).await.unwrap_err();
    assert!(asked.elapsed() < Duration::from_secs(1));
    // The second run is after half a second, the third a second later: no loop.
    wait_until("a second run", || script.said("runs").lines().count() >= 2);
    assert!(asked.elapsed() > Duration::from_millis(300), "{:?}", asked.elapsed());
    wait_until("a third run", || script.said("runs").lines().count() >= 3);
    assert!(asked.elapsed() > Duration::from_millis(1300), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn one_that_is_killed_comes_back_on_another_port() {
    let script = Script::new(&format!("echo $$ > FOLDER/pid; {LISTEN}"));
    let plugin = script.plugin("", at("192.0.2.1:1"));
    let first = address(&plugin).await.unwrap();
    let pid: i32 = script.said("pid").trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).unwrap();
    let deadline = Instant::now() + LIMIT;
    while address(&plugin).await.ok().is_none_or(|now| now == first) {
        assert!(Instant::now() < deadline, "it does not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_a_script_has_started_ends_with_it() {
    let script = Script::new("sleep 1000 & echo $! > FOLDER/new; mv FOLDER/new FOLDER/pid; exit 1");
    let plugin = script.plugin("", at("192.0.2.1:1"));
    plugin.start();
    wait_until("it runs", || !script.said("pid").is_empty());
    let pid = script.said("pid");
    address(&plugin).await.unwrap_err();
    wait_until("the grandchild is gone", || !is_alive(&pid));
}

/// Else each run would leave a thread and a descriptor.
#[tokio::test]
async fn what_has_left_the_group_is_not_listened_to() {
    let script = Script::new(
        "setsid sh -c 'trap \"\" PIPE; i=0; while echo $i && [ $i -lt 400 ]; do i=$((i+1)); \
         sleep 0.05; done; echo $i > FOLDER/new; mv FOLDER/new FOLDER/cut' &
         sleep 0.2; exit 1",
    );
    let plugin = script.plugin("", at("192.0.2.1:1"));
    address(&plugin).await.unwrap_err();
    wait_until("it is cut off", || !script.said("cut").is_empty());
    assert!(script.said("cut").trim().parse::<u32>().unwrap() < 400);
}

#[tokio::test]
async fn it_follows_its_server_to_another_address() {
    let script = Script::new(&format!("echo $SS_REMOTE_HOST >> FOLDER/hosts; {LISTEN}"));
    let last = Arc::new(AtomicU32::new(0));
    let number = Arc::clone(&last);
    let plugin = script.plugin(
        "",
        Box::new(move || match number.load(Ordering::Relaxed) {
            0 => Vec::new(),
            last => vec![format!("192.0.2.{last}:1").parse().unwrap()],
        }),
    );
    let why = address(&plugin).await.unwrap_err().to_string();
    assert!(why.contains("not resolved"), "{why}");
    last.store(1, Ordering::Relaxed);
    wait_until("the first run", || script.said("hosts") == "192.0.2.1\n");
    last.store(2, Ordering::Relaxed);
    wait_until("the second run", || script.said("hosts") == "192.0.2.1\n192.0.2.2\n");
}

#[tokio::test]
async fn no_program_no_plugin() {
    let spec = PluginSpec::new("snet-no-such-plugin".into(), crate::secret::Secret::new(""));
    assert_eq!(spec.executable(), None);
    let plugin = Plugin::new(spec, at("192.0.2.1:1"), Launcher::own());
    let why = address(&plugin).await.unwrap_err().to_string();
    assert_eq!(why, "it cannot be started: there is no such program in PATH");
}

#[tokio::test]
async fn one_that_does_not_heed_sigterm_ends_with_its_owner() {
    let script = Script::new("trap '' TERM; echo $$ > FOLDER/pid; while :; do sleep 0.1; done");
    let plugin = script.plugin("", at("192.0.2.1:1"));
    plugin.start();
    wait_until("it runs", || !script.said("pid").is_empty());
    let pid = script.said("pid");
    drop(plugin);
    wait_until("it is gone", || !is_alive(&pid));
}

#[tokio::test]
async fn what_was_never_started_is_gone() {
    let script = Script::new("exit 1");
    let plugin = script.plugin("", at("192.0.2.1:1"));
    plugin.stop();
    timeout(LIMIT, plugin.is_gone()).await.expect("it was never there");
    let why = address(&plugin).await.unwrap_err().to_string();
    assert_eq!(why, "it is stopped");
}
