//! The programs that the trials call.

use super::Unable;
use crate::firewall::{self, Backend};
use crate::search_path;
use nix::sys::utsname::uname;
use std::env;
use std::ffi::OsString;
use std::io::Write;
use std::process::{Command, Stdio};

/// Their names, and the Debian package each comes with: what every trial needs, and what those of
/// iptables need beside.
const ALWAYS: [(&str, &str); 1] = [("ip", "iproute2")];
const OF_IPTABLES: [(&str, &str); 4] = [
    ("iptables-restore", "iptables"),
    ("iptables-save", "iptables"),
    ("ip6tables-save", "iptables"),
    ("ipset", "ipset"),
];

/// PATH, with the system's directories behind it.
pub(super) fn path() -> OsString {
    // Fails for a directory with a colon in its name, which split_paths cannot have made.
    env::join_paths(search_path::directories())
        .unwrap_or_else(|_| env::var_os("PATH").unwrap_or_default())
}

/// # Errors
/// [`Unable::Missing`], for the first one.
pub(super) fn require(backend: Backend) -> Result<(), Unable> {
    let of_backend = match backend {
        Backend::Iptables => &OF_IPTABLES[..],
        Backend::Nftables => &[],
    };
    let mut needed = ALWAYS.iter().chain(of_backend).copied();
    match needed.find(|(tool, _)| search_path::find(tool).is_none()) {
        Some((tool, package)) => Err(Unable::Missing { tool, package }),
        None => Ok(()),
    }
}

/// Runs a tool to its end: text in, text out.
///
/// # Errors
/// [`Unable::Tool`]: it cannot be run; [`Unable::Firewall`]: what it complained of.
pub(super) fn run(tool: &'static str, arguments: &[&str], input: &str) -> Result<String, Unable> {
    let failed = |source| Unable::Tool { tool, source };
    let mut process = Command::new(tool)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = process.stdin.take() {
        // All inputs fit into a pipe. A tool that did not read says why below.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = process.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    let command = [&[tool], arguments].concat().join(" ");
    Err(firewall::Error::of_tool(command, said).into())
}

/// The kernel and the firewall tool, for the last line and for reports:
/// `Linux 6.1.0, iptables 1.8.9 (nf_tables)`.
pub(super) fn platform(backend: Backend) -> String {
    let kernel = uname().map(|name| name.release().to_string_lossy().into_owned());
    if backend == Backend::Nftables {
        return format!("Linux {}, nftables", kernel.unwrap_or_default());
    }
    let tool = run("iptables-save", &["--version"], "").unwrap_or_default();
    let version = tool.trim().trim_start_matches("iptables-save v");
    format!("Linux {}, iptables {version}", kernel.unwrap_or_default())
}
