//! `/logs`: the log as it is written, one JSON object a line, as mihomo sends it.
//!
//! Connections are among it at "info", whatever `log.connections` says. Who reads too slowly is
//! told how many lines are missing.

use super::guard::parameter;
use crate::log::{FollowedLine, LogFollower, LogLevel, LogLine};
use serde_json::{Value, json};

/// What a client wants of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogRequest {
    /// `None`: nothing ("silent").
    pub(super) level: Option<LogLevel>,
    /// `format=structured`
    is_structured: bool,
}

impl LogRequest {
    /// From the query of its URL; `None`: there is no such level.
    pub(super) fn of(query: Option<&str>) -> Option<Self> {
        let asked = |name| query.and_then(|query| parameter(query, name));
        let level = match asked("level").as_deref() {
            None | Some("" | "info") => Some(LogLevel::Info),
            Some("error") => Some(LogLevel::Error),
            Some("warning" | "warn") => Some(LogLevel::Warn),
            Some("debug") => Some(LogLevel::Debug),
            Some("trace") => Some(LogLevel::Trace),
            Some("silent") => None,
            Some(_) => return None,
        };
        Some(LogRequest { level, is_structured: asked("format").as_deref() == Some("structured") })
    }
}

/// The log on its way to one client.
#[derive(Debug)]
pub(super) struct LogStream {
    asked: LogRequest,
    /// `None`: nothing is wanted.
    follower: Option<LogFollower>,
    next: Option<FollowedLine>,
}

impl LogStream {
    pub(super) fn new(asked: LogRequest, follow: impl FnOnce(LogLevel) -> LogFollower) -> Self {
        LogStream { asked, follower: asked.level.map(follow), next: None }
    }

    /// Waits for a line. A wait that is given up loses none.
    pub(super) async fn wait(&mut self) {
        match &mut self.follower {
            Some(follower) => self.next = follower.next().await,
            None => std::future::pending().await,
        }
    }

    /// The line that was waited for. `None`: there will be none any more.
    pub(super) fn object(&mut self) -> Option<Value> {
        let is_structured = self.asked.is_structured;
        Some(match self.next.take()? {
            FollowedLine::Line(line) if is_structured => structured(&line),
            FollowedLine::Line(line) => plain(word(line.level), &line.to_string()),
            FollowedLine::Lost(count) => {
                let what = format!("{count} log lines are missing here: they came too fast");
                match is_structured {
                    true => json!({ "level": "warning", "message": what, "fields": [] }),
                    false => plain("warning", &what),
                }
            }
        })
    }
}

fn plain(level: &str, payload: &str) -> Value {
    json!({ "type": level, "payload": payload })
}

fn structured(line: &LogLine) -> Value {
    let fields = line.fields.iter().map(|it| json!({ "key": it.name, "value": it.value }));
    json!({
        "time": line.local_time(),
        "level": word(line.level),
        "message": line.message,
        "fields": fields.collect::<Vec<_>>(),
    })
}

/// As mihomo calls it.
fn word(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warning",
        LogLevel::Info => "info",
        LogLevel::Debug | LogLevel::Trace => "debug",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Log, LogSettings};
    use tracing::{debug, warn};

    #[test]
    fn what_is_wanted() {
        let of = |query| LogRequest::of(query).map(|it| (it.level, it.is_structured));
        assert_eq!(of(None), Some((Some(LogLevel::Info), false)));
        assert_eq!(of(Some("level=warning")), Some((Some(LogLevel::Warn), false)));
        let structured = "token=x&level=debug&format=structured";
        assert_eq!(of(Some(structured)), Some((Some(LogLevel::Debug), true)));
        assert_eq!(of(Some("level=silent")), Some((None, false)));
        assert_eq!(of(Some("level=loud")), None);
    }

    #[tokio::test]
    async fn lines_are_objects() {
        let (log, _guard) = Log::of_this_thread(LogSettings::default());
        let stream =
            |query| LogStream::new(LogRequest::of(Some(query)).unwrap(), |level| log.follow(level));
        let (mut plain, mut structured) = (stream(""), stream("level=debug&format=structured"));
        debug!("detail");
        warn!(proxy = "tokyo", "is down");
        plain.wait().await;
        assert_eq!(
            plain.object().unwrap(),
            json!({ "type": "warning", "payload": "is down proxy=\"tokyo\"" })
        );
        structured.wait().await;
        let detail = structured.object().unwrap();
        assert_eq!((&detail["level"], &detail["message"]), (&"debug".into(), &"detail".into()));
        assert_eq!(detail["time"].as_str().unwrap().len(), "18:17:16".len());
        structured.wait().await;
        let fields = json!([{ "key": "proxy", "value": "tokyo" }]);
        assert_eq!(structured.object().unwrap()["fields"], fields);
    }
}
