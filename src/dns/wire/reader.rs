//! The bounded reader: names with compression pointers, and records.
//!
//! Invariant: a pointer has to point in front of the labels it continues (RFC 1035, 4.1.4: "a
//! prior occurrence"), so that every chain of pointers ends. No name stands in the header.

use super::HEADER;
use crate::domain::LONGEST_NAME;

/// Real names have one pointer, a few have two. A ladder of pointers to pointers is an attack on
/// the time of the reader.
const MOST_POINTERS: usize = 16;

/// A name in uncompressed wire form, kept in place so that reading one allocates nothing.
#[derive(Clone, Copy)]
pub(in crate::dns) struct WireName {
    bytes: [u8; LONGEST_NAME],
    length: u8,
}

impl WireName {
    /// Reads the name at `at` in lower case, following pointers. Returns it and where the bytes
    /// behind it begin.
    pub fn read(message: &[u8], at: usize) -> Option<(WireName, usize)> {
        let mut name = WireName { bytes: [0; LONGEST_NAME], length: 0 };
        let mut filled = 0;
        let end = walk_name(message, at, |label| {
            let place = name.bytes.get_mut(filled..filled + label.len())?;
            place.copy_from_slice(label);
            // The length byte is below every letter.
            place.make_ascii_lowercase();
            filled += label.len();
            Some(())
        })?;
        // At most 255, the length of the array.
        name.length = u8::try_from(filled).ok()?;
        Some((name, end))
    }

    /// The wire form, terminal zero byte included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// Where the bytes behind the name at `at` begin, if [`WireName::read`] can read it.
pub(super) fn readable_name_end(message: &[u8], at: usize) -> Option<usize> {
    let mut length = 0;
    walk_name(message, at, |label| {
        length += label.len();
        (length <= LONGEST_NAME).then_some(())
    })
}

/// Goes through the labels of the name at `at`, each with its length byte, the empty one included,
/// for as long as `take` takes them. Returns where the bytes behind the name begin.
fn walk_name<'a>(
    message: &'a [u8],
    at: usize,
    mut take: impl FnMut(&'a [u8]) -> Option<()>,
) -> Option<usize> {
    let (mut at, mut begin, mut end) = (at, at, None);
    let mut pointers = 0;
    loop {
        let length = usize::from(*message.get(at)?);
        match length {
            0..=63 => {
                take(message.get(at..=at + length)?)?;
                at += 1 + length;
                if length == 0 {
                    return Some(end.unwrap_or(at));
                }
            }
            0xc0.. => {
                let target = usize::from(u16_at(message, at)? & 0x3fff);
                end = end.or(Some(at + 2));
                pointers += 1;
                // No name stands in the header, whose number is another one for each client.
                if !(HEADER..begin).contains(&target) || pointers > MOST_POINTERS {
                    return None;
                }
                (at, begin) = (target, target);
            }
            _ => return None,
        }
    }
}

/// Where the bytes behind the name at `at` begin; pointers are not followed.
pub(in crate::dns) fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = *message.get(at)?;
        match length {
            0 => return Some(at + 1),
            1..=63 => at += 1 + usize::from(length),
            0xc0.. => return message.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
    }
}

/// The big-endian number at `at`.
pub(in crate::dns) fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    let bytes = message.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

fn u32_at(message: &[u8], at: usize) -> Option<u32> {
    let bytes = message.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// One resource record (RFC 1035, 4.1.3), by reference.
#[derive(Clone, Copy, Debug)]
pub(in crate::dns) struct Record<'a> {
    pub(super) message: &'a [u8],
    pub(super) begin: usize,
    /// Where the type stands, behind the name.
    pub(super) fixed: usize,
    pub(super) end: usize,
    /// The type.
    pub kind: u16,
    /// The class; of OPT, the sender's UDP size.
    pub class: u16,
    /// The time to live in seconds, as it stands in the message; of OPT, flags.
    pub raw_ttl: u32,
}

impl<'a> Record<'a> {
    fn read(message: &'a [u8], begin: usize) -> Option<Record<'a>> {
        let fixed = skip_name(message, begin)?;
        let length = usize::from(u16_at(message, fixed + 8)?);
        let end = fixed + 10 + length;
        message.get(..end)?;
        Some(Record {
            message,
            begin,
            fixed,
            end,
            kind: u16_at(message, fixed)?,
            class: u16_at(message, fixed + 2)?,
            raw_ttl: u32_at(message, fixed + 4)?,
        })
    }

    /// The time to live in seconds. One with the highest bit set counts as 0 (RFC 2181, 8).
    pub fn ttl(&self) -> u32 {
        if self.raw_ttl > i32::MAX.cast_unsigned() { 0 } else { self.raw_ttl }
    }

    /// Where the TTL stands in the message.
    pub fn ttl_offset(&self) -> usize {
        self.fixed + 4
    }

    /// The name of the record, if it can be read.
    pub fn owner(&self) -> Option<WireName> {
        WireName::read(self.message, self.begin).map(|(name, _)| name)
    }

    /// Whether the record stands at the root, as OPT has to.
    pub fn is_at_root(&self) -> bool {
        self.fixed == self.begin + 1
    }

    /// The data.
    pub fn data(&self) -> &'a [u8] {
        &self.message[self.data_begin()..self.end]
    }

    pub(super) fn data_begin(&self) -> usize {
        self.fixed + 10
    }

    /// The name that the data consist of (CNAME, PTR), if they do.
    pub fn data_name(&self) -> Option<WireName> {
        let (name, end) = WireName::read(self.message, self.data_begin())?;
        (end == self.end).then_some(name)
    }

    /// The last field of SOA data: the TTL of negative answers (RFC 2308, 4).
    pub fn soa_minimum(&self) -> Option<u32> {
        let minimum = self.data().last_chunk::<4>()?;
        (self.data().len() >= 22).then_some(u32::from_be_bytes(*minimum))
    }

    /// Where the next record begins.
    pub fn end(&self) -> usize {
        self.end
    }
}

/// The records from an offset on, so many as promised; `None` for the first that does not fit,
/// then nothing.
#[derive(Clone, Debug)]
pub(in crate::dns) struct Records<'a> {
    message: &'a [u8],
    at: usize,
    left: u16,
}

impl<'a> Records<'a> {
    /// `count` records from `at` on.
    pub fn new(message: &'a [u8], at: usize, count: u16) -> Self {
        Records { message, at, left: count }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Option<Record<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let record = Record::read(self.message, self.at);
        match &record {
            Some(record) => self.at = record.end,
            None => self.left = 0,
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pointers_are_followed_backwards_only() {
        let names = b"\x01A\x07eXample\x00\x03www\xc0\x0e\xc0\x20\xc0\x22";
        let message = [&[0; HEADER], names.as_slice()].concat();
        let read =
            |at| WireName::read(&message, HEADER + at).map(|(name, end)| (name, end - HEADER));
        assert_eq!(read(11).unwrap().0.as_bytes(), b"\x03www\x07example\x00");
        assert_eq!(read(11).unwrap().1, 17);
        assert!(read(17).is_none(), "a pointer forward");
        let read = |bytes: &[u8]| WireName::read(&[&[0; HEADER], bytes].concat(), HEADER);
        assert!(read(b"\x01a\xc0\x0c").is_none(), "a loop through a label");
        assert!(read(b"\xc0\x0c").is_none(), "a pointer to itself");
        assert!(read(b"\x01a\xc0\x0b").is_none(), "a pointer into the header");
        assert!(WireName::read(b"\x80\x00", 0).is_none(), "a reserved kind of label");
    }

    #[test]
    fn the_longest_name() {
        let mut wire = [[63].as_slice(), &[b'a'; 63]].concat().repeat(3);
        wire.extend([[61].as_slice(), &[b'a'; 61], &[0]].concat());
        assert_eq!(WireName::read(&wire, 0).unwrap().0.as_bytes().len(), 255);
        wire.insert(192, b'a');
        wire[192] = 62;
        wire[193] = b'a';
        assert!(WireName::read(&wire, 0).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes(
            message in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..4, Just(0xc0)], 0..80),
            at in 0usize..90,
            count: u16,
        ) {
            if let Some((name, end)) = WireName::read(&message, at) {
                prop_assert_eq!(skip_name(&message, at), Some(end));
                let parsed = crate::domain::Name::from_wire(name.as_bytes()).unwrap();
                prop_assert_eq!(parsed.as_wire(), name.as_bytes());
            }
            for record in Records::new(&message, at, count).flatten() {
                prop_assert!(record.end() <= message.len());
                let _ = (record.owner().is_some(), record.data_name().is_some());
                let _ = record.soa_minimum();
                let _ = record.data();
            }
        }
    }
}
