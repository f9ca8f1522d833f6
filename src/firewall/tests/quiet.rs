//! Beside programs that fill sets of nft all the time (dnsmasq --nftset, fail2ban, crowdsec).

use super::installed::Handle;
use super::ruleset;
use crate::firewall::monitor::backoff::INTERVAL;
use snet_lab::Variant;
use snet_lab::in_variants;
use snet_lab::kernel::{run, sealed_for, until, variant};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

in_variants!([Nft, Native] elements_of_sets_start_no_tool);

const LOG: &str = "/run/started";

/// From now on each start of these tools by their plain names leaves a line.
fn count_starts() {
    let path = std::env::var_os("PATH").unwrap();
    let folder: PathBuf = std::env::split_paths(&path).next().unwrap();
    for tool in ["iptables-save", "ip6tables-save", "iptables-restore", "ip6tables-restore", "nft"]
    {
        let file = folder.join(tool);
        let target = fs::canonicalize(&file).unwrap_or_else(|_| "/usr/sbin/nft".into());
        let _ = fs::remove_file(&file);
        let script = format!(
            "#!/bin/bash\necho {tool} >> {LOG}\nexec -a {tool} {} \"$@\"\n",
            target.display()
        );
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn starts() -> usize {
    fs::read_to_string(LOG).unwrap_or_default().lines().count()
}

fn elements_of_sets_start_no_tool() {
    run("/usr/sbin/nft add table inet theirs");
    run("/usr/sbin/nft add set inet theirs banned { type ipv4_addr ; }");
    count_starts();
    let handle = Handle::install(ruleset()).unwrap();
    // What changed before the subscription is looked at once more.
    std::thread::sleep(INTERVAL + Duration::from_secs(2));
    let before = starts();
    let begin = Instant::now();
    for number in (0..250).cycle() {
        let act = if number % 2 == 0 { "add" } else { "delete" };
        run(&format!(
            "/usr/sbin/nft {act} element inet theirs banned {{ 198.51.100.{} }}",
            number / 2
        ));
        std::thread::sleep(Duration::from_millis(100));
        if begin.elapsed() > INTERVAL * 2 + Duration::from_secs(2) {
            break;
        }
    }
    assert_eq!(starts(), before, "{}", fs::read_to_string(LOG).unwrap_or_default());
    if matches!(variant(), Variant::Nft) {
        // Rules are another matter.
        run("/usr/sbin/iptables -t nat -F OUTPUT");
        let restored = || run("/usr/sbin/iptables -t nat -S OUTPUT").contains("SNET");
        until("they are back", restored);
        assert!(starts() > before);
    }
    handle.remove().unwrap();
}
