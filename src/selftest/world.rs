//! The addresses of the little internet, all from the documentation ranges (RFC 5737, RFC 3849),
//! and the commands that build it.

use crate::firewall::Backend;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The machine that runs snet, and its router, on one link.
pub(super) const MACHINE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub(super) const MACHINE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2);
pub(super) const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// What plays China: the list that the daemon gets.
pub(super) const CHINA: &str = "198.51.100.0/24\n2001:db8:c::/48\n";

pub(super) const DOMESTIC: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
pub(super) const DOMESTIC_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 10);
pub(super) const FOREIGN: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
pub(super) const FOREIGN_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 10);

/// Another host beside the foreign site, which answers in its stead.
pub(super) const FOREIGN_TWIN: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);
pub(super) const FOREIGN_TWIN_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 11);

/// Everything foreign, as the firewall's tools write it.
pub(super) const FOREIGN_RANGE: &str = "203.0.113.0/24";
pub(super) const FOREIGN_RANGE_V6: &str = "2001:db8:f::/48";

/// The domestic site as seen from abroad: a far-away copy.
pub(super) const FAR_COPY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 77);

/// What forged answers say.
pub(super) const FORGED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);
pub(super) const FORGED_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 66);

/// What the proxies want of their clients.
pub(super) const PASSWORD: &str = "selftest";
/// And the one of shadowsocks 2022: sixteen bytes, in base64.
pub(super) const KEY: &str = "c2VsZnRlc3RzZWxmdGVzdA==";

/// What the proxies reach IPv6 from.
pub(super) const PROXIES_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 5);

/// A proxy. They stand in a redirected range on purpose: only the mark keeps snet's own connections
/// to them from coming back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ProxyHost {
    Shadowsocks2022,
    Shadowsocks,
    Socks5,
    Http,
}

impl ProxyHost {
    /// In the order in which the daemon prefers them.
    pub(super) const ALL: [ProxyHost; 4] =
        [ProxyHost::Shadowsocks2022, ProxyHost::Shadowsocks, ProxyHost::Socks5, ProxyHost::Http];

    /// In the daemon's file, and for the control port.
    pub(super) fn name(self) -> &'static str {
        match self {
            ProxyHost::Shadowsocks2022 => "shadowsocks-2022",
            ProxyHost::Shadowsocks => "shadowsocks",
            ProxyHost::Socks5 => "socks5",
            ProxyHost::Http => "http",
        }
    }

    /// In a row.
    pub(super) fn title(self) -> &'static str {
        match self {
            ProxyHost::Shadowsocks2022 => "shadowsocks 2022",
            ProxyHost::Shadowsocks => "shadowsocks",
            ProxyHost::Socks5 => "SOCKS5",
            ProxyHost::Http => "HTTP CONNECT",
        }
    }

    pub(super) fn address(self) -> SocketAddr {
        let (last, port) = match self {
            ProxyHost::Shadowsocks2022 => (4, 8389),
            ProxyHost::Shadowsocks => (5, 8388),
            ProxyHost::Socks5 => (7, 1080),
            ProxyHost::Http => (6, 8080),
        };
        at(Ipv4Addr::new(203, 0, 113, last), port)
    }

    /// Of the daemon's file.
    fn keys(self) -> String {
        match self {
            ProxyHost::Shadowsocks2022 => format!(
                "type = \"shadowsocks\"\nmethod = \"2022-blake3-aes-128-gcm\"\npassword = \"{KEY}\""
            ),
            ProxyHost::Shadowsocks => format!(
                "type = \"shadowsocks\"\nmethod = \"chacha20-ietf-poly1305\"\n\
                 password = \"{PASSWORD}\""
            ),
            ProxyHost::Socks5 | ProxyHost::Http => {
                let name = self.name();
                format!("type = \"{name}\"\nusername = \"self\"\npassword = \"{PASSWORD}\"")
            }
        }
    }
}

pub(super) const DOMESTIC_NAMES: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 53);
pub(super) const TRUSTED_NAMES: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 53);

/// No host has it: an answer from it proves capture.
pub(super) const NOBODY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 99);
pub(super) const NOBODY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 99);

pub(super) const DNS: u16 = 53;
pub(super) const WEB: u16 = 80;
pub(super) const QUIC: u16 = 443;

/// UDP of the foreign site and of its twin; whoever says this word to one is answered by the other.
pub(super) const CALL: u16 = 50_000;
pub(super) const OTHER_CALL: u16 = 50_001;
pub(super) const ELSEWHERE: &str = "elsewhere";

/// The selftest's own questions to the internet's host, on the link, which is not captured.
pub(super) const CONTROL: u16 = 7;

/// The domestic site's name, and the foreign one's. Names below have the same addresses, so that
/// a trial can ask for one that is in no cache.
pub(super) const DOMESTIC_NAME: &str = "near.example.";
pub(super) const FOREIGN_NAME: &str = "far.example.";

/// Every address the internet's host answers for, beside the router's.
pub(super) fn internet() -> Vec<IpAddr> {
    let others: [IpAddr; 10] = [
        DOMESTIC.into(),
        FOREIGN.into(),
        FOREIGN_TWIN.into(),
        FAR_COPY.into(),
        DOMESTIC_NAMES.into(),
        TRUSTED_NAMES.into(),
        DOMESTIC_V6.into(),
        FOREIGN_V6.into(),
        FOREIGN_TWIN_V6.into(),
        PROXIES_V6.into(),
    ];
    ProxyHost::ALL.map(|proxy| proxy.address().ip()).into_iter().chain(others).collect()
}

/// `ip -batch` for the machine; `internet` is the path of the internet's namespace.
pub(super) fn machine_commands(internet: &str, has_ipv6: bool) -> String {
    let mut commands = format!(
        "link set lo up\n\
         link add uplink type veth peer name downlink netns {internet}\n\
         address add {MACHINE}/24 dev uplink\n\
         link set uplink up\n\
         route add default via {ROUTER}\n"
    );
    if has_ipv6 {
        commands.push_str(&format!(
            "address add {MACHINE_V6}/64 dev uplink nodad\n\
             route add ::/0 via 2001:db8:1::1\n"
        ));
    }
    commands
}

/// `ip -batch` for the internet's host.
pub(super) fn internet_commands(has_ipv6: bool) -> String {
    let mut commands =
        format!("link set lo up\naddress add {ROUTER}/24 dev downlink\nlink set downlink up\n");
    if has_ipv6 {
        commands.push_str("address add 2001:db8:1::1/64 dev downlink nodad\n");
    }
    for address in internet() {
        match address {
            IpAddr::V4(v4) => commands.push_str(&format!("address add {v4}/32 dev lo\n")),
            IpAddr::V6(v6) if has_ipv6 => {
                commands.push_str(&format!("address add {v6}/128 dev lo nodad\n"));
            }
            IpAddr::V6(_) => {}
        }
    }
    commands
}

/// The proxies of this little internet have no name server to ask.
const ADDRESSES: &str = "send-names = \"off\"\n";

/// The daemon's file.
pub(super) fn config(china: &str, backend: Backend, has_ipv6: bool) -> String {
    let listen = if has_ipv6 { r#"["127.0.0.1", "::1"]"# } else { r#""127.0.0.1""# };
    let proxy = |proxy: ProxyHost| {
        let (name, server, keys) = (proxy.name(), proxy.address(), proxy.keys());
        format!("[[proxy]]\nname = \"{name}\"\nserver = \"{server}\"\n{keys}\n{ADDRESSES}\n")
    };
    let proxies: String = ProxyHost::ALL.into_iter().map(proxy).collect();
    format!(
        r#"[listen]
address = {listen}

{proxies}[dns]
china = ["{DOMESTIC_NAMES}"]
trusted = ["{TRUSTED_NAMES}"]

[rules]
china-ip-file = "{china}"

[firewall]
backend = "{backend}"
udp = "proxy"

[log]
connections = true
"#
    )
}

/// An address with a port.
pub(super) fn at(address: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}
