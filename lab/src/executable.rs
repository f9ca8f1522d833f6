//! Programs and scripts that a test makes and then runs.
//!
//! They are written by a child. What this process has open for writing is inherited by every child
//! that another thread forks at that moment, until that one calls execve(2); and as long as anybody
//! has a file open for writing it cannot be run (ETXTBSY).

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// A program at another place.
pub fn copy(program: &str, to: &Path) {
    let status = Command::new("cp").arg(program).arg(to).status().expect("cp starts");
    assert!(status.success(), "cp {program} {}: {status}", to.display());
}

/// A script that may be run.
pub fn write(script: &str, to: &Path) {
    let mut child = Command::new("sh")
        .args(["-c", "cat >\"$0\" && chmod 755 \"$0\""])
        .arg(to)
        .stdin(Stdio::piped())
        .spawn()
        .expect("sh starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(script.as_bytes()).expect("sh reads");
    drop(stdin);
    let status = child.wait().expect("a child can be waited for");
    assert!(status.success(), "{}: {status}", to.display());
}
