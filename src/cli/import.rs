//! `snet config import`: another program's file in, a file of snet's own out.

use super::file::advice;
use super::out::{fail, print, say};
use crate::config::{Config, ImportedConfig, Purpose, import};
use crate::exit::{CONFIG, NOPERM, UNAVAILABLE};
use crate::subscription::format::LONGEST_BODY;
use clap::{Args, Subcommand, ValueHint};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use zeroize::Zeroizing;

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Make a configuration of another program's file: SNET's config.json, the proxies of a Clash
    /// file, the outbounds of a sing-box file, shadowsocks' config.json, links.
    ///
    /// What it prints holds the passwords. Its comments say what was not taken over, and why.
    Import(ImportArguments),
}

#[derive(Debug, Args)]
pub struct ImportArguments {
    /// The other program's file; "-" is standard input.
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Write here, readable only by its owner, instead of to standard output. A file that is there
    /// is never replaced.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
}

pub fn run(command: &ConfigCommand) -> ExitCode {
    let ConfigCommand::Import(of) = command;
    let shown = of.file.display();
    let bytes = match read(&of.file) {
        Ok(bytes) => bytes,
        Err(error) => {
            return fail(code(&error), format_args!("{shown}: cannot read the file: {error}"));
        }
    };
    let folder = of.file.parent().filter(|it| !it.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize().unwrap_or_default();
    let ImportedConfig { text, config, left_out } = match import(&bytes, &folder) {
        Ok(imported) => imported,
        Err(why) => return fail(CONFIG, format_args!("{shown}: {why}")),
    };
    let rest = match left_out {
        0 => String::new(),
        count => format!("; its comments say what was not taken over ({count})"),
    };
    let proxies = config.proxies.len();
    let plural = if proxies == 1 { "proxy" } else { "proxies" };
    let Some(output) = &of.output else {
        let code = print(&text);
        say(format_args!("{proxies} {plural}{rest}"));
        warn_of(&config);
        return code;
    };
    let path = output.display();
    match write(output, &text) {
        Ok(()) => {
            say(format_args!("{path}: {proxies} {plural}{rest}"));
            warn_of(&config);
            say(format_args!("next: snet check -c {path}"));
            ExitCode::SUCCESS
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fail(UNAVAILABLE, format_args!("{path} is there already, and is not replaced"))
        }
        Err(error) => fail(code(&error), format_args!("{path}: {}", unwritable(output, &error))),
    }
}

/// A server on this machine, a plugin that is not here: as `snet check` says it.
fn warn_of(config: &Config) {
    for warning in advice(config, Purpose::Daemon) {
        say(format_args!("warning: {warning}"));
    }
}

fn code(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::PermissionDenied { NOPERM } else { UNAVAILABLE }
}

/// One byte more than is taken, so that too much is noticed.
fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    let most = LONGEST_BODY as u64 + 1;
    if path.as_os_str() == "-" {
        io::stdin().lock().take(most).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(most).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// The file itself is to be made, so what is not there is its folder.
fn unwritable(path: &Path, error: &io::Error) -> String {
    match path.parent() {
        Some(folder) if error.kind() == io::ErrorKind::NotFound && folder.is_absolute() => {
            let folder = folder.display();
            format!("there is no folder {folder}: make it first (`sudo mkdir -p {folder}`)")
        }
        _ => format!("cannot write the file: {error}"),
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_missing_is_named() {
        let why = |path: &str| unwritable(Path::new(path), &io::ErrorKind::NotFound.into());
        assert_eq!(
            why("/nowhere/at/all/config.toml"),
            "there is no folder /nowhere/at/all: make it first (`sudo mkdir -p /nowhere/at/all`)"
        );
        assert!(why("config.toml").starts_with("cannot write the file: "));
    }
}
