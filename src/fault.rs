//! Faults on purpose, so that the selftest can be seen to find them. Only debug builds have them.

/// A part that can be broken by the environment variable `SNET_FAULT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `split`: foreign destinations count as domestic.
    Split,
    /// `mark`: our own sockets carry no mark.
    Mark,
    /// `relay`: the end of one half swallows the connection.
    Relay,
    /// `judgement`: a foreign address from the domestic side is believed.
    Judgement,
}

/// Whether this part is to be broken; never in a release build.
pub fn is(fault: Fault) -> bool {
    cfg!(debug_assertions) && std::env::var("SNET_FAULT").is_ok_and(|name| name == fault.name())
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Fault::Split => "split",
            Fault::Mark => "mark",
            Fault::Relay => "relay",
            Fault::Judgement => "judgement",
        }
    }
}
