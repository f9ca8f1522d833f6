//! Tells the service manager how we are: sd_notify(3), spoken without a library.
//!
//! One datagram a message, `NAME=value` a line, to the socket that NOTIFY_SOCKET names: a path, or
//! with a leading `@` an abstract name (unix(7)). Without that variable, as on a terminal, nothing
//! is sent. A manager that does not read is not waited for long, and no failure stops anything:
//! the manager has time-outs of its own.

use nix::time::{ClockId, clock_gettime};
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;
use tracing::debug;

/// How long a full queue of the manager is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the manager can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notification<'a> {
    Ready(&'a str),
    Stopping(&'a str),
    Reloading(Duration),
    Status(&'a str),
    Alive,
}

/// The start, or a reload, is complete. `status` is what `systemctl status` shows from now on.
pub(super) fn ready(status: &str) {
    tell(Notification::Ready(status));
}

/// The stop has begun.
pub(super) fn stopping(status: &str) {
    tell(Notification::Stopping(status));
}

/// A reload has begun; [`ready`] ends it, whether it succeeded or not.
pub(super) fn reloading() {
    // The manager compares the time with that of its request (sd_notify(3), RELOADING=1).
    match clock_gettime(ClockId::CLOCK_MONOTONIC) {
        Ok(now) => tell(Notification::Reloading(now.into())),
        Err(errno) => debug!("cannot read the monotonic clock: {errno}"),
    }
}

/// What is going on, where neither of the others says it.
pub(super) fn status(status: &str) {
    tell(Notification::Status(status));
}

/// Whether there is a manager that listens.
pub(super) fn is_wanted() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Feeds the watchdog; to be called only when everything really answered.
pub(super) fn alive() {
    tell(Notification::Alive);
}

fn tell(message: Notification<'_>) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, &message.text()) {
        debug!("cannot tell the service manager {message:?} at {socket:?}: {error}");
    }
}

fn send(socket: &OsStr, text: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    sender.set_write_timeout(Some(PATIENCE))?;
    sender.send_to_addr(text.as_bytes(), &address).map(drop)
}

impl Notification<'_> {
    fn text(self) -> String {
        match self {
            Notification::Ready(status) => {
                format!("READY=1\n{}", Notification::Status(status).text())
            }
            Notification::Stopping(status) => {
                format!("STOPPING=1\n{}", Notification::Status(status).text())
            }
            Notification::Reloading(now) => {
                format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros())
            }
            // A line break would begin another assignment.
            Notification::Status(status) => format!("STATUS={}", status.replace(['\n', '\r'], " ")),
            Notification::Alive => "WATCHDOG=1".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(manager: &UnixDatagram) -> String {
        // A test that receives nothing fails.
        manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut buffer = [0; 512];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn a_socket_with_a_path() {
        let path = std::env::temp_dir().join(format!("snet-notify-{}", std::process::id()));
        let manager = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), &Notification::Ready("TCP port 1111").text()).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(received(&manager), "READY=1\nSTATUS=TCP port 1111");
    }

    #[test]
    fn a_socket_with_an_abstract_name() {
        let name = format!("snet-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        send(format!("@{name}").as_ref(), &Notification::Alive.text()).unwrap();
        assert_eq!(received(&manager), "WATCHDOG=1");
    }

    #[test]
    fn a_manager_that_is_gone_is_an_error_and_no_hang() {
        let error = send("/nowhere/notify".as_ref(), "READY=1").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_status_is_one_line() {
        assert_eq!(Notification::Status("one\nREADY=1\rtwo").text(), "STATUS=one READY=1 two");
        assert_eq!(Notification::Stopping("SIGTERM").text(), "STOPPING=1\nSTATUS=SIGTERM");
    }

    #[test]
    fn a_reload_carries_the_microseconds_of_the_monotonic_clock() {
        let text = Notification::Reloading(Duration::from_millis(1234)).text();
        assert_eq!(text, "RELOADING=1\nMONOTONIC_USEC=1234000");
    }
}
