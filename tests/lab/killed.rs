//! SIGKILL, at every step of a start and while running: the next start works, and so does
//! `snet cleanup`.

use crate::client::{connect, echo};
use crate::peer::service;
use crate::process::FOLDER;
use crate::snet::{self, Config, Snet};
use crate::tables::{assert_same, snapshot, snets};
use crate::tools;
use crate::upstream::Upstream;
use crate::variant::{IPTABLES, Variant};
use crate::world::{FOREIGN_SITE, Family, sealed_for};
use snet_lab::in_both_variants;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A start that calls more tools than this never gets ready.
const MOST_STEPS: usize = 60;

in_both_variants!(killed_at_every_step, killed_while_running);

/// The tools it calls kill it, before or after they have done their work: first the first call,
/// then the second, until a start has no more calls.
fn killed_at_every_step(variant: Variant) {
    service::start();
    let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
    let config = Config::through(Family::V4, &[proxy]);
    crate::restored::neighbours(variant);
    let before = snapshot();
    for when in ["before", "after"] {
        let mut step = 1;
        while is_killed_at(step, when, variant, &config) {
            // What is left is no obstacle, for a start and a stop or for a cleanup.
            if step % 2 == 0 {
                let cleaned = snet::run(variant, &["cleanup"]);
                assert_eq!(cleaned.code(), Some(0), "{when} {step}: {}", cleaned.stderr);
            } else {
                start_and_stop(variant, &config);
            }
            assert_same(&before, &snapshot());
            step += 1;
            assert!(step < MOST_STEPS, "it is never ready");
        }
        assert!(step > 4, "it called {step} tools: the lab's do not stand in their place");
        println!("{} steps {when}", step - 1);
    }
}

fn start_and_stop(variant: Variant, config: &Config) {
    let snet = Snet::start(variant, config);
    let mut stream = connect(FOREIGN_SITE.port(Family::V4, service::ECHO));
    echo(&mut stream, b"hello").expect("an echo");
    drop(stream);
    snet.stop();
}

/// Whether the start was killed; if not, it got ready, and was stopped.
fn is_killed_at(step: usize, when: &str, variant: Variant, config: &Config) -> bool {
    let folder = killers(step, when, variant);
    let mut command = snet::snet(variant);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", folder.display()));
    let mut snet = Snet::spawn(command.arg("-c").arg(config.write()));
    let mut status = None;
    crate::wait::until("ready or killed", std::time::Duration::from_secs(20), || {
        status = snet.ended();
        status.is_some() || snet.is_ready()
    });
    match status {
        Some(status) => {
            use std::os::unix::process::ExitStatusExt;
            assert_eq!(status.signal(), Some(9), "{}", snet.log());
            true
        }
        None => {
            // The tools of the stop are the real ones again.
            fs::write(folder.join("count"), "1000").expect("the tmpfs is writable");
            snet.stop();
            false
        }
    }
}

/// Tools that count their calls; at call number `step` they kill the caller.
fn killers(step: usize, when: &str, variant: Variant) -> PathBuf {
    let folder = Path::new(FOLDER).join("killers");
    fs::create_dir_all(&folder).expect("the tmpfs is writable");
    fs::write(folder.join("count"), "0").expect("the tmpfs is writable");
    let names = IPTABLES.map(|name| (name, variant.folder().join(name)));
    for (name, real) in names.into_iter().chain([("ipset", tools::path("ipset"))]) {
        let script = format!(
            "#!/bin/sh\n\
             read -r n <{count}; n=$((n + 1)); echo $n >{count}\n\
             if [ $n -ne {step} ]; then exec {real} \"$@\"; fi\n\
             if [ {when} = after ]; then {real} \"$@\"; fi\n\
             kill -KILL $PPID\n",
            count = folder.join("count").display(),
            real = real.display(),
        );
        let file = folder.join(name);
        fs::write(&file, script).expect("the tmpfs is writable");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    folder
}

fn killed_while_running(variant: Variant) {
    service::start();
    let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
    let config = Config::through(Family::V4, &[proxy]);
    let before = snapshot();
    for _ in 0..3 {
        Snet::start(variant, &config).kill();
        assert!(snets(&snapshot()), "a kill leaves no time to clean up");
        start_and_stop(variant, &config);
        assert_same(&before, &snapshot());
    }
    Snet::start(variant, &config).kill();
    let cleaned = snet::run(variant, &["cleanup"]);
    assert_eq!(cleaned.code(), Some(0), "{}", cleaned.stderr);
    assert_same(&before, &snapshot());
    // Direct again.
    let mut stream = connect(FOREIGN_SITE.port(Family::V4, service::ECHO));
    echo(&mut stream, b"hello").expect("an echo");
    // And nothing to do the second time.
    assert_eq!(snet::run(variant, &["cleanup"]).code(), Some(0));
}
