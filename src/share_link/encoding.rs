//! Percent-encoding (RFC 3986, 2.1) and base64 (RFC 4648), as links have them: any alphabet, any
//! padding, and a `%` that encodes nothing stands for itself.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, URL_SAFE_NO_PAD};
use std::fmt::Write;
use zeroize::Zeroizing;

/// Takes leftover bits too: some panels write them.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&alphabet::URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

/// The bytes that are meant.
pub fn percent_decoded(text: &str) -> Zeroizing<Vec<u8>> {
    let bytes = text.as_bytes();
    let mut decoded = Zeroizing::new(Vec::with_capacity(bytes.len()));
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).filter(|_| *byte == b'%');
        match digits.and_then(|digits| Some((nibble(digits[0])?, nibble(digits[1])?))) {
            Some((high, low)) => {
                decoded.push(high << 4 | low);
                at += 3;
            }
            None => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    decoded
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Only what is unreserved everywhere stays as it is (RFC 3986, 2.3).
pub fn percent_encoded(bytes: &[u8]) -> Zeroizing<String> {
    let mut encoded = Zeroizing::new(String::with_capacity(3 * bytes.len()));
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(*byte));
            }
            // A String takes every write.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

/// `None`: it is no base64.
pub fn base64_decoded(bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut unpadded = Zeroizing::new(bytes.to_vec());
    while unpadded.last() == Some(&b'=') {
        unpadded.pop();
    }
    for byte in unpadded.iter_mut() {
        match byte {
            b'+' => *byte = b'-',
            b'/' => *byte = b'_',
            _ => {}
        }
    }
    LENIENT.decode(&*unpadded).ok().map(Zeroizing::new)
}

/// The form that SIP002 names.
pub fn base64_encoded(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percent() {
        let decoded = |text| percent_decoded(text).to_vec();
        assert_eq!(decoded("a%2Fb%e4%B8%ad"), "a/b中".as_bytes());
        assert_eq!(decoded("100%"), b"100%");
        assert_eq!(decoded("%zz%2"), b"%zz%2");
        assert_eq!(decoded("a+b"), b"a+b");
        assert_eq!(percent_encoded("a+b/中~".as_bytes()).as_str(), "a%2Bb%2F%E4%B8%AD~");
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(&*percent_decoded(&percent_encoded(&bytes)), &bytes);
            let plain = base64_encoded(&bytes);
            let standard = base64::engine::general_purpose::STANDARD.encode(&bytes);
            for text in [plain.as_bytes(), standard.as_bytes()] {
                prop_assert_eq!(&*base64_decoded(text).unwrap(), &bytes);
            }
        }
    }
}
