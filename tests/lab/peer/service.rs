//! Small servers of the internet, each on its port at both sites: what real programs cannot be
//! told to do.

use crate::digest::Digest;
use crate::world::{DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, enter_internet, in_internet};
use socket2::SockRef;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Says back what it hears.
pub const ECHO: u16 = 7;
/// Hears until the client's half ends, then says its digest.
pub const HASH: u16 = 7001;
/// Speaks before the client does: [`GREETING`], then like [`ECHO`].
pub const GREET: u16 = 7002;
/// Reads something, then resets.
pub const RESET: u16 = 7003;
/// HTTP: reads a body of Content-Length bytes, answers its digest.
pub const UPLOAD: u16 = 7004;
/// Says [`FAREWELL`] and ends its half, then hears until the client's half ends.
pub const LEAVE: u16 = 7005;

pub const GREETING: &[u8] = b"220 you are welcome\r\n";
/// How much [`LEAVE`] says: more than any buffer on the way.
pub const FAREWELL: usize = 4 << 20;

/// What a silent or reset connection may take before the lab gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the servers have seen.
#[derive(Debug, Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<Visit>>>);

/// One connection, or one datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    pub at: SocketAddr,
    pub from: SocketAddr,
    /// How it ended, where the service has something to tell.
    pub end: Option<String>,
}

impl Seen {
    pub fn all(&self) -> Vec<Visit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The connections to that address.
    pub fn at(&self, address: SocketAddr) -> Vec<Visit> {
        self.all().into_iter().filter(|visit| visit.at == address).collect()
    }

    fn push(&self, visit: Visit) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(visit);
    }
}

/// Starts all of them.
pub fn start() -> Seen {
    let seen = Seen::default();
    for address in FAMILIES.into_iter().flat_map(|f| [DOMESTIC_SITE.ip(f), FOREIGN_SITE.ip(f)]) {
        for (port, talk) in [
            (ECHO, echo as fn(TcpStream) -> Option<String>),
            (HASH, hash),
            (GREET, greet),
            (RESET, reset),
            (UPLOAD, upload),
            (LEAVE, leave),
        ] {
            let (at, seen) = (SocketAddr::new(address, port), seen.clone());
            tcp(at, move |stream| {
                let from = stream.peer_addr();
                let end = talk(stream);
                if let Ok(from) = from {
                    seen.push(Visit { at, from, end });
                }
            });
        }
        for port in [ECHO, 443] {
            udp_echo(SocketAddr::new(address, port), seen.clone());
        }
    }
    seen
}

/// Serves that address of the internet: each connection on a thread of its own.
pub fn tcp(address: SocketAddr, serve: impl Fn(TcpStream) + Send + Sync + 'static) {
    let listener = in_internet(|| {
        TcpListener::bind(address).unwrap_or_else(|error| panic!("bind {address}: {error}"))
    });
    // The standard library asks for a backlog of 128; listen(2) may be called again.
    SockRef::from(&listener).listen(4096).expect("a listener may listen");
    let serve = Arc::new(serve);
    spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            let _ = stream.set_read_timeout(Some(PATIENCE));
            spawn(move || serve(stream));
        }
    });
}

/// Thousands of threads need small stacks.
fn spawn(body: impl FnOnce() + Send + 'static) {
    let builder = thread::Builder::new().stack_size(128 << 10);
    builder
        .spawn(move || {
            // What a server dials starts in the internet too.
            enter_internet();
            body();
        })
        .expect("threads are not that scarce");
}

fn udp_echo(address: SocketAddr, seen: Seen) {
    let socket = in_internet(|| {
        UdpSocket::bind(address).unwrap_or_else(|error| panic!("bind {address}: {error}"))
    });
    spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            seen.push(Visit { at: address, from, end: None });
            let _ = socket.send_to(&buffer[..length], from);
        }
    });
}

fn echo(mut stream: TcpStream) -> Option<String> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Some("end".into()),
            Ok(length) => stream.write_all(&buffer[..length]).ok()?,
            Err(error) => return Some(format!("{:?}", error.kind())),
        }
    }
}

fn hash(mut stream: TcpStream) -> Option<String> {
    let digest = Digest::of_reader(&mut stream)?;
    stream.write_all(digest.as_bytes()).ok()?;
    Some(digest)
}

fn greet(mut stream: TcpStream) -> Option<String> {
    stream.write_all(GREETING).ok()?;
    echo(stream)
}

fn reset(mut stream: TcpStream) -> Option<String> {
    let _ = stream.read(&mut [0; 64]);
    reset_now(stream);
    None
}

/// Closes with a RST instead of a FIN.
pub fn reset_now(stream: TcpStream) {
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

fn upload(stream: TcpStream) -> Option<String> {
    let mut answer = stream.try_clone().ok()?;
    let mut request = BufReader::with_capacity(1 << 20, stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        request.read_line(&mut line).ok()?;
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        } else if line.starts_with("expect:") {
            answer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
        } else if line.is_empty() {
            break;
        }
    }
    let digest = Digest::of_reader(&mut request.take(length))?;
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}", digest.len());
    write!(answer, "{head}\r\n\r\n{digest}").ok()?;
    Some(digest)
}

fn leave(mut stream: TcpStream) -> Option<String> {
    stream.write_all(&farewell()).ok()?;
    stream.shutdown(Shutdown::Write).ok()?;
    Digest::of_reader(&mut stream)
}

/// What [`LEAVE`] says.
pub fn farewell() -> Vec<u8> {
    (0..FAREWELL).map(|index| (index / 7 % 251) as u8).collect()
}
