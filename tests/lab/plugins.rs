//! Plugins of Debian before ssserver: every form of both, and what becomes of their deaths.

use crate::client::{connect, echo, try_connect};
use crate::peer::{plugin_server, service, shadowsocks};
use crate::process::Running;
use crate::snet::{Config, Snet};
use crate::variant::Variant;
use crate::wait;
use crate::world::{FAMILIES, FOREIGN_SITE, Family, sealed};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// The plugin that snet runs with its options, and the server's with its own.
const PLUGINS: [(&str, &str, &str, &str); 3] = [
    ("obfs-local", "obfs=http;obfs-host=www.example.com", "obfs-server", "obfs=http"),
    ("obfs-local", "obfs=tls;obfs-host=www.example.com", "obfs-server", "obfs=tls"),
    ("v2ray-plugin", "host=www.example.com;path=/a", "ss-v2ray-plugin", "server;path=/a"),
];

const METHODS: [&str; 3] =
    [shadowsocks::METHODS[1], shadowsocks::METHODS_2022[0], shadowsocks::METHODS_2022[1]];

fn start(family: Family, method: &str, number: usize) -> (Vec<Running>, String) {
    let (plugin, options, server, server_options) = PLUGINS[number];
    let (servers, proxy) = plugin_server::start(family, method, server, server_options);
    (servers, format!("{proxy}plugin = \"{plugin}\"\nplugin-options = \"{options}\"\n"))
}

/// The processes that are plugins of snet's.
fn plugins() -> Vec<Pid> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_plugin = |number: &i32| {
        let name = fs::read_to_string(format!("/proc/{number}/comm")).unwrap_or_default();
        let told = fs::read(format!("/proc/{number}/environ")).unwrap_or_default();
        let is_server = String::from_utf8_lossy(&told).contains("LAB_SERVER");
        // Nobody here waits for orphans: a zombie has ended.
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        let has_ended = stat.is_empty() || stat.contains(") Z ");
        matches!(name.trim(), "obfs-local" | "ss-v2ray-plugin") && !is_server && !has_ended
    };
    numbers.filter(is_plugin).map(Pid::from_raw).collect()
}

#[test]
fn every_plugin_before_every_server() {
    sealed(|| {
        service::start();
        for (number, plugin) in PLUGINS.iter().enumerate() {
            for method in METHODS {
                for family in FAMILIES {
                    println!("{plugin:?} {method} {family:?}");
                    let (_servers, proxy) = start(family, method, number);
                    let snet = Snet::start(Variant::Native, &Config::through(family, &[proxy]));
                    everything(family, &snet);
                    snet.stop();
                    assert_eq!(plugins(), [], "a plugin outlives an orderly stop");
                }
            }
        }
    });
}

fn everything(family: Family, snet: &Snet) {
    let at = |port| FOREIGN_SITE.port(family, port);
    let mut echoed = connect(at(service::ECHO));
    for text in [&b"hello"[..], &[b'x'; 300_000]] {
        echo(&mut echoed, text).unwrap_or_else(|error| panic!("{error}: {}", snet.log()));
    }
    let mut greeted = connect(at(service::GREET));
    let mut greeting = [0; service::GREETING.len()];
    greeted.read_exact(&mut greeting).expect("a greeting");
    assert_eq!(greeting, service::GREETING, "the server speaks first");

    let mut left = connect(at(service::LEAVE));
    let mut farewell = Vec::new();
    left.read_to_end(&mut farewell).expect("an end");
    assert!(farewell == service::farewell(), "the server ended its half first");

    // Neither plugin carries the end of one half: it is held until the answer has come.
    let bytes = vec![0x5a; 100_000];
    let mut asked = connect(at(service::ECHO));
    asked.write_all(&bytes).expect("a reader");
    asked.shutdown(Shutdown::Write).expect("half a connection");
    let mut answer = Vec::new();
    asked.read_to_end(&mut answer).expect("an end");
    assert!(answer == bytes, "the client ended its half first: {} bytes came", answer.len());
}

#[test]
fn a_killed_plugin_comes_back() {
    sealed(|| {
        service::start();
        for number in [0, 2] {
            let (_servers, proxy) = start(Family::V4, METHODS[1], number);
            let snet = Snet::start(Variant::Native, &Config::through(Family::V4, &[proxy]));
            let site = FOREIGN_SITE.port(Family::V4, service::ECHO);
            let works =
                || try_connect(site).is_ok_and(|mut stream| echo(&mut stream, b"hello").is_ok());
            wait::until("a connection", PATIENCE, works);
            let former = plugins();
            assert_eq!(former.len(), 1, "{}", snet.log());
            kill(former[0], Signal::SIGKILL).expect("it runs");
            wait::until("another plugin", PATIENCE, || {
                plugins().iter().any(|pid| *pid != former[0])
            });
            wait::until("a connection again", PATIENCE, works);
            let said = snet.log();
            assert!(said.contains("started again in 0.5 s"), "{said}");
            snet.kill();
            wait::until("no plugin is left", PATIENCE, || plugins().is_empty());
        }
    });
}

/// The plugin goes on taking connections: that is no sign of its server.
#[test]
fn the_next_proxy_takes_over_from_a_dead_server() {
    sealed(|| {
        service::start();
        for number in 0..PLUGINS.len() {
            let (servers, first) = start(Family::V4, METHODS[0], number);
            let (_second, second) = shadowsocks::second(Family::V4, METHODS[0]);
            let snet = Snet::start(Variant::Native, &Config::through(Family::V4, &[first, second]));
            let site = FOREIGN_SITE.port(Family::V4, service::ECHO);
            let works =
                || try_connect(site).is_ok_and(|mut stream| echo(&mut stream, b"hello").is_ok());
            wait::until("a connection", PATIENCE, works);
            drop(servers);
            // What is on its way when the server dies is lost; what comes after it is not.
            let mut lost = 0;
            wait::until("the second server", PATIENCE, || {
                let goes = works();
                lost += u32::from(!goes);
                goes
            });
            assert!((1..=3).contains(&lost), "{lost} connections were lost: {}", snet.log());
            for _ in 0..5 {
                assert!(works(), "{}", snet.log());
            }
            let warnings = snet.lines("WARN").join("\n");
            assert!(warnings.contains("is down: "), "{}", snet.log());
            let (_servers, _) = start(Family::V4, METHODS[0], number);
            wait::until("it answers again", PATIENCE, || {
                works() && snet.log().contains("answers again")
            });
            snet.stop();
        }
    });
}
