//! The bytes of a question, in place if they are few, as they nearly always are.

use std::ops::{Deref, DerefMut};

/// Twice a name of 50 bytes, and what follows it. Queries are handed on by value: more would be
/// copied with each.
const FEW: usize = 128;

/// So many bytes, 0 at first.
#[derive(Clone)]
pub(super) struct QuestionBytes {
    few: [u8; FEW],
    many: Option<Box<[u8]>>,
}

impl QuestionBytes {
    /// At least `length` of them.
    pub(super) fn new(length: usize) -> Self {
        let many = (length > FEW).then(|| vec![0; length].into());
        QuestionBytes { few: [0; FEW], many }
    }
}

impl Deref for QuestionBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.many.as_deref().unwrap_or(&self.few)
    }
}

impl DerefMut for QuestionBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.many.as_deref_mut().unwrap_or(&mut self.few)
    }
}
