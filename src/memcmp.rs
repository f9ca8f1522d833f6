//! memcmp(3), a word at a time.
//!
//! musl compares byte by byte (its src/string/memcmp.c), and so does zig in its place: of 24 bytes
//! that takes fifteen times as long. Every name that is looked for in a table is compared so.

use std::cmp::Ordering;
use std::ffi::c_int;

const WORD: usize = size_of::<usize>();

/// Takes the place of the C library's function for the whole program.
#[expect(unsafe_code, reason = "the compiler knows it by this name alone")]
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, length: usize) -> c_int {
    if length == 0 {
        // The pointers may be anything.
        return 0;
    }
    // SAFETY: whoever calls memcmp promises that both have so many bytes that can be read.
    let (one, other) = unsafe {
        (std::slice::from_raw_parts(one, length), std::slice::from_raw_parts(other, length))
    };
    compare(one, other) as c_int
}

/// Whether they differ, which is what the compiler asks for as a rule.
#[expect(unsafe_code, reason = "the compiler knows it by this name alone")]
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, length: usize) -> c_int {
    // SAFETY: as above.
    unsafe { memcmp(one, other, length) }
}

/// Two of one length. Never by the comparison of slices, which is this function.
fn compare(one: &[u8], other: &[u8]) -> Ordering {
    let (words, _) = one.as_chunks::<WORD>();
    let (others, _) = other.as_chunks::<WORD>();
    for (one, other) in words.iter().zip(others) {
        let (one, other) = (usize::from_be_bytes(*one), usize::from_be_bytes(*other));
        if one != other {
            return one.cmp(&other);
        }
    }
    // The last word has bytes of the one before it, or there is none.
    match (one.last_chunk::<WORD>(), other.last_chunk::<WORD>()) {
        (Some(one), Some(other)) => usize::from_be_bytes(*one).cmp(&usize::from_be_bytes(*other)),
        _ => {
            let mut bytes = one.iter().zip(other).map(|(one, other)| one.cmp(other));
            bytes.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_every_length_counts() {
        for length in 0..=40_usize {
            let one: Vec<u8> = (1..).take(length).collect();
            assert_eq!(compare(&one, &one.clone()), Ordering::Equal, "{length}");
            for place in 0..length {
                for (byte, order) in [(0, Ordering::Greater), (0xff, Ordering::Less)] {
                    let mut other = one.clone();
                    other[place] = byte;
                    // What comes later does not.
                    other[place + 1..].fill(!byte);
                    assert_eq!(compare(&one, &other), order, "{place} of {length}");
                }
            }
        }
    }

    #[test]
    #[expect(unsafe_code, reason = "as the compiler calls them")]
    fn nothing_is_equal_wherever_it_is() {
        // SAFETY: no byte is read.
        let (one, other) = unsafe {
            (memcmp(std::ptr::null(), b"a".as_ptr(), 0), bcmp(b"a".as_ptr(), std::ptr::null(), 0))
        };
        assert_eq!((one, other), (0, 0));
    }
}
