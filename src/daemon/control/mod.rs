//! The control socket: one request a connection, as text.
//!
//! The client sends a line with a verb and reads to the end. The first line of the answer is `ok`
//! or `refused N`, N being the exit code that the command should have; the rest is for the
//! operator. Only root and the daemon's own user may ask (the mode of the socket, and
//! SO_PEERCRED).

mod socket_file;

use super::error::Error;
use super::subject::Subject;
use crate::config::{Config, Purpose};
use crate::exit::USAGE;
use crate::task;
use crate::view::DelayAsk;
use crate::warnings::StandingWarning;
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};
use socket_file::{SocketFile, SocketFileError};
use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream as Client;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tracing::debug;

/// A client that says nothing for so long is not listened to.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a command waits for its answer: a reload resolves the names of new servers first.
const LONGEST: Duration = Duration::from_secs(60);

/// No verb is longer: a URL, and names.
const LONGEST_LINE: u64 = 16 << 10;

/// What can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Read the configuration again.
    Reload,
    /// Show something.
    Look(Look),
    /// End the connection or UDP session of this number.
    Close(u64),
    /// Say why something goes where it goes, as an [`ExplainView`](crate::view::ExplainView).
    Explain(Subject),
    /// Pin a member of a group, or end that.
    Use(PinOrder),
    /// Test proxies; the answer is a list of [`DelayView`](crate::view::DelayView).
    Delay(DelayAsk),
    /// Fetch the subscription of this name now.
    Update(String),
}

/// Which member a group shall use. Names may have spaces: it is sent as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinOrder {
    /// The group.
    pub group: String,
    /// The member; `None`: as the policy says.
    pub member: Option<String>,
}

/// What can be shown, as JSON: see [`crate::view`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// A [`StatusView`](crate::view::StatusView).
    Status,
    /// A list of [`FlowView`](crate::view::FlowView).
    Flows,
    /// A list of [`RuleView`](crate::view::RuleView).
    Rules,
}

/// What a client that says something else is told.
const ACCEPTED: &str = "reload, status, flows, rules, close NUMBER, explain NAME or ADDRESS, \
                        use JSON, delay JSON, update SUBSCRIPTION";

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verb::Reload => f.write_str("reload"),
            Verb::Look(Look::Status) => f.write_str("status"),
            Verb::Look(Look::Flows) => f.write_str("flows"),
            Verb::Look(Look::Rules) => f.write_str("rules"),
            Verb::Close(id) => write!(f, "close {id}"),
            Verb::Explain(subject) => write!(f, "explain {subject}"),
            Verb::Use(order) => write!(f, "use {}", json(order)?),
            Verb::Delay(ask) => write!(f, "delay {}", json(ask)?),
            Verb::Update(name) => write!(f, "update {name}"),
        }
    }
}

/// One line: JSON escapes what would end it.
fn json(order: &impl Serialize) -> Result<String, fmt::Error> {
    serde_json::to_string(order).map_err(|_| fmt::Error)
}

impl FromStr for Verb {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        match line.trim_end().split_once(' ') {
            None => match line.trim_end() {
                "reload" => Ok(Verb::Reload),
                "status" => Ok(Verb::Look(Look::Status)),
                "flows" => Ok(Verb::Look(Look::Flows)),
                "rules" => Ok(Verb::Look(Look::Rules)),
                _ => Err(()),
            },
            Some(("close", id)) => id.parse().map(Verb::Close).map_err(|_| ()),
            Some(("explain", it)) => it.parse().map(Verb::Explain).map_err(|_| ()),
            Some(("use", it)) => serde_json::from_str(it).map(Verb::Use).map_err(|_| ()),
            Some(("delay", it)) => serde_json::from_str(it).map(Verb::Delay).map_err(|_| ()),
            Some(("update", name)) if !name.is_empty() => Ok(Verb::Update(name.into())),
            Some(_) => Err(()),
        }
    }
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlReply {
    /// It was done; in words.
    Done(String),
    /// It was not: the exit code, and why.
    Refused(u8, String),
}

/// A request on its way to the daemon.
#[derive(Debug)]
pub(super) struct ControlRequest {
    pub(super) verb: Verb,
    pub(super) answer: oneshot::Sender<ControlReply>,
}

/// The socket. Its drop removes the file.
#[derive(Debug)]
pub(super) struct ControlSocket {
    listener: UnixListener,
    _file: SocketFile,
}

impl ControlSocket {
    /// Makes the socket. `None`: it cannot be had here, which is said; everything else works, and
    /// SIGHUP reloads too.
    ///
    /// # Errors
    /// [`Error::Control`]: what stands in its place is not ours to remove.
    pub(super) fn open(config: &Config, purpose: Purpose) -> Result<Option<Self>, Error> {
        let path = &config.control_socket;
        let occupied = |what| Err(Error::Control { path: path.clone(), what });
        match ControlSocket::bind(path) {
            Ok(control) => return Ok(Some(control)),
            Err(SocketFileError::Occupied(what)) => return occupied(what),
            Err(SocketFileError::Anothers(who)) if purpose == Purpose::Daemon => {
                return occupied(who);
            }
            // Without rules there may be many, each of its own user.
            Err(SocketFileError::Anothers(who)) => {
                let path = path.display();
                let told = format!("{path} is {who}: `snet reload` reaches that one, not this");
                StandingWarning::raise(told).for_good();
            }
            // An ordinary user has no place there.
            Err(SocketFileError::Io(error)) if purpose == Purpose::DnsOnly => {
                debug!("{}: {error}", path.display());
            }
            Err(SocketFileError::Io(error)) => StandingWarning::raise(format!(
                "no control socket at {} ({error}): `snet reload` does not find this snet, \
                 SIGHUP does",
                path.display()
            ))
            .for_good(),
        }
        Ok(None)
    }

    fn bind(path: &Path) -> Result<Self, SocketFileError> {
        let (listener, file) = SocketFile::take(path)?;
        Ok(ControlSocket { listener: UnixListener::from_std(listener)?, _file: file })
    }

    /// Hands requests over, one after the other. Never ends.
    pub(super) async fn serve(self, requests: mpsc::Sender<ControlRequest>) -> bool {
        loop {
            match self.listener.accept().await {
                Ok((client, _)) => {
                    let requests = requests.clone();
                    task::spawn(async move {
                        if let Err(error) = converse(client, requests).await {
                            debug!("a client of the control socket: {error}");
                        }
                    });
                }
                Err(error) => {
                    debug!("the control socket: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn converse(
    mut client: UnixStream,
    requests: mpsc::Sender<ControlRequest>,
) -> io::Result<()> {
    let user = client.peer_cred()?.uid();
    if user != 0 && user != geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut line = String::new();
    timeout(PATIENCE, (&mut client).take(LONGEST_LINE).read_to_string(&mut line)).await??;
    let answer = match line.parse() {
        Err(()) => {
            let found = format!("found {:?}; accepted: {ACCEPTED}", line.trim_end());
            ControlReply::Refused(USAGE, found)
        }
        Ok(verb) => {
            let (answer, answered) = oneshot::channel();
            let gone = || io::Error::other("snet is stopping");
            requests.send(ControlRequest { verb, answer }).await.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())?
        }
    };
    timeout(PATIENCE, client.write_all(answer.text().as_bytes())).await??;
    client.shutdown().await
}

impl ControlReply {
    fn text(&self) -> String {
        match self {
            ControlReply::Done(words) => format!("ok\n{words}\n"),
            ControlReply::Refused(code, words) => format!("refused {code}\n{words}\n"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (first, words) = text.split_once('\n')?;
        let words = words.trim_end().to_owned();
        match first.split_once(' ') {
            None if first == "ok" => Some(ControlReply::Done(words)),
            Some(("refused", code)) => Some(ControlReply::Refused(code.parse().ok()?, words)),
            _ => None,
        }
    }
}

/// Asks the daemon behind this socket.
///
/// # Errors
/// Nothing answers there, or what answers is no snet.
pub fn ask(socket: &Path, verb: &Verb) -> io::Result<ControlReply> {
    let mut daemon = Client::connect(socket)?;
    let longest = match verb {
        // Hundreds of proxies wait for their turn.
        Verb::Delay(_) => LONGEST * 10,
        _ => LONGEST,
    };
    daemon.set_read_timeout(Some(longest))?;
    writeln!(daemon, "{verb}")?;
    daemon.shutdown(std::net::Shutdown::Write)?;
    let mut text = String::new();
    daemon.read_to_string(&mut text)?;
    ControlReply::parse(&text).ok_or_else(|| io::Error::other("no answer; is it stopping?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        for answer in [
            ControlReply::Done("two lines\nof words".into()),
            ControlReply::Refused(78, "snet.toml:1: mode: found 5".into()),
        ] {
            assert_eq!(ControlReply::parse(&answer.text()), Some(answer));
        }
        for text in ["", "ok", "refused\n", "refused x\n", "hello\n"] {
            assert_eq!(ControlReply::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn verbs() {
        let looks = [Look::Status, Look::Flows, Look::Rules].map(Verb::Look);
        let subjects = ["www.example.com", "[2001:db8::1]:443", "203.0.113.1"];
        let explain = subjects.map(|it| Verb::Explain(it.parse().unwrap()));
        let group = "香港 \n 1".to_owned();
        let pins = [Some("a b".to_owned()), None]
            .map(|member| Verb::Use(PinOrder { group: group.clone(), member }));
        let delay = DelayAsk { names: vec!["a b".into()], ..DelayAsk::default() };
        let others = [
            Verb::Reload,
            Verb::Close(u64::MAX),
            Verb::Delay(delay),
            Verb::Update("my provider".into()),
        ];
        for verb in others.into_iter().chain(looks).chain(explain).chain(pins) {
            assert_eq!(format!("{verb}\n").parse(), Ok(verb));
        }
        for line in
            ["", "stop", "status now", "close", "close x", "close -1", "explain ", "explain a b"]
                .into_iter()
                .chain(["use", "use a", "use {}", "delay", "delay []", "update", "update "])
        {
            assert_eq!(line.parse::<Verb>(), Err(()), "{line}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_request_reaches_the_daemon_and_its_answer_the_client() {
        let folder = std::env::temp_dir().join(format!("snet-control-{}", std::process::id()));
        let path = folder.join("control.sock");
        let control = ControlSocket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let taken = ControlSocket::bind(&path).unwrap_err();
        assert!(matches!(taken, SocketFileError::Anothers(_)), "{taken}");
        let (requests, mut asked) = mpsc::channel(1);
        let serving = tokio::spawn(control.serve(requests));
        let at = path.clone();
        let client = tokio::task::spawn_blocking(move || ask(&at, &Verb::Reload));
        let request = asked.recv().await.unwrap();
        assert_eq!(request.verb, Verb::Reload);
        request.answer.send(ControlReply::Refused(78, "no".into())).unwrap();
        assert_eq!(client.await.unwrap().unwrap(), ControlReply::Refused(78, "no".into()));
        serving.abort();
        assert!(serving.await.is_err());
        assert!(!folder.exists(), "removed with the daemon, and so is its folder");
        fs::create_dir(&folder).unwrap();
        // What a killed one leaves.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        drop(ControlSocket::bind(&path).unwrap());
        fs::remove_dir(&folder).unwrap();
    }
}
