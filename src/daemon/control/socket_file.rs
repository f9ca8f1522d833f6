//! The place of the control socket in the file system.
//!
//! Invariant: nothing is removed but a dead socket of our own user, and at the end the very socket
//! that was made here. Symbolic links are not followed: neither bind(2) nor unlink(2) does.

use crate::file_kind;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen,
    socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::geteuid;
use std::fs::{self, Metadata};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Commands that wait for their turn.
const QUEUE: i32 = 16;

/// Why the place cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(in crate::daemon) enum SocketFileError {
    /// It is not ours; what it is.
    #[error("{0}")]
    Occupied(String),
    /// It is the socket of a living process, or of another user; whose.
    #[error("{0}")]
    Anothers(String),
    /// What the file system says.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Errno> for SocketFileError {
    fn from(errno: Errno) -> Self {
        SocketFileError::Io(errno.into())
    }
}

/// The socket's file. Its drop removes it.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Which file it is: another one may stand there by then.
    made: (u64, u64),
    /// The folder, if it was made for it.
    folder: Option<PathBuf>,
}

impl SocketFile {
    /// Makes the socket, and its folder if only that is missing.
    pub(super) fn take(path: &Path) -> Result<(UnixListener, Self), SocketFileError> {
        let mut folder = None;
        if let Some(parent) = path.parent() {
            match fs::create_dir(parent) {
                Ok(()) => folder = Some(parent.to_owned()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            }
        }
        let socket = match make(path) {
            Err(Errno::EADDRINUSE) => {
                dead_and_ours(path)?;
                fs::remove_file(path)?;
                make(path)?
            }
            socket => socket?,
        };
        let made = identity(&fs::symlink_metadata(path)?);
        Ok((socket.into(), SocketFile { path: path.to_owned(), made, folder }))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.made) {
            let _ = fs::remove_file(&self.path);
        }
        if let Some(folder) = &self.folder {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// A socket that listens there, and that never was open to others: the file gets the mode of the
/// socket.
fn make(path: &Path) -> nix::Result<OwnedFd> {
    let socket = stream()?;
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&socket, Backlog::new(QUEUE)?)?;
    Ok(socket)
}

fn stream() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::Stream, flags, None)
}

fn dead_and_ours(path: &Path) -> Result<(), SocketFileError> {
    let found = fs::symlink_metadata(path)?;
    if !found.file_type().is_socket() {
        return Err(SocketFileError::Occupied(file_kind::name(found.file_type()).into()));
    }
    if found.uid() != geteuid().as_raw() {
        return Err(SocketFileError::Anothers(format!("a socket of user {}", found.uid())));
    }
    // Never waits: a queue that is full belongs to a living process.
    let asking = stream()?;
    match connect(asking.as_raw_fd(), &UnixAddr::new(path)?) {
        Err(Errno::ECONNREFUSED) => Ok(()),
        Ok(()) => {
            let pid = getsockopt(&asking, sockopt::PeerCredentials)?.pid();
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            Err(SocketFileError::Anothers(format!(
                "the socket of process {pid} ({})",
                name.trim_end()
            )))
        }
        Err(Errno::EAGAIN) => Err(SocketFileError::Anothers("the socket of a busy process".into())),
        Err(errno) => Err(SocketFileError::Occupied(format!("another kind of socket ({errno})"))),
    }
}

fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixDatagram;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("snet-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_is_not_ours_stays_and_is_named() {
        let folder = Folder::new("occupied");
        let at = |name: &str| folder.0.join(name);
        fs::write(at("file"), "precious").unwrap();
        fs::create_dir(at("folder")).unwrap();
        mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
        symlink(at("nowhere"), at("link")).unwrap();
        let _dead = std::os::unix::net::UnixListener::bind(at("dead")).unwrap();
        symlink(at("dead"), at("link to a socket")).unwrap();
        let _other = UnixDatagram::bind(at("datagrams")).unwrap();
        for (name, what) in [
            ("file", "a regular file"),
            ("folder", "a directory"),
            ("fifo", "a FIFO"),
            ("link", "a symbolic link"),
            ("link to a socket", "a symbolic link"),
            ("datagrams", "another kind of socket (EPROTOTYPE: Protocol wrong type for socket)"),
        ] {
            match SocketFile::take(&at(name)) {
                Err(SocketFileError::Occupied(found)) => assert_eq!(found, what),
                other => panic!("{name}: {other:?}"),
            }
            assert!(fs::symlink_metadata(at(name)).is_ok(), "{name} is gone");
        }
        assert_eq!(fs::read_to_string(at("file")).unwrap(), "precious");
        match SocketFile::take(Path::new("/dev/null")) {
            Err(SocketFileError::Occupied(found)) => assert_eq!(found, "a device"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_living_socket_stays_and_a_dead_one_of_ours_goes() {
        let folder = Folder::new("living");
        let path = folder.0.join("socket");
        let living = UnixListener::bind(&path).unwrap();
        match SocketFile::take(&path) {
            Err(SocketFileError::Anothers(who)) => {
                assert!(who.contains(&std::process::id().to_string()), "{who}");
            }
            other => panic!("{other:?}"),
        }
        drop(living);
        let (_listener, place) = SocketFile::take(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(place);
        assert!(!path.exists());
    }

    #[test]
    fn what_took_its_place_is_not_removed_at_the_end() {
        let folder = Folder::new("replaced");
        let path = folder.0.join("socket");
        let (_listener, place) = SocketFile::take(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        drop(place);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
