//! `dns.cache-file`: read at the start, written every few minutes and at the end.

use super::cache::Now;
use super::reply::Side;
use super::resolver::{Resolver, Way};
use super::wire::Query;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::rc::Weak;
use std::time::Duration;
use tracing::{debug, warn};

/// So much is forgotten at most when the power fails.
const INTERVAL: Duration = Duration::from_secs(600);

/// A larger file is not ours.
const LONGEST: u64 = 1 << 30;

impl Resolver {
    /// Reads the file. A missing or a bad one is no reason not to start.
    pub(super) fn restore_cache(&self) {
        let Some(path) = &self.settings.options.cache_file else { return };
        let mut content = Vec::new();
        let read = File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut content));
        match read {
            Ok(_) => {
                let fits = |query: &Query, side| self.still_fits(query, side);
                let count = self.cache.borrow_mut().load(&content, self.clamp, Now::read(), fits);
                debug!("{count} answers from {}", path.display());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => warn!("cannot read dns.cache-file {}: {error}", path.display()),
        }
    }

    /// Writes the file from time to time. Does not keep the resolver, which one with other settings
    /// may replace: its connections end with it.
    pub(super) async fn keep_cache(resolver: Weak<Self>) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            match resolver.upgrade() {
                Some(resolver) if !resolver.is_retired() => resolver.save_cache(),
                _ => return,
            }
        }
    }

    /// Writes the file.
    pub(super) fn save_cache(&self) {
        let Some(path) = &self.settings.options.cache_file else { return };
        let content = self.cache.borrow().save(Now::read());
        if let Err(error) = replace(path, &content) {
            warn!("cannot write dns.cache-file {}: {error}", path.display());
        }
    }

    /// Whether the configuration of today would still give this answer.
    fn still_fits(&self, query: &Query, side: Side) -> bool {
        if self.is_answered_here(query) {
            return false;
        }
        match self.way(query) {
            Way::Trusted => side == Side::Trusted,
            Way::Judge => side == Side::Trusted || !self.settings.china_set.is_empty(),
            // Servers for a domain may have changed, and are near.
            Way::Servers(_) => false,
            Way::Domestic => true,
        }
    }
}

/// Writes beside and renames: the file is whole at any moment. Only we may read what was asked.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(&beside)?.write_all(content)?;
    fs::rename(&beside, path)
}
