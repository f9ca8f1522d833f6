//! The lab: what tests of snet have in common that need a network, a kernel or programs of their
//! own.
//!
//! Needs no root: every test runs in user, network, mount and process namespaces of its own
//! ([`seal`]). There are two worlds. [`kernel`] is one machine, to which a test adds what it needs,
//! for example a host behind a wire that answers on every address ([`internet`]) or a household
//! ([`house`]): the rules of the firewall are tried there. [`world`] is a machine and a little
//! internet with sites, name servers and proxies: the daemon is tried there, against the programs
//! that people use.
//!
//! It knows nothing of snet itself. A machine that lacks a program fails, and is told what to
//! install ([`tools`]).

#![expect(
    clippy::disallowed_methods,
    reason = "clients and peers of the lab are no part of snet: their sockets must not be marked"
)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

pub mod cgroup;
pub mod executable;
pub mod house;
pub mod internet;
pub mod kernel;
pub mod process;
pub mod seal;
pub mod small_machine;
pub mod stillness;
pub mod stop;
pub mod tools;
pub mod variant;
pub mod wait;
pub mod world;

pub use variant::Variant;
