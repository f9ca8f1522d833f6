//! One snet in a network namespace: two would take each other's rules away, whatever ports and
//! backend they use.
//!
//! The lock is a listening socket with an abstract name (unix(7)): such names belong to the network
//! namespace, as the rules do, need no file system, and are free again the moment the process dies,
//! whatever killed it. The kernel tells which process holds it (SO_PEERCRED).

use super::error::Error;
use crate::warnings::StandingWarning;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Shutdown, SockFlag, SockType, UnixAddr, UnixCredentials, connect, getsockopt,
    shutdown, socket, sockopt,
};
use nix::unistd::geteuid;
use std::io;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::thread::{self, JoinHandle};

const NAME: &str = "snet.the-one-with-the-rules";

/// Held for as long as the process may have rules in the kernel.
#[derive(Debug)]
pub(super) struct InstanceLock {
    /// `None`: another program has the name, and we go on without.
    lock: Option<UnixListener>,
    /// Accepts every connection, so that the queue is never full.
    accept_thread: Option<JoinHandle<()>>,
}

/// The process that has the name.
#[derive(Debug, PartialEq, Eq)]
enum LockHolder {
    None,
    /// A process of root or of our own user.
    Snet(i32),
    /// One of another user. Abstract names have no permissions, so it may be any program.
    Unproven,
}

/// Takes the lock.
///
/// # Errors
/// [`Error::AnotherInstance`]: another snet has it. [`Error::Lock`]: the kernel gives no socket.
pub(super) fn claim() -> Result<InstanceLock, Error> {
    claim_named(NAME)
}

/// The snet that has the lock.
pub(super) fn holder() -> Option<i32> {
    match holder_of(NAME) {
        LockHolder::Snet(pid) => Some(pid),
        LockHolder::None | LockHolder::Unproven => None,
    }
}

fn claim_named(name: &str) -> Result<InstanceLock, Error> {
    let bind = || UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?);
    // Its holder may end between our two questions.
    for _ in 0..3 {
        match bind() {
            Ok(lock) => return InstanceLock::new(lock).map_err(Error::Lock),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => match holder_of(name) {
                LockHolder::None => {}
                LockHolder::Snet(pid) => return Err(Error::AnotherInstance { pid }),
                LockHolder::Unproven => break,
            },
            Err(error) => return Err(Error::Lock(error)),
        }
    }
    let what = "so a second snet would not be noticed";
    StandingWarning::raise(format!("instance lock: another program holds @{name}, {what}"))
        .for_good();
    Ok(InstanceLock { lock: None, accept_thread: None })
}

impl InstanceLock {
    fn new(lock: UnixListener) -> io::Result<Self> {
        let listener = lock.try_clone()?;
        let accepting = thread::Builder::new().name("snet-lock".into()).spawn(move || {
            // It ends when the lock is shut down.
            while listener.accept().is_ok() {}
        })?;
        Ok(InstanceLock { lock: Some(lock), accept_thread: Some(accepting) })
    }
}

impl Drop for InstanceLock {
    fn drop(&mut self) {
        if let Some(lock) = self.lock.take() {
            let _ = shutdown(lock.as_raw_fd(), Shutdown::Both);
        }
        if let Some(accepting) = self.accept_thread.take() {
            let _ = accepting.join();
        }
    }
}

/// Never waits: a queue that is full is not one of ours.
fn holder_of(name: &str) -> LockHolder {
    match ask(name) {
        Ok(holder) if holder.uid() == 0 || holder.uid() == geteuid().as_raw() => {
            LockHolder::Snet(holder.pid())
        }
        Err(Errno::ECONNREFUSED) => LockHolder::None,
        Ok(_) | Err(_) => LockHolder::Unproven,
    }
}

fn ask(name: &str) -> nix::Result<UnixCredentials> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let asking = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(asking.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes())?)?;
    getsockopt(&asking, sockopt::PeerCredentials)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{Backlog, bind, listen};

    #[test]
    fn the_second_is_refused_and_told_who_is_there() {
        let name = format!("snet-test-{}", std::process::id());
        assert_eq!(holder_of(&name), LockHolder::None);
        let first = claim_named(&name).unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(matches!(claim_named(&name), Err(Error::AnotherInstance { pid }) if pid == own));
        assert_eq!(holder_of(&name), LockHolder::Snet(own));
        drop(first);
        assert_eq!(holder_of(&name), LockHolder::None);
        assert!(claim_named(&name).is_ok());
    }

    /// A holder that does not accept is no snet, and is not waited for.
    #[test]
    fn a_full_queue_is_not_of_snet() {
        let name = format!("snet-other-{}", std::process::id());
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let at = UnixAddr::new_abstract(name.as_bytes()).unwrap();
        let stream = || socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        let other = stream();
        bind(other.as_raw_fd(), &at).unwrap();
        listen(&other, Backlog::new(1).unwrap()).unwrap();
        let mut waiting = Vec::new();
        while waiting.len() < 10 {
            let asking = stream();
            if connect(asking.as_raw_fd(), &at).is_err() {
                break;
            }
            waiting.push(asking);
        }
        assert!(waiting.len() < 10, "the queue is never full");
        assert_eq!(holder_of(&name), LockHolder::Unproven);
        assert!(claim_named(&name).unwrap().lock.is_none());
    }
}
