//! Whose a socket of this machine is, by its addresses: the user and the cgroup of whoever made it,
//! and which one it is.
//!
//! Asks the kernel for one socket by its addresses (sock_diag(7), linux/inet_diag.h), which needs
//! no right and costs a few microseconds. Not the process: that would mean to read the descriptors
//! of all of them, as somebody who may.

use crate::target::canonical;
use nix::errno::Errno;
use nix::net::if_::if_nameindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use nix::unistd::Uid;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

/// Who made a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketOwner {
    /// The user.
    pub user: Uid,
    /// The number of the cgroup (v2); since Linux 5.8.
    pub cgroup: Option<u64>,
}

impl SocketOwner {
    /// Whether nothing that is known of the two differs.
    pub fn resembles(&self, other: &SocketOwner) -> bool {
        let same_cgroup = match (self.cgroup, other.cgroup) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        self.user == other.user && same_cgroup
    }
}

/// Whoever listens for TCP at this address of this machine. `None`: nobody.
///
/// # Errors
/// What the kernel says, for example if it has no sock_diag.
pub fn of_listener(address: SocketAddr) -> nix::Result<Option<SocketOwner>> {
    let anybody = SocketAddr::new(unspecified(address), 0);
    let found = ask(&open()?, address, anybody, ANY_DEVICE)?;
    Ok(found.filter(|found| found.state == TCP_LISTEN).map(|found| found.owner))
}

/// Whoever has the TCP connection between these addresses, at the end `local`. `None`: it is not of
/// this machine, or gone.
///
/// # Errors
/// As [`of_listener`].
pub fn of_connection(local: SocketAddr, remote: SocketAddr) -> nix::Result<Option<SocketOwner>> {
    Ok(connection(local, remote)?.map(|found| found.owner))
}

/// The cookie of its socket (socket(7), SO_COOKIE). `None`: as [`of_connection`].
///
/// # Errors
/// As [`of_listener`].
pub fn cookie_of_connection(local: SocketAddr, remote: SocketAddr) -> nix::Result<Option<u64>> {
    Ok(connection(local, remote)?.map(|found| found.cookie))
}

fn connection(local: SocketAddr, remote: SocketAddr) -> nix::Result<Option<FoundSocket>> {
    let socket = open()?;
    let find = |device| {
        let found = ask(&socket, local, remote, device)?;
        // In its place the kernel finds one that listens.
        Ok(found.filter(|found| found.state != TCP_LISTEN))
    };
    if let Some(found) = find(ANY_DEVICE)? {
        return Ok(Some(found));
    }
    // One that is bound to a device is found only by it.
    for device in if_nameindex().iter().flatten().take(MOST_DEVICES) {
        if let Some(found) = find(device.index())? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

const ANY_DEVICE: u32 = 0;
const MOST_DEVICES: usize = 64;

struct FoundSocket {
    state: u8,
    cookie: u64,
    owner: SocketOwner,
}

fn open() -> nix::Result<OwnedFd> {
    let (kind, protocol) = (SockType::Raw, SockProtocol::NetlinkSockDiag);
    socket(AddressFamily::Netlink, kind, SockFlag::SOCK_CLOEXEC, protocol)
}

fn ask(
    socket: &OwnedFd,
    local: SocketAddr,
    remote: SocketAddr,
    device: u32,
) -> nix::Result<Option<FoundSocket>> {
    let kernel = NetlinkAddr::new(0, 0);
    let message = request(canonical(local), canonical(remote), device);
    sendto(socket.as_raw_fd(), &message, &kernel, MsgFlags::empty())?;
    let mut buffer = [0; 4096];
    // It is there when the request has been sent: a missing answer would be a broken kernel.
    let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?;
    read(buffer.get(..length).unwrap_or_default())
}

/// struct nlmsghdr, struct inet_diag_req_v2.
fn request(local: SocketAddr, remote: SocketAddr, device: u32) -> Vec<u8> {
    let family = if local.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let mut message = Vec::with_capacity(REQUEST as usize);
    message.extend(REQUEST.to_ne_bytes());
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([family as u8, IPPROTO_TCP, 0, 0]);
    message.extend(u32::MAX.to_ne_bytes()); // any state
    message.extend(local.port().to_be_bytes());
    message.extend(remote.port().to_be_bytes());
    message.extend(octets(local.ip()));
    message.extend(octets(remote.ip()));
    message.extend(device.to_ne_bytes());
    message.extend([0xff; 8]); // INET_DIAG_NOCOOKIE
    message
}

/// An error, or struct inet_diag_msg and attributes. What is cut off is nothing.
fn read(message: &[u8]) -> nix::Result<Option<FoundSocket>> {
    let kind = number::<2>(message, 4).map(u16::from_ne_bytes);
    let body = message.get(NLMSGHDR..).unwrap_or_default();
    if kind == Some(NLMSG_ERROR) {
        let error = number::<4>(body, 0).map_or(Errno::EBADMSG as i32, i32::from_ne_bytes);
        return match Errno::from_raw(error.saturating_neg()) {
            Errno::ENOENT => Ok(None),
            errno => Err(errno),
        };
    }
    let (Some(state), Some(low), Some(high), Some(user)) = (
        body.get(1).copied(),
        number::<4>(body, COOKIE),
        number::<4>(body, COOKIE + 4),
        number::<4>(body, UID),
    ) else {
        return Err(Errno::EBADMSG);
    };
    let [low, high] = [low, high].map(u32::from_ne_bytes).map(u64::from);
    let cookie = high << 32 | low;
    let user = Uid::from_raw(u32::from_ne_bytes(user));
    Ok(Some(FoundSocket { state, cookie, owner: SocketOwner { user, cgroup: cgroup(body) } }))
}

fn cgroup(body: &[u8]) -> Option<u64> {
    let mut attributes = body.get(INET_DIAG_MSG..)?;
    loop {
        let length = usize::from(u16::from_ne_bytes(number(attributes, 0)?));
        if number(attributes, 2).map(u16::from_ne_bytes) == Some(INET_DIAG_CGROUP_ID) {
            return number(attributes, 4).map(u64::from_ne_bytes);
        }
        attributes = attributes.get(length.next_multiple_of(4).max(4)..)?;
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&v4.octets());
            octets
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn unspecified(address: SocketAddr) -> IpAddr {
    if address.is_ipv4() { [0; 4].into() } else { [0; 16].into() }
}

// linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h, net/tcp_states.h
const NLMSGHDR: usize = 16;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const IPPROTO_TCP: u8 = 6;
const TCP_LISTEN: u8 = 10;
const REQUEST: u32 = 72;
const INET_DIAG_MSG: usize = 72;
/// id.idiag_cookie in struct inet_diag_msg, the lower half first.
const COOKIE: usize = 44;
/// idiag_uid in struct inet_diag_msg.
const UID: usize = 64;
const INET_DIAG_CGROUP_ID: u16 = 21;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "these sockets are asked about, and reach nobody")]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn both_ends_of_a_connection_and_who_listens() {
        for loopback in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(loopback) else { continue };
            let address = listener.local_addr().unwrap();
            let client = TcpStream::connect(address).unwrap();
            let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
            let owner = of_connection(local, remote).unwrap().unwrap();
            assert_eq!(owner.user, Uid::current());
            assert_eq!(of_listener(address).unwrap(), Some(owner));
            assert!(owner.resembles(&owner));
            assert_eq!(of_listener(local).unwrap(), None, "a client does not listen");
            let nobody = SocketAddr::new(remote.ip(), 1);
            assert_eq!(
                of_connection(nobody, remote).unwrap(),
                None,
                "who listens has no connection"
            );
        }
    }

    #[test]
    fn an_ipv4_connection_of_an_ipv6_socket() {
        let Ok(listener) = TcpListener::bind("[::]:0") else { return };
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (stream, peer) = listener.accept().unwrap();
        let there = stream.local_addr().unwrap();
        assert!(of_connection(there, peer).unwrap().is_some(), "written {there} and {peer}");
        assert!(of_connection(client.local_addr().unwrap(), canonical(there)).unwrap().is_some());
        assert!(of_listener(SocketAddr::new([127, 0, 0, 1].into(), port)).unwrap().is_some());
    }

    #[test]
    fn a_socket_that_is_bound_to_a_device() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let kind = socket2::Type::STREAM;
        let client = socket2::Socket::new(socket2::Domain::IPV4, kind, None).unwrap();
        client.bind_device(Some(b"lo")).unwrap();
        let remote = listener.local_addr().unwrap();
        client.connect(&remote.into()).unwrap();
        let local = client.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(of_connection(local, remote).unwrap().unwrap().user, Uid::current());
    }

    #[test]
    fn who_resembles_whom() {
        let owner = |user, cgroup| SocketOwner { user: Uid::from_raw(user), cgroup };
        assert!(owner(1, Some(2)).resembles(&owner(1, Some(2))));
        assert!(!owner(1, Some(2)).resembles(&owner(1, Some(3))));
        assert!(!owner(1, Some(2)).resembles(&owner(2, Some(2))));
        assert!(owner(1, Some(2)).resembles(&owner(1, None)), "as far as is known");
    }

    #[test]
    fn what_is_cut_off_is_nothing() {
        for length in 0..200 {
            for filling in [0, 1, 2, 20, 0xff] {
                // No panic, whatever comes.
                let _ = read(&vec![filling; length]);
            }
        }
    }
}
