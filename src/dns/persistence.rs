//! `dns.cache-file`: read at the start, written every few minutes and at the end.
//!
//! The disk may be slow or hang, so another thread waits for it ([`kept_file`]), and what goes
//! there and comes from there does so in pieces: between two of them names are answered. Neither
//! way holds more than a few pieces beside the cache. What is written and read is bounded by
//! `dns.cache-size`.

use super::cache::{FORMAT, Now};
use super::present::Present;
use super::resolver::Resolver;
use super::wire::Query;
use crate::kept_file::{self, Piece};
use crate::task::spawn_blocking;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tracing::{debug, warn};

/// So much is forgotten at most when the power fails.
const INTERVAL: Duration = Duration::from_secs(600);

/// Bytes that are written together, and pieces that wait for the disk.
const PIECE: usize = 64 << 10;
const WAITING: usize = 4;

/// Answers that are taken in before others get their turn: about a millisecond's.
const IN_A_ROW: usize = 128;

/// Why answers cannot be kept in this file, in words that follow "found".
pub fn obstacle(path: &Path) -> Option<String> {
    kept_file::obstacle(path, FORMAT)
}

impl Present {
    /// Writes the file from time to time. Never ends.
    pub(super) async fn keep_cache(self: Rc<Self>) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            self.save_cache().await;
        }
    }

    /// Reads the file. A missing or a bad one is no reason not to start.
    pub(super) async fn restore_cache(self: Rc<Self>) {
        self.restore().await;
        self.restored.set(true);
    }

    async fn restore(&self) {
        let _one_at_a_time = self.saving.lock().await;
        let resolver = self.load();
        let Some(path) = resolver.policy.settings.cache.file.clone() else { return };
        let most = resolver.policy.settings.cache.size;
        drop(resolver);
        let (at, shown) = (path.clone(), path.display());
        let content = match spawn_blocking(move || kept_file::read(&at, FORMAT, most)).await {
            Ok(Ok(content)) => content.unwrap_or_default(),
            Ok(Err(error)) => return warn!("cannot read dns.cache-file {shown}: {error}"),
            Err(panic) => return warn!("cannot read dns.cache-file {shown}: {panic}"),
        };
        let (mut rest, mut count) = (content.as_slice(), 0);
        while !rest.is_empty() {
            count += take_in(&self.load(), &mut rest);
            yield_now().await;
        }
        debug!("{count} answers from {shown}");
    }

    /// Writes the file, after it has been read. If that has not begun there is nothing new to
    /// write.
    pub(super) async fn save_cache(&self) {
        let _one_at_a_time = self.saving.lock().await;
        let Some(path) = self.load().policy.settings.cache.file.clone() else { return };
        if !self.restored.get() {
            return;
        }
        let (pieces, mut waiting) = mpsc::channel(WAITING);
        let at = path.clone();
        let writing =
            spawn_blocking(move || kept_file::replace(&at, FORMAT, || waiting.blocking_recv()));
        let mut from = 0;
        // A writer that has failed takes no more.
        while let Some((bytes, next)) = self.piece(from)
            && pieces.send(Piece::Some(bytes)).await.is_ok()
        {
            from = next;
        }
        let _ = pieces.send(Piece::End).await;
        if let Err(error) = writing.await.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
            warn!("cannot write dns.cache-file {}: {error}", path.display());
        }
    }

    fn piece(&self, from: usize) -> Option<(Vec<u8>, usize)> {
        self.load().memory.cache.borrow().save(Now::read(), from, PIECE)
    }
}

/// Takes over what today's settings would still give.
fn take_in(resolver: &Resolver, rest: &mut &[u8]) -> usize {
    let now = Now::read();
    let fits = |query: &Query, side| {
        let verdict = resolver.memory.verdict(query, now.steady);
        resolver.policy.still_gives(query, side, verdict)
    };
    let clamp = resolver.policy.clamp();
    resolver.memory.cache.borrow_mut().load(rest, IN_A_ROW, clamp, now, fits)
}
