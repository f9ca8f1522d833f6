//! The handshake that CRYPTO frames carry (RFC 9000, 19.6), put together in whatever order they
//! come: Chromium shuffles them on purpose.

use super::MOST_BYTES;
use std::ops::Range;

/// The parts that are known may be so many, with gaps between them. Chromium makes about a dozen.
const MOST_PARTS: usize = 64;

/// What is known of a handshake.
#[derive(Debug, Default)]
pub(super) struct CryptoStream {
    bytes: Vec<u8>,
    /// Ordered, and none touches another.
    known: Vec<Range<usize>>,
}

/// More than is looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

impl CryptoStream {
    /// These bytes stand at this offset. What is known already stays as it is.
    pub(super) fn add(&mut self, offset: u64, data: &[u8]) -> Result<(), TooMuch> {
        let begin = usize::try_from(offset).map_err(|_| TooMuch)?;
        let end = begin.checked_add(data.len()).filter(|end| *end <= MOST_BYTES).ok_or(TooMuch)?;
        if data.is_empty() {
            return Ok(());
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        let mut at = begin;
        for known in &self.known {
            if at < known.start && at < end {
                let gap = at..known.start.min(end);
                self.bytes[gap.clone()].copy_from_slice(&data[gap.start - begin..gap.end - begin]);
            }
            at = at.max(known.end);
        }
        if at < end {
            self.bytes[at..end].copy_from_slice(&data[at - begin..]);
        }
        self.join(begin..end);
        if self.known.len() > MOST_PARTS { Err(TooMuch) } else { Ok(()) }
    }

    fn join(&mut self, new: Range<usize>) {
        let first = self.known.partition_point(|known| known.end < new.start);
        let last = self.known.partition_point(|known| known.start <= new.end);
        let touched = &self.known[first..last];
        let start = touched.first().map_or(new.start, |known| known.start.min(new.start));
        let end = touched.last().map_or(new.end, |known| known.end.max(new.end));
        self.known.splice(first..last, std::iter::once(start..end));
    }

    /// What is known from its beginning on without a gap.
    pub(super) fn beginning(&self) -> &[u8] {
        match self.known.first() {
            Some(known) if known.start == 0 => &self.bytes[..known.end],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bounds() {
        let mut stream = CryptoStream::default();
        assert_eq!(stream.add(u64::MAX, b"a"), Err(TooMuch));
        assert_eq!(stream.add(MOST_BYTES as u64, b"a"), Err(TooMuch));
        assert_eq!(stream.add(MOST_BYTES as u64, b""), Ok(()));
        assert_eq!(stream.beginning(), b"");
        let scattered = (0..=MOST_PARTS as u64).map(|part| stream.add(part * 2, b"a"));
        assert_eq!(scattered.last(), Some(Err(TooMuch)));
    }

    #[test]
    fn what_came_first_stays() {
        let mut stream = CryptoStream::default();
        stream.add(2, b"cd").unwrap();
        assert_eq!(stream.beginning(), b"");
        stream.add(0, b"abXXe").unwrap();
        assert_eq!(stream.beginning(), b"abcde");
        stream.add(0, b"ZZZZZf").unwrap();
        assert_eq!(stream.beginning(), b"abcdef");
    }

    proptest! {
        #[test]
        fn any_order_and_overlap_gives_the_same(
            bytes in prop::collection::vec(any::<u8>(), 1..200),
            parts in prop::collection::vec((0usize..200, 0usize..60), 0..20),
        ) {
            let mut stream = CryptoStream::default();
            let mut known = vec![false; bytes.len()];
            for (at, length) in parts {
                let at = at.min(bytes.len());
                let end = (at + length).min(bytes.len());
                stream.add(at as u64, &bytes[at..end]).unwrap();
                known[at..end].fill(true);
                let beginning = known.iter().take_while(|it| **it).count();
                prop_assert_eq!(stream.beginning(), &bytes[..beginning]);
            }
            stream.add(0, &bytes).unwrap();
            prop_assert_eq!(stream.beginning(), &bytes[..]);
        }
    }
}
