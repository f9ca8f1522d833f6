//! `control.ui`: the files of a dashboard, at `/ui/`. They are read only, and nothing outside of
//! the folder is: each part of a path is opened below the one before, and no symbolic link is
//! followed. (The folder itself may be one.)
//!
//! No secret is asked for: a browser cannot send one when it opens a page, and what is served is
//! what somebody has published. Files are read piece by piece.

use super::guard::decoded;
use super::streams::Chunks;
use super::visit::{WebBody, empty};
use crate::task::{self, spawn_blocking};
use bytes::Bytes;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// So much is read at a time.
const PIECE: u64 = 64 << 10;

/// A client that takes nothing for so long is left.
const PATIENCE: Duration = Duration::from_secs(30);

/// Deeper paths are none of a dashboard's.
const DEEPEST: usize = 32;

const KINDS: [(&str, &str); 20] = [
    ("html", "text/html; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("json", "application/json"),
    ("map", "application/json"),
    ("webmanifest", "application/manifest+json"),
    ("wasm", "application/wasm"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("avif", "image/avif"),
    ("ico", "image/x-icon"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("ttf", "font/ttf"),
    ("txt", "text/plain; charset=utf-8"),
];

/// The folder.
#[derive(Debug)]
pub(super) struct UiFolder(PathBuf);

impl UiFolder {
    /// What stands in it is opened when it is asked for.
    pub(super) fn new(folder: PathBuf) -> Self {
        UiFolder(folder)
    }

    /// The answer, if the request is for a page or a file of it.
    pub(super) async fn answer<T>(&self, request: &Request<T>) -> Option<Response<WebBody>> {
        let (path, headers) = (request.uri().path(), request.headers());
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let file = match path.strip_prefix("/ui") {
            None if path == "/" && is_read && wants_page(headers) => return Some(moved()),
            Some("") if is_read => return Some(moved()),
            Some(rest) => rest.strip_prefix('/')?,
            None => return None,
        };
        if !is_read {
            return Some(empty(StatusCode::METHOD_NOT_ALLOWED));
        }
        let Some(parts) = parts(file) else { return Some(empty(StatusCode::NOT_FOUND)) };
        let kind = kind_of(parts.last().map_or("", String::as_str));
        let root = self.0.clone();
        let opened = spawn_blocking(move || open(&root, &parts)).await;
        let (file, found) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Some(empty(StatusCode::FORBIDDEN));
            }
            _ => return Some(empty(StatusCode::NOT_FOUND)),
        };
        Some(response(file, &found, kind, request))
    }
}

fn response<T>(
    file: File,
    found: &Metadata,
    kind: &'static str,
    request: &Request<T>,
) -> Response<WebBody> {
    let length = found.len();
    let tag = format!("\"{:x}-{:x}.{:x}\"", length, found.mtime(), found.mtime_nsec());
    let known = request.headers().get(IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let is_known = known.is_some_and(|tags| {
        tags.split(',').any(|it| it.trim().trim_start_matches("W/") == tag || it.trim() == "*")
    });
    let mut response = match is_known {
        true => empty(StatusCode::NOT_MODIFIED),
        false if request.method() == Method::HEAD || length == 0 => empty(StatusCode::OK),
        false => Response::new(read(file, length).boxed_unsync()),
    };
    let headers = response.headers_mut();
    // A browser asks each time whether it is still the one that it has.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    if !is_known {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CONTENT_LENGTH, length.into());
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
    }
    response
}

/// Only a browser that opens a page: programs ask `/` what it is that they speak to.
fn wants_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("text/html"))
}

fn moved() -> Response<WebBody> {
    let mut response = empty(StatusCode::TEMPORARY_REDIRECT);
    // From `/` as from `/ui`, and behind a proxy that has put something before both.
    response.headers_mut().insert(LOCATION, HeaderValue::from_static("ui/"));
    response
}

/// The names on the way to a file. `None`: no file has such a path.
fn parts(path: &str) -> Option<Vec<String>> {
    let path = if path.is_empty() || path.ends_with('/') {
        format!("{path}index.html")
    } else {
        path.to_owned()
    };
    let parts: Option<Vec<String>> = path.split('/').map(decoded).collect();
    let is_name = |part: &String| {
        !part.is_empty() && part != "." && part != ".." && !part.contains(['/', '\0'])
    };
    parts.filter(|parts| parts.len() <= DEEPEST && parts.iter().all(is_name))
}

fn open(root: &Path, parts: &[String]) -> io::Result<(File, Metadata)> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let mut options = OpenOptions::new();
    let mut at = options.read(true).custom_flags(OFlag::O_DIRECTORY.bits()).open(root)?;
    for (place, part) in parts.iter().enumerate() {
        let is_last = place + 1 == parts.len();
        let flags = if is_last { flags } else { flags | OFlag::O_DIRECTORY };
        at = File::from(openat(&at, part.as_str(), flags, Mode::empty())?);
    }
    let found = at.metadata()?;
    match found.is_file() {
        true => Ok((at, found)),
        false => Err(io::ErrorKind::NotFound.into()),
    }
}

fn kind_of(name: &str) -> &'static str {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    let known = KINDS.iter().find(|(known, _)| ending.as_deref() == Some(known));
    known.map_or("application/octet-stream", |(_, kind)| kind)
}

/// Piece by piece, as the client takes them.
fn read(file: File, length: u64) -> Chunks {
    let (sender, receiver) = mpsc::channel(1);
    task::spawn(async move {
        let (mut file, mut left) = (file, length);
        while left > 0 {
            let reading = spawn_blocking(move || {
                let mut piece = Vec::new();
                let read = (&mut file).take(left.min(PIECE)).read_to_end(&mut piece);
                read.map(|_| (file, piece))
            });
            let Ok(Ok((same, piece))) = reading.await else { return };
            if piece.is_empty() {
                // It has become shorter; what was promised does not come.
                return;
            }
            (file, left) = (same, left - piece.len() as u64);
            let sent = timeout(PATIENCE, sender.send(Bytes::from(piece))).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    });
    Chunks(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    struct Folder(PathBuf);

    impl Folder {
        /// A dashboard, and a secret beside it.
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("snet-ui-{name}-{}", std::process::id()));
            fs::create_dir_all(root.join("ui/assets")).unwrap();
            fs::write(root.join("ui/index.html"), "<html>").unwrap();
            fs::write(root.join("ui/assets/a b.js"), "x".repeat(200_000)).unwrap();
            fs::write(root.join("secret"), "hunter2").unwrap();
            symlink("../secret", root.join("ui/link")).unwrap();
            symlink("..", root.join("ui/up")).unwrap();
            symlink(root.join("ui"), root.join("dashboard")).unwrap();
            Folder(root)
        }

        async fn ask(&self, line: &str, header: Option<(&str, &str)>) -> (Response<()>, String) {
            let (method, path) = line.split_once(' ').unwrap();
            let mut request = Request::builder().method(method).uri(path);
            if let Some((name, value)) = header {
                request = request.header(name, value);
            }
            let request = request.body(()).unwrap();
            let folder = UiFolder::new(self.0.join("dashboard"));
            let (head, body) = folder.answer(&request).await.expect("it is its own").into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            (Response::from_parts(head, ()), String::from_utf8(body.to_vec()).unwrap())
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[tokio::test]
    async fn files_come_whole_and_with_their_kind() {
        let folder = Folder::new("whole");
        let (head, body) = folder.ask("GET /ui/", None).await;
        assert_eq!((head.status(), body.as_str()), (StatusCode::OK, "<html>"));
        assert_eq!(head.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        let (head, body) = folder.ask("GET /ui/assets/a%20b.js?v=1", None).await;
        assert_eq!((head.status(), body.len()), (StatusCode::OK, 200_000));
        assert_eq!(head.headers()[CONTENT_TYPE], "text/javascript; charset=utf-8");
        assert_eq!(head.headers()[CONTENT_LENGTH], "200000");
        let tag = head.headers()[ETAG].to_str().unwrap().to_owned();
        let (head, body) = folder.ask("HEAD /ui/assets/a%20b.js", None).await;
        assert_eq!((head.headers()[CONTENT_LENGTH].as_bytes(), body.len()), (&b"200000"[..], 0));
        let known = Some(("if-none-match", tag.as_str()));
        let (head, _) = folder.ask("GET /ui/assets/a%20b.js", known).await;
        assert_eq!(head.status(), StatusCode::NOT_MODIFIED);
        fs::write(folder.0.join("ui/assets/a b.js"), "another").unwrap();
        let (head, body) = folder.ask("GET /ui/assets/a%20b.js", known).await;
        assert_eq!((head.status(), body.as_str()), (StatusCode::OK, "another"));
        assert_eq!(folder.ask("PUT /ui/", None).await.0.status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[tokio::test]
    async fn a_browser_is_led_to_the_page() {
        let folder = Folder::new("page");
        let html = Some(("accept", "text/html,application/xhtml+xml"));
        for line in ["GET /", "GET /ui"] {
            let (head, _) = folder.ask(line, html).await;
            assert_eq!(head.status(), StatusCode::TEMPORARY_REDIRECT);
            assert_eq!(head.headers()[LOCATION], "ui/");
        }
        let ui = UiFolder::new(folder.0.join("ui"));
        for (path, accepted) in [("/", "*/*"), ("/version", "text/html"), ("/uix", "text/html")] {
            let request = Request::get(path).header(ACCEPT, accepted).body(()).unwrap();
            assert!(ui.answer(&request).await.is_none(), "{path} is not for it");
        }
    }

    #[tokio::test]
    async fn nothing_outside_is_served() {
        let folder = Folder::new("outside");
        for path in [
            "../secret",
            "%2e%2e/secret",
            "..%2fsecret",
            "assets/../../secret",
            "assets/%2e%2e/%2e%2e/secret",
            "link",
            "up/secret",
            "//etc/passwd",
            "%2fetc%2fpasswd",
            "/etc/passwd",
            "./index.html",
            "index.html%00.js",
            "index.html/",
            "index.html/x",
            "assets",
            "nothing",
            "%",
        ] {
            let (head, body) = folder.ask(&format!("GET /ui/{path}"), None).await;
            assert_eq!((head.status(), body.as_str()), (StatusCode::NOT_FOUND, ""), "{path}");
        }
    }
}
