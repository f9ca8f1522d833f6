//! Word that somebody has changed the rules of nf_tables, which is where iptables-nft keeps its
//! own. The tables of iptables-legacy have no such word.
//!
//! Source: net/netfilter/nf_tables_api.c (nf_tables_gen_notify), linux/netfilter/nfnetlink.h.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt,
    socket, sockopt,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// NFNLGRP_NFTABLES, as a bit.
const GROUP: u32 = 1 << (7 - 1);

/// A socket that is readable after a change.
#[derive(Debug)]
pub(super) struct TableChanges(OwnedFd);

impl TableChanges {
    /// Listens from now on, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// What the kernel says, for instance that it has no nf_tables.
    pub(super) fn subscribe() -> io::Result<Self> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )?;
        // What is said does not matter, and a large ruleset says much.
        setsockopt(&fd, sockopt::RcvBuf, &(16 * 1024))?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, GROUP))?;
        Ok(TableChanges(fd))
    }

    /// Takes what has come; never waits.
    ///
    /// # Errors
    /// The socket is broken. That messages were lost is no error: they too say "changed".
    pub(super) fn drain(&self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN) => return Ok(()),
                Ok(_) | Err(Errno::EINTR | Errno::ENOBUFS) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for TableChanges {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
