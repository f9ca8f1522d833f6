//! The budget of descriptors and memory: how many connections this process can serve, and what it
//! may hold beside them. It is one value, made at the start; every part is handed in where it is
//! used.
//!
//! Connections get what is left after a reserve. The reserve is divided among everything that grows
//! with traffic, and a rest is for what does not: listeners, netlink, the log, the heartbeat. No
//! part can take another's, so that whatever floods snet, the heartbeat finds descriptors, and the
//! rules do not become inactive for want of them.
//!
//! Memory is bounded by number: an idle connection has no buffer, and of those in use only so many
//! are large.

use crate::net::allowance::Numbers;
use crate::relay;
use crate::udp::SessionLimits;
use crate::warnings::StandingWarning;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fmt;
use tracing::{debug, warn};

/// Kept beside the connections; at most half of all.
const RESERVED: u64 = 1024;

/// The least of the reserve that is for what does not grow: some 30 are open at rest, a health
/// check needs up to six for each listening address, a reload and the tools a dozen.
const REST: u64 = 64;

/// With fewer files there is no budget to speak of.
const FEWEST_FILES: u64 = 256;

/// More than this is no router's traffic; it bounds memory where the limit is infinite.
const MOST: u64 = 100_000;

/// Both legs of a connection.
const PER_CONNECTION: u64 = 2;

/// Where captured UDP is relayed, its sessions and the sockets of their replies get one in so many
/// of the files beyond the reserve; connections get the rest.
const DATAGRAM_SHARE: u64 = 4;

/// More UDP sessions than this are no router's traffic.
const MOST_SESSIONS: u64 = 32_768;

/// Reply sockets, where there are files enough: one for each foreign address that answers.
const REPLY_SOCKETS: u64 = 512;

/// Both ends of a pipe.
const PER_PIPE: u64 = 2;

/// Large pieces of memory that relays may use at a time.
const LARGE_PIECES: usize = 32;

/// What they may come to, in bytes, on a router with little memory.
const LARGE_MEMORY: usize = 17 * 1024 * 1024 / 4;

const _: () = assert!(LARGE_PIECES * relay::LARGE_PIECE <= LARGE_MEMORY);

/// What may be open at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    pub(super) connections: u32,
    pub(super) sockets: Numbers,
    pub(super) datagrams: SessionLimits,
    per_session: u64,
    pipes: usize,
}

impl Budget {
    /// Raises the soft limit of open files to the hard one (getrlimit(2)), and divides it.
    /// `per_session`: what a session of captured UDP holds; 0: none is relayed.
    pub(super) fn take(per_session: u64) -> Self {
        let files = match raise() {
            Ok(files) => files,
            Err(error) => {
                warn!("cannot raise the limit of open files: {error}");
                1024
            }
        };
        if files < FEWEST_FILES {
            StandingWarning::raise(format!(
                "only {files} files may be open, and snet needs {FEWEST_FILES}: raise the limit \
                 (LimitNOFILE= of the service, ulimit -n), or connections will fail"
            ))
            .for_good();
        }
        let budget = Budget::of(files, per_session);
        debug!("{files} files may be open: {budget}");
        budget
    }

    /// The same where so many descriptors are for `control.http`: connections leave them, half of
    /// theirs at most.
    pub(super) fn beside(self, descriptors: u64) -> Self {
        let less = (descriptors.div_ceil(PER_CONNECTION) as u32).min(self.connections / 2);
        Budget { connections: self.connections - less, ..self }
    }

    /// The part of the relays.
    pub(super) fn relay(&self) -> relay::Limits {
        relay::Limits::new(self.pipes, LARGE_PIECES)
    }

    const fn of(files: u64, per_session: u64) -> Self {
        let files = if files < FEWEST_FILES { FEWEST_FILES } else { files };
        let reserved = if files / 2 < RESERVED { files / 2 } else { RESERVED };
        let datagrams = if per_session > 0 { (files - reserved) / DATAGRAM_SHARE } else { 0 };
        let reply_sockets =
            if datagrams / 4 < REPLY_SOCKETS { datagrams / 4 } else { REPLY_SOCKETS };
        let sessions = match per_session {
            0 => 0,
            each => (datagrams - reply_sockets) / each,
        };
        let sessions = if sessions < MOST_SESSIONS { sessions } else { MOST_SESSIONS };
        let datagrams = sessions * per_session + reply_sockets;
        let connections = (files - reserved - datagrams) / PER_CONNECTION;
        let sixteenth = (reserved - rest(reserved)) / 16;
        Budget {
            connections: if connections < MOST { connections } else { MOST } as u32,
            datagrams: SessionLimits {
                sessions: sessions as usize,
                reply_sockets: reply_sockets as usize,
            },
            per_session,
            pipes: (4 * sixteenth / PER_PIPE) as usize,
            sockets: Numbers {
                questions: 6 * sixteenth as usize,
                fallbacks: sixteenth as usize,
                clients: 3 * sixteenth as usize,
                races: sixteenth as usize,
                warm: sixteenth as usize,
            },
        }
    }

    /// Descriptors of all parts together.
    const fn descriptors(&self) -> u64 {
        let Numbers { questions, fallbacks, clients, races, warm } = self.sockets;
        let SessionLimits { sessions, reply_sockets } = self.datagrams;
        self.connections as u64 * PER_CONNECTION
            + sessions as u64 * self.per_session
            + reply_sockets as u64
            + self.pipes as u64 * PER_PIPE
            + (questions + fallbacks + clients + races + warm) as u64
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Budget { connections, sockets, datagrams, per_session: _, pipes } = self;
        let Numbers { questions, fallbacks, clients, races, warm } = sockets;
        let SessionLimits { sessions, reply_sockets } = datagrams;
        write!(
            f,
            "{connections} connections, {pipes} pipes, {sessions} UDP sessions with \
             {reply_sockets} sockets for replies, {questions} questions to name servers over UDP \
             and {fallbacks} over TCP, {clients} clients of the resolver over TCP, {races} \
             further dials at a time and {warm} ahead"
        )
    }
}

const fn rest(reserved: u64) -> u64 {
    if reserved / 8 > REST { reserved / 8 } else { REST }
}

/// Whatever the limit is, the parts and the rest are no more than that.
const fn fits(files: u64) -> bool {
    let [without, one, two] = [Budget::of(files, 0), Budget::of(files, 1), Budget::of(files, 2)];
    is_possible(without, files)
        && is_possible(one, files)
        && is_possible(two, files)
        && without.connections >= 64
        && two.datagrams.sessions >= 12
        && two.datagrams.reply_sockets > 0
}

const fn is_possible(budget: Budget, files: u64) -> bool {
    budget.descriptors() + REST <= files
        && budget.pipes > 0
        && budget.sockets.fallbacks > 0
        && budget.connections >= 48
}

const _: () = {
    let mut files = FEWEST_FILES;
    while files <= 4 * RESERVED {
        assert!(fits(files));
        files += 1;
    }
    assert!(fits(524_288) && fits(u64::MAX / 4));
};

fn raise() -> nix::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_fit() {
        for files in (FEWEST_FILES..300_000).step_by(7) {
            assert!(fits(files), "{files}: {:?}", Budget::of(files, 1));
        }
    }

    #[test]
    fn the_log_has_words() {
        let text = Budget::of(20_000, 0).to_string();
        assert!(text.starts_with("9488 connections, 112 pipes, 0 UDP sessions"), "{text}");
        assert!(!text.contains(['{', ':', '_']), "{text}");
    }

    #[test]
    fn dashboards_have_their_own() {
        let budget = Budget::of(20_000, 0);
        let beside = budget.beside(224);
        assert_eq!(budget.descriptors() - beside.descriptors(), 224);
        assert_eq!(Budget::of(FEWEST_FILES, 0).beside(224).connections, 32);
    }

    #[test]
    fn how_files_are_divided() {
        let budget = Budget::of(20_000, 0);
        assert_eq!(budget.connections, 9488);
        assert_eq!(budget.pipes, 112);
        assert_eq!(budget.datagrams, SessionLimits { sessions: 0, reply_sockets: 0 });
        let Numbers { questions, fallbacks, clients, races, warm } = budget.sockets;
        assert_eq!([questions, fallbacks, clients, races, warm], [336, 56, 168, 56, 56]);
        assert_eq!(20_000 - budget.descriptors(), 128, "is for the rest");
        let budget = Budget::of(20_000, 1);
        assert_eq!(budget.connections, 7116);
        assert_eq!(budget.datagrams, SessionLimits { sessions: 4232, reply_sockets: 512 });
        assert_eq!(20_000 - budget.descriptors(), 128);
        let budget = Budget::of(20_000, 2);
        assert_eq!(budget.datagrams, SessionLimits { sessions: 2116, reply_sockets: 512 });
        assert_eq!(20_000 - budget.descriptors(), 128);
    }
}
