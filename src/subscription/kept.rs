//! The last good body of a subscription, on the disk: snet starts from it while the provider cannot
//! be reached, which is always so where the way there leads through its own servers.
//!
//! A line that names the format, some lines `key: value`, an empty line, the body. The file is ours
//! alone (mode 0600), and replaced whole ([`kept_file`](crate::kept_file)).

use super::format::LONGEST_BODY;
use super::url::ProviderUrl;
use super::usage::Usage;
use crate::kept_file::{self, KeptFormat, Piece};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

/// How the file begins.
pub const FORMAT: KeptFormat =
    KeptFormat { head: b"snet subscription ", line: b"snet subscription 1\n" };

/// All that stands before the body.
const LONGEST_HEAD: usize = 8 << 10;

/// Longer ones of a provider are not kept.
const LONGEST_VALIDATOR: usize = 1 << 10;

/// A body, and what is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptBody {
    /// When the provider last said that this is its body: seconds since the Unix epoch.
    pub fetched: u64,
    /// Of the URL that it came from.
    pub(super) fingerprint: String,
    /// `ETag` and `Last-Modified` (RFC 9110, 8.8).
    pub(super) etag: Option<String>,
    pub(super) modified: Option<String>,
    /// What the provider's headers said of the contract.
    pub usage: Usage,
    /// As it came.
    pub body: Zeroizing<Vec<u8>>,
}

/// Why no body can be kept in this file, in words that follow "found".
pub fn obstacle(path: &Path) -> Option<String> {
    kept_file::obstacle(path, FORMAT)
}

impl KeptBody {
    /// The content of a file of the operator's.
    pub fn of_file(body: Zeroizing<Vec<u8>>) -> Self {
        KeptBody { body, ..KeptBody::default() }
    }

    /// Whether it came from this address.
    pub fn is_of(&self, url: &ProviderUrl) -> bool {
        self.fingerprint == url.fingerprint()
    }

    /// Reads the file. `None`: there is none, or one of another format.
    ///
    /// # Errors
    /// It cannot be read, or is not ours.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        let content = kept_file::read(path, FORMAT, LONGEST_HEAD + LONGEST_BODY)?;
        Ok(content.map(Zeroizing::new).and_then(|content| KeptBody::parse(&content)))
    }

    fn parse(content: &[u8]) -> Option<Self> {
        let end = content.windows(2).take(LONGEST_HEAD).position(|pair| pair == b"\n\n")?;
        let head = std::str::from_utf8(&content[..end]).ok()?;
        let value = |key: &str| {
            let of_key = |line: &str| line.strip_prefix(key)?.strip_prefix(": ").map(str::to_owned);
            head.lines().find_map(of_key)
        };
        Some(KeptBody {
            fetched: value("fetched")?.parse().ok()?,
            fingerprint: value("url")?,
            etag: value("etag"),
            modified: value("modified"),
            usage: value("usage").map_or_else(Usage::default, |text| Usage::parse(&text)),
            body: Zeroizing::new(content[end + 2..].to_vec()),
        })
    }

    /// Replaces the file. Waits for the disk.
    ///
    /// # Errors
    /// What the disk says; the former file stays.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut head = format!("fetched: {}\nurl: {}\n", self.fetched, self.fingerprint);
        for (key, value) in [("etag", &self.etag), ("modified", &self.modified)] {
            if let Some(value) = value {
                head.push_str(&format!("{key}: {value}\n"));
            }
        }
        head.push_str(&format!("usage: {}\n\n", self.usage.header()));
        let mut pieces =
            [Piece::Some(head.into_bytes()), Piece::Some(self.body.to_vec()), Piece::End]
                .into_iter();
        kept_file::replace(path, FORMAT, || pieces.next()).map(drop)
    }
}

/// How long ago a moment was, in seconds since the Unix epoch. A clock that was set back makes it
/// new.
pub fn age(moment: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_secs(moment))
}

/// A header that is sent back as it came.
#[cfg_attr(not(any(feature = "tls", test)), expect(dead_code, reason = "fetching has it"))]
pub(super) fn validator(text: &str) -> Option<String> {
    let is_fit = text.len() <= LONGEST_VALIDATOR && !text.contains(char::is_control);
    (is_fit && !text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn kept(body: &[u8]) -> KeptBody {
        KeptBody {
            fetched: 1_700_000_000,
            fingerprint: "abc".into(),
            etag: Some("W/\"1: 2\"".into()),
            modified: None,
            usage: Usage::parse("upload=1; download=2; total=10; expire=1800000000"),
            body: Zeroizing::new(body.to_vec()),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let name = format!("snet-kept-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        for body in [b"".as_slice(), b"\n\nss://\n\n", b"url: other\n\n\xff"] {
            kept(body).write(&path).unwrap();
            assert_eq!(KeptBody::read(&path).unwrap().unwrap(), kept(body));
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        std::fs::write(&path, "snet subscription 9\nof tomorrow").unwrap();
        assert_eq!(KeptBody::read(&path).unwrap(), None);
        std::fs::write(&path, "[[proxy]]").unwrap();
        assert!(KeptBody::read(&path).is_err());
        assert!(kept(b"a").write(&path).is_err(), "it is not ours");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(KeptBody::read(&path).unwrap(), None);
    }

    #[test]
    fn what_would_break_the_head_is_not_kept() {
        assert_eq!(validator("\"a\""), Some("\"a\"".into()));
        for text in ["a\nbody: b", "", "a\r", &"a".repeat(2000)] {
            assert_eq!(validator(text), None);
        }
    }
}
