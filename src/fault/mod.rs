//! Faults on purpose, so that the selftest can be seen to find them, and so that every step of the
//! daemon's life can be seen to fail ([`Step`]). Only debug builds have them: elsewhere [`is`] is a
//! constant, and the compiler removes what it guards.

mod step;

pub use step::{Step, at, pass};

use std::sync::OnceLock;

/// A part that the environment variable `SNET_FAULT` breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `split`: the kernel is told that all the world is domestic.
    Split,
    /// `capture`: the kernel is told that nothing is domestic.
    Capture,
    /// `mark`: our own sockets carry no mark.
    Mark,
    /// `relay`: a bit of what a program sends is flipped.
    Relay,
    /// `half-close`: a FIN is not sent on; it ends the connection.
    HalfClose,
    /// `judgement`: a foreign address from the domestic side is believed.
    Judgement,
    /// `udp-hang`: the thread of captured UDP sleeps from the datagram `hang` on.
    UdpHang,
    /// `far`: every proxy server is taken for one that is far away.
    Far,
}

/// Whether this part is to be broken; never in a release build. The environment is read once.
pub fn is(fault: Fault) -> bool {
    static CHOSEN: OnceLock<Option<Fault>> = OnceLock::new();
    cfg!(debug_assertions) && *CHOSEN.get_or_init(chosen) == Some(fault)
}

/// Certificates of authorities (DER) that only tests trust: the environment variable `SNET_ROOTS`
/// names a file of one. Only in debug builds.
pub fn roots(mut trust: impl FnMut(Vec<u8>)) {
    if cfg!(debug_assertions)
        && let Some(authority) =
            std::env::var_os("SNET_ROOTS").and_then(|file| std::fs::read(file).ok())
    {
        trust(authority);
    }
}

fn chosen() -> Option<Fault> {
    match std::env::var("SNET_FAULT").ok()?.as_str() {
        "split" => Some(Fault::Split),
        "capture" => Some(Fault::Capture),
        "mark" => Some(Fault::Mark),
        "relay" => Some(Fault::Relay),
        "half-close" => Some(Fault::HalfClose),
        "judgement" => Some(Fault::Judgement),
        "udp-hang" => Some(Fault::UdpHang),
        "far" => Some(Fault::Far),
        _ => None,
    }
}
