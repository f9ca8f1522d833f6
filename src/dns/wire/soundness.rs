//! Whether a record can be read to its end: its name, and the data of the types whose form matters
//! here or to programs that follow names in them.
//!
//! What cannot be read makes other programs stumble, and is no answer. Types that are not listed
//! are opaque (RFC 3597): their names are never compressed, and their form is for the client.

use super::reader::{Record, readable_name_end, u16_at};
use super::{CLASS_IN, rr};

const MX: u16 = 15;
const SRV: u16 = 33;
const DNAME: u16 = 39;

/// Serial number and four times.
const SOA_NUMBERS: usize = 20;

impl Record<'_> {
    /// Whether its name and its data can be read.
    pub fn is_sound(&self) -> bool {
        let has_name = readable_name_end(self.message, self.begin) == Some(self.fixed);
        has_name && (self.class != CLASS_IN || self.has_sound_data())
    }

    fn has_sound_data(&self) -> bool {
        let length = self.data().len();
        match self.kind {
            rr::A => length == 4,
            rr::AAAA => length == 16,
            rr::NS | rr::CNAME | rr::PTR | DNAME => self.ends_with_name_at(0),
            MX => self.ends_with_name_at(2),
            SRV => self.ends_with_name_at(6),
            rr::SOA => self.has_sound_soa().is_some(),
            rr::HTTPS | rr::SVCB => self.has_sound_parameters().is_some(),
            _ => true,
        }
    }

    fn name_end(&self, place: usize) -> Option<usize> {
        let end = readable_name_end(self.message, self.data_begin() + place)?;
        (end <= self.end).then_some(end - self.data_begin())
    }

    fn ends_with_name_at(&self, place: usize) -> bool {
        self.name_end(place) == Some(self.data().len())
    }

    fn has_sound_soa(&self) -> Option<()> {
        let mailbox = self.name_end(0)?;
        let numbers = self.name_end(mailbox)?;
        (numbers + SOA_NUMBERS == self.data().len()).then_some(())
    }

    /// A name behind the priority, then keys and values (RFC 9460, 2.2).
    fn has_sound_parameters(&self) -> Option<()> {
        let mut parameters = self.data().get(self.name_end(2)?..)?;
        while !parameters.is_empty() {
            let length = usize::from(u16_at(parameters, 2)?);
            parameters = parameters.get(4 + length..)?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::reader::Records;
    use super::*;

    /// One record behind twelve bytes and the name `a.example`, class and TTL included.
    fn is_sound(owner: &[u8], kind: u16, data: &[u8]) -> bool {
        let mut message = [&[0; 12], b"\x01a\x07example\x00".as_slice(), owner].concat();
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, 60]);
        message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        message.extend(data);
        let record = Records::new(&message, 23, 1).next().unwrap();
        record.is_some_and(|record| record.is_sound())
    }

    #[test]
    fn names_and_data() {
        let numbers = [0; SOA_NUMBERS];
        let soa = |names: &[u8]| [names, &numbers].concat();
        for (kind, data, expected) in [
            (rr::A, b"\xc0\x00\x02\x01".to_vec(), true),
            (rr::A, b"\xc0\x00\x02".to_vec(), false),
            (rr::AAAA, vec![0; 16], true),
            (rr::AAAA, vec![0; 4], false),
            (rr::CNAME, b"\x03www\xc0\x0c".to_vec(), true),
            (rr::CNAME, b"\x03www\xc0\x0c\x00".to_vec(), false),
            (rr::CNAME, b"\xc0\x23".to_vec(), false),
            (rr::PTR, vec![], false),
            (MX, b"\x00\x0a\xc0\x0c".to_vec(), true),
            (MX, b"\x00\x0a".to_vec(), false),
            (SRV, b"\x00\x01\x00\x02\x00\x50\xc0\x0c".to_vec(), true),
            (rr::SOA, soa(b"\xc0\x0c\x01b\xc0\x0c"), true),
            (rr::SOA, soa(b"\xc0\x0c"), false),
            (rr::SOA, b"\xc0\x0c\xc0\x0c\x00\x00".to_vec(), false),
            (rr::HTTPS, b"\x00\x01\x00\x00\x01\x00\x03\x02h2".to_vec(), true),
            (rr::HTTPS, b"\x00\x01\x00\x00\x01\x00\x09\x02h2".to_vec(), false),
            (rr::HTTPS, b"\x00\x01".to_vec(), false),
            (16, b"\xff".to_vec(), true),
        ] {
            assert_eq!(is_sound(b"\xc0\x0c", kind, &data), expected, "{kind} {data:?}");
        }
        assert!(!is_sound(b"\xc0\x17", rr::A, &[0; 4]), "the owner points to itself");
        assert!(!is_sound(b"\xc0\xff", rr::A, &[0; 4]), "the owner points behind the message");
        assert!(!is_sound(b"\x01a\xc0\x17", rr::A, &[0; 4]), "a loop through a label");
    }
}
