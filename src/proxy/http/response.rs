//! The header of an HTTP/1.x response (RFC 9112, 4 and 2.1), as far as CONNECT needs it: the
//! status, where the header ends, and which credentials a 407 wants. Pure; any bytes may come.

/// What the bytes received so far amount to.
#[derive(Debug, PartialEq, Eq)]
pub enum ParsedHeader {
    /// The end of the header has not come yet.
    Incomplete,
    /// A 1xx response; skip so many bytes and look again.
    Interim {
        /// Bytes of it.
        length: usize,
    },
    /// The response that counts.
    Final(Response),
}

/// The header of a response.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// 100 to 599.
    pub status: u16,
    /// The status line, escaped for logs.
    pub line: String,
    /// Bytes of the header, the empty line included.
    pub length: usize,
    /// How it wants to be told who asks (RFC 9110, 11.7.1): the schemes of its challenges.
    pub schemes: Vec<String>,
    /// Its `Date` (RFC 9110, 6.6.1).
    pub date: Option<Vec<u8>>,
}

/// These bytes never become an HTTP/1.x response.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// So much of a liar's words goes into the log.
const EXCERPT: usize = 60;

/// Challenges of a response that are read, and the letters of a scheme.
const MOST_SCHEMES: usize = 8;
const LONGEST_SCHEME: usize = 20;

/// Reads what has come so far.
///
/// # Errors
/// Whatever comes behind them, they are no response.
pub fn parse(bytes: &[u8]) -> Result<ParsedHeader, Malformed> {
    const VERSION: &[u8] = b"HTTP/1.";
    let known = bytes.len().min(VERSION.len());
    if bytes[..known] != VERSION[..known] {
        return Err(Malformed);
    }
    let Some(length) = header_length(bytes) else { return Ok(ParsedHeader::Incomplete) };
    let line_length = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(length);
    let line = bytes[..line_length].trim_ascii_end();
    let status = status(line).ok_or(Malformed)?;
    // 101 changes the protocol, and not to a tunnel: it is no interim answer.
    Ok(match status {
        100 | 102..=199 => ParsedHeader::Interim { length },
        _ => {
            let schemes = match status {
                401 | 407 => schemes(&bytes[..length]),
                _ => Vec::new(),
            };
            let date = field(&bytes[..length], b"date").map(<[u8]>::to_vec);
            ParsedHeader::Final(Response { status, line: excerpt(line), length, schemes, date })
        }
    })
}

/// Whether it is a 408 (RFC 9110, 15.5.9): the server has not read a request in time, and another
/// may be made on another connection. Of a status line that has not come whole it is not known.
pub(in crate::proxy) fn is_timeout(start: &[u8]) -> bool {
    start.starts_with(b"HTTP/1.") && start.get(8..12) == Some(b" 408")
}

/// The schemes of all challenges, each once: `Proxy-Authenticate: Digest realm="a, b", Basic ...`
pub(in crate::proxy) fn schemes(header: &[u8]) -> Vec<String> {
    let mut schemes: Vec<String> = Vec::new();
    for line in header.split(|byte| *byte == b'\n').skip(1) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let names: [&[u8]; 2] = [b"proxy-authenticate", b"www-authenticate"];
        if !names.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            continue;
        }
        let mut is_quoted = false;
        let parts = value.split(|byte| {
            is_quoted ^= *byte == b'"';
            *byte == b',' && !is_quoted
        });
        for part in parts {
            // A part whose first word has a "=" is one more parameter of the challenge before.
            let part = part.trim_ascii();
            let word = part.split(u8::is_ascii_whitespace).next().unwrap_or_default();
            let is_scheme = (1..=LONGEST_SCHEME).contains(&word.len())
                && word.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
            let scheme = String::from_utf8_lossy(word);
            if is_scheme && schemes.len() < MOST_SCHEMES && !schemes.iter().any(|it| *it == scheme)
            {
                schemes.push(scheme.into_owned());
            }
        }
    }
    schemes
}

/// The value of the first field of this name.
fn field<'a>(header: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    header.split(|byte| *byte == b'\n').skip(1).find_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        line[..colon].eq_ignore_ascii_case(name).then(|| line[colon + 1..].trim_ascii())
    })
}

/// Bytes up to and with the empty line; a lone LF ends a line too (RFC 9112, 2.2).
fn header_length(bytes: &[u8]) -> Option<usize> {
    let mut line_is_empty = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'\n' if line_is_empty => return Some(at + 1),
            b'\n' => line_is_empty = true,
            b'\r' => {}
            _ => line_is_empty = false,
        }
    }
    None
}

/// `HTTP/1.x SP 3DIGIT [SP reason]`
fn status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let [minor, b' ', a, b, c, rest @ ..] = rest else { return None };
    let digits = [a, b, c];
    let plain = minor.is_ascii_digit() && digits.iter().all(|digit| digit.is_ascii_digit());
    if !plain || !matches!(rest, [] | [b' ', ..]) {
        return None;
    }
    let status = digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(**digit - b'0'));
    (100..600).contains(&status).then_some(status)
}

/// The start of the bytes, fit for a log.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    let end = bytes.len().min(EXCERPT);
    let dots = if bytes.len() > end { "..." } else { "" };
    format!("\"{}\"{dots}", bytes[..end].escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn status_of(text: &str) -> Option<u16> {
        match parse(text.as_bytes()) {
            Ok(ParsedHeader::Final(response)) => Some(response.status),
            _ => None,
        }
    }

    #[test]
    fn the_header_ends_at_the_empty_line() {
        let text = "HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nearly";
        let Ok(ParsedHeader::Final(response)) = parse(text.as_bytes()) else { panic!("not final") };
        assert_eq!(&text[response.length..], "early");
        assert_eq!(response.line, "\"HTTP/1.1 200 Connection established\"");
    }

    #[test]
    fn any_fragment_is_incomplete() {
        let text = "HTTP/1.0 200 OK\r\nA: b\r\n\r\n";
        for end in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..end]), Ok(ParsedHeader::Incomplete), "{end}");
        }
    }

    #[test]
    fn odd_but_right() {
        assert_eq!(status_of("HTTP/1.1 200\r\n\r\n"), Some(200));
        assert_eq!(status_of("HTTP/1.0 407 Who\n\n"), Some(407));
        assert_eq!(
            parse(b"HTTP/1.1 100 Continue\r\n\r\n"),
            Ok(ParsedHeader::Interim { length: 25 })
        );
        assert_eq!(status_of("HTTP/1.1 101 Switching Protocols\r\n\r\n"), Some(101));
    }

    #[test]
    fn a_timeout() {
        assert!(is_timeout(b"HTTP/1.0 408 Request Time-out\r\n") && is_timeout(b"HTTP/1.1 408"));
        assert!(!is_timeout(b"HTTP/1.1 40") && !is_timeout(b"HTTP/1.1 407 408\r\n\r\n"));
    }

    #[test]
    fn the_schemes_of_challenges() {
        let schemes_of = |lines: &str| {
            let text = format!("HTTP/1.1 407 Who\r\n{lines}\r\n\r\n");
            match parse(text.as_bytes()) {
                Ok(ParsedHeader::Final(response)) => response.schemes,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(schemes_of("Proxy-Authenticate: Basic realm=\"a, Digest b\""), ["Basic"]);
        assert_eq!(
            schemes_of(
                "proxy-authenticate: Digest realm=\"x\", nonce=\"y\", Basic realm=\"z\"\r\nVia: \
                 Other\r\nProxy-Authenticate:Negotiate\r\nProxy-Authenticate: NTLM"
            ),
            ["Digest", "Basic", "Negotiate", "NTLM"]
        );
        assert_eq!(schemes_of("Via: Basic, x"), [""; 0]);
        assert_eq!(schemes_of("Proxy-Authenticate: \u{1b}[31m x, , =").len(), 0);
    }

    #[test]
    fn the_date_of_an_answer() {
        let date_of = |text: &str| match parse(text.as_bytes()) {
            Ok(ParsedHeader::Final(response)) => response.date,
            other => panic!("{other:?}"),
        };
        let text =
            "HTTP/1.1 403 No\r\nVia: date: x\r\ndate:  Sun, 06 Nov 1994\t\r\nDate: y\r\n\r\n";
        assert_eq!(date_of(text).as_deref(), Some(b"Sun, 06 Nov 1994" as &[u8]));
        assert_eq!(date_of("HTTP/1.1 200 date: x\r\n\r\nDate: early\r\n"), None);
    }

    #[test]
    fn what_is_no_http() {
        for text in [
            "SSH-2.0-OpenSSH",
            "\x16\x03\x01",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 20\r\n\r\n",
            "HTTP/1.1 2000\r\n\r\n",
            "HTTP/1.1 +20 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
        ] {
            assert_eq!(parse(text.as_bytes()), Err(Malformed), "{text}");
        }
    }

    #[test]
    fn an_excerpt_is_short_and_harmless() {
        let text = excerpt(&[0x1b; 100]);
        assert!(text.len() < 300 && text.ends_with("..."));
        assert!(!text.contains('\x1b'));
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse(&bytes);
            let _ = parse(&[b"HTTP/1.1 ", &bytes[..]].concat());
        }
    }
}
