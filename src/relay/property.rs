//! Both relays against a model: two programs talk through a relay in a random way, and each must
//! receive exactly what the model says, byte for byte.
//!
//! A script is random sizes, pauses, half-closes and resets for either program. The model: without
//! a reset, each program receives all that the other one sent, then the end; with one, what was
//! received is a prefix of what was sent, and the other program sees a reset or an end, never
//! silence. 500 cases by default; `SNET_CASES=100000 cargo test --release -p snet-engine
//! relay::property` is the full run.

use super::tests::{Kind, SEALED, SEALED_2022, far_end, seal, stream, tcp_pair};
use super::*;
use crate::proxy::HalfClose;
use crate::proxy::Stream;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// What one program does, in order.
#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    /// So many pieces of the size of a packet, one write each: what is gathered.
    Pieces(usize),
    /// Lets the others run; long ones let a burst end.
    Pause(Pause),
    /// Does not send before so many bytes have come in all.
    Await(usize),
}

#[derive(Clone, Copy, Debug)]
enum Pause {
    Yield,
    Millisecond,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    /// Closes its half, then reads to the end.
    Fin,
    /// Resets at once.
    Reset,
}

#[derive(Clone, Debug)]
struct Script {
    steps: Vec<Step>,
    ending: Ending,
    /// Bytes a read, so that slow readers occur.
    appetite: usize,
}

#[derive(Clone, Debug)]
struct Case {
    kind: Kind,
    program: Script,
    server: Script,
    early: usize,
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        8 => 1usize..100,
        4 => 100usize..20_000,
        2 => 16_000usize..18_000,
        1 => 100_000usize..400_000,
    ]
}

fn script(may_reset: bool) -> impl Strategy<Value = Script> {
    let step = prop_oneof![
        6 => size().prop_map(Step::Send),
        1 => (50usize..300).prop_map(Step::Pieces),
        2 => Just(Step::Pause(Pause::Yield)),
        1 => Just(Step::Pause(Pause::Millisecond)),
        1 => (1usize..50).prop_map(Step::Await),
    ];
    let ending = if may_reset {
        prop_oneof![9 => Just(Ending::Fin), 1 => Just(Ending::Reset)].boxed()
    } else {
        Just(Ending::Fin).boxed()
    };
    let appetite = prop_oneof![1usize..50, 1000usize..100_000];
    (prop::collection::vec(step, 0..8), ending, appetite)
        .prop_map(|(steps, ending, appetite)| Script { steps, ending, appetite })
}

fn case() -> impl Strategy<Value = Case> {
    let kind = prop_oneof![Just(Kind::Plain), Just(SEALED), Just(SEALED_2022), Just(Kind::Stream),];
    (kind, script(true), script(true), prop_oneof![Just(0usize), 1usize..9000]).prop_map(
        |(kind, program, server, early)| {
            let early = if kind == Kind::Plain { early } else { 0 };
            Case { kind, program, server, early }
        },
    )
}

/// The bytes that a side sends are its seed's sequence, so that order, loss and repetition show.
fn byte(seed: u8, position: usize) -> u8 {
    (position as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0] ^ seed
}

/// What one program saw.
#[derive(Debug)]
struct Seen {
    sent: usize,
    received: usize,
    /// The first byte that is not the other's next, if any.
    wrong_at: Option<usize>,
    ended: bool,
}

/// Plays a script. `sent` counts bytes of this side that were sent before it began.
async fn play(stream: Box<dyn Stream>, script: Script, seed: u8, theirs: u8, sent: usize) -> Seen {
    let (mut source, mut sink) = tokio::io::split(stream);
    let (progress, mut seen_so_far) = tokio::sync::watch::channel((0, false));
    let resets = script.ending == Ending::Reset;
    let reading = async {
        let mut seen = Seen { sent: 0, received: 0, wrong_at: None, ended: false };
        let mut buffer = vec![0; script.appetite];
        loop {
            match source.read(&mut buffer).await {
                Ok(0) => seen.ended = true,
                Ok(read) => {
                    let fits = |(n, b): (usize, &u8)| *b == byte(theirs, seen.received + n);
                    if !buffer[..read].iter().enumerate().all(fits) {
                        seen.wrong_at.get_or_insert(seen.received);
                    }
                    seen.received += read;
                    progress.send_replace((seen.received, false));
                    continue;
                }
                Err(_) => {}
            }
            progress.send_replace((seen.received, true));
            return seen;
        }
    };
    let writing = async {
        let mut sent = sent;
        for step in &script.steps {
            match *step {
                Step::Send(length) => {
                    if send(&mut sink, seed, &mut sent, length).await.is_err() {
                        return sent;
                    }
                }
                Step::Pieces(many) => {
                    for _ in 0..many {
                        if send(&mut sink, seed, &mut sent, PIECE).await.is_err() {
                            return sent;
                        }
                    }
                }
                Step::Pause(Pause::Yield) => tokio::task::yield_now().await,
                Step::Pause(Pause::Millisecond) => tokio::time::sleep(MILLISECOND).await,
                Step::Await(many) => {
                    // Both may wait for each other: nobody promised that the bytes come.
                    let enough = seen_so_far.wait_for(|(got, over)| *over || *got >= many);
                    let _ = timeout(5 * MILLISECOND, enough).await;
                }
            }
        }
        if !resets {
            let _ = sink.shutdown().await;
        }
        sent
    };
    if resets {
        // Reading stops where writing does; dropping both with linger zero resets.
        let mut reading = std::pin::pin!(reading);
        let mut writing = std::pin::pin!(writing);
        let sent = tokio::select! {
            sent = &mut writing => sent,
            seen = &mut reading => {
                let sent = writing.await;
                return Seen { sent, ..seen };
            }
        };
        return Seen { sent, received: 0, wrong_at: None, ended: false };
    }
    let (seen, sent) = tokio::join!(reading, writing);
    Seen { sent, ..seen }
}

/// Sends and counts. After a failure how much has left is not known: all of it may have.
async fn send(
    sink: &mut (impl AsyncWriteExt + Unpin),
    seed: u8,
    sent: &mut usize,
    length: usize,
) -> io::Result<()> {
    let bytes: Vec<u8> = (*sent..*sent + length).map(|n| byte(seed, n)).collect();
    *sent += length;
    sink.write_all(&bytes).await?;
    sink.flush().await
}

const PIECE: usize = 1400;

const MILLISECOND: Duration = Duration::from_millis(1);

async fn run(case: Case) -> Result<(), TestCaseError> {
    let (program, mut client) = tcp_pair().await;
    let (near, far) = tcp_pair().await;
    for (stream, script) in [(&program, &case.program), (&far, &case.server)] {
        if script.ending == Ending::Reset {
            socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
    let (ours, theirs) = (0x00, 0x5a);
    let link = match case.kind {
        Kind::Plain => {
            let early = (0..case.early).map(|n| byte(theirs, n)).collect();
            Link::Plain { tcp: near, early, half_close: HalfClose::Forwarded }
        }
        Kind::Sealed(method) => Link::Sealed(Box::new(seal(near, method))),
        Kind::Stream => stream(near),
    };
    let meter = std::sync::Arc::new(Meter::default());
    let counted = std::sync::Arc::clone(&meter);
    let relayed =
        tokio::spawn(
            async move { relay(&mut client, link, &counted, &Limits::default(), None).await },
        );
    let server = async {
        // A reset may overtake the destination's address.
        let gone = |_| -> Box<dyn Stream> { Box::new(tokio::io::duplex(1).0) };
        let far = far_end(case.kind, far).await.unwrap_or_else(gone);
        play(far, case.server.clone(), theirs, ours, case.early).await
    };
    let program = play(Box::new(program), case.program.clone(), ours, theirs, 0);
    let both = async { tokio::join!(program, server) };
    let hung = |_| TestCaseError::fail("silence");
    let (program, server) = timeout(Duration::from_secs(20), both).await.map_err(hung)?;
    let end = timeout(Duration::from_secs(20), relayed).await.map_err(hung)?.expect("no panic");
    judge(&case, &program, &server, &end, &meter)
}

fn judge(
    case: &Case,
    program: &Seen,
    server: &Seen,
    end: &End,
    meter: &Meter,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(program.wrong_at, None, "the program received wrong bytes");
    prop_assert_eq!(server.wrong_at, None, "the server received wrong bytes");
    prop_assert!(program.received <= server.sent && server.received <= program.sent);
    let resets = [&case.program, &case.server].iter().any(|side| side.ending == Ending::Reset);
    if !resets {
        prop_assert_eq!(program.received, server.sent, "down");
        prop_assert_eq!(server.received, program.sent, "up");
        prop_assert!(program.ended && server.ended && matches!(end, End::Closed), "{:?}", end);
        prop_assert_eq!(meter.down.get(), server.sent as u64, "counted down");
        prop_assert_eq!(meter.up.get(), program.sent as u64, "counted up");
    }
    Ok(())
}

/// Connections at a time: most of a case is waiting, and they share buffers and pipes.
const TOGETHER: usize = 25;

#[test]
fn whatever_happens_bytes_are_carried_as_the_model_says() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cases = std::env::var("SNET_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(500);
    let config = ProptestConfig {
        cases: u32::try_from(usize::div_ceil(cases, TOGETHER)).unwrap(),
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let together = prop::collection::vec(case(), TOGETHER);
    TestRunner::new(config)
        .run(&together, |cases| {
            runtime.block_on(async {
                let mut running = tokio::task::JoinSet::new();
                for case in cases {
                    running.spawn(run(case));
                }
                while let Some(done) = running.join_next().await {
                    done.unwrap()?;
                }
                Ok(())
            })
        })
        .unwrap();
}
