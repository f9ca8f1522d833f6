//! How connections reach us.
