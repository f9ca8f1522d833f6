//! Servers that a provider hands out: a body behind a URL, or a file, and what becomes of it.
//!
//! A body comes from a remote party. It can say which servers there are, and nothing else: it sets
//! no key of the configuration, names no server of this machine, and starts no program that the
//! operator has not allowed.
//!
//! | file | subject |
//! |---|---|
//! | `format` | from the bytes of a body to the proxies that it means, pure |
//! | `fetch` | one fetch: HTTP through a proxy or directly, bounded |
//! | `kept` | the last good body, on the disk |
//! | `url`, `usage`, `names` | the address and its token; what headers tell; `include`, `exclude` |
//!
//! # The story of a start
//!
//! `config` reads the body that is kept, and puts its servers behind those of `[[proxy]]`. So
//! snet starts without a network, and the rest of it knows no difference between proxies. Without a
//! body there is no server yet: connections are refused, never sent directly.
//!
//! # The story of a fetch
//!
//! `daemon/subscriptions.rs` fetches when the body is old, or at once after a reload, through the
//! first proxy that works, and directly if that fails and the operator lets it. A body that brings
//! no server snet can use changes nothing. Another one is kept, and the supervisor makes the next
//! generation of the present configuration and its servers: not of the file, which may be in the
//! middle of an edit. It is a reload like any other, in which a proxy whose settings are equal
//! keeps its connections and what is known of its health.

#[cfg(feature = "tls")]
pub mod fetch;
pub mod format;
pub mod kept;
pub mod names;
pub mod url;
pub mod usage;
