//! A terminal that is closed ends the snet that runs in it; who was told to outlive the terminal,
//! or has none, reloads.

use crate::client::{connect, echo};
use crate::peer::connect_proxy::{self, After};
use crate::peer::service;
use crate::process::{Place, command, terminal};
use crate::snet::{Config, Snet, snet};
use crate::tables::{assert_same, snapshot};
use crate::variant::Variant;
use crate::wait;
use crate::world::{FOREIGN_SITE, Family, sealed};
use nix::sys::signal::Signal;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[test]
fn a_closed_terminal_ends_what_runs_in_it() {
    sealed(|| {
        service::start();
        let proxy = connect_proxy::start(Family::V4, After::Carry);
        for variant in [Variant::Nft, Variant::Legacy, Variant::Native] {
            let file =
                Config::through(Family::V4, std::slice::from_ref(&proxy)).by(variant).write();
            let before = snapshot();
            let (window, mut daemon) = in_terminal(variant, "exec \"$@\"", &file);
            drop(window);
            assert!(daemon.wait().success(), "{}", daemon.log());
            assert!(daemon.log().contains("stopping on SIGHUP"), "{}", daemon.log());
            assert_same(&before, &snapshot());

            // As sudo passes it on: the terminal that it made is still there.
            let (_window, mut daemon) = in_terminal(variant, "exec \"$@\"", &file);
            daemon.signal(Signal::SIGHUP);
            assert!(daemon.wait().success(), "{}", daemon.log());
            assert_same(&before, &snapshot());

            // nohup
            let (window, daemon) = in_terminal(variant, "trap '' HUP; exec \"$@\"", &file);
            drop(window);
            wait::until("a reload", Duration::from_secs(10), || daemon.log().contains("reloaded"));
            let mut stream = connect(FOREIGN_SITE.port(Family::V4, service::ECHO));
            echo(&mut stream, b"hello").expect("it goes on");
            drop(stream);
            daemon.stop();
            assert_same(&before, &snapshot());
        }
    });
}

/// A window with a shell that runs snet; the log goes to a file all the same.
fn in_terminal(variant: Variant, script: &str, file: &Path) -> (OwnedFd, Snet) {
    let (window, terminal) = terminal();
    let subject: Command = snet(variant);
    let mut command = command(Place::Machine, "setsid");
    // Whoever runs the tests may ignore the signal, and that is inherited.
    command.args(["--ctty", "env", "--default-signal=HUP", "sh", "-c", script, "sh"]);
    command.arg(subject.get_program());
    command.arg("-c").arg(file).stdin(terminal);
    for (name, value) in subject.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    (window, Snet::ready(&mut command))
}
