//! The script for OpenWrt. What rc.common and procd do around it is played by the shell.

use super::{Folder, text};
use snet_lab::executable;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/openwrt/snet.init");

/// The order of rc.common: `stop` kills, does not wait, and tells the script.
const RC_COMMON: &str = r#"
for name in open_instance set_param close_instance kill lock add_reload_trigger; do
    eval "procd_$name() { echo procd_$name \"\$@\" >>\"$ASKED\"; }"
done
sleep() { echo sleep "$@" >>"$ASKED"; }
# /etc/config/snet, which has one section.
config_load() { [ "$1" = snet ]; }
config_get() {
    [ "$2" = main ] || exit 99
    value=$(sed -n "s/^\toption $3 '\(.*\)'/\1/p" "$UCI")
    export "$1=${value:-$4}"
}
config_get_bool() { config_get "$@"; }
pgrep() { [ "$RUNNING" = "$2" ]; }
start() { procd_lock; start_service; }
stop() {
    procd_lock; procd_kill snet
    if type service_stopped >/dev/null 2>&1; then service_stopped; fi
}
. "$SCRIPT"
PROGRAM=$STAND_IN
case $1 in
start) start ;;
reload)
    procd_lock
    if type reload_service >/dev/null 2>&1; then reload_service; else start_service; fi ;;
stop) stop ;;
triggers) service_triggers ;;
esac
"#;

/// As the package has it.
const UCI: &str = include_str!("../../scripts/openwrt/snet.config");

/// Whoever is asked fails so many times, with this code, before it succeeds. snet is enabled, and
/// runs with the usual file.
fn act(action: &str, failures: u32, code: u8) -> (Option<i32>, Vec<String>, String) {
    let enabled = UCI.replace("enabled '0'", "enabled '1'");
    act_with(&enabled, Some("/etc/snet/config.toml"), action, failures, code)
}

fn act_with(
    uci: &str,
    running: Option<&str>,
    action: &str,
    failures: u32,
    code: u8,
) -> (Option<i32>, Vec<String>, String) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = Folder::new(&format!("openwrt-{number}"));
    let (asked, stand_in) = (folder.path("asked"), folder.path("snet"));
    fs::write(folder.path("uci"), uci).unwrap();
    fs::write(&asked, "").unwrap();
    let running = running.map(|file| format!("{} -c {file}", stand_in.display()));
    fs::write(folder.path("failures"), failures.to_string()).unwrap();
    let script = format!(
        "#!/bin/sh\necho snet \"$@\" >>\"$ASKED\"\ncd {}\nread -r left <failures\n\
         if [ \"$left\" -gt 0 ]; then\n  echo $((left - 1)) >failures\n  echo no: $left >&2\n  \
         exit {code}\nfi\n",
        folder.path("").display()
    );
    executable::write(&script, &stand_in);
    let output = Command::new("sh")
        .args(["-c", RC_COMMON, "rc.common", action])
        .env("SCRIPT", SCRIPT)
        .env("ASKED", &asked)
        .env("STAND_IN", &stand_in)
        .env("UCI", folder.path("uci"))
        .env("RUNNING", running.unwrap_or_default())
        .output()
        .unwrap();
    let lines = fs::read_to_string(&asked).unwrap().lines().map(str::to_owned).collect();
    (output.status.code(), lines, text(&output))
}

#[test]
fn a_start_hands_procd_the_command_and_nothing_that_restarts_it() {
    let (code, asked, said) = act("start", 0, 0);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(asked[1], "snet check -c /etc/snet/config.toml");
    assert!(asked[3].ends_with("/snet -c /etc/snet/config.toml"), "{asked:?}");
    for parameter in ["file", "netdev", "data"] {
        let set = format!("procd_set_param {parameter}");
        assert!(!asked.iter().any(|line| line.starts_with(&set)), "{asked:?}");
    }
    assert!(asked.contains(&"procd_set_param respawn 3600 5 0".to_owned()), "{asked:?}");
    assert_eq!(asked.last().unwrap(), "procd_close_instance");
    let (code, asked, _) = act("start", 1, 78);
    assert_eq!((code, asked.len()), (Some(1), 2), "a bad file is not handed over: {asked:?}");
}

#[test]
fn a_reload_is_one_and_no_restart() {
    let (code, asked, said) = act("reload", 0, 0);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(asked, ["procd_lock", "snet reload"]);
    let (code, asked, said) = act("reload", 1, 78);
    assert_eq!((code, said.trim()), (Some(78), "no: 1"), "why, and with its code");
    assert_eq!(asked, ["procd_lock", "snet reload"]);
}

/// Nothing is started before somebody has said so, and a change of /etc/config/snet is followed.
#[test]
fn only_what_is_enabled_runs() {
    assert!(UCI.contains("enabled '0'"), "{UCI}");
    let (code, asked, said) = act_with(UCI, None, "start", 0, 0);
    assert_eq!((code, asked), (Some(0), vec!["procd_lock".to_owned()]));
    assert!(said.contains("uci set snet.main.enabled=1"), "{said}");
    // Not enabled any more.
    let (code, asked, _) = act_with(UCI, Some("/etc/snet/config.toml"), "reload", 0, 0);
    assert_eq!(code, Some(0));
    assert_eq!(asked, ["procd_lock", "procd_lock", "procd_kill snet", "snet cleanup"]);
    // Enabled now; with another file.
    let other = UCI.replace("'0'", "'1'").replace("/etc/snet/", "/mnt/usb/");
    for running in [None, Some("/etc/snet/config.toml")] {
        let (code, asked, said) = act_with(&other, running, "reload", 0, 0);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(asked[2], "snet check -c /mnt/usb/config.toml");
        assert!(asked[4].ends_with("/snet -c /mnt/usb/config.toml"), "{asked:?}");
        assert!(!asked.contains(&"snet reload".to_owned()), "{asked:?}");
    }
    let (_, asked, _) = act("triggers", 0, 0);
    assert_eq!(asked, ["procd_add_reload_trigger snet"]);
}

#[test]
fn a_stop_waits_for_the_end_and_cleans_up() {
    // Twice it still lives.
    let (code, asked, said) = act("stop", 2, 69);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let cleanup = "snet cleanup";
    assert_eq!(
        asked,
        ["procd_lock", "procd_kill snet", cleanup, "sleep 1", cleanup, "sleep 1", cleanup]
    );
    let (code, asked, said) = act("stop", 1000, 69);
    assert_eq!((code, said.trim()), (Some(1), "no: 951"), "it gives up, and says why");
    assert_eq!(asked.iter().filter(|line| *line == cleanup).count(), 50);
}
