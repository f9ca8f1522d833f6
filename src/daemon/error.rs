//! What keeps the daemon from starting, or ends it.

use crate::fault::{self, Step};
use crate::{exit, firewall};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No runtime, no signal handlers.
    #[error("cannot start the runtime: {0}")]
    Runtime(io::Error),
    /// What is not needed cannot be given up.
    #[error(
        "cannot give up {what}: {source}; is snet under a system call filter? It has to allow \
         prctl, prlimit64 and capset"
    )]
    Privileges {
        /// Which rights.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// SO_MARK was refused.
    #[error(
        "cannot mark sockets (SO_MARK): {0}; run snet as root or with CAP_NET_ADMIN, or with \
         --dns-only"
    )]
    Mark(io::Error),
    /// A port cannot be bound.
    #[error("cannot listen on {address} ({key}): {source}{}", hint(source))]
    Listen {
        /// The key that names it.
        key: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The port for captured datagrams cannot be bound.
    #[error("cannot listen on UDP {address} (listen.tcp-port): {source}{}", hint(source))]
    ListenUdp {
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The DNS port cannot be bound.
    #[error("cannot start the resolver: {source}{}", hint(source))]
    Dns {
        /// What the kernel said, and of which address.
        source: io::Error,
    },
    /// The control socket cannot take its place.
    #[error(
        "cannot make the control socket: {} is {what}, and stays as it is; remove it, or let \
         control.socket name another path",
        path.display()
    )]
    Control {
        /// `control.socket`
        path: PathBuf,
        /// What stands there.
        what: String,
    },
    /// A listener broke.
    #[error("the listener on {address} broke: {source}")]
    Accept {
        /// Which.
        address: IpAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The rules could not be installed or removed.
    #[error(transparent)]
    Firewall(#[from] firewall::Error),
    /// Another snet has the rules of this network namespace.
    #[error("another snet runs already, as process {pid}; two would take each other's rules away")]
    AnotherInstance {
        /// Its process.
        pid: i32,
    },
    /// `snet cleanup` beside a living snet.
    #[error("snet runs, as process {pid}, and will remove its rules when it is stopped")]
    StillRunning {
        /// Its process.
        pid: i32,
    },
    /// The lock cannot be had.
    #[error("cannot see whether another snet runs: {0}")]
    Lock(io::Error),
    /// The rules are in place, and what they redirect does not arrive.
    #[error("the rules do not capture, so snet does not start: {0}")]
    NotCaptured(String),
    /// A task ended by a panic or without being told.
    #[error("{0} died; this is a bug of snet, please report it")]
    Died(&'static str),
}

impl Error {
    /// What a command that fails so exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Mark(_) | Error::Privileges { .. } => exit::NOPERM,
            Error::Listen { source, .. }
            | Error::ListenUdp { source, .. }
            | Error::Dns { source }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                exit::NOPERM
            }
            Error::Firewall(error) if error.is_permission() => exit::NOPERM,
            Error::Runtime(_)
            | Error::Listen { .. }
            | Error::ListenUdp { .. }
            | Error::Dns { .. }
            | Error::Accept { .. }
            | Error::Control { .. }
            | Error::AnotherInstance { .. }
            | Error::StillRunning { .. }
            | Error::Lock(_)
            | Error::NotCaptured(_)
            | Error::Firewall(_) => exit::UNAVAILABLE,
            Error::Died(_) => exit::SOFTWARE,
        }
    }
}

/// Passes a step of the daemon's life, which a test may let fail.
///
/// # Errors
/// On purpose, in debug builds only.
pub(super) fn step(step: Step) -> Result<(), Error> {
    fault::at(step).map_err(Error::Runtime)
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; is another snet running? `ss -lntup` names who has the port",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need root or CAP_NET_BIND_SERVICE",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_that_of_its_key() {
        let source = io::Error::from(io::ErrorKind::AddrInUse);
        let address = SocketAddr::from(([127, 0, 0, 1], 9090));
        let text = Error::Listen { key: "control.http", address, source }.to_string();
        assert!(text.starts_with("cannot listen on 127.0.0.1:9090 (control.http): "), "{text}");
    }
}
