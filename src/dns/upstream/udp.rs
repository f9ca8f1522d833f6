//! One question to one server over UDP.

use super::edns::completed;
use super::message_id::random_id;
use super::tcp;
use crate::dns::reply::Reply;
use crate::dns::wire::{HEADER, Query, upstream_query};
use crate::domain::LONGEST_NAME;
use crate::net::Outbound;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout, timeout_at};

/// Datagrams get lost: the same question again after this, from the same socket.
const RESEND: Duration = Duration::from_secs(1);

/// An answer in another case than the question's may be a guess: the true one is at most so far
/// behind.
const BEHIND: Duration = Duration::from_millis(300);

/// Larger replies than we asked for come from servers that do not care.
const LARGEST_REPLY: usize = 4096;

/// Asks until the server replies or `patience` ends. A truncated reply is fetched again over TCP
/// within the same time; if that fails, or too many are, the truncated one is returned.
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
    let plain = [Question::plain(query)?];
    Ok(ask_over(&socket, outbound, server, &plain, patience).await?.reply)
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
pub(in crate::dns) struct Question<'a> {
    query: &'a Query,
    id: u16,
    message: Vec<u8>,
}

impl<'a> Question<'a> {
    /// In lower case.
    ///
    /// # Errors
    /// The kernel gives no random numbers.
    pub(in crate::dns) fn plain(query: &'a Query) -> io::Result<Self> {
        let id = random_id()?;
        Ok(Question { query, id, message: upstream_query(query, id) })
    }

    /// In random case (draft-vixie-dnsext-dns0x20): a guess has to repeat it.
    ///
    /// # Errors
    /// The kernel gives no random numbers.
    pub(in crate::dns) fn in_random_case(query: &'a Query) -> io::Result<Self> {
        let mut question = Self::plain(query)?;
        let mut random = [0; LONGEST_NAME];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        // The length of a label is below 64, where no letter is.
        for (byte, random) in question.name_mut().iter_mut().zip(random) {
            if byte.is_ascii_alphabetic() && random & 1 == 1 {
                *byte ^= 0x20;
            }
        }
        Ok(question)
    }

    fn name_mut(&mut self) -> &mut [u8] {
        let length = self.query.name().len();
        &mut self.message[HEADER..HEADER + length]
    }

    /// What this message says to it, if it is a reply to it, in whatever form.
    fn answer(&self, message: &[u8]) -> Option<Vec<u8>> {
        match self.is_answered_by(message) {
            true => Some(message.to_vec()),
            false => completed(message, self.query, self.id),
        }
    }

    /// Whether this message answers it. A name in lower case may come back in any, as it always
    /// could.
    fn is_answered_by(&self, message: &[u8]) -> bool {
        let name = HEADER..HEADER + self.query.name().len();
        let is_plain = self.message[name.clone()] == *self.query.name();
        self.is_matched_by(message)
            && (is_plain || message.get(name.clone()) == Some(&self.message[name]))
    }

    /// The same in whatever case.
    fn is_matched_by(&self, message: &[u8]) -> bool {
        Reply::parse(message).is_some_and(|reply| reply.matches(self.query, self.id))
    }
}

/// The same over a socket that is connected to the server already, in one form of the question
/// after the other.
///
/// # Errors
/// As above.
pub(in crate::dns) async fn ask_over(
    socket: &UdpSocket,
    outbound: &Outbound,
    server: SocketAddr,
    forms: &[Question<'_>],
    patience: Duration,
) -> io::Result<UdpAnswer> {
    let allowance = outbound.allowance();
    let _counted = allowance.questions.try_acquire().map_err(|_| io::ErrorKind::ResourceBusy)?;
    let end = Instant::now() + patience;
    let over_tcp = async |form: usize| {
        let _counted = allowance.fallbacks.try_acquire().ok()?;
        let left = end.saturating_duration_since(Instant::now());
        timeout(left, tcp::ask(outbound, server, forms[form].query)).await.ok()?.ok()
    };
    let mut next = forms.iter().cycle();
    let mut other_case = None;
    let (form, reply) = loop {
        let mut until = end.min(Instant::now() + RESEND);
        if other_case.is_some() {
            until = end.min(Instant::now() + BEHIND);
        } else {
            let question = next.next().ok_or(io::ErrorKind::InvalidInput)?;
            socket.send(&question.message).await?;
        }
        let heard = timeout_at(until, receive(socket, forms, other_case.is_none())).await;
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

/// What a datagram says of the question.
enum Datagram {
    /// The reply to the question in this form.
    Answer(usize, Vec<u8>),
    /// The same, with the name in another case than it was asked in this form.
    InOtherCase(usize),
}

/// The first datagram that is a reply to the question, in one of its forms; others are a forger's
/// guesses. `tells_other_case`: one in another case is worth a word.
async fn receive(
    socket: &UdpSocket,
    forms: &[Question<'_>],
    tells_other_case: bool,
) -> io::Result<Datagram> {
    let mut buffer = vec![0; LARGEST_REPLY];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let message = &buffer[..length];
        let mut answers = forms.iter().enumerate();
        let answer = answers.find_map(|(form, question)| Some((form, question.answer(message)?)));
        if let Some((form, reply)) = answer {
            return Ok(Datagram::Answer(form, reply));
        }
        let in_other_case = forms.iter().position(|question| question.is_matched_by(message));
        if let Some(form) = in_other_case.filter(|_| tells_other_case) {
            return Ok(Datagram::InOtherCase(form));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::wire::rr;

    fn reply_to(question: &Question<'_>) -> Vec<u8> {
        let mut reply = question.message.clone();
        reply[2] |= 0x80;
        reply
    }

    #[test]
    fn only_a_reply_in_the_same_case_answers() {
        let name = "a-long-name-with-letters.example.com".parse().unwrap();
        let query = Query::new(&name, rr::A);
        let question = Question::in_random_case(&query).unwrap();
        let mut written = question.message.clone();
        assert_ne!(written, upstream_query(&query, question.id), "one in 2^30 is in lower case");
        assert!(question.is_answered_by(&reply_to(&question)));
        written[2] |= 0x80;
        written[HEADER + 1] ^= 0x20;
        assert!(!question.is_answered_by(&written), "one letter in another case");
        let mut guess = upstream_query(&query, question.id);
        guess[2] |= 0x80;
        assert!(!question.is_answered_by(&guess), "a guess in lower case");

        let plain = Question::plain(&query).unwrap();
        let mut reply = reply_to(&plain);
        reply[HEADER + 1] ^= 0x20;
        assert!(plain.is_answered_by(&reply), "some servers answer in another case");
    }
}
