//! Why there is no identity to show.

/// Which of the two files is of no use, and what was found in it.
#[derive(Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// That of the certificates.
    Certificate(String),
    /// That of the key.
    Key(String),
}
