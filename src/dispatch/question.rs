//! A question to a member: does anything come back through it, and how soon? The trusted name
//! servers are asked: over TCP for the root zone, which tells nobody anything, and those that speak
//! TLS by the start of a handshake; and the address that the operator has named, by a request of
//! HTTP. Any byte is an answer. When none of these answers, a site is asked that has answered
//! through this very member before, and what silence says is judged in [`super::unanswered`].

use super::Upstream;
use super::attempt::{DialEnd, Over};
use super::unanswered::{MemberQuestionKind, Respondents, UnansweredQuestions};
use crate::proxy::{Stream, tls};
use crate::target::Target;
use crate::task::JoinSet;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info};

use super::asking::QUESTION;
use std::sync::Arc;

/// What is asked through every member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberQuestions {
    /// Name servers that answer plain queries, over TCP too.
    pub name_servers: Vec<Target>,
    /// Those that answer over TLS.
    pub tls_servers: Vec<Target>,
    /// Whatever speaks HTTP.
    pub web_servers: Vec<Target>,
}

impl MemberQuestions {
    fn all(&self) -> impl Iterator<Item = (&Target, MemberQuestionKind)> {
        let MemberQuestions { name_servers, tls_servers, web_servers } = self;
        let names = name_servers.iter().map(|it| (it, MemberQuestionKind::Name));
        let others = tls_servers.iter().map(|it| (it, MemberQuestionKind::Tls));
        names.chain(others).chain(web_servers.iter().map(|it| (it, MemberQuestionKind::Web)))
    }
}

/// The questions, and who has answered them so far.
#[derive(Debug)]
pub(super) struct Inquiry {
    questions: MemberQuestions,
    respondents: Respondents,
}

impl Inquiry {
    /// Nobody was asked yet.
    pub(super) fn new(questions: MemberQuestions) -> Self {
        Inquiry { questions, respondents: Respondents::default() }
    }
}

/// An answer may take so long: the dial has its own bound.
const PATIENCE: Duration = Duration::from_secs(4);

/// The next one is asked besides when so much has passed.
const NEXT: Duration = Duration::from_secs(1);

/// So many answers over one connection are compared where members are.
const SAMPLES: usize = 3;

/// An answer that takes longer than this, and four times as long as the last one, dispels no doubt.
const LATE: Duration = Duration::from_secs(1);

/// How often a member must be found dead before what lives on it is given up.
const SURELY: u32 = 2;

/// What came of a question.
pub(super) enum MemberReply {
    /// Bytes came back; the delays of the answers over the connection, the first one included.
    Heard(Vec<Duration>),
    /// The proxy is there and does not want this; that is an answer of its own.
    NotAllowed(String),
    /// Nothing can be said.
    Nothing,
    /// It does not answer, or whoever was asked for does not.
    Failed(UnansweredQuestions),
}

/// What came of one question.
enum OneReply {
    /// As above.
    Heard(Vec<Duration>),
    NotAllowed(String),
    Nothing,
    /// Why. `at_the_dial`: nothing was asked.
    Failed {
        cause: String,
        at_the_dial: bool,
    },
}

impl Upstream {
    /// Asks, and takes note of what comes of it. `is_compared`: the delay matters. It counts as
    /// asked from the call on.
    pub(super) fn question(
        self: &Arc<Self>,
        inquiry: Arc<Inquiry>,
        is_compared: bool,
    ) -> impl Future<Output = ()> + use<> {
        let began = Instant::now();
        self.knowledge().standing.ask(began);
        let (asking, upstream) = (QuestionUnderWay(Arc::clone(self)), Arc::clone(self));
        async move {
            let reply = upstream.ask_all(&inquiry, is_compared).await;
            drop(asking);
            upstream.conclude(reply, &inquiry.respondents, began);
        }
    }

    fn conclude(&self, reply: MemberReply, respondents: &Respondents, began: Instant) {
        let now = Instant::now();
        match reply {
            MemberReply::Nothing => {}
            MemberReply::Heard(delays) => self.has_answered(delays, now - began),
            MemberReply::NotAllowed(cause) => {
                debug!(proxy = self.name(), "is there, and does not allow a question: {cause}");
                self.has_answered(Vec::new(), now - began);
            }
            MemberReply::Failed(unanswered) => {
                let is_sure = unanswered.is_sure(self.name(), respondents, now);
                self.has_not_answered(&unanswered.to_string(), is_sure, began);
            }
        }
        self.news.notify_one();
    }

    pub(super) fn has_answered(&self, mut delays: Vec<Duration>, took: Duration) {
        let mut knowledge = self.knowledge();
        let is_first = !knowledge.standing.is_heard();
        let is_late = took > LATE && knowledge.usual_reply.is_some_and(|usual| took > usual * 4);
        if is_late && knowledge.standing.answered_late(Instant::now()) {
            return;
        }
        knowledge.usual_reply = Some(took);
        let was_down = knowledge.standing.answered(Instant::now());
        delays.sort();
        if let Some(median) = delays.get(delays.len() / 2) {
            knowledge.delay = Some(*median);
        }
        drop(knowledge);
        self.works();
        if was_down {
            self.answers_again();
        } else if is_first {
            info!(proxy = self.name(), "answers, {} ms", took.as_millis());
        }
    }

    fn has_not_answered(&self, cause: &str, is_sure: bool, since: Instant) {
        let mut knowledge = self.knowledge();
        if knowledge.standing.was_heard_since(since) {
            // Whom it was asked for does not answer, others do.
            return;
        }
        let was_up = knowledge.standing.down_since().is_none();
        let was_sure = !was_up && knowledge.is_sure;
        let failures = knowledge.standing.unanswered(Instant::now());
        cause.clone_into(&mut knowledge.cause);
        knowledge.is_sure = was_sure || is_sure;
        knowledge.is_ambiguous = was_up && !is_sure;
        drop(knowledge);
        match (is_sure, was_sure, was_up) {
            (true, false, _) => self.fails(format!("is down: {cause}")),
            (false, _, true) => self.fails(format!(
                "does not answer: {cause}; or is whoever was asked for down? Nobody else has heard \
                 from there, and nothing else is known that could be asked (`probe` of a \
                 [[group]], or another trusted name server, would be)"
            )),
            _ => {}
        }
        if is_sure && failures >= SURELY {
            self.died();
        }
    }

    /// The first answer of any of them.
    pub(super) async fn ask_all(
        self: &Arc<Self>,
        inquiry: &Inquiry,
        is_compared: bool,
    ) -> MemberReply {
        // Whoever has answered here before is asked when nobody else answers.
        let witness = self.witness().map(Target::addr);
        let witness = witness.iter().map(|it| (it, MemberQuestionKind::Tls));
        let mut waiting = inquiry.questions.all().chain(witness);
        let mut asked: JoinSet<(Target, MemberQuestionKind, OneReply)> = JoinSet::new();
        let (mut unanswered, mut not_allowed) = (UnansweredQuestions::default(), None);
        loop {
            let next = waiting.next();
            let is_last = next.is_none();
            if let Some((target, kind)) = next {
                let samples =
                    if is_compared && kind == MemberQuestionKind::Name { SAMPLES } else { 1 };
                let (upstream, target) = (Arc::clone(self), target.clone());
                asked.spawn(async move {
                    let reply = upstream.ask_one(&target, kind, samples).await;
                    (target, kind, reply)
                });
            }
            let (target, kind, reply) = tokio::select! {
                reply = asked.join_next() => match reply {
                    Some(Ok(reply)) => reply,
                    Some(Err(_)) => continue,
                    None => break,
                },
                () = sleep(NEXT), if !is_last => continue,
            };
            match reply {
                OneReply::Heard(delays) => {
                    inquiry.respondents.answered(&target, self.name(), Instant::now());
                    return MemberReply::Heard(delays);
                }
                // Another one may tell more.
                OneReply::NotAllowed(cause) => not_allowed = Some(cause),
                OneReply::Failed { cause, at_the_dial } => {
                    unanswered.add(&target, kind, cause, at_the_dial);
                }
                OneReply::Nothing => {}
            }
        }
        match not_allowed {
            Some(cause) => MemberReply::NotAllowed(cause),
            None if unanswered.is_empty() => MemberReply::Nothing,
            None => MemberReply::Failed(unanswered),
        }
    }

    async fn ask_one(&self, target: &Target, kind: MemberQuestionKind, samples: usize) -> OneReply {
        let mut stream = match self.dial(target, Over::Fresh, None).await {
            Ok(dialled) => dialled.link.into_stream(),
            Err(DialEnd::NotTried | DialEnd::Shortage(_)) => return OneReply::Nothing,
            Err(DialEnd::Refused(cause) | DialEnd::TargetFailed(cause)) => {
                return OneReply::NotAllowed(cause);
            }
            Err(DialEnd::Failed(cause)) => return OneReply::Failed { cause, at_the_dial: true },
            Err(DialEnd::Silent(cause)) => return OneReply::Failed { cause, at_the_dial: false },
        };
        let mut delays = Vec::new();
        for _ in 0..samples {
            let sent = Instant::now();
            match timeout(PATIENCE, exchange(&mut *stream, target, kind)).await {
                Ok(Ok(())) => delays.push(sent.elapsed()),
                // Not every server answers twice over one connection.
                _ if !delays.is_empty() => break,
                Ok(Err(error)) => {
                    let cause = self.what_is_wrong(Some(&error));
                    return OneReply::Failed { cause, at_the_dial: false };
                }
                Err(_) => {
                    let cause = self.what_is_wrong(None);
                    return OneReply::Failed { cause, at_the_dial: false };
                }
            }
        }
        OneReply::Heard(delays)
    }

    fn what_is_wrong(&self, error: Option<&io::Error>) -> String {
        let how = error.map_or_else(
            || "nothing comes back".into(),
            |error| format!("they end without a byte ({error})"),
        );
        let why = match self.proxy.is_heard_at_the_dial() {
            true => "does it reach the internet?".into(),
            false => self.proxy.suspicion_of_silence(),
        };
        format!("it takes connections, and {how}; {why}")
    }
}

/// A question that is dropped has ended, too.
struct QuestionUnderWay(Arc<Upstream>);

impl Drop for QuestionUnderWay {
    fn drop(&mut self) {
        self.0.knowledge().standing.question_ended(Instant::now());
    }
}

/// Sends a question and reads the answer: the whole of a name server's, as far as it is to be
/// asked again over the same connection.
async fn exchange(
    stream: &mut dyn Stream,
    target: &Target,
    kind: MemberQuestionKind,
) -> io::Result<()> {
    match kind {
        MemberQuestionKind::Name => {
            let length = QUESTION.len() as u16;
            let framed = [&length.to_be_bytes(), &QUESTION[..]].concat();
            stream.write_all(&framed).await?;
            stream.flush().await?;
            let mut length = [0; 2];
            stream.read_exact(&mut length).await?;
            let mut answer = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut answer).await?;
        }
        MemberQuestionKind::Tls => {
            let server = target.address().map_or(Ipv4Addr::UNSPECIFIED.into(), |it| it.ip());
            stream.write_all(&tls::hello(server)?).await?;
            stream.flush().await?;
            stream.read_u8().await?;
        }
        MemberQuestionKind::Web => {
            let request = format!("HEAD / HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            stream.flush().await?;
            stream.read_u8().await?;
        }
    }
    Ok(())
}
