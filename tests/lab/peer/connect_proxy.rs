//! An HTTP proxy of ours: squid and tinyproxy close the whole tunnel when one half ends, and none
//! resets on demand.

use super::service;
use crate::snet;
use crate::world::{Family, Host, PROXY};
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What it does after "200".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Carries bytes, each half to its end.
    Carry,
    /// Waits for the first bytes, then resets.
    Reset,
    /// The destination speaks first, and what it says comes with the "200" in one segment.
    Banner,
}

/// What it says.
pub const BANNER: [u8; 9] = *b"SSH-2.0-x";

/// The `[[proxy]]` that leads to it.
pub fn start(family: Family, after: After) -> String {
    listening(family, after).1
}

/// The same, and where it listens.
pub fn listening(family: Family, after: After) -> (SocketAddr, String) {
    let banner: &[u8] = if after == After::Banner { &BANNER } else { b"" };
    listen(family, banner, Duration::ZERO, move |stream, target| match after {
        After::Carry | After::Banner => carry(stream, target),
        After::Reset => {
            let _ = stream.peek(&mut [0; 8]);
            service::reset_now(stream);
        }
    })
}

/// One that notes each destination as it is told, and takes every name for that of `site`. The name
/// servers are not noted: snet asks them when it likes.
pub fn noting(family: Family, site: Host) -> (String, Arc<Mutex<Vec<String>>>) {
    noting_after(family, site, Duration::ZERO)
}

/// The same, which answers after a pause, as one that is far away.
pub fn noting_after(
    family: Family,
    site: Host,
    pause: Duration,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let noted: Arc<Mutex<Vec<String>>> = Arc::default();
    let notes = Arc::clone(&noted);
    let (_, proxy) = listen(family, b"", pause, move |stream, target| {
        if !target.ends_with(":53") {
            notes.lock().expect("no test holds it").push(target.to_owned());
        }
        let by_name = target.rsplit_once(':').filter(|_| target.parse::<SocketAddr>().is_err());
        match by_name.and_then(|(_, port)| port.parse().ok()) {
            Some(port) => carry(stream, &site.port(family, port).to_string()),
            None => carry(stream, target),
        }
    });
    (proxy, noted)
}

/// One that says "200", and then does this.
pub fn start_with(family: Family, then: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    listen(family, b"", Duration::ZERO, move |stream, _| then(stream)).1
}

fn listen(
    family: Family,
    banner: &'static [u8],
    pause: Duration,
    then: impl Fn(TcpStream, &str) + Send + Sync + 'static,
) -> (SocketAddr, String) {
    static PORT: AtomicU16 = AtomicU16::new(8100);
    let address = PROXY.port(family, PORT.fetch_add(1, Ordering::Relaxed));
    service::tcp(address, move |stream| {
        // None of the client's payload comes before "200", so the reader's buffer holds none.
        let mut request = BufReader::new(&stream);
        let mut lines = (&mut request).lines().map_while(Result::ok);
        let first = lines.next().unwrap_or_default();
        let target = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let _ = lines.find(String::is_empty);
        thread::sleep(pause);
        let answer = [b"HTTP/1.1 200 Connection established\r\n\r\n", banner].concat();
        if (&stream).write_all(&answer).is_ok() {
            then(stream, &target);
        }
    });
    (address, snet::http_proxy(address, None))
}

fn carry(client: TcpStream, target: &str) {
    let Ok(server) = TcpStream::connect(target) else { return };
    let copy = |mut from: &TcpStream, mut to: &TcpStream| {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    };
    thread::scope(|scope| {
        scope.spawn(|| copy(&client, &server));
        copy(&server, &client);
    });
}
