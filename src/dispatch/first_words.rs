//! The first words of a program, over a connection whose proxy has said nothing yet.
//!
//! Theory of operation. A shadowsocks server answers nothing at the dial. So a connection that was
//! dialled ahead may lead to a server that has died since without a word, and one that was dialled
//! just now to one that hangs: the first payload goes nowhere, and nobody notices. As a rule it
//! must not be sent once more, since only the program knows whether its request may be repeated. A
//! ClientHello without early data may, if it is all that was sent ([`FirstFlight::Hello`]). So it
//! is kept until a byte comes back, and sent to another member
//!
//! - when the connection ends without a byte;
//! - when TCP has no acknowledgment of it after the time that a dial takes;
//! - when it was acknowledged, and nothing has come for longer than answers usually take here.
//!
//! The first that answers carries the connection, and the other one is closed. The client gets
//! words of one server only, and finishes its handshake with that one. A member that was overtaken
//! is doubted; one that TCP does not reach loses what was dialled ahead, too.
//!
//! Bounds: [`MOST_KEPT`] at a time, each of at most 16 KiB, sent twice at most. Whatever the client
//! sends besides, and the end of its patience, ends the wait: then the connection is relayed as it
//! is. The same for all other first words, at once.

use super::attempt::Over;
use super::group::{Errand, Group};
use super::naming::MemberTarget;
use super::standing::Rank;
use super::{Connected, Dispatcher, Error, Upstream, hedge};
use crate::domain::Name;
use crate::net::{ResetOnDrop, first_bytes, stream};
use crate::proxy::first_payload::MayLeave;
use crate::proxy::shadowsocks::{FIRST_PAYLOAD, LONGEST_FIRST, Sealed};
use crate::proxy::{Link, Stream};
use crate::route::ToldName;
use crate::sniff::{FirstFlight, first_flight};
use crate::stats::Meter;
use crate::target::Target;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::debug;

/// So many are kept at a time; more are sent without another chance.
pub(super) const MOST_KEPT: usize = 128;

/// How long two that were asked are waited for.
const LONGEST_RACE: Duration = Duration::from_secs(10);

/// A hello in several packets comes whole within moments.
const PIECE: Duration = Duration::from_millis(1);
const PIECES: usize = 5;

/// Whose words they are, and where they go.
#[derive(Clone, Copy)]
pub struct FirstWords<'a> {
    /// The program's connection.
    pub client: &'a TcpStream,
    /// The host.
    pub from: IpAddr,
    /// The destination.
    pub target: &'a Target,
    /// The name by which the client found it.
    pub told: Option<&'a ToldName>,
    /// The name that the first bytes said, where that decided on the way.
    pub claimed: Option<&'a Name>,
    /// Counts the bytes of the connection.
    pub meter: &'a Arc<Meter>,
    /// Sees the words before they are taken; those that may not leave stay where they are.
    pub may_leave: Option<MayLeave<'a>>,
}

impl fmt::Debug for FirstWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FirstWords({} to {})", self.from, self.target)
    }
}

/// Why the words are said once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unheard {
    /// The connection ended.
    Broken,
    /// TCP has not delivered them.
    Undelivered,
    /// No answer comes.
    Unanswered,
}

impl fmt::Display for Unheard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unheard::Broken => "the connection ended",
            Unheard::Undelivered => "the server did not get it",
            Unheard::Unanswered => "nothing came back",
        })
    }
}

/// What a wait ended with.
enum FirstAnswer {
    Answer,
    /// Nobody can say any more which connection the client means.
    Client,
    Nothing(Unheard),
}

impl Dispatcher {
    /// Says the client's first words where they may have to be said again, and returns the
    /// connection that carries them on. What was said is counted, and no longer the client's to
    /// send.
    pub async fn say(&self, connected: Connected, words: FirstWords<'_>) -> Connected {
        let Connected { link: Link::Sealed(_), via: Some(_), .. } = &connected else {
            return connected;
        };
        let group = self.group(self.route_claimed(words.target, words.claimed).group);
        if !connected.was_ready && group.members().len() < 2 {
            return connected;
        }
        // A session may be dropped meanwhile, at the end of a stop.
        let cut = ResetOnDrop::new([words.client]);
        let connected = Box::pin(self.say_kept(connected, group, words)).await;
        cut.disarm();
        connected
    }

    async fn say_kept(
        &self,
        mut connected: Connected,
        group: &Group,
        words: FirstWords<'_>,
    ) -> Connected {
        let Connected { link: Link::Sealed(sealed), via: Some(via), was_ready, .. } =
            &mut connected
        else {
            return connected;
        };
        let Some(hello) = hello(words, sealed).await else { return connected };
        let Ok(_kept) = self.kept_words.try_acquire() else {
            // They are taken: so they are sent, and that is all.
            let _ = sealed.send_first(&hello).await;
            words.meter.up.add(hello.len() as u64);
            return connected;
        };
        let begun = Saying { via: Arc::clone(via), was_ready: *was_ready, began: Instant::now() };
        let sent = sealed.send_first(&hello).await;
        words.meter.up.add(hello.len() as u64);
        let heard = match sent {
            Ok(()) => begun.listen(&sealed.tcp, words).await,
            Err(_) => FirstAnswer::Nothing(Unheard::Broken),
        };
        let FirstAnswer::Nothing(why) = heard else { return connected };
        let errand = Errand { client: Some(words.from), target: words.target };
        let (all, _) = group.candidates(errand, Instant::now());
        let others = begun.others(why, all);
        if others.is_empty() {
            return connected;
        }
        if why == Unheard::Broken {
            begun.has_broken(words);
        }
        debug!(destination = %words.target, proxy = begun.via.name(), "said once more: {why}");
        let again = Again { hello: &hello, why, words };
        again.say(connected, others).await
    }
}

/// The words were sent through this member.
struct Saying {
    via: Arc<Upstream>,
    was_ready: bool,
    began: Instant,
}

impl Saying {
    /// Waits for an answer for as long as this member may take.
    async fn listen(&self, tcp: &TcpStream, words: FirstWords<'_>) -> FirstAnswer {
        // The silence is this member's, whoever answers in the end.
        let silence = Arc::<Meter>::default();
        silence.up.add(1);
        if let Some(destination) = words.target.address() {
            self.via.awaits(&silence, destination);
        }
        let delivered = self.via.patience();
        let answered = self.via.patience_for_answers().max(delivered);
        let mut answer = pin!(answer(tcp));
        let mut moves = pin!(moves(words.client));
        let heard = |is_answer| match is_answer {
            true => FirstAnswer::Answer,
            false => FirstAnswer::Nothing(Unheard::Broken),
        };
        tokio::select! {
            biased;
            is_answer = &mut answer => return heard(is_answer),
            () = &mut moves => return FirstAnswer::Client,
            () = sleep_until(self.began + delivered) => {}
        }
        if !stream::is_acknowledged(tcp) {
            return FirstAnswer::Nothing(Unheard::Undelivered);
        }
        tokio::select! {
            biased;
            is_answer = &mut answer => heard(is_answer),
            () = &mut moves => FirstAnswer::Client,
            () = sleep_until(self.began + answered) => FirstAnswer::Nothing(Unheard::Unanswered),
        }
    }

    /// What an end without a byte says of the member. (A silence says nothing, unless another one
    /// answers.)
    fn has_broken(&self, words: FirstWords<'_>) {
        let ahead = self.via.proxy.dialled_ahead().filter(|_| self.was_ready);
        match (ahead, words.target.address()) {
            (Some(ahead), _) => ahead.was_of_no_use(),
            (None, Some(destination)) => self.via.report(destination, 1, 0),
            (None, None) => {}
        }
    }

    /// Through whom they may be said again, the best first.
    fn others(&self, why: Unheard, all: Vec<Arc<Upstream>>) -> Vec<Arc<Upstream>> {
        let now = Instant::now();
        let is_same = |it: &Arc<Upstream>| Arc::ptr_eq(it, &self.via);
        let (same, mut others): (Vec<_>, Vec<_>) = all.into_iter().partition(is_same);
        match why {
            // A server may end what it was not asked on: it is the first to be asked again.
            Unheard::Broken if self.was_ready => [same, others].concat(),
            Unheard::Broken => others,
            // The way to it may be lost for this connection alone.
            Unheard::Undelivered if self.was_ready => [others, same].concat(),
            Unheard::Undelivered => others,
            // One that is down would only be silent too.
            Unheard::Unanswered => {
                others.retain(|it| it.rank(now) < Rank::Down);
                others
            }
        }
    }
}

/// The second time.
struct Again<'a> {
    hello: &'a [u8],
    why: Unheard,
    words: FirstWords<'a>,
}

impl Again<'_> {
    async fn say(&self, first: Connected, others: Vec<Arc<Upstream>>) -> Connected {
        let target = MemberTarget::new(self.words.target, self.words.told);
        let mut is_broken = self.why == Unheard::Broken;
        let Some(first_tcp) = tcp(&first) else { return first };
        let mut dial = pin!(self.dial(others, &target));
        let second = loop {
            tokio::select! {
                biased;
                heard = self.hear(first_tcp), if !is_broken => match heard {
                    FirstAnswer::Nothing(_) => is_broken = true,
                    FirstAnswer::Answer | FirstAnswer::Client => return first,
                },
                second = &mut dial => break second,
            }
        };
        let Ok(mut second) = second else { return first };
        (second.resets, second.reason, second.by) = (first.resets, first.reason, first.by);
        second.group.clone_from(&first.group);
        // A proxy that answers at the dial has answered.
        if let Some(second_tcp) = tcp(&second) {
            let end = Instant::now() + LONGEST_RACE;
            loop {
                tokio::select! {
                    biased;
                    heard = self.hear(first_tcp), if !is_broken => match heard {
                        FirstAnswer::Nothing(_) => is_broken = true,
                        FirstAnswer::Answer => return first,
                        // Whichever is likelier to be there.
                        FirstAnswer::Client if self.why == Unheard::Unanswered => return first,
                        FirstAnswer::Client => break,
                    },
                    heard = self.hear(second_tcp) => match heard {
                        FirstAnswer::Nothing(_) if !is_broken => return first,
                        FirstAnswer::Answer => break,
                        FirstAnswer::Nothing(_) | FirstAnswer::Client => return second,
                    },
                    () = sleep_until(end) => {
                        return if self.why == Unheard::Unanswered { first } else { second };
                    }
                }
            }
        }
        if let Some(via) = first.via.as_ref().filter(|_| !is_broken) {
            // It was overtaken.
            match stream::is_acknowledged(first_tcp) {
                true => via.doubt(Instant::now()),
                false => via.is_out_of_reach(),
            }
        }
        second
    }

    /// Through the first of them that stands and takes the words.
    async fn dial(
        &self,
        others: Vec<Arc<Upstream>>,
        target: &MemberTarget<'_>,
    ) -> Result<Connected, Error> {
        let mut second = hedge::connect(others, target, Over::Fresh, None).await?;
        let said = match second.link {
            Link::Sealed(mut sealed) => {
                let said = sealed.send_first(self.hello).await;
                (said, Link::Sealed(sealed))
            }
            Link::Plain { mut tcp, early, half_close } => {
                let said = tcp.write_all(self.hello).await;
                (said, Link::Plain { tcp, early, half_close })
            }
            Link::Stream { mut stream, half_close } => {
                let said = write(&mut *stream, self.hello).await;
                (said, Link::Stream { stream, half_close })
            }
        };
        // That it broke shows when it is relayed.
        second.link = said.1;
        Ok(second)
    }

    /// Waits for an answer over one of both, or for the client.
    async fn hear(&self, tcp: &TcpStream) -> FirstAnswer {
        tokio::select! {
            biased;
            is_answer = answer(tcp) => match is_answer {
                true => FirstAnswer::Answer,
                false => FirstAnswer::Nothing(Unheard::Broken),
            },
            () = moves(self.words.client) => FirstAnswer::Client,
        }
    }
}

/// Where a connection is that may still have to answer.
fn tcp(connected: &Connected) -> Option<&TcpStream> {
    match &connected.link {
        Link::Sealed(sealed) => Some(&sealed.tcp),
        Link::Plain { .. } | Link::Stream { .. } => None,
    }
}

async fn write(stream: &mut dyn Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// Waits for the first byte. False: the connection has ended without.
async fn answer(tcp: &TcpStream) -> bool {
    matches!(tcp.peek(&mut [0]).await, Ok(1..))
}

/// Waits until the client sends more, or leaves.
async fn moves(client: &TcpStream) {
    let _ = client.peek(&mut [0]).await;
}

/// Takes the client's first words, if they are a hello. `None`: they are something else, and still
/// to be read; if none came in time, the destination's address has been sent.
async fn hello(
    FirstWords { client, may_leave, .. }: FirstWords<'_>,
    sealed: &mut Sealed,
) -> Option<Vec<u8>> {
    match timeout(FIRST_PAYLOAD, client.peek(&mut [0])).await {
        Ok(Ok(1..)) => {}
        // It has left.
        Ok(Ok(0) | Err(_)) => return None,
        Err(_) => {
            // What went wrong shows when it is relayed.
            let _ = sealed.send_first(&[]).await;
            return None;
        }
    }
    let mut words = vec![0; LONGEST_FIRST];
    for _ in 0..PIECES {
        let length = first_bytes::peek(client, &mut words).map_or(0, <[u8]>::len);
        match first_flight(&words[..length]) {
            FirstFlight::Hello if may_leave.is_some_and(|asks| !asks(&words[..length])) => {
                return None;
            }
            FirstFlight::Hello => {
                words.truncate(length);
                let taken = stream::read(client, &mut words).ok()?;
                words.truncate(taken);
                words.shrink_to_fit();
                return Some(words);
            }
            FirstFlight::Other => return None,
            FirstFlight::More => sleep(PIECE).await,
        }
    }
    None
}
