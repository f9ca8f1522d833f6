//! Why a way could not be made, in words that an operator can act on; whose fault it is.

use crate::net;
use crate::plugin::NotRunning;
use std::io;

/// Why a dial failed. No proxy's name is in it: whoever tells it has that before it, or in a field
/// of the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// TCP to the server (or, for direct, to the destination) failed.
    #[error("cannot connect to {server}: {source}")]
    Dial {
        /// What was dialled.
        server: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Its protocol carries no datagrams, or it was said that its server does not.
    #[error("it carries no UDP")]
    NoDatagrams,
    /// The server does not take datagrams.
    #[error("{server} carries no UDP: {status}; if it never does: udp = false of this [[proxy]]")]
    DatagramsRefused {
        /// The proxy server.
        server: String,
        /// What it said.
        status: String,
    },
    /// The server's host name has no address yet.
    #[error("no address is known for {host}: no name server has given one")]
    Unresolved {
        /// The name.
        host: String,
    },
    /// The program between snet and the server does not run.
    #[error("its plugin {plugin} does not run: {source}")]
    Plugin {
        /// The program.
        plugin: String,
        /// What became of it.
        source: NotRunning,
    },
    /// The server closed or broke off during the handshake.
    #[error("{server} broke off the handshake: {source}")]
    Handshake {
        /// The proxy server.
        server: String,
        /// What happened.
        source: io::Error,
    },
    /// TLS with the server did not come to be.
    #[error("TLS with {server} failed: {found}{hint}")]
    Tls {
        /// The proxy server.
        server: String,
        /// What happened.
        found: String,
        /// What the operator may look at, with what divides it from that; or nothing.
        hint: &'static str,
    },
    /// The server spoke, but not the protocol.
    #[error("{server} does not speak {expected}: it answered {found}")]
    Protocol {
        /// The proxy server.
        server: String,
        /// The protocol, for example "HTTP CONNECT".
        expected: &'static str,
        /// The start of what it said, escaped.
        found: String,
    },
    /// The server wants other credentials (HTTP 407, RFC 1929).
    #[error(
        "{server} refuses the user name or password ({status}): mend username and password of this \
         [[proxy]]"
    )]
    Credentials {
        /// The proxy server.
        server: String,
        /// The status line.
        status: String,
    },
    /// The server wants credentials, and none are configured.
    #[error(
        "{server} wants a user name and a password ({status}): give this [[proxy]] username and \
         password"
    )]
    CredentialsMissing {
        /// The proxy server.
        server: String,
        /// What it said.
        status: String,
    },
    /// The server wants credentials in a way that is not spoken here.
    #[error(
        "{server} wants {wanted} authentication; snet speaks {spoken}: allow that there, or put a \
         proxy between that speaks {wanted}"
    )]
    Authentication {
        /// The proxy server.
        server: String,
        /// What it wants, for example "Digest".
        wanted: String,
        /// What the protocol's client speaks.
        spoken: &'static str,
    },
    /// The server works, and does not let this target be connected to (HTTP 4xx, a rule of a SOCKS
    /// server).
    #[error("{server} does not allow {target}: {status}{hint}")]
    Refused {
        /// The proxy server.
        server: String,
        /// Where to.
        target: String,
        /// What it said.
        status: String,
        /// What the operator may look at, with what divides it from the status; or nothing.
        hint: String,
    },
    /// The server works, but did not connect to this target (HTTP 502, 503, 504, ...).
    #[error("{server} did not connect to {target}: {status}")]
    Target {
        /// The proxy server.
        server: String,
        /// Where to.
        target: String,
        /// What it said.
        status: String,
    },
    /// The program's first bytes had left with the request, and the server's answer never came.
    /// They may have reached the target, so no other server is asked.
    #[error("{server} did not answer for {target}, and the first bytes had left: {source}")]
    Unanswered {
        /// The proxy server.
        server: String,
        /// Where to.
        target: String,
        /// What happened to the connection.
        source: io::Error,
    },
}

impl Error {
    /// Whether the fault lies with this target and not with the proxy: another target may work.
    pub fn is_targets_fault(&self) -> bool {
        matches!(self, Error::Target { .. } | Error::Refused { .. })
    }

    /// Whether the server would not even try this target.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Error::Refused { .. })
    }

    /// Whether an answer never came over a connection that had stood for long. That says that this
    /// connection is dead, and of the proxy nothing yet.
    pub fn is_unanswered(&self) -> bool {
        matches!(self, Error::Unanswered { .. })
    }

    /// Whether it is ours, or the kernel's; see [`net::is_shortage`]. That says nothing of the
    /// proxy.
    pub fn is_shortage(&self) -> bool {
        match self {
            Error::Dial { source, .. } | Error::Handshake { source, .. } => {
                net::is_shortage(source)
            }
            _ => false,
        }
    }
}
