//! What is observed of this machine: its links, what it is connected to, which interfaces are LAN side.

pub(super) mod default_route;
pub(super) mod lan;
