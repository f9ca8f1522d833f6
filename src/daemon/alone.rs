//! One snet in a network namespace: two would take each other's rules away, whatever ports and
//! backend they use.
//!
//! The lock is a listening socket with an abstract name (unix(7)): such names belong to the network
//! namespace, as the rules do, need no file system, and are free again the moment the process dies,
//! whatever killed it. Who holds it is told by the kernel (SO_PEERCRED).

use super::Error;
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
use tracing::warn;

const NAME: &str = "snet.the-one-with-the-rules";

/// Held for as long as the process may have rules in the kernel.
#[derive(Debug)]
pub(super) struct Alone {
    /// `None`: a stranger has the name, and we go on without.
    lock: Option<UnixListener>,
    /// Takes in whoever asks, so that the queue is never full.
    porter: Option<JoinHandle<()>>,
}

/// Who has the name.
#[derive(Debug, PartialEq, Eq)]
enum Holder {
    Nobody,
    /// A process of root or of our own user.
    Snet(i32),
    /// Abstract names have no permissions: anybody may have taken it. Nobody has to believe him.
    Stranger,
}

/// Takes the lock.
///
/// # Errors
/// [`Error::Alone`]: another snet has it. [`Error::Lock`]: the kernel gives no socket.
pub(super) fn claim() -> Result<Alone, Error> {
    claim_named(NAME)
}

/// The snet that has the lock.
pub(super) fn holder() -> Option<i32> {
    match holder_of(NAME) {
        Holder::Snet(pid) => Some(pid),
        Holder::Nobody | Holder::Stranger => None,
    }
}

fn claim_named(name: &str) -> Result<Alone, Error> {
    let bind = || UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?);
    // Whoever had it may end between our two questions.
    for _ in 0..3 {
        match bind() {
            Ok(lock) => return Alone::new(lock).map_err(Error::Lock),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => match holder_of(name) {
                Holder::Nobody => {}
                Holder::Snet(pid) => return Err(Error::Alone { pid }),
                Holder::Stranger => break,
            },
            Err(error) => return Err(Error::Lock(error)),
        }
    }
    warn!("a stranger holds the name @{name}: a second snet would not be noticed");
    Ok(Alone { lock: None, porter: None })
}

impl Alone {
    fn new(lock: UnixListener) -> io::Result<Self> {
        let door = lock.try_clone()?;
        let porter = thread::Builder::new().name("snet-lock".into()).spawn(move || {
            // It ends when the lock is shut down.
            while door.accept().is_ok() {}
        })?;
        Ok(Alone { lock: Some(lock), porter: Some(porter) })
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if let Some(lock) = self.lock.take() {
            let _ = shutdown(lock.as_raw_fd(), Shutdown::Both);
        }
        if let Some(porter) = self.porter.take() {
            let _ = porter.join();
        }
    }
}

/// Never waits: a queue that is full is not one of ours.
fn holder_of(name: &str) -> Holder {
    match ask(name) {
        Ok(holder) if holder.uid() == 0 || holder.uid() == geteuid().as_raw() => {
            Holder::Snet(holder.pid())
        }
        Err(Errno::ECONNREFUSED) => Holder::Nobody,
        Ok(_) | Err(_) => Holder::Stranger,
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
        assert_eq!(holder_of(&name), Holder::Nobody);
        let first = claim_named(&name).unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(matches!(claim_named(&name), Err(Error::Alone { pid }) if pid == own));
        assert_eq!(holder_of(&name), Holder::Snet(own));
        drop(first);
        assert_eq!(holder_of(&name), Holder::Nobody);
        assert!(claim_named(&name).is_ok());
    }

    /// Whoever does not answer is no snet, whatever he holds, and nobody waits for him.
    #[test]
    fn a_full_queue_is_a_strangers() {
        let name = format!("snet-stranger-{}", std::process::id());
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let at = UnixAddr::new_abstract(name.as_bytes()).unwrap();
        let stream = || socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        let squatter = stream();
        bind(squatter.as_raw_fd(), &at).unwrap();
        listen(&squatter, Backlog::new(1).unwrap()).unwrap();
        let mut waiting = Vec::new();
        while waiting.len() < 10 {
            let asking = stream();
            if connect(asking.as_raw_fd(), &at).is_err() {
                break;
            }
            waiting.push(asking);
        }
        assert!(waiting.len() < 10, "the queue is never full");
        assert_eq!(holder_of(&name), Holder::Stranger);
        assert!(claim_named(&name).unwrap().lock.is_none());
    }
}
