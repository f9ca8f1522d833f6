//! Why a name server does not answer, in words that an operator can act on.

#[cfg(feature = "tls")]
use super::tls_trouble::{self, TlsTrouble};
use crate::dns::reply::Reply;
use crate::dns::wire::rcode;
use crate::{dispatch, proxy};
#[cfg(feature = "tls")]
use http::StatusCode;
use std::io::{self, ErrorKind};

/// What may be over by the next question has to last for so many,
const PATIENCE: u32 = 3;

/// and silence, which may be that of dead names, longer.
const LONG_PATIENCE: u32 = 6;

/// and refusals, which may be for names that others know.
const LONGEST_PATIENCE: u32 = 12;

/// Why a server does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// The same cause has the same kind.
    pub(super) kind: &'static str,
    /// In words that follow the name of the server.
    pub(super) text: String,
    /// It has to fail so many times in a row before that is said.
    pub(super) patience: u32,
}

impl Trouble {
    fn new(kind: &'static str, patience: u32, text: String) -> Self {
        Trouble { kind, text, patience }
    }

    /// It lets questions pass.
    pub(super) fn silence() -> Self {
        Trouble::new("silence", LONG_PATIENCE, "does not answer".into())
    }

    /// It answers over HTTP, and not to the question.
    #[cfg(feature = "tls")]
    pub(super) fn status(status: StatusCode) -> Self {
        let (kind, patience, hint) = match status {
            StatusCode::NOT_FOUND => ("404", 1, "; is the path of its URL right?"),
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
                ("403", 1, "; it does not serve this machine, or not the way it is asked")
            }
            StatusCode::TOO_MANY_REQUESTS => ("429", PATIENCE, "; it is asked too often"),
            status if status.is_client_error() => ("4xx", 1, ""),
            status if status.is_server_error() => ("5xx", PATIENCE, "; it fails itself"),
            _ => ("status", 1, "; is the path of its URL right?"),
        };
        Trouble::new(kind, patience, format!("answers HTTP {status}{hint}"))
    }

    /// What it says is no DNS.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "HTTPS has it"))]
    pub(super) fn senseless(what: &str) -> Self {
        Trouble::new("senseless", PATIENCE, format!("makes no sense: {what}"))
    }

    /// Its connections end before an answer.
    pub(super) fn fruitless(cause: &io::Error) -> Self {
        let text = format!("ends connections before it answers ({cause})");
        Trouble::new("fruitless", PATIENCE, text)
    }

    /// It answers, and does not want to. One name says nothing of a server.
    pub(super) fn of_reply(message: &[u8]) -> Option<Self> {
        let (kind, text) = match Reply::parse(message)?.rcode() {
            rcode::REFUSED => {
                ("refusal", "answers REFUSED: it does not serve this machine, or not these names")
            }
            rcode::SERVFAIL => ("failure", "answers SERVFAIL, whatever it is asked"),
            rcode::NOTIMP | rcode::FORMERR => ("form", "does not understand what it is asked"),
            _ => return None,
        };
        Some(Trouble::new(kind, LONGEST_PATIENCE, text.into()))
    }

    /// Why there is no connection. `None`: that is not the server's trouble, and said elsewhere.
    #[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "only TLS has names"))]
    pub(super) fn of_dial(name: Option<&str>, error: &io::Error) -> Option<Self> {
        if let Some(cause) = error.get_ref() {
            #[cfg(feature = "tls")]
            if let Some(tls) = cause.downcast_ref() {
                let TlsTrouble { kind, text, lasts } = tls_trouble::of(name.unwrap_or("it"), tls);
                return Some(Trouble::new(kind, if lasts { 1 } else { PATIENCE }, text));
            }
            return match cause.downcast_ref::<dispatch::Error>()? {
                dispatch::Error::Direct(proxy::Error::Dial { source, .. }) => of_kernel(source),
                dispatch::Error::DirectTimeout { .. } => Some(Trouble::silence()),
                _ => None,
            };
        }
        match error.kind() {
            ErrorKind::TimedOut => Some(Trouble::silence()),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => {
                Some(Trouble::fruitless(error))
            }
            _ => of_kernel(error),
        }
    }

    /// Why a question could not be sent.
    pub(super) fn of_question(error: &io::Error) -> Option<Self> {
        // What is no word of the kernel is said where it was found; so is silence.
        let is_kernels = error.get_ref().is_none() && error.kind() != ErrorKind::TimedOut;
        is_kernels.then(|| of_kernel(error)).flatten()
    }
}

fn of_kernel(error: &io::Error) -> Option<Trouble> {
    let (kind, text) = match error.kind() {
        ErrorKind::ConnectionRefused => {
            ("refused", "refuses connections: does it listen at this port?".into())
        }
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => {
            ("unreachable", format!("cannot be reached ({error})"))
        }
        ErrorKind::TimedOut => return Some(Trouble::silence()),
        _ => return None,
    };
    Some(Trouble::new(kind, PATIENCE, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "tls")]
    #[test]
    fn statuses_tell_what_to_look_at() {
        let of = |code| Trouble::status(StatusCode::from_u16(code).unwrap());
        assert_eq!((of(404).patience, of(503).patience), (1, PATIENCE));
        assert!(of(404).text.contains("404 Not Found; is the path"));
        assert!(of(403).text.contains("403 Forbidden"));
        assert_ne!(of(404).kind, of(403).kind);
        assert_eq!(of(502).kind, of(503).kind);
    }

    #[test]
    fn what_the_kernel_says() {
        let of = |kind: ErrorKind| Trouble::of_dial(None, &kind.into()).map(|it| it.kind);
        assert_eq!(of(ErrorKind::ConnectionRefused), Some("refused"));
        assert_eq!(of(ErrorKind::NetworkUnreachable), Some("unreachable"));
        assert_eq!(of(ErrorKind::TimedOut), Some("silence"));
        assert_eq!(of(ErrorKind::ResourceBusy), None);
        let source = ErrorKind::ConnectionRefused.into();
        let dial = proxy::Error::Dial { server: "192.0.2.1:853".into(), source };
        let dial = io::Error::other(dispatch::Error::Direct(dial));
        assert_eq!(Trouble::of_dial(None, &dial).unwrap().kind, "refused");
        let down = io::Error::other(dispatch::Error::AllProxiesDown);
        assert_eq!(Trouble::of_dial(None, &down), None, "the proxy's trouble is said by it");
    }
}
