//! The hosts as processes: this program run again, and the cable between them.

use super::{HOST_COMMAND, Unable, cell, tools, world};
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// This program as another host.
pub(super) fn host_command<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg(HOST_COMMAND).args(arguments).env("PATH", tools::path());
    command
}

/// The process at the other end of the cable; it ends when this is dropped.
pub(super) struct Internet {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Internet {
    /// Starts the internet's host, plugs the cable in and waits until everything listens.
    pub(super) fn connect(has_ipv6: bool) -> Result<Self, Unable> {
        let network = cell::network().map_err(failed)?;
        let mut process = host_command(["internet", &network])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (Some(stdin), Some(stdout)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        };
        let mut internet = Internet { process, stdin, stdout: BufReader::new(stdout) };
        let namespace = internet.wait_for("unshared ")?;
        ip(&world::machine_commands(&namespace, has_ipv6))?;
        internet.stdin.write_all(b"plugged\n").map_err(failed)?;
        internet.wait_for("ready")?;
        Ok(internet)
    }

    /// What comes behind this word.
    fn wait_for(&mut self, word: &str) -> Result<String, Unable> {
        let mut line = String::new();
        self.stdout.read_line(&mut line).map_err(failed)?;
        match line.trim_end_matches('\n').strip_prefix(word) {
            Some(rest) => Ok(rest.into()),
            None => Err(failed(io::Error::other(format!("it said {line:?} instead of {word:?}")))),
        }
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to do.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn failed(source: io::Error) -> Unable {
    Unable::Trial { what: "the internet's host", source }
}

/// Runs `ip -batch` (ip(8)).
pub(super) fn ip(commands: &str) -> Result<(), Unable> {
    tools::run("ip", &["-batch", "-"], commands).map(drop)
}
