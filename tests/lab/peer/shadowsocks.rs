//! Shadowsocks servers: ss-server of shadowsocks-libev, ssserver of shadowsocks-rust.
//!
//! libev's closes the whole stream when one half ends; ssserver forwards the end of a half.

use crate::process::{Place, Running, new_file, unprivileged};
use crate::snet;
use crate::world::{Family, PROXY};
use std::fs;
use std::net::SocketAddr;

/// The ciphers that snet speaks.
pub const METHODS: [&str; 3] = ["aes-128-gcm", "aes-256-gcm", "chacha20-ietf-poly1305"];

/// Those of shadowsocks 2022, which ssserver speaks; the first two know users.
pub const METHODS_2022: [&str; 3] =
    ["2022-blake3-aes-128-gcm", "2022-blake3-aes-256-gcm", "2022-blake3-chacha20-poly1305"];

pub const PASSWORD: &str = "correct horse";
/// Keys of 16 bytes, and of 32: of a user, of a server of several users, and of another user.
const KEYS: [[&str; 2]; 3] = [
    ["AAECAwQFBgcICQoLDA0ODw==", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="],
    ["8PHy8/T19vf4+fr7/P3+/w==", "4OHi4+Tl5ufo6err7O3u7/Dx8vP09fb3+Pn6+/z9/v8="],
    ["AAAAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="],
];
pub const LIBEV_PORT: u16 = 8388;
const RUST_PORT: u16 = 8389;

/// ss-server, and the `[[proxy]]` that leads to it.
pub fn libev(family: Family, method: &str) -> (Running, String) {
    let address = PROXY.port(family, LIBEV_PORT);
    let mut command = unprivileged(Place::Internet, "ss-server");
    command
        .args(["-s", &address.ip().to_string(), "-p", &address.port().to_string()])
        .args(["-u", "-m", method, "-k", PASSWORD, "-t", "600"]);
    let mut server = Running::start("ss-server", &mut command);
    super::wait_for_listener(&mut server, address);
    (server, snet::shadowsocks(address, method, PASSWORD))
}

/// The `[[proxy]]` with a password that is not ss-server's.
pub fn libev_with_wrong_password(family: Family, method: &str) -> String {
    snet::shadowsocks(PROXY.port(family, LIBEV_PORT), method, "battery staple")
}

/// ssserver, and the `[[proxy]]` that leads to it.
pub fn rust(family: Family, method: &str) -> (Running, String) {
    start_rust(PROXY.port(family, RUST_PORT), method, &[])
}

/// Where [`rust`] listens.
pub fn rust_address(family: Family) -> SocketAddr {
    PROXY.port(family, RUST_PORT)
}

/// Another one beside it.
pub fn second(family: Family, method: &str) -> (Running, String) {
    start_rust(PROXY.port(family, RUST_PORT + 1), method, &[])
}

/// The same, whose connections come from its own address of that family. (Other peers of this lab
/// share a host with the sites, and the kernel gives both ends the site's address.)
pub fn rust_bound(family: Family, method: &str) -> (Running, String) {
    let address = PROXY.port(family, RUST_PORT);
    start_rust(address, method, &["--outbound-bind-addr", &PROXY.ip(family).to_string()])
}

/// The `[[proxy]]` with a password that is not ssserver's.
pub fn rust_with_wrong_password(family: Family, method: &str) -> String {
    let [_, wrong, _] = passwords(method);
    snet::shadowsocks(PROXY.port(family, RUST_PORT), method, wrong)
}

fn start_rust(address: SocketAddr, method: &str, options: &[&str]) -> (Running, String) {
    let mut command = unprivileged(Place::Internet, "ssserver");
    let [password, ..] = passwords(method);
    command.args(["-U", "-s", &address.to_string(), "-m", method, "-k", password]).args(options);
    let mut server = Running::start("ssserver", &mut command);
    super::wait_for_listener(&mut server, address);
    (server, snet::shadowsocks(address, method, password))
}

/// ssserver of two users, and the `[[proxy]]` of one of them.
pub fn of_users(family: Family, method: &str) -> (Running, String) {
    let address = PROXY.port(family, RUST_PORT);
    let [user, server, stranger] = passwords(method);
    let file = new_file("ssserver.json");
    let text = format!(
        r#"{{"servers": [{{"server": "{}", "server_port": {}, "method": "{method}",
            "password": "{server}", "mode": "tcp_and_udp", "users": [
            {{"name": "another", "password": "{stranger}"}}, {{"name": "we", "password": "{user}"}}
        ]}}]}}"#,
        address.ip(),
        address.port(),
    );
    fs::write(&file, text).expect("the tmpfs is writable");
    let mut command = unprivileged(Place::Internet, "ssserver");
    command.arg("-c").arg(file);
    let mut running = Running::start("ssserver", &mut command);
    super::wait_for_listener(&mut running, address);
    (running, snet::shadowsocks(address, method, &format!("{server}:{user}")))
}

/// A password for the method, and two others.
pub fn passwords(method: &str) -> [&'static str; 3] {
    match METHODS_2022.iter().position(|of_2022| *of_2022 == method) {
        None => [PASSWORD, "battery staple", ""],
        Some(0) => KEYS.map(|[short, _]| short),
        Some(_) => KEYS.map(|[_, long]| long),
    }
}

/// ss-local of shadowsocks-libev in front of [`libev`], to prove the server without snet: a SOCKS
/// proxy on 127.0.0.1:1080 of the internet.
pub fn local(family: Family, method: &str) -> Running {
    let server = PROXY.port(family, LIBEV_PORT);
    let mut command = unprivileged(Place::Internet, "ss-local");
    command.args(["-s", &server.ip().to_string(), "-p", &server.port().to_string()]).args([
        "-m",
        method,
        "-k",
        PASSWORD,
        "-b",
        "127.0.0.1",
        "-l",
        "1080",
    ]);
    let mut local = Running::start("ss-local", &mut command);
    super::wait_for_listener(&mut local, ([127, 0, 0, 1], 1080).into());
    local
}
