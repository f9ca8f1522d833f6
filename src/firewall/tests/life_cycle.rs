//! From every state to installed, and back to what was there before.

use super::{router, ruleset};
use crate::family::Family;
use crate::firewall::iptables::IptablesRules;
use crate::firewall::iptables::reconcile::cleanup;
use crate::firewall::iptables::{sets, text};
use crate::firewall::tools::command;
use crate::firewall::tools::{Ipset, Iptables};
use crate::firewall::{Error, Installed, Ruleset};
use crate::route::Route;
use crate::search_path;
use snet_lab::kernel::{run, sealed_for};
use snet_lab::{in_both_variants, in_variants};
use std::time::{Duration, Instant};

in_both_variants!(
    a_stop_leaves_everything_as_it_was,
    a_drop_removes_too,
    cleanup_of_nothing,
    a_start_killed_at_any_step,
    a_start_killed_at_any_moment,
    leftovers_of_every_kind,
    a_set_in_use_by_a_stranger_is_told,
    without_rights_it_is_told,
    a_missing_tool_is_told_before_anything_is_touched,
    without_ip6tables_ipv4_goes_on,
    the_china_list_is_loaded_in_one_go,
    a_set_that_is_gone_does_no_harm
);

in_variants!([Nft] native_rules_in_a_table_of_iptables_are_told);

fn native_rules_in_a_table_of_iptables_are_told() {
    let handle = IptablesRules::install(ruleset()).unwrap();
    let native = "nft add rule ip nat OUTPUT meta mark set numgen inc mod 2";
    run(native);
    assert!(!state().contains("iptables nft *nat"), "iptables-save shows the table");
    Box::new(handle).remove().unwrap();
    let left = run("nft list ruleset");
    assert!(!left.contains("SNET") && left.contains("numgen"), "{left}");

    let error = IptablesRules::install(ruleset()).unwrap_err();
    assert!(matches!(error, Error::Foreign { table: "nat", .. }), "{error}");
    let left = run("nft list ruleset");
    assert!(!left.contains("SNET") && left.contains("numgen"), "{left}");
    assert_eq!(run("ipset list -name"), "");
}

/// The rules of others, as docker and ufw make them; comments with traps.
fn neighbours() {
    for family in ["iptables", "ip6tables"] {
        run(&format!("{family} -t nat -N DOCKER"));
        run(&format!("{family} -t nat -A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER"));
        run(&format!("{family} -A OUTPUT -m comment --comment SNET -j ACCEPT"));
        run(&format!("{family} -N SNETWORK"));
        run(&format!("{family} -A OUTPUT -j SNETWORK"));
        run(&format!("{family} -t mangle -A OUTPUT -m mark --mark 0x100 -j ACCEPT"));
    }
    run("ipset create theirs hash:net");
    run("ipset add theirs 198.51.100.0/24");
    run("iptables -A OUTPUT -m set --match-set theirs dst -j ACCEPT");
}

/// All tables of both variants, and the sets; without counters, comments and what is empty.
pub(super) fn state() -> String {
    let mut state = String::new();
    for variant in ["nft", "legacy"] {
        for family in ["iptables", "ip6tables"] {
            let saved = saved(family, variant);
            let mut table = String::new();
            for line in saved.lines().filter(|line| !line.starts_with('#')) {
                match line.split_once(' ') {
                    None if line.starts_with('*') => table = format!("{family} {variant} {line}\n"),
                    // A built-in chain has a policy, which is the default.
                    Some((_, policy)) if line.starts_with(':') && policy.starts_with("ACCEPT") => {}
                    Some((chain, _)) if line.starts_with(':') => {
                        state += &format!("{table}{chain}\n")
                    }
                    Some(_) => state += &format!("{table}{line}\n"),
                    None => {}
                }
            }
        }
    }
    state + &run("ipset save")
}

fn saved(family: &str, variant: &str) -> String {
    if variant == "nft" || legacy_tables().is_ok() {
        return run(&format!("{family}-{variant}-save"));
    }
    // Run by an ordinary user: the list of tables cannot be read, here or by the tool.
    let tables = ["raw", "mangle", "nat", "filter"];
    tables.map(|table| run(&format!("{family}-{variant}-save -t {table}"))).concat()
}

fn legacy_tables() -> std::io::Result<String> {
    std::fs::read_to_string("/proc/net/ip_tables_names")
}

fn a_stop_leaves_everything_as_it_was() {
    for _ in 0..2 {
        let before = state();
        for ruleset in [ruleset(), router()] {
            let handle = IptablesRules::install(ruleset).unwrap();
            assert!(state().contains("SNET-TCP"));
            Box::new(handle).remove().unwrap();
            assert_eq!(state(), before);
        }
        if before.contains("DOCKER") {
            return;
        }
        neighbours();
    }
}

fn a_drop_removes_too() {
    neighbours();
    let before = state();
    let unwound = std::panic::catch_unwind(|| {
        let _handle = IptablesRules::install(ruleset()).unwrap();
        panic!("on purpose");
    });
    assert!(unwound.is_err());
    assert_eq!(state(), before);
}

fn cleanup_of_nothing() {
    let tables = || legacy_tables().ok();
    let before = (state(), tables());
    let cleaned = cleanup().unwrap();
    assert!(cleaned.is_empty());
    assert_eq!(cleaned.to_string(), "nothing to clean");
    assert_eq!((state(), tables()), before, "looking must not make tables");
}

/// What a SIGKILL leaves: the first `step` commands were carried out. A table is committed whole
/// by the kernel, so the steps of a restore are its tables.
fn killed_after(step: usize, ruleset: &Ruleset) -> bool {
    let sets = sets::restore(ruleset, &Family::ALL);
    let (half, _) = sets.split_at(sets[..sets.len() / 2].rfind('\n').unwrap() + 1);
    let ipset = Ipset::find().unwrap();
    if step == 0 {
        ipset.restore(half).unwrap();
        return true;
    }
    ipset.restore(&sets).unwrap();
    let mut steps = Vec::new();
    for family in Family::ALL {
        let text = text::restore(ruleset, family);
        let tables = text.split_inclusive("COMMIT\n").map(String::from);
        steps.extend(tables.map(|table| (family, table)));
    }
    for (family, table) in steps.iter().take(step - 1) {
        Iptables::of_system(*family).unwrap().restore(table).unwrap();
    }
    step <= steps.len()
}

fn a_start_killed_at_any_step() {
    neighbours();
    let before = state();
    for ruleset in [ruleset(), router()] {
        killed_at_any_step(&ruleset, &before);
    }
    // And one that was killed while it ran.
    std::mem::forget(IptablesRules::install(ruleset()).unwrap());
    let handle = IptablesRules::install(ruleset()).unwrap();
    let running = state();
    assert_eq!(
        running.matches("-A OUTPUT -j SNET\n").count(),
        2,
        "one jump for each family:\n{running}"
    );
    Box::new(handle).remove().unwrap();
    assert_eq!(state(), before);
}

fn killed_at_any_step(ruleset: &Ruleset, before: &str) {
    let mut step = 0;
    while killed_after(step, ruleset) {
        // Once it is started again, once it is cleaned.
        let handle = IptablesRules::install(ruleset.clone())
            .unwrap_or_else(|error| panic!("{step}: {error}"));
        Box::new(handle).remove().unwrap();
        assert_eq!(state(), before, "step {step}");
        killed_after(step, ruleset);
        assert!(!cleanup().unwrap().is_empty());
        assert_eq!(state(), before, "step {step}");
        step += 1;
    }
    assert_eq!(step, 7);
    cleanup().unwrap();
}

/// The same by a real SIGKILL, wherever it strikes. The tool at work survives it, its input cut
/// off, and may still be busy when the next start looks.
fn a_start_killed_at_any_moment() {
    const VICTIM: &str = "SNET_LAB_VICTIM";
    let everything = || ruleset().with_rules(|rules| rules.china = crate::ipset::china());
    if std::env::var_os(VICTIM).is_some() {
        loop {
            Box::new(IptablesRules::install(everything()).unwrap()).remove().unwrap();
        }
    }
    neighbours();
    let before = state();
    for round in 1..=12 {
        let mut victim = std::process::Command::new(std::env::current_exe().unwrap())
            .args([std::thread::current().name().unwrap(), "--exact", "--nocapture"])
            .env(VICTIM, "1")
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Not a time that anything depends on: every moment is as good.
        std::thread::sleep(Duration::from_millis(23 * round));
        victim.kill().unwrap();
        victim.wait().unwrap();
        let handle =
            IptablesRules::install(everything()).unwrap_or_else(|error| panic!("{round}: {error}"));
        Box::new(handle).remove().unwrap();
        assert_eq!(state(), before, "round {round}");
    }
}

fn leftovers_of_every_kind() {
    neighbours();
    let before = state();
    for variant in ["nft", "legacy"] {
        for family in ["iptables", "ip6tables"] {
            let tool = format!("{family}-{variant}");
            // Chains without jumps, jumps twice, chains that refer to each other, jumps from
            // strange places, a table we do not use, an unknown chain of a later version.
            run(&format!("{tool} -t nat -N SNET"));
            run(&format!("{tool} -N SNET"));
            run(&format!("{tool} -t nat -N SNET-LATER"));
            run(&format!("{tool} -t nat -A SNET -g SNET-LATER"));
            run(&format!("{tool} -t nat -A OUTPUT -j SNET"));
            run(&format!("{tool} -t nat -A OUTPUT -j SNET"));
            run(&format!(
                "{tool} -t nat -A PREROUTING -p tcp -m comment --comment x -j SNET-LATER"
            ));
            run(&format!("{tool} -t mangle -N SNET"));
            run(&format!("{tool} -t mangle -A INPUT -j SNET"));
        }
        run("ipset create snet-temporary4 hash:net");
        run("ipset create snet-china4 hash:ip");
        run(&format!(
            "iptables-{variant} -t nat -A SNET -m set --match-set snet-china4 dst -j RETURN"
        ));
        let cleaned = cleanup().unwrap().to_string();
        assert!(
            cleaned.contains("snet-temporary4") && cleaned.contains("nat: 3 jumps"),
            "{cleaned}"
        );
        assert_eq!(state(), before, "{variant}");
        assert!(cleanup().unwrap().is_empty());
    }
}

fn a_set_in_use_by_a_stranger_is_told() {
    run("ipset create snet-china4 hash:net");
    run("iptables -A OUTPUT -m set --match-set snet-china4 dst -j ACCEPT");
    let error = cleanup().unwrap_err().to_string();
    assert!(error.contains("a rule that is not ours names this set"), "{error}");
    run("iptables -F OUTPUT");
    cleanup().unwrap();
}

/// What the tools themselves say to somebody without rights.
fn without_rights_it_is_told() {
    let unshare = search_path::find("unshare").unwrap();
    let (nothing, save) = ("*nat\nCOMMIT\n", "iptables-nft-save");
    for (tool, input) in
        [(&["ipset", "list", "-name"][..], ""), (&[save], ""), (&["iptables-nft-restore"], nothing)]
    {
        let args = [&["-U", "--"], tool].concat();
        let error = command::run(&unshare, &args, input).unwrap_err();
        assert!(error.is_permission(), "{error}");
    }
}

fn a_missing_tool_is_told_before_anything_is_touched() {
    let before = state();
    // Every tool is behind these directories; the names in PATH lead there.
    let bare = |directory: &str| run(&format!("mount -t tmpfs tmpfs {directory}"));
    std::fs::create_dir("/run/sbin").unwrap();
    run("mount --bind /usr/sbin /run/sbin");
    bare("/usr/sbin");
    let error = IptablesRules::install(ruleset()).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    assert!(error.to_string().contains("apt install iptables ipset"), "{error}");
    assert!(cleanup().unwrap().is_empty(), "no tool, no left-over");
    run("/run/sbin/../../bin/umount /usr/sbin");
    assert_eq!(state(), before);
}

fn without_ip6tables_ipv4_goes_on() {
    let iptables = search_path::find("iptables-restore").unwrap();
    let program = std::fs::canonicalize(iptables).unwrap();
    let program = std::path::Path::new("/run/sbin").join(program.file_name().unwrap());
    std::fs::create_dir("/run/sbin").unwrap();
    run("mount --bind /usr/sbin /run/sbin");
    run("mount -t tmpfs tmpfs /usr/sbin");
    for tool in ["iptables-save", "iptables-restore"] {
        std::os::unix::fs::symlink(&program, format!("/usr/sbin/{tool}")).unwrap();
    }
    std::os::unix::fs::symlink("/run/sbin/ipset", "/usr/sbin/ipset").unwrap();

    let handle = IptablesRules::install(ruleset()).unwrap();
    let there = || Iptables::of_system(Family::V4).unwrap().save().unwrap();
    assert!(there().contains("-A OUTPUT -j SNET\n"));
    assert!(!run("ipset list -name").contains("6\n"), "sets of a family without rules");
    handle.learn("2001:db8::1".parse().unwrap(), Route::Direct, Duration::from_secs(1));
    Box::new(handle).remove().unwrap();
    assert!(!there().contains("SNET"));
    assert_eq!(run("ipset list -name"), "");
}

fn the_china_list_is_loaded_in_one_go() {
    let ruleset = ruleset().with_rules(|rules| rules.china = crate::ipset::china());
    let (v4, v6) = (
        ruleset.policy.rules.china.prefixes_v4().count(),
        ruleset.policy.rules.china.prefixes_v6().count(),
    );
    let before = Instant::now();
    let handle = IptablesRules::install(ruleset).unwrap();
    let installed = before.elapsed();
    let entries = |name: &str| -> usize {
        let text = run(&format!("ipset list -terse {name}"));
        let line = text.lines().find(|line| line.starts_with("Number of entries")).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert_eq!((entries("snet-china4"), entries("snet-china6")), (v4, v6));
    let header = run("ipset list -terse snet-china4");
    assert!(header.contains(&format!("hashsize {} ", v4.next_power_of_two())), "{header}");
    let before = Instant::now();
    Box::new(handle).remove().unwrap();
    println!("{v4} + {v6} prefixes: install {installed:?}, remove {:?}", before.elapsed());
}

#[test]
fn a_handle_can_be_given_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<IptablesRules>();
}

fn a_set_that_is_gone_does_no_harm() {
    let handle = IptablesRules::install(ruleset()).unwrap();
    cleanup().unwrap();
    for _ in 0..2 {
        handle.exempt(vec!["198.51.100.1".parse().unwrap()]);
        handle.learn("198.51.100.1".parse().unwrap(), Route::Direct, Duration::from_secs(1));
    }
    Box::new(handle).remove().unwrap();
}
