//! Why a name is answered as it is: what the policy says, what the cache holds, what each server
//! says now, and what a program gets.
//!
//! Only servers are asked that a program's query would reach: a name that a rule keeps from the
//! domestic side is kept from it here too.

use super::cache::NameVerdict;
use super::policy::{Ask, KnownAnswer, Plan};
use super::reply::{
    Believed, DomesticVerdict, Reply, Side, TrustedVerdict, classify, classify_trusted,
};
use super::resolution::Resolution;
use super::resolver::Resolver;
use super::upstream::domestic::DomesticServer;
use super::upstream::stagger::Unhelpful;
use super::wire::{Query, TCP_SIZE, rcode, rr};
use crate::domain::Name;
use crate::task::JoinSet;
use crate::view::{CachedView, RecordView, ReplyView};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

impl Resolver {
    /// What is known of its addresses.
    pub(super) async fn explain(self: Rc<Self>, name: Name) -> Vec<RecordView> {
        let mut records = Vec::new();
        for (kind, qtype) in [("A", rr::A), ("AAAA", rr::AAAA)] {
            let query = Query::new(&name, qtype);
            records.push(RecordView { kind: kind.into(), ..self.explain_record(&query).await });
        }
        records
    }

    async fn explain_record(self: &Rc<Self>, query: &Query) -> RecordView {
        let ask = match self.policy.plan(query, self.memory.verdict(query, Instant::now())) {
            Plan::Known(known) => {
                let message = self.policy.write(known, query, TCP_SIZE);
                let record = RecordView { asks: known_text(known).into(), ..RecordView::default() };
                return with_answer(record, &message);
            }
            Plan::Ask(ask) => ask,
        };
        let cached = self.cached(query);
        let replies = self.replies(query, ask).await;
        let mut message = Vec::new();
        let is_cached = {
            let mut cache = self.memory.cache.borrow_mut();
            let hit = cache.get(query, Instant::now());
            hit.map(|hit| hit.write(query, TCP_SIZE, &mut message)).is_some()
        };
        let mut instead = None;
        if !is_cached {
            match &*self.flights.resolve(query).await {
                Resolution::Reply { stored, ttls } => {
                    stored.write(query, *ttls, None, TCP_SIZE, &mut message);
                }
                Resolution::Stale(_) => {
                    let mut cache = self.memory.cache.borrow_mut();
                    match cache.get_stale(query, Instant::now()) {
                        Some(hit) => hit.write(query, TCP_SIZE, &mut message),
                        None => instead = Some("SERVFAIL: no server that could know answered"),
                    }
                }
                Resolution::Servfail(_) => {
                    instead = Some("SERVFAIL: no reply that can be believed");
                }
                Resolution::NoData(_) => instead = Some("no such record, as the operator wants"),
                Resolution::NxDomain => instead = Some("no such name: no local server is known"),
            }
        }
        let verdict = self.memory.verdict(query, Instant::now()).map(|verdict| match verdict {
            NameVerdict::Domestic => "domestic".to_owned(),
            NameVerdict::Foreign => "foreign".to_owned(),
        });
        let asks = ask_text(ask).into();
        let record =
            RecordView { kind: String::new(), asks, cached, replies, verdict, ..<_>::default() };
        match instead {
            Some(instead) => RecordView { instead: Some(instead.into()), ..record },
            None => with_answer(record, &message),
        }
    }

    fn cached(&self, query: &Query) -> Option<CachedView> {
        let mut cache = self.memory.cache.borrow_mut();
        let hit = cache.get(query, Instant::now())?;
        Some(CachedView { side: side_word(hit.stored().side()), left: hit.remaining.as_secs() })
    }

    /// What each server says that a program's query may reach.
    async fn replies(self: &Rc<Self>, query: &Query, ask: Ask<'_>) -> Vec<ReplyView> {
        let local = |servers: &[SocketAddr]| -> Vec<DomesticServer> {
            servers.iter().copied().map(DomesticServer::Udp).collect()
        };
        let (near, side, asks_trusted) = match ask {
            Ask::Forward(servers) => (local(servers), "local", false),
            Ask::Local => (local(&self.upstreams.local_servers(Instant::now())), "local", false),
            Ask::Domestic => (self.upstreams.domestic.clone(), "domestic", false),
            Ask::Both => (self.upstreams.domestic.clone(), "domestic", true),
            Ask::Trusted | Ask::TrustedFirst | Ask::SideOfAddresses => {
                (Vec::new(), "domestic", true)
            }
        };
        let mut asking = JoinSet::new();
        for (place, server) in near.into_iter().enumerate() {
            let (resolver, query) = (Rc::clone(self), query.clone());
            asking.spawn_local(
                async move { (place, resolver.reply_of(&server, &query, side).await) },
            );
        }
        if asks_trusted {
            let (resolver, query) = (Rc::clone(self), query.clone());
            asking.spawn_local(async move { (usize::MAX, resolver.trusted_reply(&query).await) });
        }
        let mut replies = asking.join_all().await;
        replies.sort_by_key(|(place, _)| *place);
        replies.into_iter().map(|(_, reply)| reply).collect()
    }

    async fn reply_of(&self, server: &DomesticServer, query: &Query, side: &str) -> ReplyView {
        let began = Instant::now();
        let patience = self.policy.settings.servers.timeout;
        let message = self.upstreams.ask_watched(server, query, patience).await;
        let found = |says: String| ReplyView {
            side: side.into(),
            server: Some(server.address()),
            ms: milliseconds(began.elapsed()),
            says,
            addresses: Vec::new(),
        };
        let message = match message {
            Ok(message) => message,
            Err(error) => return found(format!("no answer ({error})")),
        };
        let Some(reply) = Reply::parse(&message) else { return found("no DNS reply".into()) };
        let says = match side {
            "domestic" => {
                let bogus = self.memory.bogus.borrow();
                let china = self.policy.china();
                domestic_text(classify(&reply, china, bogus.all(), Believed::PublicOnly))
            }
            _ => trusted_text(classify_trusted(&reply)),
        };
        let says = says.map_or_else(|| error_text(&reply), str::to_owned);
        ReplyView { addresses: reply.addresses(), ..found(says) }
    }

    async fn trusted_reply(&self, query: &Query) -> ReplyView {
        let began = Instant::now();
        let patience = self.policy.settings.servers.timeout;
        let (server, message) = self.upstreams.ask_trusted_naming(query, patience).await;
        let reply = message.as_deref().ok().and_then(Reply::parse);
        let says = match (&reply, &message) {
            (Some(reply), _) => trusted_text(classify_trusted(reply))
                .map_or_else(|| error_text(reply), str::to_owned),
            (None, Err(error)) => failure_text(error),
            (None, Ok(_)) => "no DNS reply".into(),
        };
        ReplyView {
            side: "trusted".into(),
            server,
            ms: milliseconds(began.elapsed()),
            says,
            addresses: reply.map(|reply| reply.addresses()).unwrap_or_default(),
        }
    }
}

fn with_answer(record: RecordView, message: &[u8]) -> RecordView {
    let Some(reply) = Reply::parse(message) else { return record };
    let answer = reply.addresses();
    let instead = match (answer.is_empty(), reply.rcode()) {
        (false, _) => None,
        (true, rcode::NXDOMAIN) => Some("no such name".into()),
        (true, rcode::NOERROR) => Some("no such record".into()),
        (true, code) => Some(rcode::word(code)),
    };
    RecordView { answer, instead, ..record }
}

fn side_word(side: Side) -> String {
    match side {
        Side::Domestic => "domestic".into(),
        Side::Trusted => "trusted".into(),
    }
}

fn milliseconds(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

fn known_text(known: KnownAnswer) -> &'static str {
    match known {
        KnownAnswer::Hosts => "dns.hosts answers, no server is asked",
        KnownAnswer::Localhost => "it is this machine, no server is asked",
        KnownAnswer::NxDomain => "a special name that does not exist, no server is asked",
        KnownAnswer::NoData => "a special name without records, no server is asked",
        KnownAnswer::Blocked => "it is blocked, no server is asked",
        KnownAnswer::Filtered => "a type that the operator does not want, no server is asked",
        KnownAnswer::Any => "no server is asked",
    }
}

fn ask_text(ask: Ask<'_>) -> &'static str {
    match ask {
        Ask::Forward(_) => "the servers of dns.forward are asked, and no others",
        Ask::Local => "a local name: the local servers are asked, and no others",
        Ask::Domestic => "the domestic side is asked, the trusted one if that fails",
        Ask::Trusted => "the trusted side is asked, and no other",
        Ask::Both => "both sides are asked, and the domestic reply decides whom to believe",
        Ask::TrustedFirst => "the trusted side is asked first (dns.no-leak)",
        Ask::SideOfAddresses => "the side that its addresses belong to is asked",
    }
}

/// `None`: an error, which [`error_text`] names.
fn domestic_text(verdict: DomesticVerdict) -> Option<&'static str> {
    Some(match verdict {
        DomesticVerdict::Cn => "domestic, so it is believed",
        DomesticVerdict::Foreign => "foreign, perhaps forged, so the trusted side counts",
        DomesticVerdict::Bogus => "forged",
        DomesticVerdict::NoIp => "no address",
        DomesticVerdict::Nx => "no such name",
        DomesticVerdict::Err => return None,
    })
}

/// `None`: as of [`domestic_text`].
fn trusted_text(verdict: TrustedVerdict) -> Option<&'static str> {
    Some(match verdict {
        TrustedVerdict::Addresses => "addresses",
        TrustedVerdict::NoIp => "no address",
        TrustedVerdict::Nx => "no such name",
        TrustedVerdict::Err => return None,
    })
}

/// A server that answers, and has no answer.
fn error_text(reply: &Reply<'_>) -> String {
    match reply.rcode() {
        rcode::NOERROR | rcode::NXDOMAIN => "a reply that is of no use".into(),
        code => rcode::word(code),
    }
}

fn failure_text(error: &io::Error) -> String {
    match error.get_ref().and_then(|cause| cause.downcast_ref::<Unhelpful>()) {
        Some(Unhelpful(code)) => rcode::word(*code),
        None => format!("no answer ({error}; does the proxy reach it?)"),
    }
}
