//! Who may ask: the holder of the secret, and nobody else.

use crate::secret::Secret;
use http::HeaderMap;
use http::header::{AUTHORIZATION, UPGRADE};

/// Whether the request has the secret: `Authorization: Bearer SECRET`, or, since a browser's
/// WebSocket cannot send that, `?token=SECRET` in a request that asks for one.
pub(super) fn may(secret: &Secret, headers: &HeaderMap, query: Option<&str>) -> bool {
    let by_header = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
        .is_some_and(|given| is_equal(given, secret.expose()));
    let token = query.and_then(|query| parameter(query, "token"));
    let by_token = is_upgrade(headers)
        && token.is_some_and(|given| is_equal(given.as_bytes(), secret.expose()));
    by_header || by_token
}

/// Whether it asks for a WebSocket (RFC 6455, 4.1).
pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

/// In the same time whatever is equal: only the length shows.
fn is_equal(given: &[u8], secret: &[u8]) -> bool {
    let differing = given.iter().zip(secret).fold(0, |differing, (a, b)| differing | (a ^ b));
    given.len() == secret.len() && differing == 0
}

/// The value of a parameter of a query, decoded; the first of that name.
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.into_iter().find(|(key, _)| *key == name)?.1;
    decoded(&value.replace('+', " "))
}

/// Without percent signs (RFC 3986, 2.1); `None`: it is no text.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                let byte = digit(high)? * 16 + digit(low)?;
                bytes.push(u8::try_from(byte).ok()?);
                rest = after;
            }
            (b'%', _) => return None,
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn only_the_secret_opens() {
        let secret = Secret::new("correct horse");
        let may = |pairs: &[(&'static str, &'static str)], query| {
            super::may(&secret, &headers(pairs), query)
        };
        assert!(may(&[("authorization", "Bearer correct horse")], None));
        for wrong in
            ["Bearer correct hors", "Bearer correct horse ", "correct horse", "Bearer ", ""]
        {
            assert!(!may(&[("authorization", wrong)], None), "{wrong:?}");
        }
        assert!(!may(&[], None));
        let token = Some("level=info&token=correct%20horse");
        assert!(may(&[("upgrade", "websocket")], token));
        assert!(may(&[("upgrade", "WebSocket")], Some("token=correct+horse")));
        assert!(!may(&[], token), "a plain request has a header for it");
        assert!(!may(&[("upgrade", "websocket")], Some("token=correct")));
        assert!(!may(&[("upgrade", "websocket")], Some("tokens=correct%20horse")));
    }

    #[test]
    fn percent_signs() {
        assert_eq!(decoded("ss%20%E9%A6%99").as_deref(), Some("ss 香"));
        for broken in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(decoded(broken), None, "{broken}");
        }
    }
}
