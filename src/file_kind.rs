//! What stands at a path, in the words of a message.

use std::fs::FileType;
use std::os::unix::fs::FileTypeExt;

/// With its article.
pub fn name(kind: FileType) -> &'static str {
    match kind {
        _ if kind.is_file() => "a regular file",
        _ if kind.is_dir() => "a directory",
        _ if kind.is_symlink() => "a symbolic link",
        _ if kind.is_fifo() => "a FIFO",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    }
}
