//! Lists in files that change while snet runs (`rules.watch`).

use crate::peer::{names, service};
use crate::process::finish;
use crate::snet::{Config, Snet, dig, snet};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{Family, sealed};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Files are looked at every two seconds, and after a change there is a rest of ten.
const SOON: Duration = Duration::from_secs(40);

#[test]
fn a_list_that_changes_is_read_again_and_a_broken_one_changes_nothing() {
    sealed(|| {
        service::start();
        let _names = [names::domestic(), names::trusted(), names::system()];
        let (_one, proxy) = Upstream::Tinyproxy.start(Family::V4);
        let folder = Path::new(crate::process::FOLDER).join("lists");
        fs::create_dir(&folder).expect("the tmpfs is writable");
        let (list, new) = (folder.join("blocked"), folder.join("blocked.new"));
        fs::write(&list, "0.0.0.0 ads.example\n").expect("the tmpfs is writable");
        let mut config = Config::through(Family::V4, &[proxy]);
        Config::set(&mut config.rules, "block-domain-file", &format!("\"{}\"", list.display()));
        Config::set(&mut config.rules, "watch", "true");
        let daemon = Snet::start(Variant::Nft, &config);
        let is_blocked = || {
            let answer = dig("foreign.example @192.0.2.53");
            assert!(answer.contains("NXDOMAIN") || answer.contains("203.0.113.10"), "{answer}");
            answer.contains("NXDOMAIN")
        };
        assert!(!is_blocked());
        let used = |lines: &str| {
            let finished = finish(snet(Variant::Nft).arg("status"));
            assert!(finished.status.success(), "{}", finished.stderr);
            let said = finished.stdout;
            let list = format!("\nlist {} (rules.block-domain-file): {lines}", list.display());
            assert!(said.starts_with("running: ") && said.contains(&list), "{said}");
        };
        used("1 line used (hosts), 0 passed over; ");

        let text = "0.0.0.0 foreign.example\n192.0.2.1 a.example\n";
        fs::write(&new, text).expect("the tmpfs is writable");
        fs::rename(&new, &list).expect("a rename in one folder");
        wait::until("the new list", SOON, is_blocked);
        assert!(daemon.lines("WARN").is_empty(), "{}", daemon.log());
        let passed_over = "1 that give a name an address (line 2 \"192.0.2.1 a.example\")";
        used(&format!("1 line used (hosts), 1 passed over: {passed_over}; "));

        fs::remove_file(&list).expect("the list is there");
        wait::until("a refusal", SOON, || !daemon.lines("WARN").is_empty());
        let warnings = daemon.lines("WARN");
        let path = list.display().to_string();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].contains("reload: refused, and snet goes on as before: ")
                && warnings[0].contains(&path),
            "{warnings:?}"
        );
        assert!(is_blocked(), "the old list holds");

        fs::write(&list, "0.0.0.0 ads.example\n").expect("the tmpfs is writable");
        wait::until("the first list again", SOON, || !is_blocked());
        assert_eq!(daemon.lines("WARN").len(), 1, "{}", daemon.log());
        daemon.stop();
    });
}
