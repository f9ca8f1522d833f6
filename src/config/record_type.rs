//! Types of DNS records, as the file names them.

/// RFC 1035, 3.2.2 and the IANA registry: types that one may want to block by name.
const TYPES: &[(&str, u16)] = &[
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("HINFO", 13),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("LOC", 29),
    ("SRV", 33),
    ("NAPTR", 35),
    ("CERT", 37),
    ("DNAME", 39),
    ("DS", 43),
    ("SSHFP", 44),
    ("RRSIG", 46),
    ("NSEC", 47),
    ("DNSKEY", 48),
    ("NSEC3", 50),
    ("TLSA", 52),
    ("SVCB", 64),
    ("HTTPS", 65),
    ("SPF", 99),
    ("ANY", 255),
    ("URI", 256),
    ("CAA", 257),
];

/// Reads a mnemonic, or `TYPE65` for any number (RFC 3597, 5).
pub(super) fn record_type(text: &str) -> Result<u16, String> {
    let upper = text.to_ascii_uppercase();
    if let Some((_, number)) = TYPES.iter().find(|(name, _)| *name == upper) {
        return Ok(*number);
    }
    let number =
        upper.strip_prefix("TYPE").filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    number.and_then(|digits| digits.parse().ok()).filter(|number| *number != 0).ok_or_else(|| {
        let names: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
        format!("{}, or TYPE and a number, for example \"TYPE65\"", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_types() {
        assert_eq!(record_type("AAAA"), Ok(28));
        assert_eq!(record_type("https"), Ok(65));
        assert_eq!(record_type("TYPE65"), Ok(65));
        for wrong in ["", "TYPE", "TYPE0", "TYPE65536", "TYPE+1", "AAAAA", "28"] {
            assert!(record_type(wrong).is_err(), "{wrong}");
        }
        for (name, number) in TYPES {
            assert_eq!(record_type(name), Ok(*number));
        }
    }
}
