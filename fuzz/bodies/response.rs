//! What an HTTP proxy answers: the same whole and in pieces.

use snet::proxy::http::response::{Malformed, ParsedHeader, parse};

pub fn run(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(600)];
    let whole = parse(bytes);
    match &whole {
        Ok(ParsedHeader::Final(response)) => {
            assert!((100..600).contains(&response.status) && response.length <= bytes.len());
            assert!(!response.line.contains(char::is_control), "it goes into the log");
        }
        Ok(ParsedHeader::Interim { length }) => assert!((1..=bytes.len()).contains(length)),
        Ok(ParsedHeader::Incomplete) | Err(Malformed) => {}
    }
    for end in 0..bytes.len() {
        match parse(&bytes[..end]) {
            Ok(ParsedHeader::Incomplete) => {}
            decided => assert_eq!(decided, whole, "more bytes change nothing"),
        }
    }
}
