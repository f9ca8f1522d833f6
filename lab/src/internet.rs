//! The other end of the wire: a second network namespace that answers on every address.

use crate::kernel::run;
use nix::sched::{CloneFlags, unshare};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// A failure, not a measure: nothing waits so long in a good run.
const PATIENCE: Duration = Duration::from_secs(5);

/// A thread in a namespace of its own. Sockets made in it can be used from everywhere.
pub struct Host {
    work: mpsc::Sender<Box<dyn FnOnce() + Send>>,
    thread: nix::unistd::Pid,
}

/// The host that answers on every address.
pub struct Internet(Host);

impl std::ops::Deref for Internet {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.0
    }
}

impl Internet {
    /// The machine is 192.0.2.2 and 2001:db8:2::2, behind the gateway lies everything else.
    pub fn build() -> Self {
        let internet = Host::build();
        run("ip link add uplink type veth peer name downlink");
        internet.take("downlink");
        internet.run(|| {
            for family in ["ipv4", "ipv6"] {
                std::fs::write(format!("/proc/sys/net/{family}/ip_nonlocal_bind"), "1").unwrap();
            }
            run("ip address add 192.0.2.1/24 dev downlink");
            run("ip address add 2001:db8:2::1/64 dev downlink nodad");
            run("ip link set downlink up");
            // Local, whatever it is; the link is more specific.
            run("ip route add local 0.0.0.0/0 dev lo table main");
            run("ip -6 route add local ::/0 dev lo table main");
            settled("2001:db8:2::1");
        });
        // The kernel's own link-local address would be tentative for a while.
        run("ip link set uplink addrgenmode none");
        run("ip address add fe80::2/64 dev uplink nodad");
        run("ip address add 192.0.2.2/24 dev uplink");
        run("ip address add 2001:db8:2::2/64 dev uplink nodad");
        run("ip link set uplink up");
        run("ip route add default via 192.0.2.1");
        run("ip -6 route add default via 2001:db8:2::1");
        settled("2001:db8:2::2");
        settled("fe80:");
        Internet(internet)
    }
}

impl Host {
    /// One with nothing but loopback.
    pub fn build() -> Self {
        let (work, orders) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (ready, is_ready) = mpsc::channel();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            ready.send(nix::unistd::gettid()).unwrap();
            orders.into_iter().for_each(|order| order());
        });
        let host = Host { work, thread: is_ready.recv().unwrap() };
        host.run(|| {
            std::fs::write("/proc/sys/net/ipv6/conf/all/accept_dad", "0").unwrap();
            std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").unwrap();
            run("ip link set lo up")
        });
        host
    }

    /// Moves an interface there.
    pub fn take(&self, interface: &str) {
        run(&format!("ip link set {interface} netns {}", self.thread));
    }

    /// Does something there, and waits for it.
    pub fn run<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        self.work.send(Box::new(move || drop(done.send(act())))).unwrap();
        result.recv().expect("the order panicked")
    }

    /// A server on this address; on every address if it is `::`.
    pub fn udp(&self, address: SocketAddr) -> UdpSocket {
        self.run(move || udp(address))
    }

    /// Greets with this letter whoever connects to the port, then echoes.
    pub fn greet(&self, port: u16, letter: u8) {
        let listener = self.run(move || TcpListener::bind(format!("[::]:{port}")).unwrap());
        greet(listener, letter);
    }
}

/// Waits until an IPv6 address of this machine is really one: a work queue takes up what the tool
/// was told (addrconf_dad_work).
pub fn settled(address: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !run("ip -6 route show table local").contains(&format!("local {address}")) {
        assert!(Instant::now() < deadline, "{address} does not become local");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Greets with this letter whoever connects, then echoes.
pub fn greet(listener: TcpListener, letter: u8) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                stream.write_all(&[letter]).unwrap();
                let mut byte = [0];
                while stream.read(&mut byte).is_ok_and(|read| read == 1) {
                    stream.write_all(&byte).unwrap();
                }
            });
        }
    });
}

/// A socket of this thread's host that waits a bounded time.
pub fn udp(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// What a program sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The one at the far end of the wire answered.
    Direct,
    /// snet's port answered.
    Captured,
    /// The kernel refused.
    Refused,
}

/// Who answers for a TCP connection.
pub fn tcp(address: SocketAddr, mark: Option<u32>) -> Seen {
    match connect(address, mark) {
        Ok((_, seen)) => seen,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{address}: {error}");
            Seen::Refused
        }
    }
}

/// A connection, and who it is with: `I` for the internet, `S` for snet.
pub fn connect(address: SocketAddr, mark: Option<u32>) -> std::io::Result<(TcpStream, Seen)> {
    let socket =
        socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    if let Some(mark) = mark {
        socket.set_mark(mark)?;
    }
    socket.connect_timeout(&address.into(), PATIENCE)?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut greeting = [0];
    stream.read_exact(&mut greeting)?;
    Ok((stream, if greeting[0] == b'S' { Seen::Captured } else { Seen::Direct }))
}

/// Whether the far end still answers on this connection.
pub fn echoes(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    stream.write_all(b"x").and_then(|()| stream.read_exact(&mut byte)).is_ok() && byte == *b"x"
}

/// Who gets a datagram to `to`, of a server there and one here; the answer must come from `to`.
pub fn datagram(
    client: &UdpSocket,
    to: SocketAddr,
    there: &UdpSocket,
    here: Option<&UdpSocket>,
) -> Seen {
    client.send_to(b"question", to).unwrap();
    let mut buffer = [0; 64];
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        for (server, seen) in [(Some(there), Seen::Direct), (here, Seen::Captured)] {
            let Some(server) = server else { continue };
            server.set_nonblocking(true).unwrap();
            let got = server.recv_from(&mut buffer);
            server.set_nonblocking(false).unwrap();
            if let Ok((_, from)) = got {
                server.send_to(format!("{seen:?}").as_bytes(), from).unwrap();
                let (length, from) = client.recv_from(&mut buffer).expect("no answer came back");
                assert_eq!(from, to, "the answer came from elsewhere");
                assert_eq!(&buffer[..length], format!("{seen:?}").as_bytes());
                return seen;
            }
        }
        thread::yield_now();
    }
    panic!("the datagram to {to} arrived nowhere");
}

/// Whether a datagram to there is refused by an ICMP message; one that is not must arrive.
pub fn refused(to: SocketAddr, there: &UdpSocket, mark: Option<u32>) -> bool {
    let client = udp(any(to, 0));
    if let Some(mark) = mark {
        socket2::SockRef::from(&client).set_mark(mark).unwrap();
    }
    client.connect(to).unwrap();
    let sent = client.send(b"datagram");
    match sent.as_ref().map_err(std::io::Error::kind) {
        Ok(_) => {
            there.recv_from(&mut [0; 64]).unwrap_or_else(|error| panic!("{to}: {error}"));
            false
        }
        // The send itself is told of the drop (ip_push_pending_frames), and then the message
        // comes, for whoever waits or sends again.
        Err(ErrorKind::PermissionDenied) => {
            let told = client.recv(&mut [0; 64]).unwrap_err();
            assert_eq!(told.kind(), ErrorKind::ConnectionRefused, "{to}: {told}");
            true
        }
        Err(_) => panic!("{to}: {sent:?}"),
    }
}

/// An address and a port.
pub fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse::<IpAddr>().unwrap(), port)
}

/// The unspecified address of the other one's family.
pub fn any(other: SocketAddr, port: u16) -> SocketAddr {
    at(if other.is_ipv4() { "0.0.0.0" } else { "::" }, port)
}
