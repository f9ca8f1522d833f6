//! A hello that nobody answers, to shadowsocks servers on loopback that do what a test says. The
//! clock stands still: a test lets it go on when the servers have seen what they were to see.

use super::*;
use crate::mark::Fwmark;
use crate::net::{self, Outbound, Refusal, listen};
use crate::proxy::server::ProxyServer;
use crate::proxy::shadowsocks::Shadowsocks;
use crate::proxy::shadowsocks::cipher::master_key::MasterKey;
use crate::proxy::shadowsocks::cipher::method::Method;
use crate::proxy::shadowsocks::server::{Accepted, accept};
use crate::proxy::tls;
use crate::secret::Secret;
use crate::stats::Meter;
use std::sync::LazyLock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, yield_now};

/// What a server does with the first payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Answer,
    /// Until it is told to answer.
    Wait,
    End,
    Reset,
}

#[derive(Debug)]
struct Seen {
    word: Mutex<Word>,
    /// The first payloads that came.
    first: Mutex<Vec<Vec<u8>>>,
    may_answer: Notify,
    /// Connections that stand.
    open: AtomicUsize,
}

impl Seen {
    fn first(&self) -> Vec<Vec<u8>> {
        self.first.lock().unwrap().clone()
    }

    fn does(&self, word: Word) {
        *self.word.lock().unwrap() = word;
    }
}

/// Two members, of which the first has a connection ready, and a program that is served.
struct Stage {
    dispatcher: Arc<Dispatcher>,
    servers: [Arc<Seen>; 2],
    meter: Arc<Meter>,
    program: TcpStream,
    client: Option<TcpStream>,
    /// As long as a thread is at work for the runtime, its clock does not go on by itself.
    _clock: std::sync::mpsc::Sender<()>,
}

fn key() -> MasterKey {
    MasterKey::new(Method::Aes128Gcm, &Secret::new("pw")).unwrap()
}

fn outbound() -> Outbound {
    Outbound::new(Fwmark::SNET, Refusal::Harmless)
}

fn member(name: &str, worth: Option<Duration>) -> (Arc<Upstream>, Arc<Seen>) {
    let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = Endpoint::new("127.0.0.1", listener.local_addr().unwrap().port());
    let seen = Arc::new(Seen {
        word: Mutex::new(Word::Answer),
        first: Mutex::default(),
        may_answer: Notify::new(),
        open: AtomicUsize::new(0),
    });
    let at_work = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let seen = Arc::clone(&at_work);
            tokio::spawn(async move {
                seen.open.fetch_add(1, Ordering::Relaxed);
                let _ = serve(tcp, &seen).await;
                seen.open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    let server = ProxyServer::new(name.into(), Arc::new(endpoint), outbound()).warm(worth);
    let proxy = Shadowsocks::new(server, key());
    (Arc::new(Upstream::new(Box::new(proxy), TIMEOUT)), seen)
}

async fn serve(tcp: TcpStream, seen: &Seen) -> std::io::Result<()> {
    tcp.peek(&mut [0]).await?;
    let word = *seen.word.lock().unwrap();
    if word == Word::Reset {
        net::reset_on_close(&tcp);
    }
    let Accepted { mut first, mut stream, .. } = accept(tcp, &key()).await?;
    let came = first.len();
    first.resize(HELLO.len(), 0);
    stream.read_exact(&mut first[came..]).await?;
    seen.first.lock().unwrap().push(first);
    match word {
        Word::Answer => {}
        Word::Wait => seen.may_answer.notified().await,
        Word::End | Word::Reset => return Ok(()),
    }
    stream.write_all(b"answer").await?;
    stream.flush().await?;
    stream.read(&mut [0; 16]).await.map(drop)
}

/// Lets all others go on until that is so.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_micros(100));
        yield_now().await;
    }
    panic!("{what}");
}

impl Stage {
    /// With one connection to the first server ready, or none.
    async fn new(is_ready: bool) -> Self {
        let (clock, held) = std::sync::mpsc::channel();
        tokio::task::spawn_blocking(move || held.recv());
        let (a, first) = member("a", is_ready.then_some(Duration::ZERO));
        let (b, second) = member("b", None);
        let direct = crate::proxy::direct::Direct::new(outbound());
        let members = vec![Arc::clone(&a), b];
        let dispatcher = Dispatcher::new(Arc::default(), Arc::default(), Box::new(direct), members);
        let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let program = outbound().tcp(&[listener.local_addr().unwrap()]).await.unwrap();
        let client = Some(listener.accept().await.unwrap().0);
        let stage = Stage {
            dispatcher: Arc::new(dispatcher),
            servers: [first, second],
            meter: Arc::default(),
            program,
            client,
            _clock: clock,
        };
        if is_ready {
            drop(stage.dispatcher.connect(&foreign(), None, CLIENT, None, None).await.unwrap());
            let ahead = a.proxy.dialled_ahead().unwrap();
            until("none is ready", || ahead.ready() == 1).await;
        }
        stage
    }

    /// The program says this, and it is served.
    async fn says(&mut self, words: &[u8]) -> JoinHandle<Connected> {
        self.program.write_all(words).await.unwrap();
        let client = self.client.take().unwrap();
        let (dispatcher, meter) = (Arc::clone(&self.dispatcher), Arc::clone(&self.meter));
        tokio::spawn(async move {
            let target = foreign();
            let connected = dispatcher.connect(&target, None, CLIENT, None, None).await.unwrap();
            let words = FirstWords {
                client: &client,
                from: CLIENT,
                target: &target,
                told: None,
                claimed: None,
                meter: &meter,
                may_leave: None,
            };
            let connected = dispatcher.say(connected, words).await;
            std::mem::forget(client);
            connected
        })
    }

    fn heard(&self) -> [Vec<Vec<u8>>; 2] {
        [self.servers[0].first(), self.servers[1].first()]
    }
}

/// Each would be another one.
static HELLO: LazyLock<Vec<u8>> = LazyLock::new(|| tls::hello(CLIENT).unwrap());

fn hello() -> Vec<u8> {
    HELLO.clone()
}

/// The clock does not go on, so nothing else would end the wait.
async fn done(said: JoinHandle<Connected>) -> Connected {
    until("it waits for ever", || said.is_finished()).await;
    said.await.unwrap()
}

/// Who carries it, and what came back.
async fn answered(said: JoinHandle<Connected>) -> (String, Vec<u8>) {
    let connected = done(said).await;
    let via = connected.via.unwrap().name().to_owned();
    let mut answer = [0; 6];
    let read = connected.link.into_stream().read(&mut answer).await.unwrap_or(0);
    (via, answer[..read].to_vec())
}

async fn pass(milliseconds: u64) {
    tokio::time::advance(Duration::from_millis(milliseconds)).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_waited_for_and_nothing_is_said_twice() {
    for is_ready in [false, true] {
        let mut stage = Stage::new(is_ready).await;
        let said = stage.says(&hello()).await;
        assert_eq!(answered(said).await, ("a".into(), b"answer".to_vec()));
        assert_eq!(stage.heard(), [vec![hello()], vec![]]);
        assert_eq!(stage.meter.up.get(), hello().len() as u64);
    }
}

/// The one that was ready leads to a server that takes everything and says nothing: so does a fresh
/// one to a server that hangs.
#[tokio::test(start_paused = true)]
async fn a_hello_that_is_not_answered_is_said_to_another_member() {
    for is_ready in [false, true] {
        let mut stage = Stage::new(is_ready).await;
        stage.servers[0].does(Word::Wait);
        let said = stage.says(&hello()).await;
        until("it is heard", || !stage.servers[0].first().is_empty()).await;
        pass(999).await;
        assert_eq!(stage.heard(), [vec![hello()], vec![]], "it may be slow");
        pass(2).await;
        assert_eq!(answered(said).await, ("b".into(), b"answer".to_vec()));
        assert_eq!(stage.heard(), [vec![hello()], vec![hello()]]);
        assert_eq!(stage.meter.up.get(), hello().len() as u64, "it is counted once");
        let rank = stage.dispatcher.upstream("a").unwrap().rank(Instant::now());
        assert_eq!(rank, super::super::standing::Rank::Doubted, "it was overtaken");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_answer_counts_whoever_gives_it() {
    let mut stage = Stage::new(true).await;
    stage.servers.iter().for_each(|server| server.does(Word::Wait));
    let said = stage.says(&hello()).await;
    until("it is heard", || !stage.servers[0].first().is_empty()).await;
    pass(1001).await;
    until("it is heard there too", || !stage.servers[1].first().is_empty()).await;
    stage.servers[0].may_answer.notify_one();
    assert_eq!(answered(said).await, ("a".into(), b"answer".to_vec()));
    until("the other one is closed", || {
        stage.servers[1].may_answer.notify_one();
        stage.servers[1].open.load(Ordering::Relaxed) == 0
    })
    .await;
}

/// The server ends, when it is asked, what it had taken before.
#[tokio::test(start_paused = true)]
async fn a_ready_one_that_ends_is_followed_by_a_fresh_one() {
    for end in [Word::End, Word::Reset] {
        let mut stage = Stage::new(true).await;
        stage.servers[0].does(end);
        let said = stage.says(&hello()).await;
        until("it is heard", || !stage.servers[0].first().is_empty()).await;
        stage.servers[0].does(Word::Answer);
        assert_eq!(answered(said).await, ("a".into(), b"answer".to_vec()));
        assert_eq!(stage.heard(), [vec![hello(), hello()], vec![]]);
        let ahead = stage.dispatcher.upstream("a").unwrap().proxy.dialled_ahead().unwrap();
        assert_eq!((ahead.counts().used, ahead.counts().ended), (1, 1));
    }
}

/// What ends a fresh one is the server, or the destination: the same one is not asked again.
#[tokio::test(start_paused = true)]
async fn a_fresh_one_that_ends_is_followed_by_another_member() {
    let mut stage = Stage::new(false).await;
    stage.servers[0].does(Word::End);
    let said = stage.says(&hello()).await;
    assert_eq!(answered(said).await, ("b".into(), b"answer".to_vec()));
    assert_eq!(stage.heard(), [vec![hello()], vec![hello()]]);
    // Neither reaches it: the client learns that.
    let mut stage = Stage::new(false).await;
    stage.servers.iter().for_each(|server| server.does(Word::End));
    let said = stage.says(&hello()).await;
    assert_eq!(answered(said).await, ("b".into(), vec![]));
    assert_eq!(stage.heard(), [vec![hello()], vec![hello()]]);
}

/// Only a hello is ever said again, whatever becomes of it.
#[tokio::test(start_paused = true)]
async fn what_a_server_may_act_on_is_said_once() {
    let behind = [&hello()[..], &[23, 3, 3, 0, 1, 0]].concat();
    for words in [&b"GET / HTTP/1.1\r\n\r\n"[..], &behind] {
        for end in [Word::Wait, Word::End] {
            let mut stage = Stage::new(true).await;
            stage.servers[0].does(end);
            let said = stage.says(words).await;
            let Connected { via, link, .. } = done(said).await;
            assert_eq!(via.unwrap().name(), "a");
            assert_eq!((stage.heard(), stage.meter.up.get()), ([vec![], vec![]], 0), "not yet");
            drop(link);
        }
    }
}

/// The program says more, or leaves: it knows best.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_wait_is_not_waited_for() {
    for leaves in [false, true] {
        let mut stage = Stage::new(true).await;
        stage.servers[0].does(Word::Wait);
        let said = stage.says(&hello()).await;
        until("it is heard", || !stage.servers[0].first().is_empty()).await;
        match leaves {
            true => stage.program.shutdown().await.unwrap(),
            false => stage.program.write_all(b"more").await.unwrap(),
        }
        assert_eq!(done(said).await.via.unwrap().name(), "a");
        assert_eq!(stage.heard(), [vec![hello()], vec![]]);
    }
}

#[tokio::test(start_paused = true)]
async fn only_so_many_are_kept() {
    let mut stage = Stage::new(true).await;
    stage.servers[0].does(Word::Wait);
    let dispatcher = Arc::clone(&stage.dispatcher);
    let taken = dispatcher.kept_words.try_acquire_many(128).unwrap();
    let said = stage.says(&hello()).await;
    assert_eq!(done(said).await.via.unwrap().name(), "a");
    until("it is said all the same", || stage.servers[0].first() == [hello()]).await;
    drop(taken);
}

/// Nothing came in time: the address goes alone, and what comes later is the relay's.
#[tokio::test(start_paused = true)]
async fn a_program_that_waits_for_the_server_is_not_delayed() {
    let mut stage = Stage::new(true).await;
    let said = stage.says(b"").await;
    let mut waits = 0;
    while !said.is_finished() {
        (0..20).for_each(|_| std::thread::sleep(Duration::from_micros(100)));
        pass(1).await;
        waits += 1;
        assert!(waits < 20, "it waits for words that do not come");
    }
    let Connected { link: Link::Sealed(sealed), .. } = done(said).await else { panic!() };
    assert!(sealed.sealer.has_opened());
}

/// A rule turns the connection to another way: nothing was said, and all of it is there to be read.
#[tokio::test(start_paused = true)]
async fn words_that_may_not_leave_stay_with_the_client() {
    let mut stage = Stage::new(true).await;
    stage.program.write_all(&hello()).await.unwrap();
    let mut client = stage.client.take().unwrap();
    let target = foreign();
    let connected = stage.dispatcher.connect(&target, None, CLIENT, None, None).await.unwrap();
    let words = FirstWords {
        client: &client,
        from: CLIENT,
        target: &target,
        told: None,
        claimed: None,
        meter: &stage.meter,
        may_leave: Some(&|words| words != hello()),
    };
    drop(stage.dispatcher.say(connected, words).await);
    assert_eq!((stage.meter.up.get(), stage.heard()), (0, [vec![], vec![]]));
    let mut whole = vec![0; HELLO.len()];
    client.read_exact(&mut whole).await.unwrap();
    assert_eq!(whole, hello());
}
