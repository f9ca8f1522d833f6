//! `[control]`: where `snet reload` finds the daemon.

use super::section::Section;
use super::source::{SourceFile, is_same};
use std::path::{Path, PathBuf};

/// The default of `control.socket`.
pub const CONTROL_SOCKET: &str = "/run/snet/control.sock";

/// The size of `sun_path` in struct sockaddr_un (unix(7)), which ends with a zero byte.
const LONGEST_SOCKET: usize = 107;

/// Reads `control.socket`.
pub(super) fn socket(section: &Section<'_>) -> PathBuf {
    let mut path = PathBuf::from(CONTROL_SOCKET);
    section.key("socket", &mut path, |item| item.parse(socket_path));
    path
}

fn socket_path(text: &str) -> Result<PathBuf, String> {
    if text.starts_with('/') && !text.contains('\0') && text.len() <= LONGEST_SOCKET {
        Ok(PathBuf::from(text))
    } else {
        Err(format!("an absolute path, for example \"{CONTROL_SOCKET}\""))
    }
}

/// Refuses a socket in the place of a file that was read, or of the file of answers. (The latter
/// is checked by itself: it may only be one that snet has written.)
pub(super) fn nothing_is_overwritten(section: &Section<'_>, socket: &Path, cache: Option<&Path>) {
    let Some(item) = section.item("socket") else { return };
    let is_cache = || cache.is_some_and(|cache| is_same(socket, cache));
    let role = |source: &SourceFile<'_>| {
        source.role(socket).or_else(|| is_cache().then(|| "the file of dns.cache-file".into()))
    };
    if let Some(role) = role(item.source) {
        item.refuse_as::<()>(format!("{} ({role})", socket.display()), "a path for nothing else");
    }
}
