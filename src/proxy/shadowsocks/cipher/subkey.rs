//! HKDF-SHA1 (RFC 5869) in the one form that shadowsocks uses: the key of one direction, or of one
//! packet, from master key and salt.
//!
//! Every datagram needs one, and it costs more than sealing the datagram does. Where all lengths
//! are known, HKDF is ten calls of SHA-1's compression function on blocks that are filled in
//! directly, without a hasher's buffers. Nothing can be made in advance: the salt, which is
//! different each time, is the key of the first HMAC (RFC 2104).

use sha1::block_api::compress;
use zeroize::Zeroizing;

/// Bytes that SHA-1 takes at a time.
const BLOCK: usize = 64;
/// Bytes of a digest.
const DIGEST: usize = 20;

/// FIPS 180-4, 5.3.1.
const INITIAL: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// The longest master key and the longest salt.
const LONGEST: usize = 32;

const INFO: &[u8] = b"ss-subkey";

/// The first 32 bytes of HKDF's output; shorter keys take the first ones of them. `master` and
/// `salt` have at most 32 bytes.
pub(super) fn subkey(master: &[u8], salt: &[u8]) -> Zeroizing<[u8; LONGEST]> {
    let secret = Hmac::new(salt).sign(&[master]);
    let expand = Hmac::new(&secret[..]);
    let first = expand.sign(&[INFO, &[1]]);
    let mut subkey = Zeroizing::new([0; LONGEST]);
    subkey[..DIGEST].copy_from_slice(&first[..]);
    if master.len() > DIGEST {
        let second = expand.sign(&[&first[..], INFO, &[2]]);
        subkey[DIGEST..].copy_from_slice(&second[..LONGEST - DIGEST]);
    }
    subkey
}

/// A key of HMAC-SHA1, its two pads compressed.
struct Hmac {
    inner: Zeroizing<[u32; 5]>,
    outer: Zeroizing<[u32; 5]>,
}

impl Hmac {
    /// At most [`LONGEST`] bytes of key.
    fn new(key: &[u8]) -> Self {
        let padded = |pad: u8| {
            let mut block = Zeroizing::new([pad; BLOCK]);
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            let mut state = Zeroizing::new(INITIAL);
            compress(&mut state, std::slice::from_ref(&block));
            state
        };
        Hmac { inner: padded(0x36), outer: padded(0x5c) }
    }

    /// Of a message that fits into one block with its padding: at most 55 bytes in all.
    fn sign(&self, message: &[&[u8]]) -> Zeroizing<[u8; DIGEST]> {
        let inner = finish(&self.inner, message);
        finish(&self.outer, &[&inner[..]])
    }
}

/// SHA-1 of what is in the state, one block long, and of this.
fn finish(state: &[u32; 5], message: &[&[u8]]) -> Zeroizing<[u8; DIGEST]> {
    let mut block = Zeroizing::new([0; BLOCK]);
    let mut length = 0;
    for part in message {
        block[length..length + part.len()].copy_from_slice(part);
        length += part.len();
    }
    block[length] = 0x80;
    let bits = ((BLOCK + length) * 8) as u64;
    block[BLOCK - 8..].copy_from_slice(&bits.to_be_bytes());
    let mut state = Zeroizing::new(*state);
    compress(&mut state, std::slice::from_ref(&block));
    let mut digest = Zeroizing::new([0; DIGEST]);
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state.iter()) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use hkdf::Hkdf;
    use proptest::prelude::*;
    use sha1::Sha1;

    proptest! {
        #[test]
        fn it_is_hkdf(
            master in prop_oneof![
                prop::collection::vec(any::<u8>(), 16),
                prop::collection::vec(any::<u8>(), 32),
            ],
            salt: [u8; LONGEST],
        ) {
            let salt = &salt[..master.len()];
            let mut expected = vec![0; master.len()];
            Hkdf::<Sha1>::new(Some(salt), &master).expand(INFO, &mut expected).unwrap();
            prop_assert_eq!(&subkey(&master, salt)[..master.len()], &expected[..]);
        }
    }

    /// RFC 2202, 3, test case 2 (a key and a message that fit).
    #[test]
    fn hmac_of_the_rfc() {
        let digest = Hmac::new(b"Jefe").sign(&[b"what do ya want ", b"for nothing?"]);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    }
}
