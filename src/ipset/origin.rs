//! The embedded China list, where it comes from, and of which day it is: the first lines of its
//! file say so.

use super::{IpSet, china};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

// Made of src/data by engine/build.rs.
static PACKED_V4: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/china-ipv4"));
static PACKED_V6: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/china-ipv6"));
static SOURCE: &str = include_str!(concat!(env!("OUT_DIR"), "/china-source"));

/// Its prefixes. (A length that is none would be left out; a test holds them against the text.)
pub(super) fn unpacked() -> impl Iterator<Item = IpNet> {
    let (v4, v6) = (PACKED_V4.as_chunks().0, PACKED_V6.as_chunks().0);
    let v4 = v4.iter().filter_map(|[a, b, c, d, length]| {
        Ipv4Net::new(Ipv4Addr::new(*a, *b, *c, *d), *length).ok().map(IpNet::from)
    });
    let v6 = v6.iter().filter_map(|[a, b, c, d, e, f, g, h, length]| {
        let network = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
        let address = Ipv6Addr::from_bits(u128::from(network) << 64);
        Ipv6Net::new(address, *length).ok().map(IpNet::from)
    });
    v4.chain(v6)
}

/// In the words of its file, which has the licence too. Empty if it does not say.
pub fn china_source() -> &'static str {
    SOURCE.split(". Licence").next().unwrap_or_default()
}

/// The day of its data, in seconds since the Unix epoch.
pub fn china_day() -> Option<u64> {
    day_in(china_source())
}

/// Whether it is the embedded one.
pub fn is_embedded_china(set: &Arc<IpSet>) -> bool {
    Arc::ptr_eq(set, &china())
}

/// The first `YYYY-MM-DD` of a text.
fn day_in(text: &str) -> Option<u64> {
    let words = text.split(|c: char| !c.is_ascii_digit() && c != '-');
    words.filter(|word| word.len() == 10).find_map(|word| {
        let mut parts = word.split('-').map(|part| part.parse::<u64>().ok());
        match (parts.next()??, parts.next()??, parts.next()??, parts.next()) {
            (year @ 1970.., month @ 1..=12, day @ 1..=31, None) => Some(since(year, month, day)),
            _ => None,
        }
    })
}

/// Seconds from 1970 to this day of the Gregorian calendar: years begin in March, so that the
/// leap day is the last.
fn since(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    (days - 719_468) * 86_400
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_found_and_counted() {
        for (text, seconds) in [
            ("of 1970-01-01", Some(0)),
            ("asn-country 2.3.2026061719 (2026-06-17), plus", Some(1_781_654_400)),
            ("2000-02-29", Some(951_782_400)),
            ("2000-03-01", Some(951_868_800)),
            ("2000-13-01, 1-2-3-4-5-6", None),
            ("", None),
        ] {
            assert_eq!(day_in(text), seconds, "{text}");
        }
    }

    #[test]
    fn the_embedded_list_says_where_it_comes_from() {
        let source = china_source();
        assert!(source.contains("NRO") && !source.contains("Licence"), "{source}");
        assert!(china_day() > Some(1_700_000_000));
        assert!(is_embedded_china(&china()) && !is_embedded_china(&Arc::default()));
    }
}
