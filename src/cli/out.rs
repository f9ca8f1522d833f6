//! Words on stdout and stderr, either of which may be gone, and how a command ends.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// Says on stderr what is wrong; the exit code of the command.
pub fn fail(code: u8, message: impl Display) -> ExitCode {
    say(message);
    code.into()
}

/// Writes to a stderr that may be gone: then there is no reader.
pub fn say(message: impl Display) {
    let _ = writeln!(io::stderr(), "{message}");
}

/// Prints a command's result. A reader that hangs up early (`snet rules | head`) is no error.
pub fn print(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    let _ = write!(out, "{text}{newline}").and_then(|()| out.flush());
    ExitCode::SUCCESS
}
