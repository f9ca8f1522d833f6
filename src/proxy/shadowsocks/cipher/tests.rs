//! Keys, sealed texts of another implementation, and one library against the other.

use super::master_key::MasterKey;
use super::method::Method;
use super::*;
use crate::proxy::shadowsocks::tests::key;
use crate::secret::Secret;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Computed with Python's hashlib: `d = md5(b'secret').digest()`, then
/// `(d + md5(d + b'secret').digest()).hex()`.
#[test]
fn master_key() {
    let key = MasterKey::new(Method::Aes256Gcm, &Secret::new("secret")).unwrap();
    assert_eq!(
        hex(key.bytes()),
        "5ebe2294ecd0e0f08eab7690d2a6ee6926ae5cc854e36b6bdfca366848dea6bb"
    );
    assert!(!format!("{key:?}").contains("5ebe"));
}

/// Made with the Python package `cryptography`: HKDF(SHA1, 32, salt=bytes(32), b"ss-subkey") of
/// the master key of "secret", then two seals of b"hello" with nonces 0 and 1.
#[test]
fn sealed_by_another_implementation() {
    for (method, first, second) in [
        (
            Method::Aes128Gcm,
            "212174adfea2b2227c89f00d6824ebdad9470d6d4a",
            "d499db90c121ec3e61983f60ddde18f0fc6f71648b",
        ),
        (
            Method::Aes256Gcm,
            "59e1d65f5d384363e4a6322b31f1569450bbe9d34e",
            "4dbd6f93c7a4add6773b947aa21d896261109fd38b",
        ),
        (
            Method::Chacha20IetfPoly1305,
            "42fdff6dc0bf4a9983fd90116bc6fcc298b88d4ef2",
            "b892a0cfb8a04ce56a825f04567608ca8d7f57fdeb",
        ),
    ] {
        let key = key(method);
        let mut session = key.session(&vec![0; key.salt_len()]);
        for expected in [first, second] {
            let mut bytes = *b"hello";
            let tag = session.seal(&mut bytes).unwrap();
            assert_eq!(format!("{}{}", hex(&bytes), hex(&tag)), expected, "{method}");
        }
    }
}

#[test]
fn what_was_touched_does_not_open() {
    for method in Method::ALL {
        let key = key(method);
        let salt = vec![7; key.salt_len()];
        let mut bytes = *b"hello";
        let tag = key.session(&salt).seal(&mut bytes).unwrap();
        let sealed = [&bytes[..], &tag].concat();
        key.session(&salt).open(&mut sealed.clone(), 0).unwrap();
        for byte in 0..sealed.len() {
            let mut touched = sealed.clone();
            touched[byte] ^= 1;
            assert_eq!(key.session(&salt).open(&mut touched, 0), Err(Forged), "byte {byte}");
        }
        let mut second = key.session(&salt);
        second.step();
        assert_eq!(second.open(&mut sealed.clone(), 0), Err(Forged), "another nonce");
        assert_eq!(key.session(&salt).open(&mut sealed.clone()[..9], 0), Err(Forged), "short");
    }
}

/// What one library seals the other seals alike and opens, wherever the bytes lie.
#[cfg(feature = "ring")]
#[test]
fn both_libraries_agree() {
    use proptest::prelude::*;
    proptest!(|(
        key: [u8; 32],
        nonce: [u8; NONCE],
        text in prop::collection::vec(any::<u8>(), 0..3000),
        gap in 0usize..60,
        flipped: prop::sample::Index,
    )| {
        for algorithm in Algorithm::ALL {
            let key = &key[..algorithm.key_len()];
            let (ours, theirs) = (
                ring::RingKey::new(algorithm, key).unwrap(),
                portable::PortableKey::new(algorithm, key).unwrap(),
            );
            let (mut one, mut other) = (text.clone(), text.clone());
            let tag = ours.seal(nonce, &mut one).unwrap();
            prop_assert_eq!(tag, theirs.seal(nonce, &mut other).unwrap());
            prop_assert_eq!(&one, &other);
            let sealed = [&vec![9; gap][..], &one, &tag].concat();
            let (mut one, mut other) = (sealed.clone(), sealed.clone());
            ours.open(nonce, &mut one, gap).unwrap();
            theirs.open(nonce, &mut other, gap).unwrap();
            prop_assert_eq!(&one[..text.len()], &text[..]);
            prop_assert_eq!(&other[..text.len()], &text[..]);
            let mut bad = sealed;
            let at = gap + flipped.index(bad.len() - gap);
            bad[at] ^= 0x80;
            prop_assert_eq!(ours.open(nonce, &mut bad.clone(), gap), Err(Forged));
            prop_assert_eq!(theirs.open(nonce, &mut bad, gap), Err(Forged));
        }
    });
}

#[test]
fn a_used_up_nonce_seals_nothing_more() {
    let key = key(Method::Aes128Gcm);
    let mut session = key.session(&[0; 16]);
    session.nonce = [0xff; NONCE];
    session.seal(&mut [1]).unwrap();
    assert_eq!(session.seal(&mut [1]), Err(Forged));
}

/// The hash that an identity header hides, as a server with this key reads it.
pub(in super::super) fn identity(
    algorithm: Algorithm,
    key: &[u8],
    salt: &[u8],
    header: [u8; 16],
) -> [u8; 16] {
    let material = [key, salt].concat();
    let subkey = blake3::derive_key("shadowsocks 2022 identity subkey", &material);
    let subkey = &subkey[..algorithm.key_len()];
    block(algorithm, subkey).decrypt(header)
}

/// A key for single blocks.
pub(in super::super) fn block(algorithm: Algorithm, key: &[u8]) -> block::BlockKey {
    block::BlockKey::new(algorithm, key).unwrap()
}

/// The hash by which a server knows a user.
pub(in super::super) fn hash(key: &[u8]) -> [u8; 16] {
    blake3::hash(key).as_bytes()[..16].try_into().unwrap()
}

/// FIPS 197, appendix C.1 and C.3.
#[test]
fn blocks_of_fips_197() {
    let key: Vec<u8> = (0..32).collect();
    let plain: [u8; 16] = std::array::from_fn(|n| n as u8 * 0x11);
    for (algorithm, sealed) in [
        (Algorithm::Aes128Gcm, "69c4e0d86a7b0430d8cdb78070b4c55a"),
        (Algorithm::Aes256Gcm, "8ea2b7ca516745bfeafc49904b496089"),
    ] {
        let key = block(algorithm, &key[..algorithm.key_len()]);
        assert_eq!(hex(&key.encrypt(plain)), sealed);
        assert_eq!(key.decrypt(key.encrypt(plain)), plain);
    }
    assert!(block::BlockKey::new(Algorithm::ChaCha20Poly1305, &key).is_none());
}

fn base64(length: usize) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(vec![7; length])
}

#[test]
fn keys_of_2022_have_their_length() {
    let new = |method, text: &str| MasterKey::new(method, &Secret::new(text));
    let refused = |method, text: &str| new(method, text).unwrap_err().to_string();
    let (short, long) = (base64(16), base64(32));
    for (method, good, bad) in [
        (Method::Blake3Aes128Gcm, &short, &long),
        (Method::Blake3Aes256Gcm, &long, &short),
        (Method::Blake3Chacha20Poly1305, &long, &short),
    ] {
        let key = new(method, good).unwrap();
        assert_eq!((key.method(), key.password().expose()), (method, good.as_bytes()));
        assert_eq!(key, new(method, good).unwrap());
        let unpadded = new(method, good.trim_end_matches('=')).unwrap();
        assert_eq!(key.bytes(), unpadded.bytes(), "with or without padding");
        assert_eq!(key.bytes()[..method.key_len()], vec![7; method.key_len()]);

        let message = refused(method, bad);
        let (wanted, given) = (method.key_len(), 48 - method.key_len());
        assert!(message.contains(&format!("found a key of {given} bytes;")), "{message}");
        assert!(message.contains(&format!("a key of {wanted} bytes in base64")), "{message}");
        assert!(message.contains(method.name()) && !message.contains(bad.as_str()), "{message}");
        let message = refused(method, "hunter2 hunter2");
        assert!(message.contains("not base64") && !message.contains("hunter2"), "{message}");
        assert!(refused(method, "").contains("a key of 0 bytes"));
    }
}

#[test]
fn identities_of_2022() {
    let (short, long) = (base64(16), base64(32));
    let new = |method, text: &str| MasterKey::new(method, &Secret::new(text));
    let refused = |method, text: &str| new(method, text).unwrap_err().to_string();
    let pair = new(Method::Blake3Aes128Gcm, &format!("{short}:{short}")).unwrap();
    assert_eq!(pair.identity_headers(&[0; 16]).len(), 16);
    let alone = new(Method::Blake3Aes128Gcm, &short).unwrap();
    assert!(alone.identity_headers(&[0; 16]).is_empty());
    let message = refused(Method::Blake3Aes128Gcm, &format!("{short}:{long}"));
    assert!(message.contains("32 bytes (key 2 of 2)"), "{message}");
    let message = refused(Method::Blake3Chacha20Poly1305, &format!("{long}:{long}"));
    assert!(message.contains("2 keys") && message.contains("no identity headers"), "{message}");
    let keys = |many| vec![short.as_str(); many].join(":");
    assert!(new(Method::Blake3Aes128Gcm, &keys(9)).is_ok());
    let message = refused(Method::Blake3Aes128Gcm, &keys(10));
    assert!(message.contains("10 keys") && message.contains("at most 9"), "{message}");
}
