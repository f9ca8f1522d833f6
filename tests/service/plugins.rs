//! A plugin's rights, and its end.

use super::{Daemon, Folder, SNET, line_of};
use nix::sys::signal::Signal;
use nix::unistd::Uid;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// Tells its status, with that of its parent, in a file, and stays.
const SCRIPT: &str = "#!/bin/sh
trap '' TERM
readlink /proc/$$/fd/* >FOLDER/fd
cat /proc/$$/status >FOLDER/new && mv FOLDER/new FOLDER/status
while :; do sleep 0.1; done
";

fn script(folder: &Folder, text: &str) -> PathBuf {
    let text = text.replace("FOLDER", &folder.path("").display().to_string());
    let file = folder.path("plugin");
    fs::write(folder.path("draft"), text).unwrap();
    fs::set_permissions(folder.path("draft"), fs::Permissions::from_mode(0o755)).unwrap();
    // A file that is open for writing cannot be run.
    fs::rename(folder.path("draft"), &file).unwrap();
    file
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

fn assert_no_right(status: &str) {
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        let held = u64::from_str_radix(line_of(status, set), 16).unwrap();
        assert_eq!(held, 0, "{set} of\n{status}");
    }
    assert_eq!(line_of(status, "NoNewPrivs"), "1", "{status}");
}

/// SIGKILL leaves no time to end a child: the kernel does it.
#[test]
fn a_plugin_has_no_right_and_ends_with_a_killed_snet() {
    let folder = Folder::new("plugin");
    let plugin = script(&folder, SCRIPT);
    let config = format!(
        "[[proxy]]\ntype = \"shadowsocks\"\nserver = \"192.0.2.8:1\"\nmethod = \"aes-128-gcm\"\n\
         password = \"a\"\nplugin = \"{}\"\n",
        plugin.display()
    );
    let mut daemon = Daemon::in_a_cell("plugin-owner", &config, "");
    daemon.ready();
    wait_until("the plugin runs", || folder.path("status").exists());
    let status = fs::read_to_string(folder.path("status")).unwrap();
    assert_no_right(&status);
    // Its words, its own script and the file that it writes; what we ourselves were given goes on.
    let inherited: Vec<PathBuf> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .collect();
    let descriptors = fs::read_to_string(folder.path("fd")).unwrap();
    let own = [plugin, folder.path("fd"), "/dev/null".into()];
    let is_its_own = |line: &str| {
        let path = PathBuf::from(line);
        line.starts_with("socket:") || own.contains(&path) || inherited.contains(&path)
    };
    let foreign: Vec<&str> = descriptors.lines().filter(|line| !is_its_own(line)).collect();
    assert_eq!(foreign, [""; 0], "{descriptors}");
    let mut sockets: Vec<_> =
        descriptors.lines().filter(|line| line.starts_with("socket:")).collect();
    sockets.dedup();
    assert_eq!(sockets.len(), 1, "{descriptors}");
    let pid = line_of(&status, "Pid");
    assert_eq!(line_of(&status, "PPid"), daemon.child.id().to_string());
    assert!(is_alive(pid));
    daemon.signal(Signal::SIGKILL);
    daemon.child.wait().unwrap();
    wait_until("the plugin is gone", || !is_alive(pid));
}

/// Where this process may: root has the rights to become another user.
#[test]
fn roots_plugin_is_another_user() {
    let folder = Folder::new("plugin-user");
    let plugin = script(&folder, "#!/bin/sh\nexec cat /proc/self/status\n");
    let own = std::process::id().to_string();
    let run = |parent: &str| {
        let mut snet = Command::new(SNET);
        snet.args(["plugin-child", parent]).arg(&plugin).output().unwrap()
    };
    let output = run(&own);
    let status = super::text(&output);
    assert!(output.status.success(), "{status}");
    assert_no_right(&status);
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    let has_others = map.split_whitespace().last().is_some_and(|count| count.len() > 4);
    if Uid::effective().is_root() && has_others {
        assert_eq!(line_of(&status, "Uid"), "65534\t65534\t65534\t65534");
        assert_eq!(line_of(&status, "Gid"), "65534\t65534\t65534\t65534");
        assert_eq!(line_of(&status, "Groups"), "");
    }
    // A parent that died before the child could bind its life to it.
    let orphan = run("1");
    assert_eq!(orphan.status.code(), Some(69));
    assert!(super::text(&orphan).contains("its parent is gone"), "{}", super::text(&orphan));
}

/// Root without a capability still owns root's files.
#[test]
fn root_without_the_rights_runs_no_plugin() {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    let has_others = map.split_whitespace().last().is_some_and(|count| count.len() > 4);
    if !Uid::effective().is_root() || !has_others {
        println!("only root could have another user");
        return;
    }
    let folder = Folder::new("plugin-root");
    let plugin = script(&folder, "#!/bin/sh\nid\n");
    let line = "p=$$; setpriv --bounding-set -setuid \"$0\" plugin-child $p \"$1\"; exit $?";
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", line, SNET]).arg(&plugin).output().unwrap();
    let said = super::text(&output);
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("snet lacks CAP_SETUID"), "{said}");
}

#[test]
fn check_says_that_a_plugin_is_not_installed() {
    let folder = Folder::new("plugin-missing");
    let file = folder.secret(
        "config.toml",
        "[[proxy]]\nlink = \"ss://aes-128-gcm:a@192.0.2.8:1/?plugin=snet-no-such-plugin\"\n",
    );
    let mut snet = Command::new(SNET);
    let output = snet.args(["check", "--dns-only", "-c"]).arg(file).output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    let line = "warning: there is no program \"snet-no-such-plugin\" here, which the proxy \
                \"192.0.2.8:1\" has as its plugin: install it, or give plugin its whole path\n";
    assert_eq!(said, line);
}
