//! The seal: every test runs again, alone, in namespaces of its own.
//!
//! [`sealed`] starts the test binary a second time under unshare(1): new user, network, mount and
//! process namespaces, only the one test. Invariant: no packet and no firewall rule of the lab can
//! reach the host. The inner run compares its network namespace with the one that the outer run
//! names, and does nothing if they are the same. Nothing is left over: when the inner run ends, is
//! killed or loses its parent, the kernel kills everything in its process namespace.

use crate::stillness::unless_still;
use crate::tools;
use crate::world::World;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Names the outer network namespace to the inner run.
const TOKEN: &str = "SNET_LAB";

/// No test takes longer; one that does is killed and fails. `SNET_LAB_LIMIT` sets another number of
/// seconds, for the runs that are made long by hand.
fn limit() -> Duration {
    let asked = std::env::var("SNET_LAB_LIMIT").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(asked.unwrap_or(600))
}

/// Runs `body` in a fresh world. To be called by a test as the only thing it does.
pub fn sealed<F: FnOnce(&World)>(body: F) {
    match std::env::var(TOKEN) {
        Err(_) => run_again(&test_name::<F>()),
        Ok(outside) => {
            let inside = network_namespace();
            assert_ne!(outside, inside, "still in the host's network namespace: nothing is sent");
            end_with_parent();
            body(&World::build());
        }
    }
}

/// libtest's name of the function around the closure: its path without the crate.
fn test_name<F>() -> String {
    let path = std::any::type_name::<F>().trim_end_matches("::{{closure}}");
    path.split_once("::").map_or(path, |(_, name)| name).to_owned()
}

fn run_again(test: &str) {
    tools::require_all();
    if let Err(said) = unless_still(|| attempt(test)) {
        panic!("{said}");
    }
}

fn attempt(test: &str) -> Result<(), String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let output = folder.join(format!("{}.log", test.replace("::", "-")));
    let file = File::create(&output).expect("the log of the test can be created");
    let program = std::env::current_exe().expect("the test binary has a path");
    let mut child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork"])
        .args(["--kill-child", "--mount-proc", "--"])
        .arg(program)
        .args(["--exact", test, "--nocapture", "--include-ignored", "--test-threads=1"])
        .env(TOKEN, network_namespace())
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::piped())
        .stdout(file.try_clone().expect("a file can be cloned"))
        .stderr(file)
        .spawn()
        .expect("unshare (util-linux) starts");
    let deadline = Instant::now() + limit();
    let status = loop {
        if let Some(status) = child.try_wait().expect("the child can be waited for") {
            break Some(status);
        }
        if Instant::now() > deadline {
            child.kill().expect("the child can be killed");
            child.wait().expect("the child can be waited for");
            break None;
        }
        thread::sleep(Duration::from_millis(20));
    };
    let said = fs::read_to_string(&output).unwrap_or_default();
    if !status.as_ref().is_some_and(ExitStatus::success) {
        return Err(failure(status, &said));
    }
    // A name that matched nothing would succeed too.
    assert!(said.contains("1 passed"), "{test} did not run:\n{said}");
    Ok(())
}

/// What the inner run said stands behind a bar: libtest's words in it are not the outer run's.
fn failure(status: Option<ExitStatus>, said: &str) -> String {
    let said: String = said.lines().map(|line| format!("| {line}\n")).collect();
    match status {
        None => format!("killed after {} s:\n{said}", limit().as_secs()),
        Some(status) => format!("{status}:\n{said}"),
    }
}

fn network_namespace() -> String {
    fs::read_link("/proc/self/ns/net").expect("proc is mounted").display().to_string()
}

/// The outer run holds the other end of stdin: when it goes, so does this process, and with it,
/// being the first of its process namespace, everything that it started.
fn end_with_parent() {
    thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        eprintln!("the outer run is gone");
        std::process::exit(1);
    });
}
