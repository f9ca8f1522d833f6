//! The upstream servers of the matrix.

use crate::peer::{http_proxy, shadowsocks, socks};
use crate::process::Running;
use crate::world::{Family, Host, PROXY};

/// A real proxy server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upstream {
    /// ss-server of shadowsocks-libev, with this cipher.
    Libev(&'static str),
    /// ssserver of shadowsocks-rust, with this cipher.
    Rust(&'static str),
    /// squid with a password.
    Squid,
    /// tinyproxy.
    Tinyproxy,
    /// dante.
    Dante,
    /// microsocks with a password.
    Microsocks,
}

/// Every cipher, and HTTP and SOCKS5 with and without a password.
pub const UPSTREAMS: [Upstream; 9] = [
    Upstream::Libev(shadowsocks::METHODS[0]),
    Upstream::Libev(shadowsocks::METHODS[1]),
    Upstream::Libev(shadowsocks::METHODS[2]),
    Upstream::Rust(shadowsocks::METHODS[1]),
    Upstream::Rust(shadowsocks::METHODS_2022[1]),
    Upstream::Squid,
    Upstream::Tinyproxy,
    Upstream::Dante,
    Upstream::Microsocks,
];

impl Upstream {
    /// Whom the site sees that it leads to. The proxies live on the site's own host, and connect
    /// from the site's address; dante has to be told an address of its own.
    pub fn seen_as(self, site: Host) -> Host {
        if self == Upstream::Dante { PROXY } else { site }
    }

    /// The server, and the `[[proxy]]` that leads to it.
    pub fn start(self, family: Family) -> (Running, String) {
        match self {
            Upstream::Libev(method) => shadowsocks::libev(family, method),
            Upstream::Rust(method) => shadowsocks::rust(family, method),
            Upstream::Squid => http_proxy::squid(family),
            Upstream::Tinyproxy => http_proxy::tinyproxy(family),
            Upstream::Dante => socks::dante(family),
            Upstream::Microsocks => socks::microsocks(family),
        }
    }
}
