//! User name and password, as HTTP proxies (RFC 7617) and SOCKS5 servers (RFC 1929) want them.

use crate::secret::Secret;

/// User name and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The user name. For HTTP it has no colon; for SOCKS5 it has at most 255 bytes.
    pub username: String,
    /// The password; may be empty. For SOCKS5 it has at most 255 bytes.
    pub password: Secret,
}
