//! One question to one server over UDP.

use super::edns::completed;
use super::message_id::random_id;
use super::tcp;
use crate::dns::reply::Reply;
use crate::dns::wire::{HEADER, Query, upstream_query};
use crate::domain::LONGEST_NAME;
use crate::net::Outbound;
use rand::Rng;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout, timeout_at};

/// Datagrams get lost: the same question again after this, from the same socket. The first time
/// sooner where that is probable.
pub(super) const RESEND: Duration = Duration::from_secs(1);

/// An answer in another case than the question's may be a guess: the true one is at most so far
/// behind.
const BEHIND: Duration = Duration::from_millis(300);

/// Larger replies than we asked for come from servers that do not care.
pub(super) const LARGEST_REPLY: usize = 4096;

/// Asks, from a socket of its own, until the server replies or `patience` ends. A truncated reply
/// is fetched again over TCP within the same time; if that fails, or too many are, the truncated
/// one is returned.
///
/// # Errors
/// `TimedOut`, `InvalidData` for answers in another case only, `ResourceBusy` for too many
/// questions at once, ECONNREFUSED (nothing listens there), or no socket.
pub(in crate::dns) async fn ask(
    outbound: &Outbound,
    server: SocketAddr,
    query: &Query,
    patience: Duration,
) -> io::Result<Vec<u8>> {
    let socket = outbound.udp(server).await?;
    let allowance = outbound.allowance();
    let _counted = allowance.questions.try_acquire().map_err(|_| io::ErrorKind::ResourceBusy)?;
    let own = OwnConversation { socket, forms: [Question::plain(query)] };
    Ok(ask_over(&own, outbound, server, query, (RESEND, patience)).await?.reply)
}

/// What came of a question.
pub(in crate::dns) struct UdpAnswer {
    /// The form of the question that was answered.
    pub(in crate::dns) form: usize,
    pub(in crate::dns) reply: Vec<u8>,
    /// It was answered in another case first, so that it had to be asked again over TCP.
    pub(in crate::dns) was_in_other_case: bool,
}

/// A question on its way: its number, and its name as it is written.
pub(super) struct Question {
    id: u16,
    message: Vec<u8>,
    /// Where the question ends in it.
    end: usize,
    is_lower: bool,
    omits_edns: bool,
}

impl Question {
    /// In lower case.
    pub(super) fn plain(query: &Query) -> Self {
        let id = random_id();
        let end = HEADER + query.question().len();
        let message = upstream_query(query, id);
        Question { id, message, end, is_lower: true, omits_edns: query.omits_edns() }
    }

    /// In random case (draft-vixie-dnsext-dns0x20): a guess has to repeat it.
    pub(super) fn in_random_case(query: &Query) -> Self {
        let mut question = Self::plain(query);
        let mut random = [0; LONGEST_NAME];
        let name = &mut question.message[HEADER..HEADER + query.name().len()];
        rand::rng().fill_bytes(&mut random[..name.len()]);
        // The length of a label is below 64, where no letter is.
        for (byte, random) in name.iter_mut().zip(random) {
            if byte.is_ascii_alphabetic() && random & 1 == 1 {
                *byte ^= 0x20;
                question.is_lower = false;
            }
        }
        question
    }

    /// The same without EDNS, which stands behind the question, under another number.
    pub(super) fn without_edns(&self) -> Self {
        let mut message = self.message[..self.end].to_vec();
        // Additional records.
        message[10..HEADER].fill(0);
        let mut without = Question { message, omits_edns: true, ..*self };
        without.renumber();
        without
    }

    /// Its number.
    pub(super) fn id(&self) -> u16 {
        self.id
    }

    /// Another number: that one is taken.
    pub(super) fn renumber(&mut self) {
        self.id = random_id();
        self.message[..2].copy_from_slice(&self.id.to_be_bytes());
    }

    /// As it is sent.
    pub(super) fn message(&self) -> &[u8] {
        &self.message
    }

    /// Whether a reply to one could be taken for a reply to the other, but for the number.
    pub(super) fn asks_the_same(&self, other: &Question) -> bool {
        self.question().eq_ignore_ascii_case(other.question())
    }

    /// Name, type and class.
    fn question(&self) -> &[u8] {
        &self.message[HEADER..self.end]
    }

    /// What this message says to it as this form of the question, if anything.
    pub(super) fn read(&self, form: usize, message: &[u8]) -> Option<Datagram> {
        if let Some(reply) = self.answer(message) {
            return Some(Datagram::Answer(form, reply));
        }
        self.is_matched_by(message).then_some(Datagram::InOtherCase(form))
    }

    /// What this message says to it, if it is a reply to it, in whatever form.
    fn answer(&self, message: &[u8]) -> Option<Vec<u8>> {
        match self.is_answered_by(message) {
            true => Some(message.to_vec()),
            false => completed(message, self.question(), self.id),
        }
    }

    /// Whether this message answers it. A name in lower case may come back in any, as it always
    /// could.
    fn is_answered_by(&self, message: &[u8]) -> bool {
        // Type and class follow the name.
        let name = HEADER..self.end - 4;
        self.is_matched_by(message)
            && (self.is_lower || message.get(name.clone()) == Some(&self.message[name]))
    }

    /// The same in whatever case.
    fn is_matched_by(&self, message: &[u8]) -> bool {
        Reply::parse(message).is_some_and(|reply| reply.answers_to(self.question(), self.id))
    }
}

/// What a datagram says of the question.
pub(super) enum Datagram {
    /// The reply to the question in this form.
    Answer(usize, Vec<u8>),
    /// The same, with the name in another case than it was asked in this form.
    InOtherCase(usize),
}

/// A question, in one or more forms, and the socket over which it is asked.
pub(super) trait Conversation {
    /// How it may be asked.
    fn forms(&self) -> &[Question];

    /// Asks in this form.
    async fn send(&self, form: usize) -> io::Result<()>;

    /// The first datagram that is a reply to the question, in one of its forms; others are a
    /// forger's guesses. `tells_other_case`: one in another case is worth a word.
    async fn receive(&self, tells_other_case: bool) -> io::Result<Datagram>;
}

/// One over a socket of its own.
struct OwnConversation {
    socket: UdpSocket,
    forms: [Question; 1],
}

impl Conversation for OwnConversation {
    fn forms(&self) -> &[Question] {
        &self.forms
    }

    async fn send(&self, form: usize) -> io::Result<()> {
        self.socket.send(&self.forms[form].message).await.map(drop)
    }

    async fn receive(&self, tells_other_case: bool) -> io::Result<Datagram> {
        let mut buffer = vec![0; LARGEST_REPLY];
        loop {
            let length = self.socket.recv(&mut buffer).await?;
            let mut forms = self.forms.iter().enumerate();
            match forms.find_map(|(form, question)| question.read(form, &buffer[..length])) {
                Some(Datagram::InOtherCase(_)) if !tells_other_case => {}
                Some(datagram) => return Ok(datagram),
                None => {}
            }
        }
    }
}

/// Asks in one form of the question after the other. `lost_after`: when it is asked for the second
/// time, after a second at the latest.
///
/// # Errors
/// As above.
pub(super) async fn ask_over(
    asking: &impl Conversation,
    outbound: &Outbound,
    server: SocketAddr,
    query: &Query,
    (lost_after, patience): (Duration, Duration),
) -> io::Result<UdpAnswer> {
    let end = Instant::now() + patience;
    let over_tcp = async |form: usize| {
        let _counted = outbound.allowance().fallbacks.try_acquire().ok()?;
        let left = end.saturating_duration_since(Instant::now());
        if asking.forms()[form].omits_edns && !query.omits_edns() {
            let without = query.without_edns();
            return timeout(left, tcp::ask(outbound, server, &without)).await.ok()?.ok();
        }
        timeout(left, tcp::ask(outbound, server, query)).await.ok()?.ok()
    };
    let mut next = (0..asking.forms().len()).cycle();
    let mut resend = lost_after.min(RESEND);
    let mut other_case = None;
    let (form, reply) = loop {
        let mut until = end.min(Instant::now() + resend);
        if other_case.is_some() {
            until = end.min(Instant::now() + BEHIND);
        } else {
            asking.send(next.next().ok_or(io::ErrorKind::InvalidInput)?).await?;
            resend = RESEND;
        }
        let heard = timeout_at(until, asking.receive(other_case.is_none())).await;
        match (heard, other_case) {
            (Ok(heard), _) => match heard? {
                Datagram::Answer(form, reply) => break (form, reply),
                Datagram::InOtherCase(form) => other_case = Some(form),
            },
            (Err(_), Some(form)) => {
                let reply = over_tcp(form).await.ok_or_else(in_other_case_only)?;
                return Ok(UdpAnswer { form, reply, was_in_other_case: true });
            }
            (Err(_), None) if until < end => {}
            (Err(_), None) => return Err(io::ErrorKind::TimedOut.into()),
        }
    };
    let is_cut = Reply::parse(&reply).is_some_and(|reply| reply.truncated());
    let whole = if is_cut { over_tcp(form).await } else { None };
    Ok(UdpAnswer { form, reply: whole.unwrap_or(reply), was_in_other_case: false })
}

/// Whether the server answers, but in another case, and not over TCP.
pub(in crate::dns) fn is_in_other_case_only(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}

fn in_other_case_only() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "answers in another case, and not over TCP")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::wire::rr;

    fn reply_to(question: &Question) -> Vec<u8> {
        let mut reply = question.message.clone();
        reply[2] |= 0x80;
        reply
    }

    #[test]
    fn only_a_reply_in_the_same_case_answers() {
        let name = "a-long-name-with-letters.example.com".parse().unwrap();
        let query = Query::new(&name, rr::A);
        let question = Question::in_random_case(&query);
        let mut written = question.message.clone();
        assert_ne!(written, upstream_query(&query, question.id), "one in 2^30 is in lower case");
        assert!(question.is_answered_by(&reply_to(&question)));
        written[2] |= 0x80;
        written[HEADER + 1] ^= 0x20;
        assert!(!question.is_answered_by(&written), "one letter in another case");
        let mut guess = upstream_query(&query, question.id);
        guess[2] |= 0x80;
        assert!(!question.is_answered_by(&guess), "a guess in lower case");

        let plain = Question::plain(&query);
        let mut reply = reply_to(&plain);
        reply[HEADER + 1] ^= 0x20;
        assert!(plain.is_answered_by(&reply), "some servers answer in another case");
    }

    #[test]
    fn without_edns_it_is_the_same_question() {
        let query = Query::new(&"site.example".parse().unwrap(), rr::A);
        let with = Question::plain(&query);
        let without = with.without_edns();
        assert_eq!(without.message, upstream_query(&query.without_edns(), without.id));
        assert!(without.asks_the_same(&with));
        assert!(without.is_answered_by(&reply_to(&without)));
        assert!(!without.asks_the_same(&Question::plain(&query.with_type(rr::AAAA))));
    }
}
