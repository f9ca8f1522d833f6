//! What becomes of the traffic of each family: the switches that the heartbeat sets in the kernel.
//!
//! Every rule that acts asks a switch, and a switch stays as it is for
//! [`RULE_LIFETIME`](super::RULE_LIFETIME) only. So a daemon that is dead or hangs leaves both on
//! [`Switch::Off`], and then [`OnFailure`] decides.

use super::family::Family;
use std::time::Duration;

/// The rules act for so long after a beat.
pub const RULE_LIFETIME: Duration = Duration::from_secs(6);

/// What becomes of the traffic of one family.
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
    pub const CAPTURE: Switches = Switches { v4: Switch::Capture, v6: Switch::Capture };

    /// Nothing is captured.
    pub const OFF: Switches = Switches { v4: Switch::Off, v6: Switch::Off };

    pub(super) fn of(self, family: Family) -> Switch {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}
