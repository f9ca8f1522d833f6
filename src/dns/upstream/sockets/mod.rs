//! The sockets from which servers are asked over UDP: each with a random port, shared by questions
//! that come thick and fast, and soon closed.
//!
//! # What a forger has to guess
//!
//! One who is not on the path has to send, before the true answer comes, a datagram with the
//! server's address, to the port of the question, with its number and its name (RFC 5452, 4 and
//! 6): one in 28,000 ports times 65,536 numbers, and the letters' case where that is random.
//! Sharing a socket leaves that as it is:
//!
//! - A question that comes alone has a port of its own: a socket is shared only when there are
//!   [`SPREAD`] of them to the server that are younger than [`LIFE`]. Then it goes to one of those
//!   at random.
//! - Numbers are drawn for each question, and a datagram is held against the one question that has
//!   its number. That others wait on the same socket gives a forger no further chance: each of his
//!   datagrams names one question, and has to have that one's number.
//! - The same question waits once on a socket, so that no datagram has two numbers that would do
//!   (the birthday attack, RFC 5452, 5).
//! - A port that is found out, from what the kernel says of closed ones (SAD DNS, 2020), is of use
//!   for what is asked within the rest of [`LIFE`]. That is less than a question that the server
//!   leaves unanswered keeps its port open (`dns.timeout`), and still leaves the number to guess.
//!
//! The kernel drops what comes from elsewhere, since sockets are connected. Each holds a place of
//! the [`Allowance`](crate::net::allowance::Allowance).

use super::udp::{Conversation, Datagram, LARGEST_REPLY, Question};
use crate::dns::loops::{OwnSocket, QueryLoops};
use crate::dns::wire::u16_at;
use crate::net::Outbound;
use crate::net::udp::connected::{ConnectedInbox, ConnectedSocket};
use crate::task::spawn_local;
use rand::RngExt;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::sleep;

/// So long a socket is given questions. It stays open until the last of them is answered.
const LIFE: Duration = Duration::from_secs(1);

/// So many are opened for a server within that time before they are shared.
const SPREAD: usize = 16;

/// Questions that wait on one socket.
const MOST_WAITING: usize = 256;

/// All sockets of this moment.
pub(super) struct QuestionSockets {
    outbound: Outbound,
    loops: Rc<QueryLoops>,
    young: Rc<YoungSockets>,
    /// One is enough: it is empty between two looks at a socket.
    inbox: Rc<RefCell<ConnectedInbox>>,
}

/// Those that may be given questions, by server.
type YoungSockets = RefCell<HashMap<SocketAddr, Vec<Rc<QuestionSocket>>>>;

struct QuestionSocket {
    socket: ConnectedSocket,
    /// By number: the question, and in which of its forms.
    waiting: RefCell<HashMap<u16, (Rc<WaitingQuestion>, usize)>>,
    /// It gets no more questions.
    is_retired: Cell<bool>,
    /// The last question has left.
    left: Notify,
    _own: OwnSocket,
    _place: OwnedSemaphorePermit,
}

struct WaitingQuestion {
    forms: Vec<Question>,
    heard: RefCell<QuestionNews>,
}

#[derive(Default)]
struct QuestionNews {
    /// What its asker has not seen yet.
    news: Option<io::Result<Datagram>>,
    is_answered: bool,
    told_other_case: bool,
    asker: Option<Waker>,
}

/// A question on a socket; leaves when dropped.
pub(super) struct SharedConversation {
    socket: Rc<QuestionSocket>,
    question: Rc<WaitingQuestion>,
}

impl QuestionSockets {
    pub(super) fn new(outbound: Outbound, loops: Rc<QueryLoops>) -> Self {
        let inbox = Rc::new(RefCell::new(ConnectedInbox::new(LARGEST_REPLY)));
        QuestionSockets { outbound, loops, young: Rc::default(), inbox }
    }

    /// A socket for a question in these forms, which differ in their numbers only then.
    ///
    /// # Errors
    /// `ResourceBusy`: too many questions at once. What the kernel says of the socket.
    pub(super) async fn begin(
        &self,
        server: SocketAddr,
        forms: Vec<Question>,
    ) -> io::Result<SharedConversation> {
        let socket = match self.shared(server, &forms) {
            Some(socket) => socket,
            None => self.open(server).await?,
        };
        Ok(socket.enter(forms))
    }

    /// One that is there, if the question may share it.
    fn shared(&self, server: SocketAddr, forms: &[Question]) -> Option<Rc<QuestionSocket>> {
        let young = self.young.borrow();
        let young = young.get(&server)?;
        let is_short = self.outbound.allowance().questions.available_permits() == 0;
        if young.len() < SPREAD && !is_short {
            return None;
        }
        let chosen = young.get(rand::rng().random_range(0..young.len().max(1)))?;
        chosen.takes(forms).then(|| Rc::clone(chosen))
    }

    async fn open(&self, server: SocketAddr) -> io::Result<Rc<QuestionSocket>> {
        let places = Arc::clone(&self.outbound.allowance().questions);
        let place = places.try_acquire_owned().map_err(|_| io::ErrorKind::ResourceBusy)?;
        let socket = ConnectedSocket::new(self.outbound.udp(server).await?)?;
        let own = self.loops.note(socket.local_addr()?);
        let socket = Rc::new(QuestionSocket {
            socket,
            waiting: RefCell::default(),
            is_retired: Cell::new(false),
            left: Notify::new(),
            _own: own,
            _place: place,
        });
        let mut young = self.young.borrow_mut();
        let of_server = young.entry(server).or_default();
        // One beside them, for a question that may share none, is for that question alone.
        match of_server.len() < SPREAD {
            true => of_server.push(Rc::clone(&socket)),
            false => socket.is_retired.set(true),
        }
        let (young, inbox) = (Rc::clone(&self.young), Rc::clone(&self.inbox));
        spawn_local(attend(Rc::clone(&socket), server, young, inbox));
        Ok(socket)
    }
}

/// Hears what comes over a socket until it is of no more use.
async fn attend(
    socket: Rc<QuestionSocket>,
    server: SocketAddr,
    young: Rc<YoungSockets>,
    inbox: Rc<RefCell<ConnectedInbox>>,
) {
    let mut life = std::pin::pin!(sleep(LIFE));
    loop {
        tokio::select! {
            biased;
            heard = socket.socket.readable() => {
                let taken = heard.and_then(|()| socket.receive(&mut inbox.borrow_mut()));
                if let Err(error) = taken && error.kind() != io::ErrorKind::WouldBlock {
                    socket.fail(&error, None);
                }
            }
            () = &mut life, if !socket.is_retired.get() => {
                socket.is_retired.set(true);
                let mut young = young.borrow_mut();
                if let Some(of_server) = young.get_mut(&server) {
                    of_server.retain(|it| !Rc::ptr_eq(it, &socket));
                    if of_server.is_empty() {
                        young.remove(&server);
                    }
                }
            }
            () = socket.left.notified(), if socket.is_retired.get() => {}
        }
        if socket.is_retired.get() && socket.waiting.borrow().is_empty() {
            return;
        }
    }
}

impl QuestionSocket {
    fn takes(&self, forms: &[Question]) -> bool {
        let waiting = self.waiting.borrow();
        let is_asked = |(other, form): &(Rc<WaitingQuestion>, usize)| {
            forms.iter().any(|question| question.asks_the_same(&other.forms[*form]))
        };
        waiting.len() < MOST_WAITING && !waiting.values().any(is_asked)
    }

    fn enter(self: Rc<Self>, mut forms: Vec<Question>) -> SharedConversation {
        let mut waiting = self.waiting.borrow_mut();
        let mut numbers = Vec::with_capacity(forms.len());
        for form in &mut forms {
            while waiting.contains_key(&form.id()) || numbers.contains(&form.id()) {
                form.renumber();
            }
            numbers.push(form.id());
        }
        let question = Rc::new(WaitingQuestion { forms, heard: RefCell::default() });
        for (form, number) in numbers.into_iter().enumerate() {
            waiting.insert(number, (Rc::clone(&question), form));
        }
        drop(waiting);
        SharedConversation { socket: self, question }
    }

    fn receive(&self, inbox: &mut ConnectedInbox) -> io::Result<()> {
        self.socket.receive(inbox)?;
        let waiting = self.waiting.borrow();
        for message in inbox.datagrams() {
            let asked = u16_at(message, 0).and_then(|number| waiting.get(&number));
            // Others are a forger's guesses, or late.
            let Some((question, form)) = asked else { continue };
            if let Some(datagram) = question.forms[*form].read(*form, message) {
                question.hear(datagram);
            }
        }
        Ok(())
    }

    /// Nothing listens there, or there is no way: that is so for all, but for one that has not been
    /// asked yet.
    fn fail(&self, error: &io::Error, but: Option<&Rc<WaitingQuestion>>) {
        for (question, _) in self.waiting.borrow().values() {
            if but.is_some_and(|it| Rc::ptr_eq(it, question)) {
                continue;
            }
            let error = match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => error.kind().into(),
            };
            question.end(Err(error));
        }
    }
}

impl WaitingQuestion {
    fn hear(&self, datagram: Datagram) {
        match datagram {
            Datagram::Answer(..) => self.end(Ok(datagram)),
            Datagram::InOtherCase(_) => {
                let mut heard = self.heard.borrow_mut();
                if !heard.is_answered && !std::mem::replace(&mut heard.told_other_case, true) {
                    heard.tell(Ok(datagram));
                }
            }
        }
    }

    /// Nothing that comes later counts.
    fn end(&self, news: io::Result<Datagram>) {
        let mut heard = self.heard.borrow_mut();
        if !std::mem::replace(&mut heard.is_answered, true) {
            heard.tell(news);
        }
    }
}

impl QuestionNews {
    fn tell(&mut self, news: io::Result<Datagram>) {
        self.news = Some(news);
        if let Some(asker) = self.asker.take() {
            asker.wake();
        }
    }
}

impl Conversation for SharedConversation {
    fn forms(&self) -> &[Question] {
        &self.question.forms
    }

    async fn send(&self, form: usize) -> io::Result<()> {
        let message = self.question.forms[form].message();
        // An error that is there already is the answer to a question before this one.
        self.socket.socket.send(message).or_else(|error| {
            self.socket.fail(&error, Some(&self.question));
            self.socket.socket.send(message)
        })
    }

    async fn receive(&self, _: bool) -> io::Result<Datagram> {
        poll_fn(|task| {
            let mut heard = self.question.heard.borrow_mut();
            match heard.news.take() {
                Some(news) => Poll::Ready(news),
                None => {
                    heard.asker = Some(task.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl Drop for SharedConversation {
    fn drop(&mut self) {
        let mut waiting = self.socket.waiting.borrow_mut();
        for form in &self.question.forms {
            waiting.remove(&form.id());
        }
        if waiting.is_empty() {
            self.socket.left.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
