//! HTTPS proxies: squid itself; haproxy, which takes TLS off before squid, or HTTP/2 too; nghttpx
//! with HTTP/2 before squid.

use super::http_proxy::{self, PASSWORD, SQUID_PORT, USER};
use super::unbound::pem;
use crate::process::{FOLDER, Place, Running, new_file, unprivileged};
use crate::snet;
use crate::world::{Family, PROXY};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// Where TLS is spoken.
pub const PORT: u16 = 8443;

/// What speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpsProxy {
    /// squid, HTTP/1.1.
    Squid,
    /// haproxy, which knows nothing of what is inside: HTTP/1.1.
    Haproxy,
    /// haproxy, HTTP/2.
    HaproxyHttp2,
    /// nghttpx, HTTP/2.
    Nghttpx,
}

pub const HTTPS_PROXIES: [HttpsProxy; 4] =
    [HttpsProxy::Squid, HttpsProxy::Haproxy, HttpsProxy::HaproxyHttp2, HttpsProxy::Nghttpx];

impl HttpsProxy {
    pub fn is_http2(self) -> bool {
        matches!(self, HttpsProxy::HaproxyHttp2 | HttpsProxy::Nghttpx)
    }

    /// The one that speaks TLS, last, what stands behind it, and the `[[proxy]]` that leads there.
    pub fn start(self, family: Family) -> (Vec<Running>, String) {
        let address = PROXY.port(family, PORT);
        let proxy = snet::https_proxy(address, Some((USER, PASSWORD)));
        if self == HttpsProxy::Squid {
            let [key, certificate] = key_and_certificate();
            let line = format!("https_port {address} tls-cert={certificate} tls-key={key}");
            return (vec![http_proxy::squid_at(address, &line)], proxy);
        }
        let (squid, _) = http_proxy::squid(family);
        (vec![squid, self.before(address, PROXY.port(family, SQUID_PORT))], proxy)
    }

    /// Starts it at `address` before another proxy.
    pub fn before(self, address: SocketAddr, other: SocketAddr) -> Running {
        let mut command = match self {
            HttpsProxy::Squid => panic!("squid stands before none"),
            HttpsProxy::Haproxy => haproxy(address, other, "tcp", "http/1.1"),
            HttpsProxy::HaproxyHttp2 => haproxy(address, other, "http", "h2"),
            HttpsProxy::Nghttpx => nghttpx(address, other),
        };
        let mut server = Running::start("https-proxy", &mut command);
        super::wait_for_listener(&mut server, address);
        server
    }
}

fn haproxy(
    address: SocketAddr,
    other: SocketAddr,
    mode: &str,
    protocol: &str,
) -> std::process::Command {
    let both = Path::new(FOLDER).join("haproxy.pem");
    let texts = key_and_certificate()
        .map(|file| fs::read_to_string(file).expect("it was written a moment ago"));
    fs::write(&both, texts.concat()).expect("the tmpfs is writable");
    let file = new_file("haproxy.cfg");
    let text = format!(
        "global\nmaxconn 5000\n\
         defaults\nmode {mode}\ntimeout connect 5s\ntimeout client 600s\ntimeout server 600s\n\
         timeout tunnel 600s\n\
         listen proxy\nbind {address} ssl crt {} alpn {protocol}\nserver other {other}\n",
        both.display()
    );
    fs::write(&file, text).expect("the tmpfs is writable");
    let mut command = unprivileged(Place::Internet, "haproxy");
    command.args(["-db", "-f"]).arg(file);
    command
}

fn nghttpx(address: SocketAddr, other: SocketAddr) -> std::process::Command {
    let comma = |address: SocketAddr| format!("{},{}", address.ip(), address.port());
    let [key, certificate] = key_and_certificate();
    let mut command = unprivileged(Place::Internet, "nghttpx");
    command.args(["--conf=/dev/null", "--http2-proxy", "--no-ocsp"]);
    // 8 otherwise, and the other tunnels to a host of a connection wait for one to end.
    command.arg("--backend-connections-per-host=10000");
    command.arg(format!("--frontend={}", comma(address)));
    command.arg(format!("--backend={}", comma(other)));
    command.args([key, certificate]);
    command
}

/// Files with those of `dns.example`, in PEM.
pub fn key_and_certificate() -> [String; 2] {
    [pem("dns.example.key.der", "PRIVATE KEY"), pem("dns.example.der", "CERTIFICATE")]
}
