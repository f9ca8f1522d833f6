//! The real daemon, as a process of its own: this very program with a real configuration file.

use super::world;
use crate::firewall::Backend;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const CONFIG: &str = "/run/snet.toml";
const CHINA: &str = "/run/china.txt";
const LOG: &str = "/run/snet.log";

/// More than a start takes on the slowest router, which loads modules of the kernel meanwhile.
const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(8);

/// How a start went.
pub(super) enum Started {
    /// After so long.
    Ready(DaemonProcess, Duration),
    /// It ended, or was not ready in time.
    Failed(String),
}

/// The running daemon.
#[derive(Debug)]
pub(super) struct DaemonProcess(Child);

impl DaemonProcess {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// It cannot be started at all.
    pub(super) fn start(backend: Backend, has_ipv6: bool) -> io::Result<Started> {
        fs::write(CHINA, world::CHINA)?;
        // The file holds a password: no other user may read it.
        let mut config =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(CONFIG)?;
        config.write_all(world::config(CHINA, backend, has_ipv6).as_bytes())?;
        let began = Instant::now();
        let child = Command::new("/proc/self/exe")
            .args(["-c", CONFIG])
            .env_remove("JOURNAL_STREAM")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(LOG)?)
            .spawn()?;
        let mut daemon = DaemonProcess(child);
        while began.elapsed() < START {
            if log().contains("ready") {
                return Ok(Started::Ready(daemon, began.elapsed()));
            }
            if let Some(status) = daemon.0.try_wait()? {
                return Ok(Started::Failed(status.to_string()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Started::Failed(format!("not ready after {} s", START.as_secs())))
    }

    /// Asks it to stop, and says how it ended.
    pub(super) fn stop(&mut self) -> String {
        let Ok(pid) = i32::try_from(self.0.id()) else { return "no process".into() };
        if let Err(errno) = kill(Pid::from_raw(pid), Signal::SIGTERM) {
            return errno.to_string();
        }
        let began = Instant::now();
        while began.elapsed() < STOP {
            match self.0.try_wait() {
                Ok(Some(status)) => return status.to_string(),
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                Err(error) => return error.to_string(),
            }
        }
        "did not end".into()
    }
}

impl Drop for DaemonProcess {
    fn drop(&mut self) {
        // It has ended already, unless a trial went wrong.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether the daemon has found that UDP cannot be captured on this kernel, of this family alone or
/// of both.
pub(super) fn cannot_capture_datagrams(log: &str, family: &str) -> bool {
    let other = if family == "IPv6" { "IPv4 UDP" } else { "IPv6 UDP" };
    let told = |line: &str| line.contains(" WARN ") && line.contains("UDP cannot be captured");
    log.lines().any(|line| told(line) && !line.contains(other))
}

/// All that the daemon has said.
pub(super) fn log() -> String {
    fs::read_to_string(LOG).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::cannot_capture_datagrams as cannot;

    #[test]
    fn what_a_kernel_cannot_capture() {
        let line = |what: &str| {
            format!("2026 INFO ready\n2026  WARN foreign {what} cannot be captured, and\n")
        };
        let found = |log: &str| ["IPv4", "IPv6"].map(|family| cannot(log, family));
        assert_eq!(found("2026 INFO ready\n"), [false, false]);
        assert_eq!(found(&line("UDP")), [true, true]);
        assert_eq!(found(&line("IPv4 UDP")), [true, false]);
        assert_eq!(found(&line("IPv6 UDP")), [false, true]);
        assert_eq!(found(&line("IPv6 UDP").replace("WARN", "INFO")), [false, false]);
    }
}
