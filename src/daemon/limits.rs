//! How many connections this process can serve.

use crate::relay;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::{debug, warn};

/// Kept for the resolver's sockets, pipes, listeners, the heartbeat, the log and the tools; at most
/// half of all.
const RESERVED: u64 = 1024;

/// The part of it that may be in pipes.
const IN_PIPES: u64 = 4;

/// Both legs of a connection.
const PER_CONNECTION: u64 = 2;

/// More than this is no router's traffic; it bounds memory where the limit is infinite.
const MOST: u64 = 100_000;

/// Raises the soft limit of open files to the hard one (getrlimit(2)) and returns how many
/// connections fit.
pub(super) fn connections() -> u32 {
    let files = match raise() {
        Ok(files) => files,
        Err(error) => {
            warn!("cannot raise the limit of open files: {error}");
            1024
        }
    };
    let reserved = RESERVED.min(files / 2);
    relay::limit_pipes(usize::try_from(reserved / IN_PIPES / 2).unwrap_or(usize::MAX));
    let connections = ((files - reserved) / PER_CONNECTION).clamp(16, MOST);
    debug!(files, connections, "limits");
    u32::try_from(connections).unwrap_or(u32::MAX)
}

fn raise() -> nix::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}
