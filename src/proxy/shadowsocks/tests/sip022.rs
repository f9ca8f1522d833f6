//! Shadowsocks 2022 over TCP against another implementation (shadowsocks-crypto), byte by byte.

use super::*;
use crate::proxy::address;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use shadowsocks_crypto::CipherKind;
use shadowsocks_crypto::v2::tcp::TcpCipher;

const METHODS: [(Method, CipherKind); 3] = [
    (Method::Blake3Aes128Gcm, CipherKind::AEAD2022_BLAKE3_AES_128_GCM),
    (Method::Blake3Aes256Gcm, CipherKind::AEAD2022_BLAKE3_AES_256_GCM),
    (Method::Blake3Chacha20Poly1305, CipherKind::AEAD2022_BLAKE3_CHACHA20_POLY1305),
];

/// The key of [`key`], as the other implementation takes it.
fn raw(method: Method) -> Vec<u8> {
    (0..method.key_len() as u8).collect()
}

fn now() -> u64 {
    header::unix_time()
}

/// Opens the first `length` bytes and their tag, and cuts them off.
fn take(cipher: &mut TcpCipher, wire: &mut Vec<u8>, length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = wire.drain(..length + 16).collect();
    assert!(cipher.decrypt_packet(&mut bytes), "{length} bytes do not authenticate");
    bytes.truncate(length);
    bytes
}

fn sealed(cipher: &mut TcpCipher, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = [bytes, &[0; 16]].concat();
    cipher.encrypt_packet(&mut bytes);
    bytes
}

/// What a client of ours sends at first.
fn request(key: &MasterKey, payload: &[u8]) -> Vec<u8> {
    let mut sealer = Sealer::request(key, &target()).unwrap();
    let mut memory = vec![0xaa; sealer::memory(4)];
    let filled = sealer.lead(&mut memory);
    let placed = sealer::place(&mut memory, filled, payload);
    let run = sealer.seal(&mut memory, filled + placed).unwrap();
    assert_eq!(sealer.lead(&mut memory), 0, "once");
    memory[run].to_vec()
}

/// The address, the padding and the payload of a request; `identities` bytes of headers are passed
/// over.
fn read_request(
    (method, kind): (Method, CipherKind),
    mut wire: Vec<u8>,
    identities: usize,
) -> (Target, usize, Vec<u8>) {
    let salt: Vec<u8> = wire.drain(..method.key_len()).collect();
    wire.drain(..identities);
    let mut cipher = TcpCipher::new(kind, &raw(method), &salt);
    let fixed = take(&mut cipher, &mut wire, 11);
    assert_eq!(fixed[0], 0, "a request");
    assert!(now().abs_diff(u64::from_be_bytes(fixed[1..9].try_into().unwrap())) <= 1);
    let length = usize::from(u16::from_be_bytes([fixed[9], fixed[10]]));
    let first = take(&mut cipher, &mut wire, length);
    let (target, at) = address::decode(&first).unwrap();
    let padding = usize::from(u16::from_be_bytes([first[at], first[at + 1]]));
    let (padded, payload) = first[at + 2..].split_at(padding);
    assert!(padded.iter().all(|byte| *byte == 0), "no memory of others leaves in it");
    let mut payload = payload.to_vec();
    while !wire.is_empty() {
        let size = take(&mut cipher, &mut wire, 2);
        let length = usize::from(u16::from_be_bytes([size[0], size[1]]));
        payload.extend(take(&mut cipher, &mut wire, length));
    }
    (target, padding, payload)
}

#[test]
fn another_implementation_reads_a_request() {
    for oracle in METHODS {
        for length in [1, 5, 900, LONGEST_PAYLOAD - 16, LONGEST_PAYLOAD - 15, 40_000] {
            let payload: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let wire = request(&key(oracle.0), &payload);
            assert_eq!(read_request(oracle, wire, 0), (target(), 0, payload), "{length} bytes");
        }
    }
}

#[test]
fn a_request_without_payload_is_padded() {
    for oracle in METHODS {
        let lengths: Vec<usize> = (0..50)
            .map(|_| {
                let (asked, padding, payload) =
                    read_request(oracle, request(&key(oracle.0), b""), 0);
                assert_eq!((asked, payload.len()), (target(), 0));
                assert!((1..=900).contains(&padding), "{padding}");
                padding
            })
            .collect();
        assert!(lengths.iter().any(|length| *length != lengths[0]), "by chance");
    }
}

/// A server of another implementation, which answers the request of `sealer`.
struct Answer {
    method: (Method, CipherKind),
    kind: u8,
    time: u64,
    /// Whether it echoes the salt that it was sent.
    echoes: bool,
    first: Vec<u8>,
    /// Whether an empty first payload is sealed.
    seals_nothing: bool,
}

impl Answer {
    fn new(method: (Method, CipherKind), first: &[u8]) -> Self {
        let first = first.to_vec();
        Answer { method, kind: 1, time: now(), echoes: true, first, seals_nothing: true }
    }

    /// The wire, with these chunks behind the first payload.
    fn wire(&self, request: &Sealer, chunks: &[&[u8]]) -> Vec<u8> {
        let (method, kind) = self.method;
        let salt = vec![0x5a; method.key_len()];
        let mut cipher = TcpCipher::new(kind, &raw(method), &salt);
        let mut echo = request.salt(&key(method)).to_vec();
        assert_eq!(echo.len(), method.key_len());
        if !self.echoes {
            echo[0] ^= 1;
        }
        let size = (self.first.len() as u16).to_be_bytes();
        let header = [&[self.kind][..], &self.time.to_be_bytes(), &echo, &size].concat();
        let mut wire = [salt, sealed(&mut cipher, &header)].concat();
        if !self.first.is_empty() || self.seals_nothing {
            wire.extend(sealed(&mut cipher, &self.first));
        }
        for chunk in chunks {
            wire.extend(sealed(&mut cipher, &(chunk.len() as u16).to_be_bytes()));
            wire.extend(sealed(&mut cipher, chunk));
        }
        wire
    }

    /// What our client makes of it, in pieces of this size.
    fn read(&self, chunks: &[&[u8]], size: usize) -> io::Result<Vec<u8>> {
        let key = key(self.method.0);
        let request = Sealer::request(&key, &target()).unwrap();
        let mut opener = Opener::answer(key, &request);
        open_in_pieces(&mut opener, &self.wire(&request, chunks), &[size])
    }
}

#[test]
fn an_answer_of_another_implementation_split_anywhere() {
    for method in METHODS {
        let answer = Answer::new(method, b"hello");
        for size in 1..200 {
            assert_eq!(answer.read(&[b" ", b"world"], size).unwrap(), b"hello world", "{size}");
        }
    }
}

/// Chunks four times as long as those of SIP004.
#[test]
fn the_longest_chunks() {
    for method in METHODS {
        let payload: Vec<u8> = (0..65_535u32).map(|n| (n / 7) as u8).collect();
        for first in [&payload[..], b""] {
            let plain = Answer::new(method, first).read(&[&payload, b"end"], 3000).unwrap();
            assert!(plain == [first, &payload, b"end"].concat());
        }
    }
}

/// shadowsocks-rust seals a first payload of no bytes, sing-box leaves it out.
#[test]
fn a_first_payload_of_no_bytes() {
    for method in METHODS {
        for seals_nothing in [true, false] {
            for size in [1, 16, 17, 1000] {
                let answer = Answer { seals_nothing, ..Answer::new(method, b"") };
                assert_eq!(answer.read(&[b"later"], size).unwrap(), b"later", "{size}");
                assert_eq!(answer.read(&[], size).unwrap(), b"", "a server without an answer");
            }
        }
    }
}

#[test]
fn answers_of_another_time_kind_or_request() {
    for method in METHODS {
        let good = || Answer::new(method, b"hello");
        let error = |answer: Answer| answer.read(&[], 1000).unwrap_err().to_string();
        for off in [29, 0] {
            for time in [now() - off, now() + off] {
                let answer = Answer { time, ..good() };
                assert_eq!(answer.read(&[], 1000).unwrap(), b"hello", "{off} s");
            }
        }
        // A second may pass meanwhile.
        for time in [now() - 31, now() + 32] {
            let error = error(Answer { time, ..good() });
            assert!(error.contains("clocks") && error.contains("differ by 3"), "{error}");
        }
        let of_client = error(Answer { kind: 0, ..good() });
        assert!(of_client.contains("type 0, not 1"), "{of_client}");
        let of_another = error(Answer { echoes: false, ..good() });
        assert!(of_another.contains("another request"), "{of_another}");
    }
}

/// They are silent about a wrong clock, so the operator has to hear of it from us.
#[test]
fn silence_is_suspicious_of_the_clock() {
    let by = |seconds| Some(ClockError::Behind(Duration::from_secs(seconds)));
    assert!(!suspicion(Edition::Sip004, by(99)).contains("clock"));
    assert!(suspicion(Edition::Sip022, None).contains("differ by more than 30 s?"));
    let wrong = suspicion(Edition::Sip022, by(30));
    assert!(wrong.starts_with("this machine's clock is 30 s behind"), "{wrong}");
    let right = suspicion(Edition::Sip022, by(29));
    assert!(right.starts_with("is the key or the method wrong?"), "{right}");
}

/// What was recorded of one connection is no answer to the next.
#[test]
fn an_answer_of_before_is_refused() {
    let key = key(Method::Blake3Aes128Gcm);
    let [one, other] = [(); 2].map(|()| Sealer::request(&key, &target()).unwrap());
    let wire = Answer::new(METHODS[0], b"hello").wire(&one, &[]);
    Opener::answer(key.clone(), &one).open(&mut wire.clone()).unwrap();
    let error = Opener::answer(key, &other).open(&mut wire.clone()).unwrap_err();
    assert!(error.to_string().contains("another request"), "{error}");
}

/// Servers take what one read gives them for the whole header.
#[tokio::test]
async fn a_fast_opening_leaves_in_one_write() {
    let key = key(Method::Blake3Aes256Gcm);
    let mut sealer = Sealer::request(&key, &target()).unwrap();
    let first = sealed_first(&mut sealer, &[]).unwrap();
    let (asked, padding, _) = read_request(METHODS[1], first, 0);
    assert!(asked == target() && padding > 0);
    assert_eq!(sealer.lead(&mut vec![0; sealer::memory(1)]), 0);
}

#[test]
fn identities_stand_behind_the_salt() {
    for oracle in [METHODS[0], METHODS[1]] {
        let (method, _) = oracle;
        let (first, second) = (vec![0xf0; method.key_len()], vec![0x0f; method.key_len()]);
        let text = [&first, &second, &raw(method)].map(|key| STANDARD.encode(key)).join(":");
        let key = MasterKey::new(method, &Secret::new(text)).unwrap();
        let wire = request(&key, b"hello");
        let (salt, rest) = wire.split_at(method.key_len());
        for (at, (own, next)) in [(&first, &second), (&second, &raw(method))].iter().enumerate() {
            let header: [u8; 16] = rest[at * 16..][..16].try_into().unwrap();
            let shown = cipher::tests::identity(method.algorithm(), own, salt, header);
            assert_eq!(shown, cipher::tests::hash(next), "identity {at}");
        }
        assert_eq!(read_request(oracle, wire, 32), (target(), 0, b"hello".to_vec()));
    }
}
