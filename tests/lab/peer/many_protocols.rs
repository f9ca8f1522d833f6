//! sing-box and mihomo, which serve many protocols. They are no packages of Debian:
//! `scripts/interop.sh` brings them, and the tests that want them.

use super::https_proxy::key_and_certificate;
use crate::process::{FOLDER, Place, Running, new_file, unprivileged};
use crate::snet;
use crate::tools;
use crate::world::{Family, PROXY};
use std::fs;
use std::net::SocketAddr;

const PORT: u16 = 9000;
const USER: &str = "me";
const PASSWORD: &str = "open sesame";

/// One of the two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManyProtocols {
    SingBox,
    Mihomo,
}

/// What it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// Shadowsocks, of either edition, with this method and password.
    Shadowsocks(&'static str, &'static str),
    Socks,
    Http,
    /// HTTP over TLS.
    Https,
}

impl ManyProtocols {
    /// The server, and the `[[proxy]]` that leads to it.
    pub fn start(self, family: Family, served: Served) -> (Running, String) {
        let address = PROXY.port(family, PORT);
        let file = new_file("server.json");
        let (program, text) = match self {
            ManyProtocols::SingBox => ("sing-box", sing_box(address, served)),
            // JSON is YAML.
            ManyProtocols::Mihomo => ("mihomo", mihomo(address, served)),
        };
        assert!(tools::find(program).is_some(), "{program} is not here: run scripts/interop.sh");
        fs::write(&file, text).expect("the tmpfs is writable");
        let mut command = unprivileged(Place::Internet, program);
        match self {
            ManyProtocols::SingBox => command.args(["run", "-c"]).arg(file),
            ManyProtocols::Mihomo => command.args(["-d", FOLDER, "-f"]).arg(file),
        };
        let mut server = Running::start(program, &mut command);
        super::wait_for_listener(&mut server, address);
        let with_password = Some((USER, PASSWORD));
        let proxy = match served {
            Served::Shadowsocks(method, password) => snet::shadowsocks(address, method, password),
            Served::Socks => snet::socks_proxy(address, with_password),
            Served::Http => snet::http_proxy(address, with_password),
            Served::Https => snet::https_proxy(address, with_password),
        };
        (server, proxy)
    }
}

fn sing_box(address: SocketAddr, served: Served) -> String {
    let users = format!(r#""users": [{{"username": "{USER}", "password": "{PASSWORD}"}}]"#);
    let inbound = match served {
        Served::Shadowsocks(method, password) => {
            format!(r#""type": "shadowsocks", "method": "{method}", "password": "{password}""#)
        }
        Served::Socks => format!(r#""type": "socks", {users}"#),
        Served::Http => format!(r#""type": "http", {users}"#),
        Served::Https => {
            let [key, certificate] = key_and_certificate();
            format!(
                r#""type": "http", {users}, "tls": {{"enabled": true, "key_path": "{key}",
                    "certificate_path": "{certificate}"}}"#
            )
        }
    };
    format!(
        r#"{{"log": {{"level": "warn"}},
            "inbounds": [{{{inbound}, "listen": "{}", "listen_port": {}}}],
            "outbounds": [{{"type": "direct"}}]}}"#,
        address.ip(),
        address.port()
    )
}

fn mihomo(address: SocketAddr, served: Served) -> String {
    let users = format!(r#""users": [{{"username": "{USER}", "password": "{PASSWORD}"}}]"#);
    let listener = match served {
        Served::Shadowsocks(method, password) => {
            format!(r#""type": "shadowsocks", "cipher": "{method}", "password": "{password}""#)
        }
        Served::Socks => format!(r#""type": "socks", {users}"#),
        Served::Http => format!(r#""type": "http", {users}"#),
        Served::Https => {
            let [key, certificate] = key_and_certificate()
                .map(|file| fs::read_to_string(file).expect("it was written a moment ago"))
                .map(|text| text.replace('\n', "\\n"));
            format!(
                r#""type": "http", {users}, "private-key": "{key}", "certificate": "{certificate}""#
            )
        }
    };
    format!(
        r#"{{"log-level": "warning", "mode": "direct", "ipv6": true,
            "listeners": [{{"name": "in", "udp": true, {listener},
                "listen": "{}", "port": {}}}]}}"#,
        address.ip(),
        address.port()
    )
}
