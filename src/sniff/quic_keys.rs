//! The keys of the packets that a client of QUIC sends first: they follow from the connection id
//! that the packets carry (RFC 9001, 5.2 to 5.4; RFC 9369, 3.3), so they hide nothing.

use aes::Aes128;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use aes_gcm::Aes128Gcm;
use aes_gcm::aead::AeadInOut;
use hkdf::Hkdf;
use sha2::Sha256;

/// Bytes of ciphertext that the protection of the header is made of.
pub(super) const SAMPLE: usize = 16;

/// Bytes at the end of a packet by which it is known to be whole.
pub(super) const TAG: usize = 16;

const NONCE: usize = 12;

/// A version whose packets can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QuicVersion {
    One,
    Two,
}

impl QuicVersion {
    pub(super) fn of(number: u32) -> Option<Self> {
        match number {
            1 => Some(QuicVersion::One),
            0x6b33_43cf => Some(QuicVersion::Two),
            _ => None,
        }
    }

    /// The type of its Initial packets and of its Retry packets, which have no length.
    pub(super) fn kinds(self) -> (u8, u8) {
        match self {
            QuicVersion::One => (0x00, 0x30),
            QuicVersion::Two => (0x10, 0x00),
        }
    }
}

/// What a version derives its keys with.
struct Derivation {
    salt: [u8; 20],
    key: &'static str,
    nonce: &'static str,
    header: &'static str,
}

const V1: Derivation = Derivation {
    salt: *b"\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a",
    key: "quic key",
    nonce: "quic iv",
    header: "quic hp",
};

const V2: Derivation = Derivation {
    salt: *b"\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9",
    key: "quicv2 key",
    nonce: "quicv2 iv",
    header: "quicv2 hp",
};

/// Those of one connection id and version.
pub(super) struct InitialKeys {
    packet: Aes128Gcm,
    nonce: [u8; NONCE],
    header: Aes128,
}

impl InitialKeys {
    /// Of what a client sends to this connection id.
    pub(super) fn of_client(version: QuicVersion, destination: &[u8]) -> Option<Self> {
        let derivation = match version {
            QuicVersion::One => V1,
            QuicVersion::Two => V2,
        };
        let initial = Hkdf::<Sha256>::new(Some(&derivation.salt), destination);
        let secret: [u8; 32] = expand(&initial, "client in")?;
        let secret = Hkdf::<Sha256>::from_prk(&secret).ok()?;
        let key: [u8; 16] = expand(&secret, derivation.key)?;
        let header: [u8; 16] = expand(&secret, derivation.header)?;
        Some(InitialKeys {
            packet: Aes128Gcm::new(&key.into()),
            nonce: expand(&secret, derivation.nonce)?,
            header: Aes128::new(&header.into()),
        })
    }

    /// The mask of the first byte and of the packet's number.
    pub(super) fn mask(&self, sample: [u8; SAMPLE]) -> [u8; SAMPLE] {
        let mut block = Array::from(sample);
        self.header.encrypt_block(&mut block);
        block.into()
    }

    /// Decrypts in place, and leaves what was sealed. `None`: it was damaged, or is not for these
    /// keys.
    pub(super) fn open<'a>(
        &self,
        number: u64,
        header: &[u8],
        payload: &'a mut [u8],
    ) -> Option<&'a [u8]> {
        let end = payload.len().checked_sub(TAG)?;
        let (sealed, tag) = payload.split_at_mut(end);
        let tag = (&*tag).try_into().ok()?;
        let nonce = self.nonce_of(number).into();
        self.packet.decrypt_inout_detached(&nonce, header, (&mut *sealed).into(), tag).ok()?;
        Some(sealed)
    }

    /// Encrypts in place, and returns the tag.
    #[cfg(test)]
    pub(super) fn seal(&self, number: u64, header: &[u8], payload: &mut [u8]) -> [u8; TAG] {
        let nonce = self.nonce_of(number).into();
        let tag = self.packet.encrypt_inout_detached(&nonce, header, payload.into());
        tag.expect("a packet is no gigabytes").into()
    }

    fn nonce_of(&self, number: u64) -> [u8; NONCE] {
        let mut nonce = self.nonce;
        for (byte, of_number) in nonce[NONCE - 8..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= of_number;
        }
        nonce
    }
}

/// HKDF-Expand-Label of TLS 1.3 without a context (RFC 8446, 7.1).
fn expand<const N: usize>(secret: &Hkdf<Sha256>, label: &str) -> Option<[u8; N]> {
    let mut key = [0; N];
    let length = u16::try_from(N).ok()?.to_be_bytes();
    let label_length = [u8::try_from("tls13 ".len() + label.len()).ok()?];
    let info = [&length[..], &label_length, b"tls13 ", label.as_bytes(), &[0]];
    secret.expand_multi_info(&info, &mut key).ok()?;
    Some(key)
}
