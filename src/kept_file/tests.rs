//! Files that are ours, that are not, and that are in the way.

use super::*;
use std::os::unix::fs::symlink;

/// The one of answers.
const FORMAT: KeptFormat = KeptFormat { head: b"snet dns cache ", line: b"snet dns cache 1\n" };

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("snet-disk-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes these pieces, and an end if there is one.
fn write(path: &Path, pieces: &[&[u8]], ends: bool) -> io::Result<bool> {
    let pieces = pieces.iter().map(|piece| Piece::Some(piece.to_vec()));
    let mut all = pieces.chain(ends.then_some(Piece::End));
    replace(path, FORMAT, || all.next())
}

#[test]
fn what_is_written_is_read_within_the_bound() {
    let folder = Folder::new("written");
    let path = folder.at("cache");
    assert_eq!(read(&path, FORMAT, 100).unwrap(), None);
    assert!(write(&path, &[b"some ", b"answers"], true).unwrap());
    assert_eq!(read(&path, FORMAT, 100).unwrap().unwrap(), b"some answers");
    assert_eq!(read(&path, FORMAT, 4).unwrap().unwrap(), b"some");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&path, "snet dns cache 99\nof tomorrow").unwrap();
    assert_eq!(read(&path, FORMAT, 100).unwrap(), None);
}

#[test]
fn what_does_not_come_to_an_end_changes_nothing() {
    let folder = Folder::new("end");
    let path = folder.at("cache");
    write(&path, &[b"old"], true).unwrap();
    assert!(!write(&path, &[b"half of the n"], false).unwrap());
    assert_eq!(read(&path, FORMAT, 100).unwrap().unwrap(), b"old");
    assert!(!folder.at("cache.new").exists());
}

#[test]
fn a_stale_one_beside_goes_and_what_is_not_ours_stays() {
    let folder = Folder::new("stale");
    let (path, new, other) = (folder.at("cache"), folder.at("cache.new"), folder.at("other"));
    for stale in [&b""[..], b"snet dn", b"snet dns cache 1\nhalf"] {
        fs::write(&new, stale).unwrap();
        assert!(obstacle(&path, FORMAT).is_none());
        assert!(write(&path, &[b"new"], true).unwrap());
    }
    fs::write(&other, "precious").unwrap();
    symlink(&other, &new).unwrap();
    assert!(write(&path, &[b"newer"], true).is_err());
    assert!(obstacle(&path, FORMAT).unwrap().ends_with("cache.new, which is a symbolic link"));
    fs::remove_file(&new).unwrap();
    fs::write(&new, "precious").unwrap();
    assert!(write(&path, &[b"newer"], true).is_err());
    assert_eq!(fs::read_to_string(&new).unwrap(), "precious");
    assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
    assert_eq!(read(&path, FORMAT, 100).unwrap().unwrap(), b"new");
}

#[test]
fn nothing_but_our_own_is_replaced() {
    let folder = Folder::new("own");
    let (file, link, nowhere) = (folder.at("file"), folder.at("link"), folder.at("no/cache"));
    fs::write(&file, "precious").unwrap();
    symlink(&file, &link).unwrap();
    for (path, what) in [
        (&file, "/file, which is a file that snet has not written"),
        (&link, "/link, which is a symbolic link"),
        (&folder.0, ", which is a directory"),
        (&nowhere, "/no (No such file or directory (os error 2))"),
        (&file.join("cache"), "/file, which is no folder"),
    ] {
        let found = obstacle(path, FORMAT).unwrap();
        assert!(found.ends_with(what), "{found}");
        assert!(write(path, &[b"new"], true).is_err(), "{found}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(obstacle(&folder.at("cache"), FORMAT).is_none());
}

/// Root's right to write everywhere is given up; a folder of another user is no place then.
#[test]
fn a_folder_that_only_more_rights_could_write() {
    let folder = Folder::new("rights");
    let mode = |mode| fs::set_permissions(&folder.0, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o500);
    assert!(obstacle(&folder.at("cache"), FORMAT).is_some());
    mode(0o700);
    assert!(obstacle(&folder.at("cache"), FORMAT).is_none());
}
