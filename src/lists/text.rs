//! A file as lines: its encoding, its comments.

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, Engine};
use std::borrow::Cow;

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Padded or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The text of a file: base64 is taken off, bytes that are not UTF-8 are replaced, so that they
/// spoil their own line alone.
pub(super) fn decoded(bytes: &[u8]) -> Cow<'_, str> {
    match from_base64(bytes) {
        Some(text) => Cow::Owned(text),
        None => String::from_utf8_lossy(bytes),
    }
}

/// A list of names or prefixes has a dot or a colon in its first line, or a space; base64 has none
/// of them, and what comes out of it is such a list.
fn from_base64(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK.as_bytes()).unwrap_or(bytes);
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=\r\n".contains(byte);
    let ended = bytes.trim_ascii();
    if ended.is_empty() || !ended.iter().all(is_base64) {
        return None;
    }
    let packed: Vec<u8> =
        ended.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let text = String::from_utf8(BASE64.decode(packed).ok()?).ok()?;
    let is_text = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    let has_lines = text.len() > 16;
    (has_lines && text.contains(['.', ':']) && text.chars().all(is_text)).then_some(text)
}

/// The lines with their numbers, without what surrounds them.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    // Files that were put together have a mark in the middle.
    let bare = |line: &'_ str| -> usize { line.len() - line.trim_start_matches(is_outside).len() };
    text.lines()
        .enumerate()
        .map(move |(number, line)| (number + 1, line[bare(line)..].trim_end_matches(is_outside)))
}

fn is_outside(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}' || c == '\0'
}

/// A line that says nothing.
pub(super) fn is_blank(line: &str) -> bool {
    line.is_empty() || line.starts_with(['#', '!', ';', '[']) || line.starts_with("//")
}

/// A line without the comment that follows a space.
pub(super) fn without_comment(line: &str) -> &str {
    let mut from = 0;
    while let Some(space) = line[from..].find(char::is_whitespace) {
        let before = from + space;
        let rest = line[before..].trim_start();
        if is_blank(rest) {
            return &line[..before];
        }
        from = line.len() - rest.len();
    }
    line
}

/// What the file is if it is none of the texts that are read.
pub(super) fn oddity(bytes: &[u8]) -> Option<&'static str> {
    let head = bytes.get(..512).unwrap_or(bytes).to_ascii_lowercase();
    let has = |text: &str| head.windows(text.len()).any(|window| window == text.as_bytes());
    match bytes {
        [0x1f, 0x8b, ..] | [b'P', b'K', 3, 4, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Some("a compressed file: unpack it")
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16: save it as UTF-8"),
        _ if has("<html") || has("<!doctype") => Some("a web page: look at the address it is from"),
        _ if head.contains(&0) => Some("no text"),
        _ => None,
    }
}
