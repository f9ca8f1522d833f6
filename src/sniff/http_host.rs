//! The Host of a request of HTTP/1 (RFC 9112, 3.2).

use super::{Sniffed, host};

/// What a request begins with. CONNECT is not among them: it is for a proxy.
const METHODS: [&[u8]; 8] =
    [b"GET ", b"POST ", b"HEAD ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"TRACE "];

/// Looks at the beginning of a stream.
pub(super) fn sniff(seen: &[u8]) -> Sniffed {
    let may_begin = |method: &&[u8]| {
        let common = method.len().min(seen.len());
        method[..common] == seen[..common]
    };
    if !METHODS.iter().any(may_begin) {
        return Sniffed::Nothing;
    }
    let mut lines = seen.split_inclusive(|byte| *byte == b'\n');
    let mut whole = || {
        let line = lines.next()?.strip_suffix(b"\n")?;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    };
    let Some(request) = whole() else { return Sniffed::More };
    if !is_request(request) {
        return Sniffed::Nothing;
    }
    loop {
        let Some(line) = whole() else { return Sniffed::More };
        if line.is_empty() {
            return Sniffed::Nothing;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return Sniffed::Nothing;
        };
        if line[..colon].eq_ignore_ascii_case(b"host") {
            return without_port(line[colon + 1..].trim_ascii());
        }
    }
}

/// Whether the line ends as one of HTTP/1 does.
fn is_request(line: &[u8]) -> bool {
    let version = line.rsplit(|byte| *byte == b' ').next();
    version.is_some_and(|version| matches!(version, b"HTTP/1.1" | b"HTTP/1.0"))
}

fn without_port(authority: &[u8]) -> Sniffed {
    let colon = authority.iter().position(|byte| *byte == b':');
    let Some(colon) = colon else { return host(authority) };
    let (name, port) = (&authority[..colon], &authority[colon + 1..]);
    // An IPv6 address has more colons.
    match port.iter().all(u8::is_ascii_digit) {
        true => host(name),
        false => Sniffed::Nothing,
    }
}
