//! In the place of [`identity`](super::identity) where a build has no TLS: there is none.

use super::identity_error::IdentityError;

/// A certificate that cannot be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct NoIdentity(());

pub use NoIdentity as ServerIdentity;

impl NoIdentity {
    /// None is made.
    ///
    /// # Errors
    /// Always.
    pub fn new(_certificates: &[u8], _key: &[u8]) -> Result<Self, IdentityError> {
        Err(IdentityError::Certificate("a certificate, and this build speaks no TLS".into()))
    }
}
