//! The keys that SIP022 derives by BLAKE3 from a key and a salt.

use super::KeyBytes;
use zeroize::Zeroizing;

/// The key of one direction of a connection, or of a session of packets.
pub(super) fn of_session(key: &[u8], salt: &[u8]) -> KeyBytes {
    derive("shadowsocks 2022 session subkey", key, salt)
}

/// The key that hides the identity behind a salt.
pub(super) fn of_identity(key: &[u8], salt: &[u8]) -> KeyBytes {
    derive("shadowsocks 2022 identity subkey", key, salt)
}

fn derive(context: &str, key: &[u8], salt: &[u8]) -> KeyBytes {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(key).update(salt);
    Zeroizing::new(hasher.finalize().into())
}
