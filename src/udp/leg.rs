//! What a session's datagrams pass on their way to the proxy: the wait for an association, and the
//! association itself.

use super::SharedState;
use crate::dispatch::Upstream;
use crate::net::udp::leg::LegSocket;
use crate::proxy::association::{DatagramCodec, Unsealable};
use crate::stats::DatagramStats;
use crate::target::Target;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use tracing::debug;

/// Datagrams of one session that wait for an association, and their bytes.
const MOST_WAITING: usize = 64;
const MOST_WAITING_BYTES: usize = 64 * 1024;

/// Bytes of all sessions that wait.
const ALL_WAITING_BYTES: usize = 2 * 1024 * 1024;

/// What waits for an association. What finds no room is dropped: the newest, since a client that
/// begins says the most in its first datagrams.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) datagrams: Vec<(SocketAddr, Vec<u8>)>,
    pub(super) bytes: usize,
}

/// The way to the proxy.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) socket: Rc<LegSocket>,
    pub(super) codec: Box<dyn DatagramCodec>,
    pub(super) via: Arc<Upstream>,
}

/// Datagrams that lie one behind the other.
#[derive(Debug, Default)]
pub(super) struct Packets {
    pub(super) bytes: Vec<u8>,
    pub(super) lengths: Vec<usize>,
}

impl Packets {
    /// After a large train, keep no more than this.
    const KEPT: usize = 256 * 1024;

    /// As much as leaves by one system call.
    const FULL: usize = 60 * 1024;

    /// Whether they should leave before more are added.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= Self::FULL
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(Self::KEPT);
        self.lengths.clear();
    }

    /// Appends what `write` appends.
    pub(super) fn add<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let before = self.bytes.len();
        write(&mut self.bytes)?;
        self.lengths.push(self.bytes.len() - before);
        Ok(())
    }
}

impl Waiting {
    /// Whether there was room.
    pub(super) fn add(
        &mut self,
        shared: &SharedState,
        destination: SocketAddr,
        datagram: &[u8],
    ) -> bool {
        let (length, all) = (datagram.len(), shared.waiting.get());
        let has_room = self.datagrams.len() < MOST_WAITING
            && self.bytes + length <= MOST_WAITING_BYTES
            && all + length <= ALL_WAITING_BYTES;
        if has_room {
            self.bytes += length;
            shared.waiting.set(all + length);
            self.datagrams.push((destination, datagram.to_vec()));
        }
        has_room
    }

    /// Drops what waits for this destination, and says how many datagrams that were.
    pub(super) fn forget(&mut self, shared: &SharedState, destination: SocketAddr) -> u64 {
        let (before, mut freed) = (self.datagrams.len(), 0);
        self.datagrams.retain(|(to, datagram)| {
            let stays = *to != destination;
            freed += if stays { 0 } else { datagram.len() };
            stays
        });
        self.bytes -= freed;
        shared.waiting.set(shared.waiting.get() - freed);
        (before - self.datagrams.len()) as u64
    }
}

impl Leg {
    pub(super) fn seal(
        &mut self,
        target: &Target,
        datagram: &[u8],
        packets: &mut Packets,
        stats: &DatagramStats,
    ) {
        let sealed = packets.add(|bytes| self.codec.seal(target, datagram, bytes));
        match sealed {
            Ok(()) => {}
            Err(Unsealable::TooLarge) => stats.too_large.add(1),
            Err(error) => {
                stats.dropped.add(1);
                debug!(destination = %target, proxy = self.via.name(), "{error}");
            }
        }
    }
}
