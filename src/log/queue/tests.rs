//! Readers that read, that do not, that come back and that are gone.

use super::*;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn queue(most: usize) -> Arc<Queue> {
    queue_to(None, most)
}

fn queue_to(journal: Option<Journal>, most: usize) -> Arc<Queue> {
    Arc::new(Queue::of(LogOutput { text: TextForm::bare(), journal }, most))
}

fn say(queue: &Queue, text: &str) {
    queue.push(Arc::new(LogLine::sample(text, &[])));
}

/// The same as it is written.
fn said(text: &str) -> String {
    format!(" INFO {text}\n")
}

/// The line that tells of dropped ones goes the way of all lines.
struct Back(Arc<Queue>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Back {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        self.0.push(Arc::new(LogLine::of(event)));
    }
}

fn with_log<T>(queue: &Arc<Queue>, act: impl FnOnce() -> T) -> T {
    use tracing_subscriber::layer::SubscriberExt;
    let log = tracing_subscriber::registry().with(Back(Arc::clone(queue)));
    tracing::subscriber::with_default(log, act)
}

#[test]
fn lines_come_out_in_order_and_those_from_before_the_writer_too() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let queue = queue(MOST);
    let lines: Vec<String> = (0..1000).map(|number| format!("line {number}")).collect();
    lines[..500].iter().for_each(|line| say(&queue, line));
    let reader = thread::spawn(move || {
        let lines = BufReader::new(theirs).lines().take(1000);
        lines.map(|line| format!("{}\n", line.unwrap())).collect::<String>()
    });
    queue.begin(ours).unwrap();
    lines[500..].iter().for_each(|line| say(&queue, line));
    assert!(queue.flush(PATIENCE));
    let expected: String = lines.iter().map(|line| said(line)).collect();
    assert_eq!(reader.join().unwrap(), expected);
}

#[test]
fn a_slow_writer_is_waited_for_and_a_reader_that_does_not_read_is_not() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (queue, slow) = (queue(MOST), Duration::from_millis(200));
    say(&queue, "the reason of the end");
    assert!(!queue.flush_to(slow, || false), "no writer, and nobody who reads");
    let late = Arc::clone(&queue);
    let beginning = thread::spawn(move || {
        thread::sleep(3 * slow);
        late.begin(ours).unwrap();
    });
    assert!(queue.flush_to(slow, || would_take(&theirs)));
    beginning.join().unwrap();
    let mut read = String::new();
    BufReader::new(theirs).read_line(&mut read).unwrap();
    assert_eq!(read, said("the reason of the end"));
}

#[test]
fn what_nobody_reads_is_dropped_counted_and_told_when_somebody_reads_again() {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    while ours.write(b"full").is_ok() {}
    ours.set_nonblocking(false).unwrap();
    let text = "x".repeat(999);
    let queue = queue(4 * LogLine::sample(&text, &[]).weight());
    let writer = Arc::clone(&queue);
    thread::spawn(move || with_log(&Arc::clone(&writer), || writer.serve(&ours)));
    // Four have room, whether the writer has taken them or not.
    (0..100).for_each(|_| say(&queue, &text));
    assert_eq!(queue.lock().dropped, 96);
    assert_eq!(queue.lost(), 96);
    let mut read = String::new();
    let mut buffer = [0; 4096];
    while !read.contains("dropped") {
        let length = theirs.read(&mut buffer).unwrap();
        read.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
    }
    assert!(
        read.ends_with("x\n WARN 96 log lines were dropped: nobody read them\n"),
        "{}",
        &read[read.len() - 100..]
    );
    assert_eq!(read.matches('x').count(), 4 * 999, "the others are whole");
    say(&queue, "another");
    assert!(queue.flush(PATIENCE));
    let length = theirs.read(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], said("another").as_bytes());
}

#[test]
fn who_waits_in_vain_waits_once() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let queue = queue(MOST);
    queue.begin(ours).unwrap();
    say(&queue, &"x".repeat(MOST / 2));
    assert!(!queue.flush(Duration::from_millis(20)));
    // It would not return.
    queue.flush_unless_stalled(Duration::from_secs(1 << 30));
    let reader = thread::spawn(move || BufReader::new(theirs).read_exact(&mut [0; MOST / 2]));
    assert!(queue.flush(PATIENCE));
    reader.join().unwrap().unwrap();
    assert!(!queue.lock().is_stalled);
}

#[test]
fn a_reader_that_is_gone_holds_up_nobody() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    let queue = queue(MOST);
    queue.begin(ours).unwrap();
    say(&queue, "hello");
    assert!(queue.flush(PATIENCE));
}

#[test]
fn a_descriptor_that_does_not_wait_loses_nothing() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let queue = queue(MOST);
    queue.begin(ours).unwrap();
    let text = "x".repeat(MOST / 2);
    say(&queue, &text);
    assert!(!queue.flush(Duration::from_millis(20)));
    let mut theirs = BufReader::new(theirs);
    theirs.read_exact(&mut vec![0; said(&text).len()]).unwrap();
    assert!(queue.flush(PATIENCE));
}

#[test]
fn without_a_thread_the_last_words_are_written_all_the_same() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let queue = queue(MOST);
    say(&queue, "no thread");
    queue.write_here(&ours);
    let mut read = vec![0; said("no thread").len()];
    theirs.read_exact(&mut read).unwrap();
    assert_eq!(read, said("no thread").as_bytes());
}

/// Each write(2) to a socket that keeps messages apart is one of them.
#[test]
fn pieces_are_whole_lines() {
    let (ours, theirs) = std::os::unix::net::UnixDatagram::pair().unwrap();
    theirs.set_read_timeout(Some(PATIENCE)).unwrap();
    let text = "x".repeat(993);
    let long = "x".repeat(9000);
    let lines = [&text, &text, &text, &text, &text, &long, &text]
        .map(|text| Arc::new(LogLine::sample(text, &[])));
    let weights = std::cell::RefCell::new(Vec::new());
    queue(MOST).output.write(&ours, &lines, |weight| weights.borrow_mut().push(weight));
    let mut buffer = [0; 10_000];
    let pieces: Vec<_> = (0..4).map(|_| theirs.recv(&mut buffer).unwrap()).collect();
    assert_eq!(pieces, [4000, 1000, 9007, 1000]);
    let weight: usize = lines.iter().map(|line| line.weight()).sum();
    assert_eq!(weights.borrow().iter().sum::<usize>(), weight, "all of it is done with");
}

#[test]
fn what_the_journal_does_not_take_goes_to_standard_error() {
    use std::os::unix::net::UnixDatagram;
    let path = std::env::temp_dir().join(format!("snet-queue-{}", std::process::id()));
    let played = UnixDatagram::bind(&path).unwrap();
    played.set_read_timeout(Some(PATIENCE)).unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.set_read_timeout(Some(PATIENCE)).unwrap();
    let queue = queue_to(Some(Journal::at(&path).unwrap()), MOST);
    queue.begin(ours).unwrap();
    say(&queue, "to the journal");
    let mut buffer = [0; 500];
    let length = played.recv(&mut buffer).unwrap();
    assert!(buffer[..length].starts_with(b"MESSAGE=to the journal\n"));
    std::fs::remove_file(&path).unwrap();
    drop(played);
    say(&queue, "to the other");
    assert!(queue.flush(PATIENCE));
    let length = theirs.read(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], said("to the other").as_bytes());
}
