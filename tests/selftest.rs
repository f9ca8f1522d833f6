//! `snet selftest` finds what is broken, says so, and says what it lacks. Runs the debug binary,
//! whose parts can be broken on purpose (`src/fault.rs`).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

fn selftest() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snet"));
    command.arg("selftest");
    command
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// The trials that failed, by their first words.
fn failed(text: &str) -> Vec<&str> {
    let rows = text.lines().filter(|line| line.ends_with("FAILED"));
    rows.map(|line| line.split("  ").next().unwrap_or_default()).collect()
}

#[test]
fn all_is_well() {
    let output = selftest().output().unwrap();
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.lines().filter(|line| line.ends_with(" ok")).count() > 20, "{text}");
    assert!(text.contains("selftest: "), "{text}");
}

#[test]
fn as_an_ordinary_user() {
    // A test run by an ordinary user is this test already.
    if !nix::unistd::Uid::effective().is_root() {
        return all_is_well();
    }
    let folder = std::env::temp_dir().join(format!("snet-selftest-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.join("snet");
    fs::copy(env!("CARGO_BIN_EXE_snet"), &program).unwrap();
    let nobody = "--reuid=65534 --regid=65534 --clear-groups --bounding-set=-all";
    let output = Command::new("setpriv")
        .args(nobody.split(' '))
        .arg(&program)
        .arg("selftest")
        .output()
        .unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn each_fault_is_found() {
    let faults = [
        ("split", "foreign site, IPv4"),
        ("mark", "domestic name: its near address"),
        ("relay", "foreign site, IPv4"),
        ("judgement", "foreign name, forged answers come first"),
    ];
    for (fault, row) in faults {
        let output = selftest().env("SNET_FAULT", fault).output().unwrap();
        let text = text(&output);
        assert_eq!(output.status.code(), Some(1), "{fault}: {text}");
        assert!(failed(&text).contains(&row), "{fault}: {text}");
        assert!(text.contains("last words"), "{fault}: {text}");
    }
}

#[test]
fn a_missing_tool_is_one_line() {
    // /usr/sbin is searched beside PATH: it is hidden by a mount namespace.
    let script = "mount -t tmpfs none /usr/sbin && exec \"$0\" selftest";
    let output = Command::new("unshare")
        .args(["-Urm", "sh", "-c", script, env!("CARGO_BIN_EXE_snet")])
        .output()
        .unwrap();
    let text = text(&output);
    assert_eq!(output.status.code(), Some(69), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("apt install"), "{text}");
}

#[test]
fn a_kernel_that_refuses_is_one_line() {
    // A user namespace that may have no network namespaces (user_namespaces(7)).
    let script = "echo 0 > /proc/sys/user/max_net_namespaces && exec \"$0\" selftest";
    let output = Command::new("unshare")
        .args(["-Ur", "sh", "-c", script, env!("CARGO_BIN_EXE_snet")])
        .output()
        .unwrap();
    let text = text(&output);
    assert_eq!(output.status.code(), Some(69), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("refuses"), "{text}");
}
