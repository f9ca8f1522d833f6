//! A configuration that meets nothing else on this machine.

use std::net::UdpSocket;
use std::path::PathBuf;

/// Ports for a resolver on loopback.
pub struct Ports {
    tcp: u16,
    pub dns: u16,
}

impl Ports {
    /// Taken by nobody a moment ago.
    pub fn free() -> Self {
        let (tcp, dns) = (UdpSocket::bind("127.0.0.1:0"), UdpSocket::bind("127.0.0.1:0"));
        let port =
            |socket: std::io::Result<UdpSocket>| socket.unwrap().local_addr().unwrap().port();
        Ports { tcp: port(tcp), dns: port(dns) }
    }

    /// Where its control socket stands: tests that run at once share no place.
    pub fn control(&self) -> PathBuf {
        std::env::temp_dir().join(format!("snet-{}.sock", self.dns))
    }

    /// A resolver whose name servers do not answer.
    pub fn config(&self, proxies: &str) -> String {
        let via = if proxies.is_empty() { "direct" } else { "proxy" };
        format!(
            "[listen]\naddress = \"127.0.0.1\"\ntcp-port = {}\ndns-port = {}\n\
             [dns]\nchina = [\"127.0.0.1:9\"]\ntrusted = [\"127.0.0.2:9\"]\n\
             trusted-via = \"{via}\"\ntimeout = \"1s\"\n{proxies}\
             [control]\nsocket = \"{}\"\n",
            self.tcp,
            self.dns,
            self.control().display()
        )
    }
}
