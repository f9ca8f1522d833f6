//! What is asked of the running daemon over its control socket.

use super::out::{fail, print};
use super::wrong::load;
use crate::config::{CONTROL_SOCKET, Purpose};
use crate::daemon;
use crate::exit::{NOPERM, SOFTWARE, UNAVAILABLE};
#[cfg(feature = "top")]
use crate::top;
use crate::view::{ExplainView, StatusView};
use clap::{Args, ValueHint, value_parser};
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
#[cfg(feature = "top")]
use std::time::Duration;

#[derive(Debug, Args)]
pub struct StatusArguments {
    /// As JSON, for programs.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub at: SocketArgument,
}

#[derive(Debug, Args)]
pub struct ExplainArguments {
    /// A name, an address, either with a port, or a URL.
    #[arg(value_name = "NAME|ADDRESS", value_hint = ValueHint::Other)]
    pub subject: daemon::Subject,
    /// Ask no running snet, only this file: what it decides by itself.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// As JSON, for programs.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub at: SocketArgument,
}

#[derive(Debug, Args)]
pub struct TopArguments {
    /// Seconds from one look to the next.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_hint = ValueHint::Other)]
    #[arg(value_parser = value_parser!(u64).range(1..=3600))]
    pub interval: u64,
    #[command(flatten)]
    pub at: SocketArgument,
}

#[derive(Debug, Args)]
pub struct SocketArgument {
    /// Its `control.socket`.
    #[arg(long, value_name = "PATH", default_value = CONTROL_SOCKET)]
    #[arg(value_hint = ValueHint::FilePath)]
    pub socket: PathBuf,
}

pub fn reload(at: &SocketArgument) -> ExitCode {
    match ask(at, &daemon::Verb::Reload) {
        Ok(words) => print(&format!("reloaded: {words}")),
        Err(code) => code,
    }
}

pub fn status(of: &StatusArguments) -> ExitCode {
    let json = match ask(&of.at, &daemon::Verb::Look(daemon::Look::Status)) {
        Ok(json) => json,
        Err(code) => return code,
    };
    show::<StatusView>(&json, of.json)
}

/// Prints what the daemon shows, for programs or for people.
fn show<View: DeserializeOwned + Display>(json: &str, as_json: bool) -> ExitCode {
    if as_json {
        return print(json);
    }
    match serde_json::from_str::<View>(json) {
        Ok(view) => print(&view.to_string()),
        Err(error) => fail(
            UNAVAILABLE,
            format_args!(
                "the snet that runs is another version ({error}): restart it, or use --json"
            ),
        ),
    }
}

pub fn explain(of: &ExplainArguments) -> ExitCode {
    let json = match &of.config {
        None => ask(&of.at, &daemon::Verb::Explain(of.subject.clone())),
        Some(path) => match load(path, Purpose::Daemon) {
            Err(code) => return code,
            Ok(loaded) => {
                let view = daemon::explain_by_file(&loaded.config, &of.subject);
                serde_json::to_string(&view).map_err(|error| fail(SOFTWARE, error))
            }
        },
    };
    match json {
        Ok(json) => show::<ExplainView>(&json, of.json),
        Err(code) => code,
    }
}

#[cfg(feature = "top")]
pub fn top(of: TopArguments) -> ExitCode {
    let interval = Duration::from_secs(of.interval);
    match top::run(top::TopOptions { socket: of.at.socket, interval }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(failure.exit_code(), failure),
    }
}

#[cfg(not(feature = "top"))]
pub fn top(of: TopArguments) -> ExitCode {
    let TopArguments { interval: _, at: SocketArgument { socket: _ } } = of;
    fail(
        UNAVAILABLE,
        "this snet was built without `top` (the cargo feature of that name); there is \
         `snet status`",
    )
}

/// What the daemon says; what it does not say is told here.
pub fn ask(at: &SocketArgument, verb: &daemon::Verb) -> Result<String, ExitCode> {
    match daemon::ask(&at.socket, verb) {
        Ok(daemon::ControlReply::Done(words)) => Ok(words),
        Ok(daemon::ControlReply::Refused(code, why)) => Err(fail(code, why)),
        Err(failure) => {
            let socket = at.socket.display();
            let (code, mut remedy) = remedy(failure.kind());
            if code == UNAVAILABLE && matches!(verb, daemon::Verb::Explain(_)) {
                remedy.push_str("; with -c FILE the file alone is asked");
            }
            Err(fail(code, format_args!("no snet answers at {socket}: {failure}{remedy}")))
        }
    }
}

/// What to do when nobody answers at the socket.
fn remedy(failure: io::ErrorKind) -> (u8, String) {
    let (code, remedy) = match failure {
        io::ErrorKind::PermissionDenied => (NOPERM, "; run this as root"),
        io::ErrorKind::NotFound => {
            (UNAVAILABLE, "; is snet running? `sudo snet` runs it, --socket names another socket")
        }
        io::ErrorKind::ConnectionRefused => (
            UNAVAILABLE,
            "; the snet that made this socket was killed: `sudo snet` starts anew, `sudo snet \
             cleanup` removes rules that are left",
        ),
        _ => (UNAVAILABLE, ""),
    };
    (code, remedy.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_told_what_to_do() {
        for (failure, code, word) in [
            (io::ErrorKind::PermissionDenied, NOPERM, "as root"),
            (io::ErrorKind::NotFound, UNAVAILABLE, "is snet running?"),
            (io::ErrorKind::ConnectionRefused, UNAVAILABLE, "snet cleanup"),
        ] {
            let (found, said) = remedy(failure);
            assert!(found == code && said.contains(word), "{failure}: {said}");
        }
    }
}
