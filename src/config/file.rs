//! Files: the configuration itself, and those it names.
//!
//! Every read is bounded, so that a wrong path such as /dev/zero is an error and not a hang.

use super::item::Item;
use crate::file_stamp::FileStamp;
use crate::proxy::tls;
use crate::proxy::trust::Trust;
use crate::secret::Secret;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A block list of a million names has 30 MiB.
pub(super) const LONGEST_LIST: u64 = 64 << 20;
const LONGEST_CONFIG: u64 = 16 << 20;
const LONGEST_PASSWORD_FILE: u64 = 64 << 10;
/// All that Mozilla trusts have 250 KiB.
const LONGEST_CERTIFICATES: u64 = 4 << 20;

/// What was read, wiped when it is dropped: it may hold passwords.
pub(super) struct Content {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// The permission bits, set-id bits included.
    pub(super) mode: u32,
    /// Taken before anything was read, so that no later change is missed.
    pub(super) stamp: FileStamp,
}

impl Content {
    /// Says so if others can read, change or replace what was read.
    pub(super) fn exposure(&self, path: &Path) -> Option<String> {
        let path = path.display();
        (self.mode & 0o077 != 0).then(|| {
            format!(
                "{path}: it holds a password and is open to others (mode {:04o}): chmod 600 {path}",
                self.mode
            )
        })
    }
}

/// Reads the configuration file.
pub(super) fn config(path: &Path) -> io::Result<Content> {
    read(path, LONGEST_CONFIG)
}

/// Reads the first line of a `password-file`.
pub(super) fn password(item: &Item<'_>) -> Option<Secret> {
    let path = item.parse(file_name)?;
    if path.is_empty() {
        return item.refuse("the name of a file");
    }
    let (path, content) = open(item, &path, LONGEST_PASSWORD_FILE)?;
    if let Some(warning) = content.exposure(&path) {
        item.warn(warning);
    }
    let line = content.bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        let found = format!("an empty first line in {}", path.display());
        return item.refuse_as(found, "a file whose first line is the password");
    }
    let line = match line.strip_prefix("\u{feff}".as_bytes()) {
        Some(rest) => {
            let path = path.display();
            item.warn(format!(
                "{path} begins with a byte order mark, which is not taken for part of the password"
            ));
            rest
        }
        None => line,
    };
    if let Some(what) = odd_ends(line) {
        item.warn(format!("the first line of {} {what}, which counts as its part", path.display()));
    }
    Some(Secret::new(line))
}

/// What nobody sees in an editor, and no server forgives.
fn odd_ends(line: &[u8]) -> Option<&'static str> {
    let is_blank = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_whitespace);
    match (is_blank(line.first()), is_blank(line.last())) {
        (false, false) => None,
        (true, false) => Some("begins with a space"),
        (false, true) => Some("ends with a space"),
        (true, true) => Some("begins and ends with a space"),
    }
}

/// Reads the certificates of a `tls-ca-file`.
pub(super) fn authorities(item: &Item<'_>) -> Option<Trust> {
    let path = item.parse(file_name)?;
    let (path, content) = open(item, &path, LONGEST_CERTIFICATES)?;
    match tls::authorities(path.clone(), &content.bytes) {
        Ok(trust) => Some(trust),
        Err(found) => item.refuse_as(
            format!("{found} in {}", path.display()),
            "a file in PEM with the certificates of authorities (BEGIN CERTIFICATE)",
        ),
    }
}

/// Reads a file with a certificate of snet's own.
pub(super) fn certificate(item: &Item<'_>) -> Option<Zeroizing<Vec<u8>>> {
    let path = item.parse(file_name)?;
    Some(open(item, &path, LONGEST_CERTIFICATES)?.1.bytes)
}

/// Reads the file with its key, and warns if others can read it too.
pub(super) fn key(item: &Item<'_>) -> Option<Zeroizing<Vec<u8>>> {
    let path = item.parse(file_name)?;
    let (path, content) = open(item, &path, LONGEST_CERTIFICATES)?;
    if content.mode & 0o077 != 0 {
        let path = path.display();
        item.warn(format!(
            "{path}: it is open to others (mode {:04o}): chmod 600 {path}",
            content.mode
        ));
    }
    Some(content.bytes)
}

/// Reads a file of a list that a key names. `None` if the key says no file (""), or if it cannot be
/// read, which is reported.
pub(super) fn list(item: &Item<'_>) -> Option<(PathBuf, Content)> {
    let path = item.parse(file_name).filter(|path| !path.is_empty())?;
    open(item, &path, LONGEST_LIST)
}

/// Reads a file whole.
pub(super) fn body(item: &Item<'_>, most: usize) -> Option<(PathBuf, Content)> {
    let path = item.parse(file_name)?;
    open(item, &path, most as u64)
}

/// Reads a file that a list includes, if it is a regular one and no longer than this.
pub(super) fn included(path: &Path, most: u64) -> Option<Content> {
    // Opening a FIFO would wait for its writer.
    path.metadata().ok().filter(|it| it.is_file())?;
    read(path, most).ok()
}

fn file_name(text: &str) -> Result<String, String> {
    // "\0" ends a path for the kernel.
    if text.contains('\0') { Err("the name of a file".into()) } else { Ok(text.to_owned()) }
}

/// Reads the file that a key names.
fn open(item: &Item<'_>, path: &str, most: u64) -> Option<(PathBuf, Content)> {
    let path = item.source.beside(path);
    match read(&path, most) {
        Ok(content) => {
            item.source.note_read(&item.key, &path);
            Some((path, content))
        }
        Err(error) => {
            item.refuse_as(format!("{} ({error})", path.display()), "a file that can be read")
        }
    }
}

fn read(path: &Path, most: u64) -> io::Result<Content> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let (mode, stamp) = (metadata.permissions().mode() & 0o7777, FileStamp::of(&metadata));
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {} MiB", most.div_ceil(1 << 20)),
        ));
    }
    Ok(Content { bytes, mode, stamp })
}
