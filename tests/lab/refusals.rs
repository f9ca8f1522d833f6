//! Starts that are refused: the exit code, one clear word, and nothing touched.

use crate::process::{FOLDER, finish};
use crate::snet::{self, Config, http_proxy, write_config};
use crate::tables::{assert_same, snapshot};
use crate::tools;
use crate::variant::Variant;
use crate::world::{Family, PROXY, sealed};
use nix::mount::{MsFlags, mount};
use std::fs;
use std::path::Path;

const UNAVAILABLE: Option<i32> = Some(69);
const NOPERM: Option<i32> = Some(77);
const CONFIG: Option<i32> = Some(78);

fn usual() -> Config {
    Config::through(Family::V4, &[http_proxy(PROXY.port(Family::V4, 3128), None)])
}

#[test]
fn missing_tool_is_named_with_the_command_that_installs_it() {
    sealed(|| {
        let before = snapshot();
        hide("ipset");
        let file = usual().write().display().to_string();
        let refused = snet::run(Variant::Nft, &["-c", &file]);
        assert_eq!(refused.code(), UNAVAILABLE, "{}", refused.stderr);
        assert!(refused.stderr.contains("ipset"), "{}", refused.stderr);
        assert!(refused.stderr.contains("install"), "{}", refused.stderr);
        unhide("ipset");
        assert_same(&before, &snapshot());
    });
}

/// Covers the program by an empty file, in this mount namespace only.
fn hide(program: &str) {
    let empty = Path::new(FOLDER).join("empty");
    fs::write(&empty, "").expect("the tmpfs is writable");
    let none: Option<&Path> = None;
    mount(Some(&empty), &tools::path(program), none, MsFlags::MS_BIND, none)
        .expect("a mount namespace's owner may bind a file");
}

fn unhide(program: &str) {
    nix::mount::umount(&tools::path(program)).expect("it was mounted here");
}

#[test]
fn bad_configuration_touches_nothing_and_names_every_fault() {
    sealed(|| {
        let before = snapshot();
        let text = "mode = \"bridge\"\n\
                    [listen]\ntcp-port = 99999\n\
                    [dns]\nchina = [\"223.5.5.500\"]\n\
                    [rules]\ndirect = [\"10.0.0.1/8\"]\n\
                    [[proxy]]\ntype = \"shadowsocks\"\nserver = \"192.0.2.20:8388\"\n\
                    method = \"rot13\"\npassword = \"x\"\n\
                    [unknown]\nkey = 1\n";
        let file = write_config(text).display().to_string();
        for arguments in [vec!["-c", &file], vec!["check", "-c", &file], vec!["rules", "-c", &file]]
        {
            let refused = snet::run(Variant::Nft, &arguments);
            assert_eq!(refused.code(), CONFIG, "{}", refused.stderr);
            for fault in ["bridge", "99999", "223.5.5.500", "10.0.0.1/8", "rot13", "unknown"] {
                assert!(refused.stderr.contains(fault), "{fault}:\n{}", refused.stderr);
            }
        }
        let absent = snet::run(Variant::Nft, &["-c", "/run/lab/absent.toml"]);
        assert_eq!(absent.code(), CONFIG, "{}", absent.stderr);
        assert_same(&before, &snapshot());
    });
}

#[test]
fn without_rights_it_says_so() {
    sealed(|| {
        let before = snapshot();
        let mut command = crate::process::unprivileged(crate::process::Place::Machine, "unshare");
        command.arg("--").arg(env!("CARGO_BIN_EXE_snet")).arg("-c").arg(usual().write());
        let refused = finish(&mut command);
        assert_eq!(refused.code(), NOPERM, "{}", refused.stderr);
        assert!(refused.stderr.contains("root"), "{}", refused.stderr);
        assert_same(&before, &snapshot());
    });
}

#[test]
fn taken_port_is_named_and_nothing_is_left() {
    sealed(|| {
        let before = snapshot();
        let _taken = std::net::TcpListener::bind("127.0.0.1:1111").expect("the port is free");
        let file = usual().write().display().to_string();
        let refused = snet::run(Variant::Legacy, &["-c", &file]);
        assert_eq!(refused.code(), UNAVAILABLE, "{}", refused.stderr);
        assert!(refused.stderr.contains("127.0.0.1:1111"), "{}", refused.stderr);
        assert_same(&before, &snapshot());
    });
}

/// iptables-legacy has its lock there; nobody else needs to write.
#[test]
fn a_read_only_run_is_named_or_does_no_harm() {
    sealed(|| {
        let before = snapshot();
        for variant in [Variant::Nft, Variant::Legacy, Variant::Native] {
            let file = usual().by(variant).write();
            let command = snet::snet(variant);
            let script = "mount --bind /run /run && mount -o remount,bind,ro /run && exec \"$@\"";
            let mut read_only = crate::process::command(crate::process::Place::Machine, "unshare");
            read_only.args(["--mount", "--", "sh", "-c", script, "sh"]);
            read_only.arg(command.get_program()).arg("-c").arg(file);
            let path = command.get_envs().find(|(name, _)| *name == "PATH");
            read_only.env("PATH", path.and_then(|(_, value)| value).expect("it has one"));
            if variant == Variant::Legacy {
                let refused = finish(&mut read_only);
                assert_eq!(refused.code(), UNAVAILABLE, "{}", refused.stderr);
                assert!(refused.stderr.contains("/run/xtables.lock"), "{}", refused.stderr);
                assert_one_line(&refused.stderr);
            } else {
                let daemon = snet::Snet::ready(&mut read_only);
                let told = daemon.lines("WARN");
                assert!(told.iter().any(|line| line.contains("control socket")), "{told:?}");
                daemon.stop();
            }
            assert_same(&before, &snapshot());
        }
    });
}

/// Tools in the place of the real ones say what those say where a module is missing.
#[test]
fn a_module_that_the_kernel_lacks_is_named_and_nothing_is_left() {
    sealed(|| {
        let before = snapshot();
        let folder = Path::new(FOLDER).join("lacking");
        fs::create_dir_all(&folder).expect("the tmpfs is writable");
        for (tool, says, remedy) in [
            (
                "iptables-restore",
                "iptables-restore v1.8.9 (legacy): Couldn't load match `set':No such file or \
                 directory",
                "modprobe -a xt_set",
            ),
            (
                "ip6tables-restore",
                "ip6tables-restore: line 9 failed\nNo chain/target/match by that name.",
                "modprobe -a xt_set",
            ),
            ("ipset", "ipset v7.17: Cannot open session to kernel.", "modprobe -a ip_set"),
        ] {
            let file = folder.join(tool);
            // It does what it is asked, but not this.
            let real = match tool {
                "ipset" => tools::path("ipset"),
                _ => Variant::Nft.folder().join(tool),
            };
            let needle = if tool == "ipset" { "create snet" } else { "match-set" };
            let script = format!(
                "#!/bin/sh\ntext=$(cat)\ncase $text in\n*'{needle}'*) printf '%s\\n' \"{}\" >&2; \
                 exit 1;;\n\
                 esac\nprintf '%s\\n' \"$text\" | exec {} \"$@\"\n",
                says.replace('`', "\\`"),
                real.display()
            );
            fs::write(&file, script).expect("the tmpfs is writable");
            let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(&file, executable).expect("it is ours");
            let mut command = snet::snet(Variant::Nft);
            let path = command.get_envs().find(|(name, _)| *name == "PATH");
            let path = path.and_then(|(_, value)| value).expect("it has one").to_owned();
            let path = format!("{}:{}", folder.display(), path.display());
            let refused = finish(command.env("PATH", path).arg("-c").arg(usual().write()));
            assert_eq!(refused.code(), UNAVAILABLE, "{tool}: {}", refused.stderr);
            assert!(refused.stderr.contains(remedy), "{tool}: {}", refused.stderr);
            assert_one_line(&refused.stderr);
            fs::remove_file(&file).expect("it is ours");
            assert_same(&before, &snapshot());
        }
    });
}

/// One that is no mere notice.
fn assert_one_line(said: &str) {
    let lines = said.lines().filter(|line| !line.contains(" INFO ") && !line.contains(" WARN "));
    assert_eq!(lines.count(), 1, "{said}");
}

#[test]
fn check_prints_a_summary() {
    sealed(|| {
        let file = usual().write().display().to_string();
        let checked = snet::run(Variant::Nft, &["check", "-c", &file]);
        assert_eq!(checked.code(), Some(0), "{}", checked.stderr);
        assert!(checked.stdout.contains("192.0.2.20:3128"), "{}", checked.stdout);
    });
}
