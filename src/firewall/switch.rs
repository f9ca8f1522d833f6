//! What becomes of the traffic of each family: the switches that the heartbeat sets in the kernel.
//!
//! Each family has two: that of foreign UDP is one of its own, since it comes by another way than
//! connections and queries, and either may be lost alone.
//!
//! Every rule that acts asks a switch, and a switch stays as it is for
//! [`RULE_LIFETIME`](super::RULE_LIFETIME) only. So a daemon that is dead or hangs leaves both on
//! [`Switch::Off`], and then [`OnFailure`] decides.

use crate::family::Family;
use std::time::Duration;

/// The rules act for so long after a beat.
pub const RULE_LIFETIME: Duration = Duration::from_secs(6);

/// What becomes of the traffic of one family, or of its foreign UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Names and foreign TCP are redirected, foreign QUIC is rejected.
    Capture,
    /// Names and foreign destinations are rejected, so that programs take the other family.
    Reject,
    /// What nobody keeps alive: see [`OnFailure`].
    Off,
    /// As it is, until its time is over.
    Keep,
    /// The same, and then rejected.
    KeepThenReject,
}

impl Switch {
    /// Whether the family is captured, and whether it is rejected where it is not; `None`: that
    /// stays as it is.
    pub(super) fn settings(self) -> (Option<bool>, Option<bool>) {
        match self {
            Switch::Capture => (Some(true), Some(false)),
            Switch::Reject => (Some(false), Some(true)),
            Switch::Off => (Some(false), Some(false)),
            Switch::Keep => (None, None),
            Switch::KeepThenReject => (None, Some(true)),
        }
    }
}

/// The switches of both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switches {
    /// Of IPv4.
    pub v4: Switch,
    /// Of IPv6.
    pub v6: Switch,
    /// Of foreign UDP, IPv4 first, where it is captured and its family is too.
    pub datagrams: [Switch; 2],
}

/// `firewall.on-failure`: what becomes of foreign traffic while no living snet that is proven to
/// capture stands behind the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// It flows as if snet were not there.
    #[default]
    Open,
    /// It is rejected, names too. Domestic destinations flow.
    Closed,
}

impl Switches {
    /// Both families are captured.
    pub const CAPTURE: Switches =
        Switches { v4: Switch::Capture, v6: Switch::Capture, datagrams: [Switch::Capture; 2] };

    /// Nothing is captured.
    pub const OFF: Switches =
        Switches { v4: Switch::Off, v6: Switch::Off, datagrams: [Switch::Off; 2] };

    pub(super) fn of(self, family: Family) -> Switch {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    /// That of foreign UDP, which is not captured unless its family is.
    pub(super) fn of_datagrams(self, family: Family) -> Switch {
        let [v4, v6] = self.datagrams;
        match (self.of(family), family) {
            (Switch::Capture, Family::V4) => v4,
            (Switch::Capture, Family::V6) => v6,
            (other, _) => other,
        }
    }
}
