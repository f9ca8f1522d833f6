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
//! are large. How many there may be of each kind depends on how much memory there is
//! ([`super::memory`]): each kind has a part of it, and about a third is for what does not grow,
//! and for the caches, which have bounds of their own.

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

/// Large pieces of memory that relays may use at a time, where there is memory enough.
const LARGE_PIECES: usize = 32;

/// What they may come to, in bytes, on a router with little memory.
const LARGE_MEMORY: usize = 17 * 1024 * 1024 / 4;

const _: () = assert!(LARGE_PIECES * relay::LARGE_PIECE <= LARGE_MEMORY);

/// Names that are asked for at a time, where there is memory enough. More than a household ever
/// has; above that it is a flood, and memory is worth more than answers.
const NAMES: u64 = 4096;

/// Bytes of the windows of HTTP/2, where there is memory enough.
const WINDOWS: u64 = 64 * MIB;

/// With less there is no budget to speak of, in bytes.
const LEAST_MEMORY: u64 = 24 * MIB;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// What is set aside for a connection, in bytes: 4 KiB of it and 6 to 8 of the kernel's for both
/// its sockets while it is idle, and a small piece in two of three.
const CONNECTION_MEMORY: u64 = 24 * KIB;

/// The same for a UDP session: 2 KiB of it and 3 of the kernel's, and datagrams that wait there.
const SESSION_MEMORY: u64 = 8 * KIB;

/// A pipe that is full: sixteen pages, which the kernel holds.
const PIPE_MEMORY: u64 = 64 * KIB;

/// A name that is asked of both sides: six or seven tasks, their sockets, and the answers.
const NAME_MEMORY: u64 = 8 * KIB;

/// What may be open at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    pub(super) connections: u32,
    pub(super) sockets: Numbers,
    pub(super) datagrams: SessionLimits,
    per_session: u64,
    pipes: usize,
    large_pieces: usize,
    /// Bytes that servers of HTTP/2 may send ahead of slow readers.
    pub(super) windows: usize,
    /// Names that are asked for at a time.
    pub(super) names: u32,
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
        let memory = super::memory::for_this_process();
        let budget = Budget::of(files, per_session, memory.unwrap_or(u64::MAX));
        let memory = memory.map_or("unknown".to_owned(), |bytes| format!("{} MiB", bytes / MIB));
        debug!("{files} files may be open, and memory is {memory}: {budget}");
        budget
    }

    /// The same where so many descriptors are for `control.http`: connections leave them, half of
    /// theirs at most.
    #[cfg_attr(not(any(feature = "web", test)), expect(dead_code, reason = "control.http has it"))]
    pub(super) fn beside(self, descriptors: u64) -> Self {
        let less = (descriptors.div_ceil(PER_CONNECTION) as u32).min(self.connections / 2);
        Budget { connections: self.connections - less, ..self }
    }

    /// The part of the relays.
    pub(super) fn relay(&self) -> relay::Limits {
        relay::Limits::new(self.pipes, self.large_pieces)
    }

    const fn of(files: u64, per_session: u64, memory: u64) -> Self {
        let files = if files < FEWEST_FILES { FEWEST_FILES } else { files };
        let memory = if memory < LEAST_MEMORY { LEAST_MEMORY } else { memory };
        let reserved = if files / 2 < RESERVED { files / 2 } else { RESERVED };
        let datagrams = if per_session > 0 { (files - reserved) / DATAGRAM_SHARE } else { 0 };
        let reply_sockets =
            if datagrams / 4 < REPLY_SOCKETS { datagrams / 4 } else { REPLY_SOCKETS };
        let sessions = match per_session {
            0 => 0,
            each => (datagrams - reply_sockets) / each,
        };
        let sessions = least(sessions, least(MOST_SESSIONS, memory / 16 / SESSION_MEMORY));
        let datagrams = sessions * per_session + reply_sockets;
        let connections = (files - reserved - datagrams) / PER_CONNECTION;
        let connections = least(connections, least(MOST, memory / 8 * 3 / CONNECTION_MEMORY));
        let sixteenth = (reserved - rest(reserved)) / 16;
        Budget {
            connections: connections as u32,
            datagrams: SessionLimits {
                sessions: sessions as usize,
                reply_sockets: reply_sockets as usize,
            },
            per_session,
            pipes: least(4 * sixteenth / PER_PIPE, memory / 16 / PIPE_MEMORY) as usize,
            large_pieces: least(LARGE_PIECES as u64, memory / 32 / relay::LARGE_PIECE as u64)
                as usize,
            windows: least(WINDOWS, memory / 16) as usize,
            names: least(NAMES, memory / 16 / NAME_MEMORY) as u32,
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
        let Budget { connections, sockets, datagrams, pipes, large_pieces, windows, names, .. } =
            self;
        let Numbers { questions, fallbacks, clients, races, warm } = sockets;
        let SessionLimits { sessions, reply_sockets } = datagrams;
        write!(
            f,
            "{connections} connections, {pipes} pipes, {large_pieces} large pieces of memory, \
             {windows} bytes ahead of slow readers, {sessions} UDP sessions with {reply_sockets} \
             sockets for replies, {names} names at a time, {questions} questions to name servers \
             over UDP and {fallbacks} over TCP, {clients} clients of the resolver over TCP, \
             {races} further dials at a time and \
             {warm} ahead"
        )
    }
}

const fn rest(reserved: u64) -> u64 {
    if reserved / 8 > REST { reserved / 8 } else { REST }
}

const fn least(one: u64, other: u64) -> u64 {
    if one < other { one } else { other }
}

/// Whatever the limits are, the parts and the rest are no more than that.
const fn fits(files: u64) -> bool {
    fits_with(files, 0) && fits_with(files, 64 * MIB) && fits_with(files, u64::MAX)
}

const fn fits_with(files: u64, memory: u64) -> bool {
    let without = Budget::of(files, 0, memory);
    let [one, two] = [Budget::of(files, 1, memory), Budget::of(files, 2, memory)];
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
        && budget.large_pieces > 0
        && budget.names >= 64
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
            assert!(fits(files), "{files}: {:?}", Budget::of(files, 1, u64::MAX));
        }
    }

    #[test]
    fn the_log_has_words() {
        let text = Budget::of(20_000, 0, u64::MAX).to_string();
        assert!(text.starts_with("9488 connections, 112 pipes, 32 large pieces"), "{text}");
        assert!(!text.contains(['{', ':', '_']), "{text}");
    }

    #[test]
    fn dashboards_have_their_own() {
        let budget = Budget::of(20_000, 0, u64::MAX);
        let beside = budget.beside(224);
        assert_eq!(budget.descriptors() - beside.descriptors(), 224);
        assert_eq!(Budget::of(FEWEST_FILES, 0, u64::MAX).beside(224).connections, 32);
    }

    #[test]
    fn how_files_are_divided() {
        let budget = Budget::of(20_000, 0, u64::MAX);
        assert_eq!(budget.connections, 9488);
        assert_eq!(budget.pipes, 112);
        assert_eq!(budget.datagrams, SessionLimits { sessions: 0, reply_sockets: 0 });
        let Numbers { questions, fallbacks, clients, races, warm } = budget.sockets;
        assert_eq!([questions, fallbacks, clients, races, warm], [336, 56, 168, 56, 56]);
        assert_eq!(20_000 - budget.descriptors(), 128, "is for the rest");
        let budget = Budget::of(20_000, 1, u64::MAX);
        assert_eq!(budget.connections, 7116);
        assert_eq!(budget.datagrams, SessionLimits { sessions: 4232, reply_sockets: 512 });
        assert_eq!(20_000 - budget.descriptors(), 128);
        let budget = Budget::of(20_000, 2, u64::MAX);
        assert_eq!(budget.datagrams, SessionLimits { sessions: 2116, reply_sockets: 512 });
        assert_eq!(20_000 - budget.descriptors(), 128);
    }
    /// What is promised for 64 MiB, and for the 128 of a usual router; with 8 GiB files are what
    /// limits.
    #[test]
    fn how_memory_is_divided() {
        let of = |memory| {
            let budget = Budget::of(262_144, 1, memory);
            let Budget { connections, pipes, large_pieces, names, .. } = budget;
            [connections as usize, budget.datagrams.sessions, pipes, large_pieces, names as usize]
        };
        assert_eq!(of(64 * MIB), [1024, 512, 64, 15, 512]);
        assert_eq!(of(128 * MIB), [2048, 1024, 112, 30, 1024]);
        assert_eq!(of(8192 * MIB), [100_000, 32_768, 112, 32, 4096]);
        assert_eq!(of(0), of(LEAST_MEMORY));
        assert!(of(u64::MAX) >= of(8192 * MIB));
    }

    /// Everything that is bounded by memory, and 20 MiB beside it.
    #[test]
    fn the_parts_fit_into_memory() {
        for mebibytes in 24..4096 {
            let memory = mebibytes * MIB;
            let budget = Budget::of(262_144, 1, memory);
            let parts = u64::from(budget.connections) * CONNECTION_MEMORY
                + budget.datagrams.sessions as u64 * SESSION_MEMORY
                + budget.pipes as u64 * PIPE_MEMORY
                + budget.large_pieces as u64 * relay::LARGE_PIECE as u64
                + budget.windows as u64
                + u64::from(budget.names) * NAME_MEMORY;
            assert!(parts <= memory / 3 * 2, "{mebibytes} MiB: {parts}");
        }
    }
}
