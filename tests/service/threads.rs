//! Rights are a thread's (capabilities(7)): none keeps one that the daemon gave up.

use super::{Daemon, NET_ADMIN, NET_RAW, line_of};
use std::fs;

#[test]
fn no_thread_keeps_a_right_that_it_does_not_need() {
    let daemon = Daemon::in_a_cell("threads", "", "");
    daemon.ready();
    let tasks = fs::read_dir(daemon.proc("task")).unwrap();
    // One may have ended since.
    let threads: Vec<String> = tasks
        .filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok())
        .collect();
    // This one writes what all the others say.
    assert!(threads.iter().any(|status| line_of(status, "Name") == "snet-log"));
    for status in &threads {
        let name = line_of(status, "Name");
        for set in ["CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"] {
            let held = u64::from_str_radix(line_of(status, set), 16).unwrap();
            assert_eq!(held, NET_ADMIN | NET_RAW, "{name}: {set}");
        }
        assert_eq!(line_of(status, "NoNewPrivs"), "1", "{name}");
    }
    daemon.stop();
}

#[test]
fn it_gains_no_right() {
    let launcher = "setpriv --bounding-set=-all,+net_admin,+net_raw,+sys_time --inh-caps=-all";
    let daemon = Daemon::in_a_cell("gains", "[listen]\ndns-port = 1053\n", launcher);
    daemon.ready();
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        assert_eq!(daemon.capabilities(set), NET_ADMIN | NET_RAW, "{set}");
    }
    // Nobody may cut the bounding set without CAP_SETPCAP; no_new_privs stands in for it.
    assert_ne!(daemon.capabilities("CapBnd"), NET_ADMIN | NET_RAW);
    daemon.stop();
}
