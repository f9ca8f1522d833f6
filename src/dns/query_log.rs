//! `dns.log-queries`: one line for each query, with answer, side, verdict and time.

use super::cache::NameVerdict;
use super::reply::{Reply, Side};
use super::wire::{Query, rcode};
use crate::stats::NameOutcome;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;
use tracing::info;

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerSource {
    /// No server was asked: hosts, special names, lists, filters.
    Local,
    /// The cache.
    Cache(Side),
    /// The cache, past its time.
    Stale(Side),
    /// A server, just now.
    Asked(Side),
    /// The name server that the program asked.
    AskedServer,
    /// No server answered.
    Failed,
}

/// A query and its answer.
#[derive(Debug)]
pub(super) struct QueryLine<'a> {
    pub(super) client: SocketAddr,
    pub(super) query: &'a Query,
    /// The message for the client.
    pub(super) answer: &'a [u8],
    pub(super) source: AnswerSource,
    pub(super) verdict: Option<NameVerdict>,
    pub(super) took: Duration,
}

impl QueryLine<'_> {
    pub(super) fn write(&self) {
        info!("{self}");
    }
}

/// What is not worth a count, of what is answered without a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnQuestion {
    /// The daemon's proof of capture. It leaves no line either.
    Proof,
    /// `localhost`, by which the daemon learns that names are answered; hardly anybody else asks a
    /// name server for it.
    Localhost,
}

impl OwnQuestion {
    /// Whether it is one of them.
    pub(super) fn of(query: &Query) -> Option<Self> {
        let name = query.to_name()?.to_string();
        match name.trim_end_matches('.') {
            "localhost" => Some(OwnQuestion::Localhost),
            name if name.ends_with(super::PROOF) => Some(OwnQuestion::Proof),
            _ => None,
        }
    }
}

impl AnswerSource {
    /// As it is counted.
    pub(super) fn outcome(self) -> NameOutcome {
        match self {
            AnswerSource::Local => NameOutcome::Local,
            AnswerSource::Cache(_) => NameOutcome::Cache,
            AnswerSource::Stale(_) => NameOutcome::Stale,
            AnswerSource::Asked(Side::Domestic) => NameOutcome::Domestic,
            AnswerSource::Asked(Side::Trusted) => NameOutcome::Trusted,
            AnswerSource::AskedServer => NameOutcome::AskedServer,
            AnswerSource::Failed => NameOutcome::Failed,
        }
    }
}

impl fmt::Display for QueryLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client = SocketAddr::new(self.client.ip().to_canonical(), self.client.port());
        write!(f, "{client} asked ")?;
        match self.query.to_name() {
            Some(name) => write!(f, "{name}")?,
            None => write!(f, "?")?,
        }
        write!(f, " {}: ", TypeName(self.query.qtype()))?;
        write_answer(self.answer, f)?;
        write!(f, " ({}", self.source)?;
        match self.verdict {
            Some(NameVerdict::Domestic) => write!(f, ", judged domestic")?,
            Some(NameVerdict::Foreign) => write!(f, ", judged foreign")?,
            None => {}
        }
        write!(f, ", {:.1} ms)", self.took.as_secs_f64() * 1e3)
    }
}

/// The addresses, or what there is instead.
fn write_answer(answer: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some(reply) = Reply::parse(answer) else { return write!(f, "nothing") };
    let addresses = reply.addresses();
    if let Some((first, rest)) = addresses.split_first() {
        write!(f, "{first}")?;
        return rest.iter().try_for_each(|address| write!(f, " {address}"));
    }
    match reply.rcode() {
        rcode::NOERROR if reply.truncated() => write!(f, "truncated"),
        rcode::NOERROR if reply.is_negative() => write!(f, "no such record"),
        rcode::NOERROR => write!(f, "records"),
        rcode::NXDOMAIN => write!(f, "no such name"),
        rcode::SERVFAIL => write!(f, "SERVFAIL"),
        rcode::REFUSED => write!(f, "refused"),
        code => write!(f, "error {code}"),
    }
}

impl fmt::Display for AnswerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |side| match side {
            Side::Domestic => "domestic",
            Side::Trusted => "trusted",
        };
        match self {
            AnswerSource::Local => write!(f, "local"),
            AnswerSource::Cache(from) => write!(f, "cache, {}", side(*from)),
            AnswerSource::Stale(from) => write!(f, "stale, {}", side(*from)),
            AnswerSource::Asked(from) => write!(f, "{}", side(*from)),
            AnswerSource::AskedServer => write!(f, "the asked name server"),
            AnswerSource::Failed => write!(f, "nobody answered"),
        }
    }
}

/// The name of a record type, for people.
pub fn type_name(qtype: u16) -> String {
    TypeName(qtype).to_string()
}

/// A record type for people.
struct TypeName(u16);

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", hickory_proto::rr::RecordType::from(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::reply::{self, sample};
    use crate::dns::wire::{TCP_SIZE, rr};

    #[test]
    fn a_line_says_it_all() {
        let query = sample::query("www.Example.com", rr::A, None);
        let line = |answer: &[u8], source, verdict| {
            let client = "[::ffff:192.0.2.7]:5353".parse().unwrap();
            let took = Duration::from_micros(1250);
            QueryLine { client, query: &query, answer, source, verdict, took }.to_string()
        };
        let addresses = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let found = reply::addresses(&query, &addresses, 60, TCP_SIZE);
        assert_eq!(
            line(&found, AnswerSource::Asked(Side::Domestic), Some(NameVerdict::Domestic)),
            "192.0.2.7:5353 asked www.example.com A: 192.0.2.1 192.0.2.2 (domestic, judged \
             domestic, 1.2 ms)"
        );
        assert_eq!(
            line(&reply::blocked(&query), AnswerSource::Local, None),
            "192.0.2.7:5353 asked www.example.com A: no such name (local, 1.2 ms)"
        );
        assert!(
            line(&reply::nodata(&query, None, 30), AnswerSource::Stale(Side::Trusted), None)
                .contains("no such record (stale, trusted, ")
        );
    }
}
