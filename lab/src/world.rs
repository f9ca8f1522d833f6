//! The world around snet: two hosts and a wire.
//!
//! ```text
//!   machine                              internet
//!   snet, curl, dig, the tests           sites, name servers, proxies
//!   10.0.2.2  fd00:2::2  uplink ======== wan  10.0.2.1  fd00:2::1
//! ```
//!
//! Every address of the internet is from a documentation range (RFC 5737, RFC 3849). Two of the
//! prefixes play China; the configuration names them in `rules.china-ip-file`. The proxy servers
//! live in a range that snet redirects, as they do in real life.

use crate::process::{FOLDER, Place, sh};
use crate::{Variant, seal, tools, wait};
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// An IP family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Both.
pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// What plays China.
pub const CHINA: &str = "198.51.100.0/24\n2001:db8:c::/48\n";

/// A host of the internet, with one address in each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

/// The last group of the IPv6 address is written like the last number of the IPv4 one.
const fn alike(last: u8) -> u16 {
    let last = last as u16;
    last / 100 * 0x100 + last / 10 % 10 * 0x10 + last % 10
}

const fn domestic(last: u8) -> Host {
    Host {
        v4: Ipv4Addr::new(198, 51, 100, last),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, alike(last)),
    }
}

const fn foreign(last: u8) -> Host {
    Host {
        v4: Ipv4Addr::new(203, 0, 113, last),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, alike(last)),
    }
}

const fn abroad(last: u8) -> Host {
    Host {
        v4: Ipv4Addr::new(192, 0, 2, last),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, alike(last)),
    }
}

/// Web and other sites.
pub const DOMESTIC_SITE: Host = domestic(10);
/// As above, foreign.
pub const FOREIGN_SITE: Host = foreign(10);
/// Another address of the foreign site.
pub const FOREIGN_TWIN: Host = foreign(11);
/// Sites that a rule blocks.
pub const BLOCKED_SITE: Host = foreign(200);
/// The name servers of the configuration.
pub const DOMESTIC_NAMES: Host = domestic(53);
/// The trusted one.
pub const TRUSTED_NAMES: Host = foreign(53);
/// The name server that the machine's /etc/resolv.conf names: not snet's business, except that
/// queries to it are captured.
pub const SYSTEM_NAMES: Host = foreign(8);
/// The proxy servers: all on one host, told apart by port.
pub const PROXY: Host = abroad(20);
/// What a forger says.
pub const FORGED: Host = foreign(66);
/// Where the trusted side sends visitors of the domestic site: a copy far away.
pub const FAR_COPY: Host = foreign(77);
/// Nobody is there: packets vanish.
pub const SILENT_DOMESTIC: Host = domestic(99);
/// As above, foreign.
pub const SILENT_FOREIGN: Host = foreign(99);

/// What direct connections come from.
pub const MACHINE: Host =
    Host { v4: Ipv4Addr::new(10, 0, 2, 2), v6: Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 2) };

const PRESENT: [Host; 8] = [
    DOMESTIC_SITE,
    FOREIGN_SITE,
    FOREIGN_TWIN,
    BLOCKED_SITE,
    DOMESTIC_NAMES,
    TRUSTED_NAMES,
    SYSTEM_NAMES,
    PROXY,
];

impl Host {
    /// Its address of that family.
    pub fn ip(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4.into(),
            Family::V6 => self.v6.into(),
        }
    }

    /// A port at its address of that family.
    pub fn port(self, family: Family, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(family), port)
    }

    /// A port at both its addresses.
    pub fn both(self, port: u16) -> [SocketAddr; 2] {
        FAMILIES.map(|family| self.port(family, port))
    }
}

/// Runs `body` in a fresh world. To be called by a test as the only thing it does.
pub fn sealed<F: FnOnce()>(body: F) {
    seal::sealed(tools::require_all, &[], build, body);
}

/// The same, where the body knows the variant.
pub fn sealed_for<F: FnOnce()>(_: Variant, body: F) {
    sealed(body);
}

/// Builds it in the present, empty namespaces.
fn build() {
    raise_file_limit();
    for line in [
        "ip link set lo up",
        "ip netns add internet",
        "ip link add uplink type veth peer name wan netns internet",
        // Link-local addresses of our own: those of the kernel are tentative for a second
        // (RFC 4862), and without any, neighbours lose each other.
        "ip link set uplink addrgenmode none",
        "ip addr add fe80::2/64 dev uplink nodad",
        "ip link set uplink up",
        "ip addr add 10.0.2.2/24 dev uplink",
        "ip addr add fd00:2::2/64 dev uplink nodad",
    ] {
        sh(Place::Machine, line);
    }
    for line in [
        "ip link set lo up",
        "ip link set wan addrgenmode none",
        "ip addr add fe80::1/64 dev wan nodad",
        "ip link set wan up",
        "ip addr add 10.0.2.1/24 dev wan",
        "ip addr add fd00:2::1/64 dev wan nodad",
        // What is for nobody vanishes without a word.
        "ip route add blackhole default",
        "ip -6 route add blackhole default",
    ] {
        sh(Place::Internet, line);
    }
    for host in PRESENT {
        sh(Place::Internet, &format!("ip addr add {}/32 dev lo", host.v4));
        sh(Place::Internet, &format!("ip addr add {}/128 dev lo nodad", host.v6));
    }
    sh(Place::Machine, "ip route add default via 10.0.2.1");
    sh(Place::Machine, "ip -6 route add default via fd00:2::1");
    // Name servers run without privileges.
    in_internet(|| {
        fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
            .expect("a namespace's owner may write its settings");
    });
    name_the_resolver();
    wait_for_the_wire();
    let tentative = sh(Place::Machine, "ip -6 addr show tentative");
    assert!(tentative.trim().is_empty(), "an address is tentative: {tentative}");
}

/// Runs something on a thread that lives in the internet's network namespace. Sockets stay where
/// they were born.
pub fn in_internet<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        scope
            .spawn(|| {
                enter_internet();
                body()
            })
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Moves the calling thread into the internet's network namespace.
pub fn enter_internet() {
    let namespace = fs::File::open("/run/netns/internet").expect("the internet exists");
    nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)
        .expect("its owner may enter");
}

/// A fresh link swallows packets until the kernel has looked at its carrier, up to a second later.
fn wait_for_the_wire() {
    let refused = |address: &str| {
        let address = address.parse().expect("an address");
        let result = TcpStream::connect_timeout(&address, Duration::from_millis(50));
        result.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    for address in ["10.0.2.1:9", "[fd00:2::1]:9"] {
        wait::until("the wire carries packets", Duration::from_secs(10), || refused(address));
    }
}

/// Programs of the machine ask [`SYSTEM_NAMES`]. The mount is seen in this namespace only.
fn name_the_resolver() {
    use nix::mount::{MsFlags, mount};
    let ours = Path::new(FOLDER).join("resolv.conf");
    let text = format!("nameserver {}\noptions timeout:5 attempts:1\n", SYSTEM_NAMES.v4);
    fs::write(&ours, text).expect("the tmpfs is writable");
    let link = Path::new("/etc/resolv.conf");
    // Often a link into /run, which is empty now.
    if let Ok(target) = fs::read_link(link) {
        let target = Path::new("/").join(target.strip_prefix("..").unwrap_or(&target));
        if target.starts_with("/run") {
            fs::create_dir_all(target.parent().expect("a file has a folder")).expect("it is ours");
            fs::write(&target, "").expect("it is ours");
        }
    }
    let none: Option<&Path> = None;
    mount(Some(&ours), link, none, MsFlags::MS_BIND, none)
        .expect("a mount namespace's owner may bind a file");
}

/// Thousands of connections have both their ends in this process.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("limits can be read");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("up to the hard limit all may go");
}
