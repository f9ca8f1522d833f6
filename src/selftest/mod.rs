//! The sealed little internet. Not written yet.
