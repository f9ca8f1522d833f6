//! Who may have how many of the connections: a pure state machine, without clock and without I/O.
//!
//! One host that opens connections without end must not keep the others out, and a host that is
//! alone shall have what there is. Nothing that is open is ever ended for that. So the limit is not
//! divided; what is *left* of it is:
//!
//! - While more than a quarter of the limit is free, everybody gets what they ask for.
//! - Of the last quarter a host gets one more only if it holds fewer than are free: each that asks
//!   without end comes to half of what the former one has left, and a newcomer always finds some.
//! - Of the last eighth its network has to hold fewer, too. That is the /64 of IPv6, in which a
//!   host gives itself as many addresses as it likes. (Not for all that is left: a whole LAN lives
//!   in one /64, and its hosts deserve to be told apart.) In IPv4 an address is a host.
//!
//! So a host that is alone gets three quarters, and what it holds beyond its share it has got while
//! nobody else asked. In local mode every client is this machine itself: its own addresses are not
//! told apart, and there is the limit only.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A client, as far as a share is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Claimant {
    Host(IpAddr),
    /// The /64 of this address, whose other half is zero.
    Network(Ipv6Addr),
}

/// Why a client gets no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shortage {
    /// The limit is reached, or nearly so, and no client is to blame.
    Full,
    /// What is left is for others: this one holds so many.
    Share { source: Claimant, held: u32 },
}

/// A connection is denied. It is worth a line in the log once, and again after it had passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Denied {
    pub(super) why: Shortage,
    pub(super) is_news: bool,
}

/// The connections of this moment.
#[derive(Debug)]
pub(super) struct Shares {
    limit: u32,
    by_source: bool,
    open: u32,
    held: HashMap<Claimant, Held>,
    told_full: bool,
}

#[derive(Debug, Default)]
struct Held {
    connections: u32,
    /// How many it held when that was told; 0: nothing was told.
    told: u32,
}

impl Shares {
    /// `by_source`: sources are told apart.
    pub(super) fn new(limit: u32, by_source: bool) -> Self {
        Shares { limit, by_source, open: 0, held: HashMap::new(), told_full: false }
    }

    /// From now on sources are told apart, or not. They are counted all the while.
    pub(super) fn set_by_source(&mut self, by_source: bool) {
        self.by_source = by_source;
    }

    /// Connections that are open.
    pub(super) fn open(&self) -> u32 {
        self.open
    }

    /// Lets one more in. It has to [`leave`](Self::leave) again.
    pub(super) fn enter(&mut self, client: IpAddr) -> Result<(), Denied> {
        if let Some(why) = self.refuses(client) {
            return Err(Denied { why, is_news: self.is_news(why) });
        }
        self.open += 1;
        for source in sources(client) {
            self.held.entry(source).or_default().connections += 1;
        }
        Ok(())
    }

    /// A connection that was let in has ended.
    pub(super) fn leave(&mut self, client: IpAddr) {
        self.open = self.open.saturating_sub(1);
        if self.open < self.limit - self.limit / 16 {
            self.told_full = false;
        }
        for source in sources(client) {
            let Some(held) = self.held.get_mut(&source) else { continue };
            held.connections = held.connections.saturating_sub(1);
            // Half of what it was: it is another state, and worth a word if it comes again.
            if held.connections <= held.told / 2 {
                held.told = 0;
            }
            if held.connections == 0 {
                self.held.remove(&source);
            }
        }
    }

    fn refuses(&self, client: IpAddr) -> Option<Shortage> {
        let free = self.limit.saturating_sub(self.open);
        if free == 0 {
            return Some(self.blame(client, 0));
        }
        if !self.by_source || free > self.limit / 4 {
            return None;
        }
        let reserved = |source: &Claimant| match source {
            Claimant::Host(_) => self.limit / 4,
            Claimant::Network(_) => self.limit / 8,
        };
        let refuses =
            |source: Claimant| free <= reserved(&source) && self.connections(source) >= free;
        sources(client).any(refuses).then(|| self.blame(client, free))
    }

    /// A source is to blame if it holds a good part of all; else there are simply many.
    fn blame(&self, client: IpAddr, free: u32) -> Shortage {
        let much = (self.limit / 16).max(free).max(1);
        let culprit = sources(client).find(|source| self.connections(*source) >= much);
        match culprit {
            Some(source) if self.by_source => {
                Shortage::Share { source, held: self.connections(source) }
            }
            _ => Shortage::Full,
        }
    }

    fn is_news(&mut self, why: Shortage) -> bool {
        match why {
            Shortage::Full => !std::mem::replace(&mut self.told_full, true),
            Shortage::Share { source, held } => match self.held.get_mut(&source) {
                Some(entry) if entry.told == 0 => {
                    entry.told = held;
                    true
                }
                _ => false,
            },
        }
    }

    fn connections(&self, source: Claimant) -> u32 {
        self.held.get(&source).map_or(0, |held| held.connections)
    }
}

/// The host, and its network where that is something else.
fn sources(client: IpAddr) -> impl Iterator<Item = Claimant> {
    let network = match client {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => {
            let prefix = v6.to_bits() & (u128::MAX << 64);
            Some(Claimant::Network(Ipv6Addr::from_bits(prefix)))
        }
    };
    std::iter::once(Claimant::Host(client)).chain(network)
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shortage::Full => f.write_str("as many connections are open as may be"),
            Shortage::Share { source, held } => {
                write!(
                    f,
                    "{source} holds {held} connections, and those that are left are for others"
                )
            }
        }
    }
}

impl fmt::Display for Claimant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Claimant::Host(address) => address.fmt(f),
            Claimant::Network(prefix) => write!(f, "{prefix}/64"),
        }
    }
}

#[cfg(test)]
mod tests;
