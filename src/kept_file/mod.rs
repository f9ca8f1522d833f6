//! A file that snet keeps over a restart: read within a bound, replaced whole.
//!
//! Invariant: nothing is read, replaced or removed but a file that snet has written, or an empty
//! one. Symbolic links are not followed. These functions wait for the disk: not for a thread that
//! serves.

use crate::clock;
use crate::file_kind;
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use nix::unistd::{AccessFlags, access, getegid, geteuid, getgroups};
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// How the files of one use begin.
#[derive(Clone, Copy, Debug)]
pub struct KeptFormat {
    /// The begin of every version of the format.
    pub head: &'static [u8],
    /// The first line of the version that is read and written; it begins with the head.
    pub line: &'static [u8],
}

/// Some of the new content, or its end. A sender that goes away without it has changed its mind.
#[derive(Debug)]
pub enum Piece {
    /// Some of it.
    Some(Vec<u8>),
    /// All of it came.
    End,
}

/// Why a file cannot be kept there, in words that follow "found".
pub fn obstacle(path: &Path, format: KeptFormat) -> Option<String> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let shown = folder.display();
    match fs::metadata(folder) {
        Err(error) => return Some(format!("the folder {shown} ({error})")),
        Ok(found) if !found.is_dir() => return Some(format!("{shown}, which is no folder")),
        Ok(found) if geteuid().is_root() && !is_open_to_us(&found) => {
            return Some(format!("the folder {shown}, which root may write only with more rights"));
        }
        Ok(_) => {}
    }
    if let Err(errno) = access(folder, AccessFlags::W_OK | AccessFlags::X_OK) {
        return Some(format!("the folder {shown}, which cannot be written ({})", errno.desc()));
    }
    let is = |name: &Path, error| Some(format!("{}, which {error}", name.display()));
    let beside = beside(path);
    match (ours(path, format), ours(&beside, format)) {
        (Err(error), _) => is(path, error),
        (_, Err(error)) => is(&beside, error),
        (Ok(_), Ok(_)) => None,
    }
}

/// The daemon gives up root's right to write everywhere (CAP_DAC_OVERRIDE); the command that checks
/// a file may still have it.
fn is_open_to_us(folder: &Metadata) -> bool {
    let in_group = getegid().as_raw() == folder.gid()
        || getgroups().is_ok_and(|all| all.iter().any(|group| group.as_raw() == folder.gid()));
    let bits = match (folder.uid() == geteuid().as_raw(), in_group) {
        (true, _) => 0o300,
        (false, true) => 0o030,
        (false, false) => 0o003,
    };
    folder.permissions().mode() & bits == bits
}

/// The file's content behind the line that names the format, up to `most` bytes. `None`: there is
/// no file, or one of another format.
///
/// # Errors
/// It cannot be read, or is not ours.
pub fn read(path: &Path, format: KeptFormat, most: usize) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = ours(path, format).map_err(io::Error::other)? else { return Ok(None) };
    let mut content = Vec::new();
    file.take((format.line.len() + most) as u64).read_to_end(&mut content)?;
    Ok(content.strip_prefix(format.line).map(<[u8]>::to_vec))
}

/// Writes beside, and renames once it is on the disk: the file is whole at any moment, whatever
/// fails meanwhile. Only we may read what was asked. False: it did not come to an end.
///
/// # Errors
/// What the disk says; the former file stays.
pub fn replace(
    path: &Path,
    format: KeptFormat,
    mut next: impl FnMut() -> Option<Piece>,
) -> io::Result<bool> {
    ours(path, format).map_err(|error| io::Error::other(format!("it {error}")))?;
    let mut new = New::make(beside(path), format)?;
    new.file.write_all(format.line)?;
    loop {
        match next() {
            Some(Piece::Some(bytes)) => new.file.write_all(&bytes)?,
            Some(Piece::End) => break,
            None => return Ok(false),
        }
    }
    // The time of a run whose clock was not set says less than the one before.
    if let Some(later) = clock::behind() {
        let _ = new.file.set_modified(later);
    }
    new.file.sync_all()?;
    new.rename(path)?;
    Ok(true)
}

/// The file that is ours, if there is one; else what it is.
fn ours(path: &Path, format: KeptFormat) -> Result<Option<File>, String> {
    let kind = match fs::symlink_metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot be looked at ({error})")),
    };
    if !kind.is_file() {
        return Err(format!("is {}", file_kind::name(kind)));
    }
    let mut options = OpenOptions::new();
    let opened = options.read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path);
    let mut file = opened.map_err(|error| format!("cannot be read ({error})"))?;
    let mut head = Vec::new();
    let read = (&mut file).take(format.head.len() as u64).read_to_end(&mut head);
    read.map_err(|error| format!("cannot be read ({error})"))?;
    // What a crash has cut short is ours too.
    if !format.head.starts_with(&head) {
        return Err("is a file that snet has not written".into());
    }
    if let Ok(found) = file.metadata() {
        clock::note_file(&found);
    }
    io::Seek::rewind(&mut file).map_err(|error| format!("cannot be read ({error})"))?;
    Ok(Some(file))
}

fn beside(path: &Path) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// The file in the making. Its drop removes it, if it is still the one.
struct New {
    file: File,
    path: PathBuf,
}

impl New {
    fn make(path: PathBuf, format: KeptFormat) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600).custom_flags(O_NOFOLLOW);
        let file = match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let shown = path.display();
                ours(&path, format)
                    .map_err(|error| io::Error::other(format!("{shown} {error}")))?;
                fs::remove_file(&path)?;
                options.open(&path)?
            }
            file => file?,
        };
        Ok(New { file, path })
    }

    fn rename(&mut self, to: &Path) -> io::Result<()> {
        if !self.is_there()? {
            let shown = self.path.display();
            return Err(io::Error::other(format!("somebody else writes {shown}")));
        }
        fs::rename(&self.path, to)
    }

    fn is_there(&self) -> io::Result<bool> {
        let (ours, found) = (self.file.metadata()?, fs::symlink_metadata(&self.path)?);
        Ok((ours.dev(), ours.ino()) == (found.dev(), found.ino()))
    }
}

impl Drop for New {
    fn drop(&mut self) {
        // Renamed, it is no longer there.
        if self.is_there().unwrap_or(false) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests;
