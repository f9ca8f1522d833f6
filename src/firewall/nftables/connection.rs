//! The conversation with nf_tables: a request and its answers, over one netlink socket.
//!
//! Answers are there when the request has been sent (see [`netlink::send`]). So nobody waits here,
//! and what is still in the queue before a request belongs to an earlier one.

use super::batch::SealedBatch;
use super::error::Error;
use super::message::{Act, request};
use super::set_encoding;
use super::table::NftSet;
use crate::firewall::netlink;
use crate::firewall::netlink::{
    Attributes, Message, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR,
};
use crate::sync::lock;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, NetlinkAddr, SockProtocol, getsockname, setsockopt, sockopt};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Mutex;

/// Larger than any answer but the quotation of what failed, whose end nobody reads.
const BUFFER: usize = 64 * 1024;

/// What every unprivileged process may have (net.core.wmem_max by default); the kernel doubles it.
const MODEST: usize = 212_992;

/// A dump that others change while it is read starts over, so many times.
const ATTEMPTS: usize = 10;

/// A socket in the network namespace it was opened in.
#[derive(Debug)]
pub(super) struct TableConnection {
    /// A request and its answers must not mix with another thread's.
    socket: Mutex<OwnedFd>,
    /// The kernel's name for the socket, which it also calls its port.
    port: u32,
}

/// A request that the kernel refused.
#[derive(Debug)]
pub(super) struct BatchRefusal {
    /// The message, counted from 0.
    pub(super) place: usize,
    /// In words.
    pub(super) what: String,
    pub(super) errno: Errno,
}

impl TableConnection {
    /// # Errors
    /// [`Error::Absent`] from a kernel without netfilter, else [`Error::Netlink`].
    pub(super) fn open() -> Result<Self, Error> {
        let fd = netlink::open(SockProtocol::NetlinkNetFilter, 0).map_err(|errno| match errno {
            Errno::EPROTONOSUPPORT => Error::Absent { source: errno.into() },
            _ => broken(errno),
        })?;
        let port = getsockname::<NetlinkAddr>(fd.as_raw_fd()).map_err(broken)?.pid();
        Ok(TableConnection { socket: Mutex::new(fd), port })
    }

    pub(super) fn port(&self) -> u32 {
        self.port
    }

    /// Has a transaction carried out.
    ///
    /// # Errors
    /// The inner one is the kernel's; then nothing has changed.
    pub(super) fn commit(&self, batch: &SealedBatch) -> Result<Result<(), BatchRefusal>, Error> {
        let fd = lock(&self.socket);
        make_room(&fd, batch.bytes.len())?;
        let answers = converse(&fd, &batch.bytes)?;
        let mut acknowledged = false;
        for answer in Message::all(&answers).filter(|answer| answer.kind == NLMSG_ERROR) {
            match answer.errno() {
                0 => acknowledged |= answer.sequence == batch.acknowledged,
                number => {
                    let place = usize::try_from(answer.sequence).unwrap_or(usize::MAX);
                    let what = batch.what.get(place).cloned().unwrap_or_default();
                    let errno = Errno::from_raw(number);
                    return Ok(Err(BatchRefusal { place, what, errno }));
                }
            }
        }
        if acknowledged {
            return Ok(Ok(()));
        }
        Err(Error::Netlink { source: io::Error::other("no answer to a transaction") })
    }

    /// Asks for one thing. `None`: it is not there.
    ///
    /// # Errors
    /// [`Error::NotPermitted`], [`Error::Absent`], else [`Error::Netlink`].
    pub(super) fn get<T>(
        &self,
        act: Act,
        fill: impl FnOnce(&mut Attributes),
        read: impl FnOnce(Message<'_>) -> T,
    ) -> Result<Option<T>, Error> {
        let fd = lock(&self.socket);
        let answers = converse(&fd, &request(act, NLM_F_ACK, 1, fill))?;
        let mut found = None;
        for answer in Message::all(&answers).filter(|answer| answer.sequence == 1) {
            match answer.errno_if_error() {
                Some(Errno::ENOENT) => return Ok(None),
                Some(errno) => return Err(refused(errno)),
                None if answer.kind != NLMSG_ERROR => found = Some(answer),
                None => {}
            }
        }
        Ok(found.map(read))
    }

    /// Whether this set, of one element, is a part of the one in the kernel.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(super) fn has_element(&self, table: &str, set: &NftSet) -> Result<bool, Error> {
        let asked = self.get(
            Act::GetElement,
            |message| {
                set_encoding::list(message, table, set, &set.elements, None);
            },
            |_| (),
        )?;
        Ok(asked.is_some())
    }

    /// Asks for all things of a kind, and counts those that are wanted.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(super) fn count(
        &self,
        act: Act,
        fill: impl Fn(&mut Attributes),
        wanted: impl Fn(Message<'_>) -> bool,
    ) -> Result<usize, Error> {
        Ok(self.all(act, fill, |answer| wanted(answer).then_some(()))?.len())
    }

    /// Asks for all things of a kind, and reads those that are wanted.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(super) fn all<T>(
        &self,
        act: Act,
        fill: impl Fn(&mut Attributes),
        read: impl Fn(Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let fd = lock(&self.socket);
        for _ in 0..ATTEMPTS {
            let answers = converse(&fd, &request(act, NLM_F_DUMP, 1, &fill))?;
            let mut found = Vec::new();
            let mut interrupted = false;
            for answer in Message::all(&answers) {
                interrupted |= answer.flags & NLM_F_DUMP_INTR != 0;
                match answer.errno_if_error() {
                    Some(errno) => return Err(refused(errno)),
                    None if answer.kind == act.answer() => found.extend(read(answer)),
                    None => {}
                }
            }
            if !interrupted {
                return Ok(found);
            }
        }
        Err(Error::Netlink { source: io::Error::other("the rules change all the time") })
    }
}

impl Message<'_> {
    fn errno_if_error(&self) -> Option<Errno> {
        let is_status = self.kind == NLMSG_ERROR || self.kind == NLMSG_DONE;
        (is_status && self.errno() != 0).then(|| Errno::from_raw(self.errno()))
    }
}

/// Sends, and reads all that comes back. A datagram begins at a multiple of four bytes, as
/// messages in a datagram do.
fn converse(fd: &OwnedFd, message: &[u8]) -> Result<Vec<u8>, Error> {
    let mut buffer = vec![0; BUFFER];
    let mut answers = Vec::new();
    drain(fd, &mut buffer, &mut answers)?;
    answers.clear();
    netlink::send(fd, message).map_err(broken)?;
    drain(fd, &mut buffer, &mut answers)?;
    Ok(answers)
}

fn drain(fd: &OwnedFd, buffer: &mut [u8], answers: &mut Vec<u8>) -> Result<(), Error> {
    loop {
        match netlink::receive(fd, buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => {
                answers.extend(&buffer[..length]);
                answers.resize(answers.len().next_multiple_of(4), 0);
            }
            Err(Errno::EAGAIN) => return Ok(()),
            // A refused transaction has an answer for each message behind the first that failed:
            // the last ones are lost, and the first one is what counts.
            Err(Errno::ENOBUFS) => {}
            Err(errno) => return Err(broken(errno)),
        }
    }
}

/// A message must fit into the send buffer whole (netlink_sendmsg). Root of the machine may have
/// it as large as it likes; root of a container only as large as everybody.
fn make_room(fd: &OwnedFd, bytes: usize) -> Result<(), Error> {
    let wanted = bytes.saturating_mul(2).max(MODEST);
    let room = || nix::sys::socket::getsockopt(fd, sockopt::SndBuf).map_err(broken);
    if room()? / 2 >= bytes {
        return Ok(());
    }
    if setsockopt(fd, sockopt::SndBufForce, &wanted).is_err() {
        setsockopt(fd, sockopt::SndBuf, &wanted).map_err(broken)?;
    }
    // What the kernel itself needs of it (netlink_sendmsg: sk_sndbuf - 32).
    if room()? < bytes.saturating_add(32) { Err(Error::TooLarge { bytes }) } else { Ok(()) }
}

fn broken(errno: Errno) -> Error {
    Error::Netlink { source: errno.into() }
}

/// What nfnetlink itself says to a single request.
fn refused(errno: Errno) -> Error {
    match errno {
        Errno::EPERM => Error::NotPermitted,
        // EINVAL: the subsystem is not there; the others: the family is not.
        Errno::EINVAL | Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT => {
            Error::Absent { source: errno.into() }
        }
        _ => Error::Netlink { source: errno.into() },
    }
}
