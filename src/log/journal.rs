//! The journal's own protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): a datagram for each line, with
//! a field for each thing that it is about, so that `journalctl -u snet SNET_PROXY=tokyo` finds it.
//!
//! It is spoken where standard error is the journal's. A line is bounded ([`super::line`]) and fits
//! into a datagram; one that does not, of several long fields, goes to standard error, as all lines
//! do where the socket is gone.
//!
//! The encoder is our own: the crate `tracing-journald` (0.3.2) sends from within the thread that
//! logs, which would wait there for a journal that is slow, and has no way to hand it a line that
//! was queued.

use super::level::LogLevel;
use super::line::LogLine;
use nix::sys::stat::fstat;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Where it listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// A way to the journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    socket: Mutex<UnixDatagram>,
}

impl Journal {
    /// If standard error is the journal's, and the journal is there.
    pub(super) fn of_stderr() -> Option<Self> {
        let stream = std::env::var_os("JOURNAL_STREAM")?;
        is_the_journals(&stream, io::stderr()).then(|| Self::at(Path::new(SOCKET)).ok()).flatten()
    }

    /// The one that listens here.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        Ok(Journal { path: path.to_owned(), socket: Mutex::new(connected(path)?) })
    }

    /// Hands a line over. Waits for a journal that is slow.
    ///
    /// # Errors
    /// It did not get there.
    pub(super) fn send(&self, line: &LogLine) -> io::Result<()> {
        let entry = entry(line);
        let mut socket = crate::sync::lock(&self.socket);
        loop {
            match socket.send(&entry) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It may have begun anew with another socket.
                Err(error) if is_gone(&error) => {
                    *socket = connected(&self.path)?;
                    return socket.send(&entry).map(drop);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn connected(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(socket)
}

fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionRefused | ConnectionReset | NotConnected)
}

/// Whether this descriptor is the one that the variable JOURNAL_STREAM tells of (systemd.exec(5)):
/// programs that it was redirected for inherit the variable.
fn is_the_journals(variable: &OsStr, descriptor: impl AsFd) -> bool {
    let Ok(stat) = fstat(descriptor) else { return false };
    variable.to_str() == Some(&format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// The datagram.
fn entry(line: &LogLine) -> Vec<u8> {
    let mut entry = Vec::new();
    add(&mut entry, "MESSAGE", &line.to_string());
    let priority = match line.level {
        LogLevel::Error => "3",
        LogLevel::Warn => "4",
        LogLevel::Info => "6",
        LogLevel::Debug | LogLevel::Trace => "7",
    };
    add(&mut entry, "PRIORITY", priority);
    add(&mut entry, "SYSLOG_IDENTIFIER", "snet");
    for field in &line.fields {
        let name: String = field.name.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
        add(&mut entry, &format!("SNET_{}", name.to_ascii_uppercase()), &field.value);
    }
    entry
}

/// A value of one line stands behind `=`; one of several has its length before it.
fn add(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::time::Duration;

    /// A socket of the test's own that plays the journal.
    struct Playing {
        path: PathBuf,
        socket: UnixDatagram,
    }

    impl Playing {
        fn begin(name: &str) -> Self {
            let name = format!("snet-journal-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            Playing { socket: Self::listen(&path), path }
        }

        fn listen(path: &Path) -> UnixDatagram {
            let socket = UnixDatagram::bind(path).unwrap();
            // A test that receives nothing fails.
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            socket
        }

        fn heard(&self) -> Vec<(String, String)> {
            let mut buffer = vec![0; 1 << 18];
            let length = self.socket.recv(&mut buffer).unwrap();
            fields(&buffer[..length])
        }
    }

    impl Drop for Playing {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// Reads a datagram as the journal does.
    fn fields(mut entry: &[u8]) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut fields = Vec::new();
        while !entry.is_empty() {
            let end = entry.iter().position(|byte| *byte == b'\n').unwrap();
            let line = &entry[..end];
            entry = &entry[end + 1..];
            match line.iter().position(|byte| *byte == b'=') {
                Some(at) => fields.push((text(&line[..at]), text(&line[at + 1..]))),
                None => {
                    let (length, rest) = entry.split_at(8);
                    let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
                    fields.push((text(line), text(&rest[..length])));
                    assert_eq!(rest[length], b'\n');
                    entry = &rest[length + 1..];
                }
            }
        }
        fields
    }

    fn wanted(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn a_line_has_its_fields() {
        let played = Playing::begin("fields");
        let journal = Journal::at(&played.path).unwrap();
        journal.send(&LogLine::sample("is down: refused", &[("proxy", "to=kyo")])).unwrap();
        let expected = [
            ("MESSAGE", "is down: refused proxy=\"to=kyo\""),
            ("PRIORITY", "6"),
            ("SYSLOG_IDENTIFIER", "snet"),
            ("SNET_PROXY", "to=kyo"),
        ];
        assert_eq!(played.heard(), wanted(&expected));
    }

    #[test]
    fn several_lines_are_one_entry() {
        let played = Playing::begin("lines");
        let journal = Journal::at(&played.path).unwrap();
        let mut line = LogLine::sample("a panic\n at here\nMESSAGE=forged", &[("name", "a\nb")]);
        line.level = LogLevel::Error;
        journal.send(&line).unwrap();
        let expected = [
            ("MESSAGE", "a panic\n at here\nMESSAGE=forged name=\"a\\nb\""),
            ("PRIORITY", "3"),
            ("SYSLOG_IDENTIFIER", "snet"),
            ("SNET_NAME", "a\nb"),
        ];
        assert_eq!(played.heard(), wanted(&expected));
    }

    #[test]
    fn the_longest_line_fits() {
        let played = Playing::begin("long");
        let journal = Journal::at(&played.path).unwrap();
        let long = "x".repeat(33 << 10);
        journal.send(&LogLine::sample(&long, &[("one", &long), ("other", &long)])).unwrap();
        assert_eq!(played.heard()[4].1.len(), long.len());
    }

    #[test]
    fn a_journal_that_began_anew_is_found_and_one_that_is_gone_is_told() {
        let mut played = Playing::begin("anew");
        let journal = Journal::at(&played.path).unwrap();
        std::fs::remove_file(&played.path).unwrap();
        played.socket = Playing::listen(&played.path);
        journal.send(&LogLine::sample("again", &[])).unwrap();
        assert_eq!(played.heard()[0].1, "again");
        std::fs::remove_file(&played.path).unwrap();
        played.socket.shutdown(std::net::Shutdown::Both).unwrap();
        let gone = played.path.clone();
        drop(played);
        assert!(journal.send(&LogLine::sample("nobody", &[])).is_err());
        assert!(Journal::at(&gone).is_err());
    }

    #[test]
    fn a_descriptor_is_the_journals_or_not() {
        let file = File::open("/dev/null").unwrap();
        let stat = fstat(&file).unwrap();
        let variable = format!("{}:{}", stat.st_dev, stat.st_ino);
        assert!(is_the_journals(OsStr::new(&variable), &file));
        let other = File::open("/dev/zero").unwrap();
        assert!(!is_the_journals(OsStr::new(&variable), &other), "it was redirected");
        assert!(!is_the_journals(OsStr::new("1"), &file));
    }
}
