//! What tells that a file has changed, or that another one has taken its place, without reading it.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A version of a file. Another one differs: writing changes the times (stat(2)), a rename brings
/// another inode, also where the times were copied with the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    /// Of an open file.
    pub fn of(metadata: &Metadata) -> Self {
        FileStamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// When its content was written, in seconds since the Unix epoch.
    pub fn written(&self) -> Option<u64> {
        u64::try_from(self.modified.0).ok()
    }

    /// Of what is there now, behind symbolic links. `None`: nothing that can be seen.
    pub fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| FileStamp::of(&metadata))
    }
}

/// A file of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it was when it was read. `None`: it could not be.
    pub stamp: Option<FileStamp>,
}
