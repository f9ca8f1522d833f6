//! Readers that read, that do not, that come back and that are gone.

use super::*;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn queue(most: usize) -> Arc<Queue> {
    Arc::new(Queue::new(most))
}

fn say(queue: &Queue, text: &str) {
    let mut queue = queue;
    Write::write_all(&mut queue, text.as_bytes()).unwrap();
}

/// The line that tells of dropped ones goes the way of all lines.
fn with_log<T>(queue: &Arc<Queue>, act: impl FnOnce() -> T) -> T {
    let format = tracing_subscriber::fmt().with_writer(Arc::clone(queue));
    let format = format.with_ansi(false).with_target(false);
    tracing::subscriber::with_default(format.without_time().finish(), act)
}

#[test]
fn lines_come_out_in_order_and_those_from_before_the_writer_too() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let queue = queue(MOST);
    let lines: Vec<String> = (0..1000).map(|number| format!("line {number}\n")).collect();
    lines[..500].iter().for_each(|line| say(&queue, line));
    let reader = thread::spawn(move || {
        let lines = BufReader::new(theirs).lines().take(1000);
        lines.map(|line| format!("{}\n", line.unwrap())).collect::<Vec<_>>()
    });
    queue.begin(ours).unwrap();
    lines[500..].iter().for_each(|line| say(&queue, line));
    assert!(queue.flush(PATIENCE));
    assert_eq!(reader.join().unwrap(), lines);
}

#[test]
fn what_nobody_reads_is_dropped_counted_and_told_when_somebody_reads_again() {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    while ours.write(b"full").is_ok() {}
    ours.set_nonblocking(false).unwrap();
    let queue = queue(4096);
    let writer = Arc::clone(&queue);
    thread::spawn(move || with_log(&Arc::clone(&writer), || writer.serve(&ours)));
    // Four have room, whether the writer has taken them or not.
    (0..100).for_each(|_| say(&queue, &format!("{}\n", "x".repeat(999))));
    assert_eq!(queue.lock().dropped, 96);
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
    say(&queue, "another\n");
    assert!(queue.flush(PATIENCE));
    let length = theirs.read(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"another\n");
}

#[test]
fn who_waits_in_vain_waits_once() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let queue = queue(MOST);
    queue.begin(ours).unwrap();
    say(&queue, &"x".repeat(MOST));
    assert!(!queue.flush(Duration::from_millis(20)));
    // It would not return.
    queue.flush_unless_stalled(Duration::from_secs(1 << 30));
    let reader = thread::spawn(move || BufReader::new(theirs).read_exact(&mut [0; MOST]));
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
    say(&queue, "hello\n");
    assert!(queue.flush(PATIENCE));
}

#[test]
fn a_descriptor_that_does_not_wait_loses_nothing() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let queue = queue(MOST);
    queue.begin(ours).unwrap();
    say(&queue, &"x".repeat(MOST));
    assert!(!queue.flush(Duration::from_millis(20)));
    let mut theirs = BufReader::new(theirs);
    theirs.read_exact(&mut [0; MOST]).unwrap();
    assert!(queue.flush(PATIENCE));
}

#[test]
fn without_a_thread_the_last_words_are_written_all_the_same() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let queue = queue(MOST);
    say(&queue, "no thread\n");
    queue.write_here(&ours);
    let mut read = [0; 10];
    theirs.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"no thread\n");
}

#[test]
fn pieces_are_whole_lines() {
    let lines = format!("{}\n", "x".repeat(99)).repeat(100);
    assert_eq!(piece(lines.as_bytes()), 4000);
    assert_eq!(piece(&lines.as_bytes()[..300]), 300);
    let long = format!("{}\nshort\n", "x".repeat(9000));
    assert_eq!(piece(long.as_bytes()), 9001);
    assert_eq!(piece("x".repeat(9000).as_bytes()), 9000);
}
