//! The seal: every test runs again, alone, in namespaces of its own.
//!
//! A sealed test starts its own binary a second time under unshare(1): new user, network, mount and
//! process namespaces, only the one test. Invariant: no packet and no firewall rule of the lab can
//! reach the host. The inner run compares its network namespace with the one that the outer run
//! names, and does nothing if they are the same. Nothing is left over: when the inner run ends, is
//! killed or loses its parent, the kernel kills everything in its process namespace.

use crate::process::FOLDER;
use crate::stillness::unless_still;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
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

/// Runs `body` in namespaces of its own, where `prepare` has run. To be called by a test as the
/// only thing it does. `require` fails if a program is missing; `environment`: of the inner run,
/// beside what it inherits.
pub(crate) fn sealed<F: FnOnce()>(
    require: fn(),
    environment: &[(&str, OsString)],
    prepare: impl FnOnce(),
    body: F,
) {
    let Ok(outside) = std::env::var(TOKEN) else {
        require();
        let test = test_name::<F>();
        if let Err(said) = unless_still(|| attempt(&test, environment)) {
            panic!("{said}");
        }
        return;
    };
    let inside = network_namespace();
    assert_ne!(outside, inside, "still in the host's network namespace: nothing is sent");
    // Else it is a second process of the same test.
    if std::process::id() == 1 {
        end_with_parent();
        mount_run();
        prepare();
    }
    body();
}

/// An empty /run: iptables-legacy has its lock there, and the lab its folder.
fn mount_run() {
    use nix::mount::{MsFlags, mount};
    let none: Option<&Path> = None;
    fs::create_dir_all("/run").expect("/run can be there");
    mount(Some("lab"), "/run", Some("tmpfs"), MsFlags::empty(), none)
        .expect("a mount namespace's owner may mount a tmpfs");
    fs::create_dir_all(FOLDER).expect("the tmpfs is writable");
}

/// libtest's name of the function around the closure: its path without the crate.
fn test_name<F>() -> String {
    let path = std::any::type_name::<F>().trim_end_matches("::{{closure}}");
    path.split_once("::").map_or(path, |(_, name)| name).to_owned()
}

fn attempt(test: &str, environment: &[(&str, OsString)]) -> Result<(), String> {
    let output = memfd_create(c"said", MFdFlags::MFD_CLOEXEC).expect("there is memory");
    let output = File::from(output);
    let clone = || output.try_clone().expect("a file can be cloned");
    let program = std::env::current_exe().expect("the test binary has a path");
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork"])
        .args(["--kill-child", "--mount-proc", "--"])
        .arg(program)
        .args(["--exact", test, "--nocapture", "--include-ignored", "--test-threads=1"])
        .env(TOKEN, network_namespace())
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::piped())
        .stdout(clone())
        .stderr(clone())
        .envs(environment.iter().map(|(name, value)| (name, value)));
    let mut child = command.spawn().expect("unshare (util-linux) starts");
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
    let said = all(&output);
    if !status.as_ref().is_some_and(ExitStatus::success) {
        return Err(failure(status, &said));
    }
    // A name that matched nothing would succeed too.
    assert!(said.contains("1 passed"), "{test} did not run:\n{said}");
    Ok(())
}

/// What was written, from the beginning: the writers share the position.
fn all(file: &File) -> String {
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut bytes = vec![0; usize::try_from(length).expect("it is in memory")];
    file.read_exact_at(&mut bytes, 0).expect("it was written");
    String::from_utf8_lossy(&bytes).into_owned()
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
