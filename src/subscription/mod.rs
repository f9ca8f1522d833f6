//! Servers that a provider hands out: a body behind a URL, or a file, and what becomes of it.
//!
//! A body comes from a remote party. It can say which servers there are, and nothing else: it sets
//! no key of the configuration, and starts no program that the operator has not allowed.
//!
//! | file | subject |
//! |---|---|
//! | `format` | from the bytes of a body to the proxies that it means, pure |

pub mod format;
