//! Runs one firewall tool: text in, text out, bounded in time. The only place in `firewall` that
//! starts processes.

use crate::firewall::error::Error;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a tool may take. Longer than it waits for the lock of iptables-legacy.
const LIMIT: Duration = Duration::from_secs(30);

/// How much of a complaint is quoted.
const QUOTED_LINES: usize = 3;

/// Runs `tool` with `input` on its standard input; returns its standard output.
///
/// # Errors
/// [`Error::Spawn`], [`Error::Hangs`], or by its words what a tool that failed complained of.
pub(in crate::firewall) fn run(tool: &Path, args: &[&str], input: &str) -> Result<String, Error> {
    run_within(LIMIT, tool, args, input)
}

fn run_within(limit: Duration, tool: &Path, args: &[&str], input: &str) -> Result<String, Error> {
    let name = || {
        let tool = tool.file_name().unwrap_or(tool.as_os_str());
        let words = std::iter::once(tool).chain(args.iter().map(OsStr::new));
        words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
    };
    let spawned = Command::new(tool)
        .args(args)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own: Ctrl-C in the terminal goes to the foreground group, and must not
        // kill the tool halfway.
        .process_group(0)
        .spawn();
    let mut child = spawned.map_err(|source| Error::Spawn { command: name(), source })?;
    let spoken = converse(&mut child, input, limit)
        .map_err(|source| Error::Spawn { command: name(), source })?;
    let Some((stdout, stderr)) = spoken else {
        return Err(Error::Hangs { command: name(), limit });
    };
    let status = child.wait().map_err(|source| Error::Spawn { command: name(), source })?;
    if status.success() {
        return Ok(stdout);
    }
    let mut said: Vec<&str> =
        stderr.lines().map(str::trim).filter(|line| !line.is_empty()).take(QUOTED_LINES).collect();
    let status = status.to_string();
    if said.is_empty() {
        said.push(&status);
    }
    Err(Error::of_tool(name(), said.join("; ")))
}

/// Feeds and drains the three pipes at once, else one of them fills up and everybody waits.
/// `None`: the time is over, and the child was killed.
fn converse(
    child: &mut Child,
    input: &str,
    limit: Duration,
) -> io::Result<Option<(String, String)>> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let deadline = Instant::now() + limit;
    thread::scope(|scope| {
        let (ended, ends) = mpsc::channel();
        scope.spawn(move || {
            // A tool that stops reading says why on its standard error: no news in EPIPE. The
            // drop of the pipe is the end of the input.
            let _ = stdin.map(|mut stdin| stdin.write_all(input.as_bytes()));
        });
        let stdout = scope.spawn(drain(stdout, ended.clone()));
        let stderr = scope.spawn(drain(stderr, ended));
        let mut in_time = true;
        for _ in 0..2 {
            let left = deadline.saturating_duration_since(Instant::now());
            if in_time && ends.recv_timeout(left) == Err(mpsc::RecvTimeoutError::Timeout) {
                in_time = false;
                // The whole group: what a script of that name has started holds the pipes too.
                let group = i32::try_from(child.id()).map_err(io::Error::other)?;
                killpg(Pid::from_raw(group), Signal::SIGKILL)?;
                child.wait()?;
            }
        }
        let gone = |_| io::Error::other("a reader thread panicked");
        let (stdout, stderr) = (stdout.join().map_err(gone)??, stderr.join().map_err(gone)??);
        Ok(in_time.then_some((stdout, stderr)))
    })
}

fn drain<R: Read>(pipe: Option<R>, ended: mpsc::Sender<()>) -> impl FnOnce() -> io::Result<String> {
    move || {
        let mut bytes = Vec::new();
        let result = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes)).transpose();
        // Nobody waits any more once the time is over.
        let _ = ended.send(());
        result.map(|_| String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search_path::find;

    fn sh(script: &str, input: &str) -> Result<String, Error> {
        run(&find("sh").unwrap(), &["-c", script], input)
    }

    #[test]
    fn input_larger_than_the_pipes_comes_back() {
        let large = "0123456789abcdef".repeat(64 * 1024);
        assert_eq!(sh("cat", &large).unwrap(), large);
    }

    #[test]
    fn a_failure_carries_command_and_complaint() {
        let error = sh("echo one >&2; echo two >&2; exit 3", "").unwrap_err();
        assert_eq!(error.to_string(), "sh -c echo one >&2; echo two >&2; exit 3 failed: one; two");
    }

    #[test]
    fn a_silent_failure_names_its_status() {
        assert!(sh("exit 3", "").unwrap_err().to_string().ends_with("exit status: 3"));
    }

    #[test]
    fn a_tool_that_hangs_is_killed() {
        let sh = find("sh").unwrap();
        // By itself, and as a script that waits for another program.
        for script in ["exec sleep 1000", "sleep 1000; true"] {
            let limit = Duration::from_millis(100);
            let error = run_within(limit, &sh, &["-c", script], "").unwrap_err();
            assert!(matches!(error, Error::Hangs { .. }), "{error}");
        }
    }

    #[test]
    fn a_tool_that_does_not_read_is_no_hang() {
        assert_eq!(sh("exec <&-; echo done", &"x".repeat(1 << 20)).unwrap(), "done\n");
    }

    #[test]
    fn tools_run_in_a_process_group_of_their_own() {
        let group = sh("read _ _ _ _ group rest < /proc/self/stat; echo $group", "").unwrap();
        let ours = nix::unistd::getpgrp().to_string();
        assert_ne!(group.trim(), ours);
    }

    #[test]
    fn nobody_has_this_tool() {
        assert_eq!(find("snet-no-such-tool"), None);
    }
}
