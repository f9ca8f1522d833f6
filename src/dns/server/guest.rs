//! A client over TCP, TLS or HTTPS, from its place on.

use super::room::RoomPlace;
use crate::dns::present::Present;
use crate::target::canonical;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// A client that has a place.
pub(super) struct Guest {
    pub(super) present: Rc<Present>,
    pub(super) client: SocketAddr,
    /// Where it asks the household's resolver; `None`: it was captured.
    pub(super) at: Option<IpAddr>,
    pub(super) place: RoomPlace,
}

impl Guest {
    /// Whether the settings of this moment let it ask.
    pub(super) fn is_welcome(&self) -> bool {
        let resolver = self.present.load();
        let household = &resolver.policy.settings.household;
        self.at.is_none_or(|own| household.may_ask(canonical(self.client).ip(), own))
    }
}

/// Why a client is left that may not ask.
pub(super) fn unwelcome() -> io::Error {
    io::Error::other("no host of the household, and none of household.clients")
}
