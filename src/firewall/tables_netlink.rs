//! Word that somebody has changed the rules of nf_tables, which is where iptables-nft keeps its
//! own. The tables of iptables-legacy have no such word.
//!
//! Source: net/netfilter/nf_tables_api.c (nf_tables_gen_notify), linux/netfilter/nfnetlink.h.

use super::netlink;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockProtocol, setsockopt, sockopt};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

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
        let fd = netlink::open(SockProtocol::NetlinkNetFilter, GROUP)?;
        // What is said does not matter, and a large ruleset says much.
        setsockopt(&fd, sockopt::RcvBuf, &(16 * 1024))?;
        Ok(TableChanges(fd))
    }

    /// Takes what has come; never waits.
    ///
    /// # Errors
    /// The socket is broken. That messages were lost is no error: they too say "changed".
    pub(super) fn drain(&self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match netlink::receive(&self.0, &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN) => return Ok(()),
                Ok(_) | Err(Errno::ENOBUFS) => {}
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
