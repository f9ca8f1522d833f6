//! The lab: snet against real peers, in network namespaces that hold a little internet.
//!
//! Needs no root: every test runs in user, network, mount and process namespaces of its own
//! ([`sealed`]), on two hosts with a wire between them ([`world`]). The peers ([`peer`]) are the
//! programs that people use; where one has to misbehave it is a small server of ours. What is
//! looked for is absence as well as presence, by counters in the kernel ([`counters`]).
//!
//! The subjects, a file each: [`peers`] proves the laboratory without snet; the others prove snet.

#![expect(
    clippy::disallowed_methods,
    reason = "clients and peers of the lab are no part of snet: their sockets must not be marked"
)]

mod cgroup;
mod client;
mod counters;
mod digest;
mod peer;
mod process;
mod question;
mod sealed;
mod snet;
mod stillness;
mod tables;
mod tools;
mod upstream;
mod wait;
mod world;

mod absence;
mod bad_proxy;
mod bound;
mod crowd;
mod dns_only;
mod ends;
mod flows;
mod flushed;
mod garbage;
mod hung;
mod killed;
mod local_proxy;
mod manner;
mod moments;
mod moved;
mod names;
mod open_before;
mod peers;
mod queries;
mod reach;
mod refusals;
mod reload;
mod restored;
mod router;
mod rules;
mod shortage;
mod slept;
mod soak;
mod steps;
mod transfer;
mod wishes;
