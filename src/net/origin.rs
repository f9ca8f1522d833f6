//! Where a redirected connection wanted to go: SO_ORIGINAL_DST (ip(7),
//! net/netfilter/nf_conntrack_proto.c) and IP6T_SO_ORIGINAL_DST.

use crate::target::canonical;
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// The destination that the client dialled, before any redirection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OrigDst(pub SocketAddr);

/// Asks conntrack. The family of the option is that of the client in canonical form: an IPv4 flow
/// on a dual-stack socket answers to the IPv4 option only.
///
/// # Errors
/// ENOENT: the connection did not come through conntrack; ENOPROTOOPT: the module is missing.
pub fn original_dst(stream: &TcpStream, client: SocketAddr) -> io::Result<OrigDst> {
    let socket = SockRef::from(stream);
    let address = if canonical(client).is_ipv4() {
        socket.original_dst_v4()?
    } else {
        socket.original_dst_v6()?
    };
    let address = address.as_socket().ok_or_else(|| io::Error::other("not an IP address"))?;
    Ok(OrigDst(canonical(address)))
}

impl std::fmt::Display for OrigDst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
