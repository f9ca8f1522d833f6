//! `[control]`: where `snet reload` finds the daemon, and where dashboards do.

use super::file;
use super::section::Section;
use super::source::{SourceFile, is_same};
use crate::secret::Secret;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The default of `control.socket`.
pub const CONTROL_SOCKET: &str = "/run/snet/control.sock";

/// The size of `sun_path` in struct sockaddr_un (unix(7)), which ends with a zero byte.
const LONGEST_SOCKET: usize = 107;

/// A shorter secret is guessed.
const LEAST_SECRET: usize = 8;

/// `control.http`, where it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAccess {
    /// Where it listens.
    pub address: SocketAddr,
    /// What a client has to know.
    pub secret: Secret,
    /// `control.ui`: the files of a dashboard.
    pub ui: Option<PathBuf>,
}

/// Reads `control.http`, `control.secret-file` and `control.ui`.
pub(super) fn http(section: &Section<'_>) -> Option<HttpAccess> {
    let mut address = None;
    section.key("http", &mut address, |item| item.parse(http_address));
    let item = section.item("secret-file");
    let secret = item.as_ref().and_then(|item| {
        item.note_change();
        let secret = file::password(item)?;
        let length = secret.expose().len();
        if length < LEAST_SECRET {
            let found = format!("a secret of {length} bytes");
            return item.refuse_as(found, "a file whose first line has at least 8 bytes");
        }
        Some(secret)
    });
    let mut ui = None;
    section.key("ui", &mut ui, |item| {
        let folder = item.parse(ui_folder)?;
        match folder.as_ref().and_then(|folder| item.source.role_within(folder)) {
            None => Some(folder),
            Some(role) => item.refuse_as(
                format!("a folder with {role} in it"),
                "one with nothing but a dashboard, since all that is in it is shown to everybody",
            ),
        }
    });
    let address = address?;
    if item.is_none() {
        let accepted = "secret-file: control.http needs one, since every program of this machine \
                        reaches it";
        return section.missing("secret-file", accepted);
    }
    Some(HttpAccess { address, secret: secret?, ui })
}

/// The empty text means off.
fn http_address(text: &str) -> Result<Option<SocketAddr>, String> {
    match text.parse() {
        _ if text.is_empty() => Ok(None),
        _ if cfg!(not(feature = "web")) => {
            Err("\"\", which is off: this build of snet serves no HTTP".into())
        }
        Ok(address) => Ok(Some(address)),
        Err(_) => {
            Err("an address of this machine with a port, for example \"127.0.0.1:9090\", or \
                       \"\" for none"
                .into())
        }
    }
}

/// The empty text means none.
fn ui_folder(text: &str) -> Result<Option<PathBuf>, String> {
    let path = Path::new(text);
    match path.is_absolute() && path.join("index.html").is_file() {
        true => Ok(Some(path.to_owned())),
        false if text.is_empty() => Ok(None),
        false => Err("the absolute path of a folder with an index.html, or \"\" for none".into()),
    }
}

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
