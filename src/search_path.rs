//! Where programs are looked for: in PATH, then in the directories of administrators' tools, which
//! the PATH of an ordinary user lacks on Debian.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const SYSTEM: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// The directories, in the order in which they are searched.
pub fn directories() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own: Vec<PathBuf> = std::env::split_paths(&path).collect();
    // A relative one depends on where snet was started: anybody's directory.
    own.into_iter().filter(|own| own.is_absolute()).chain(SYSTEM.map(PathBuf::from))
}

/// The first executable of this name.
pub fn find(program: &str) -> Option<PathBuf> {
    directories().map(|directory| directory.join(program)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
