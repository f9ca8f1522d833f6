//! The part of the daemon in these tests: transparent listeners, and an answer from wherever a
//! datagram was sent to.

use crate::mark::Fwmark;
use nix::cmsg_space;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use snet_lab::internet::{Seen, at};
use std::io::IoSliceMut;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Answers `S` until it is dropped.
pub(in crate::firewall::tests) struct Listener {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Listener {
    /// Of both families, at this port.
    pub(in crate::firewall::tests) fn start(port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = ["127.0.0.1", "::1"].map(|loopback| {
            let socket = transparent(at(loopback, port));
            setsockopt(&socket, sockopt::Ipv4OrigDstAddr, &loopback.contains('.')).ok();
            if loopback.contains(':') {
                setsockopt(&socket, sockopt::Ipv6OrigDstAddr, &true).unwrap();
            }
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Some((client, asked)) = received(&socket) {
                        send(asked, client, b"S");
                    }
                }
            })
        });
        Listener { stop, threads: threads.into() }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// From a foreign address, as a reply socket does.
pub(super) fn send(from: SocketAddr, to: SocketAddr, what: &[u8]) {
    transparent(from).send_to(what, to).unwrap();
}

/// A transparent socket with snet's mark.
fn transparent(address: SocketAddr) -> UdpSocket {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None).unwrap();
    match address {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true).unwrap(),
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true).unwrap(),
    }
    socket.set_reuse_address(true).unwrap();
    socket.set_mark(Fwmark::SNET.value()).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    socket.into()
}

/// Who sent a datagram, and to where.
fn received(socket: &UdpSocket) -> Option<(SocketAddr, SocketAddr)> {
    let mut buffer = [0; 64];
    let mut space = cmsg_space!(nix::libc::sockaddr_in6);
    let mut buffers = [IoSliceMut::new(&mut buffer)];
    let fd = socket.as_raw_fd();
    let message =
        recvmsg::<SockaddrStorage>(fd, &mut buffers, Some(&mut space), MsgFlags::empty()).ok()?;
    let sender = message.address?;
    let client = match (sender.as_sockaddr_in(), sender.as_sockaddr_in6()) {
        (Some(v4), _) => SocketAddr::V4(SocketAddrV4::from(*v4)),
        (_, Some(v6)) => SocketAddr::V6(SocketAddrV6::from(*v6)),
        _ => return None,
    };
    let asked = message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4OrigDstAddr(to) => Some(SocketAddr::new(
            std::net::Ipv4Addr::from(u32::from_be(to.sin_addr.s_addr)).into(),
            u16::from_be(to.sin_port),
        )),
        ControlMessageOwned::Ipv6OrigDstAddr(to) => Some(SocketAddr::new(
            std::net::Ipv6Addr::from(to.sin6_addr.s6_addr).into(),
            u16::from_be(to.sin6_port),
        )),
        _ => None,
    })?;
    Some((client, asked))
}

/// Who answers, if it is answered soon; the answer comes from where the question went.
pub(in crate::firewall::tests) fn asked(client: &UdpSocket, to: SocketAddr) -> Option<Seen> {
    client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    if client.peer_addr().is_ok() {
        client.send(b"question").ok()?;
    } else {
        client.send_to(b"question", to).ok()?;
    }
    let mut buffer = [0; 64];
    let (length, from) = client.recv_from(&mut buffer).ok()?;
    assert_eq!(from, to, "the answer came from elsewhere");
    Some(if &buffer[..length] == b"S" { Seen::Captured } else { Seen::Direct })
}
