//! A domain name in the one form that everything compares: lower-case wire form.

use std::fmt;
use std::str::FromStr;

/// Bytes of a name in wire form (RFC 1035, 2.3.4).
pub const LONGEST_NAME: usize = 255;
const LONGEST_LABEL: usize = 63;

/// A domain name in lower-case wire form (RFC 1035, 3.1): length-prefixed labels and the
/// terminal zero byte; at most 255 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

impl Name {
    /// The wire form, terminal zero byte included.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// Takes a wire form without compression, in any case; nothing may follow the zero byte.
    /// `None` if it is none.
    pub fn from_wire(wire: &[u8]) -> Option<Self> {
        if wire.len() > LONGEST_NAME {
            return None;
        }
        let mut at = 0;
        loop {
            match usize::from(*wire.get(at)?) {
                0 => break,
                length if length <= LONGEST_LABEL => at += 1 + length,
                _ => return None,
            }
        }
        // Length bytes are below 64 and so below every letter: lowering all bytes is safe.
        (at + 1 == wire.len()).then(|| Name(wire.to_ascii_lowercase().into_boxed_slice()))
    }

    /// The root.
    pub fn root() -> Self {
        Name([0].into())
    }

    /// The labels, first to last, without the root.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        labels(&self.0)
    }
}

/// The labels of a wire form that is known to be valid.
fn labels(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = wire;
    std::iter::from_fn(move || {
        let (length, tail) = rest.split_first()?;
        if *length == 0 {
            return None;
        }
        let (label, tail) = tail.split_at_checked(usize::from(*length))?;
        rest = tail;
        Some(label)
    })
}

/// Why a text is no domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Two dots in a row, or nothing at all.
    #[error("a label is empty")]
    EmptyLabel,
    /// A label has more than 63 bytes.
    #[error("a label is longer than 63 bytes")]
    LongLabel,
    /// The name has more than 253 characters.
    #[error("it is longer than 253 characters")]
    LongName,
    /// A letter outside ASCII.
    #[error("write international names in punycode (xn--...)")]
    NotAscii,
    /// Spaces, slashes and the like.
    #[error("'{0}' cannot stand in a domain name")]
    Character(char),
}

/// Accepts letters, digits, `-` and `_`, with or without a final dot. The root is `.`.
impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "." {
            return Ok(Name::root());
        }
        let mut wire = Vec::with_capacity(text.len() + 2);
        for label in text.strip_suffix('.').unwrap_or(text).split('.') {
            if let Some(odd) = label.chars().find(|c| !is_usual(*c)) {
                return Err(if odd.is_ascii() {
                    NameError::Character(odd)
                } else {
                    NameError::NotAscii
                });
            }
            match u8::try_from(label.len()) {
                Ok(0) => return Err(NameError::EmptyLabel),
                Ok(length) if usize::from(length) <= LONGEST_LABEL => wire.push(length),
                _ => return Err(NameError::LongLabel),
            }
            wire.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        wire.push(0);
        if wire.len() > LONGEST_NAME {
            return Err(NameError::LongName);
        }
        Ok(Name(wire.into_boxed_slice()))
    }
}

fn is_usual(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// Dotted, without a final dot; bytes that no usual name has are escaped as `\DDD` (RFC 1035,
/// 5.1), so that a hostile name cannot garble a log.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() == 1 {
            return f.write_str(".");
        }
        for (number, label) in self.labels().enumerate() {
            if number > 0 {
                f.write_str(".")?;
            }
            for byte in label {
                if is_usual(char::from(*byte)) {
                    write!(f, "{}", char::from(*byte))?;
                } else {
                    write!(f, "\\{byte:03}")?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_and_wire() {
        let name: Name = "WWW.Example.com.".parse().unwrap();
        assert_eq!(name.as_wire(), b"\x03www\x07example\x03com\x00");
        assert_eq!(name.to_string(), "www.example.com");
        assert_eq!(name.labels().count(), 3);
        assert_eq!(".".parse::<Name>().unwrap().as_wire(), [0]);
    }

    #[test]
    fn what_is_no_name() {
        let error = |text: &str| text.parse::<Name>().unwrap_err();
        assert_eq!(error(""), NameError::EmptyLabel);
        assert_eq!(error("a..b"), NameError::EmptyLabel);
        assert_eq!(error(&"a".repeat(64)), NameError::LongLabel);
        assert_eq!(error(&vec!["a".repeat(63); 4].join(".")), NameError::LongName);
        assert_eq!(error("中国.cn"), NameError::NotAscii);
        assert_eq!(error("a b.cn"), NameError::Character(' '));
    }

    #[test]
    fn wire_that_is_none() {
        for wire in [&b""[..], b"\x01", b"\x01a", b"\x01a\x00x", b"\xc0\x0c", b"\x40"] {
            assert_eq!(Name::from_wire(wire), None, "{wire:?}");
        }
        assert_eq!(Name::from_wire(b"\x01\n\x00").unwrap().to_string(), "\\010");
    }

    proptest! {
        #[test]
        fn any_bytes(wire in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(name) = Name::from_wire(&wire) {
                prop_assert_eq!(Name::from_wire(name.as_wire()).unwrap(), name);
            }
        }
    }
}
