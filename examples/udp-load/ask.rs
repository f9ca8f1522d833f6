//! The client's end: what it sends, and what it says of it in one line.

use super::train::{self, ROOM};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long the last datagrams may be on their way.
const TAIL: Duration = Duration::from_millis(400);

/// Sockets that are open at a time while sessions are made.
const AT_ONCE: usize = 200;

/// The server, and the first address that asks it. Every socket takes the next port, so that a run
/// which begins where the last one ended has only new flows.
#[derive(Clone, Copy, Debug)]
pub struct Flows {
    /// The server.
    pub site: SocketAddr,
    /// The first socket's address.
    pub from: SocketAddr,
}

impl Flows {
    /// The socket of this number.
    fn socket(self, number: usize) -> io::Result<UdpSocket> {
        let port = usize::from(self.from.port()) + number;
        let port = port.try_into().map_err(|_| io::Error::other("there is no such port"))?;
        self.bound(SocketAddr::new(self.from.ip(), port))
    }

    fn bound(self, local: SocketAddr) -> io::Result<UdpSocket> {
        let socket = train::bind(local)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    }

    /// Sends datagrams at a rate for some time; the server counts.
    ///
    /// # Errors
    /// A socket breaks, or the server does not answer.
    pub fn up(self, length: usize, rate: f64, seconds: f64) -> io::Result<String> {
        let socket = self.socket(0)?;
        let run = std::process::id();
        let mut datagram = vec![0; length.max(5)];
        datagram[0] = b'd';
        datagram[1..5].copy_from_slice(&run.to_be_bytes());
        // The session and the way there are made before the clock runs.
        let before = self.counted(&socket, run)?;
        let paced = (rate, (rate * seconds) as u64);
        let sent = train::send(&socket, self.site, datagram.len(), paced, |count, train| {
            (0..count).for_each(|_| train.extend_from_slice(&datagram));
        })?;
        std::thread::sleep(TAIL);
        let arrived = self.counted(&socket, run)? - before;
        Ok(format!("sent={sent} arrived={arrived}"))
    }

    /// What the server has counted of a run.
    fn counted(self, socket: &UdpSocket, run: u32) -> io::Result<u64> {
        let question = [&b"?"[..], &run.to_be_bytes()].concat();
        let mut answer = [0; 8];
        for _ in 0..5 {
            socket.send_to(&question, self.site)?;
            if socket.recv(&mut answer).is_ok_and(|length| length == answer.len()) {
                return Ok(u64::from_be_bytes(answer));
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not say what it has counted"))
    }

    /// Has the server send datagrams at a rate for some time, and counts.
    ///
    /// # Errors
    /// A socket breaks.
    pub fn down(self, length: u32, rate: f64, seconds: f64) -> io::Result<String> {
        let socket = self.socket(0)?;
        self.counted(&socket, 0)?;
        let (asked, rate) = ((rate * seconds) as u32, rate as u32);
        let numbers = [length, asked, rate].map(u32::to_be_bytes).concat();
        socket.send_to(&[&b"s"[..], &numbers].concat(), self.site)?;
        let mut room = vec![0; ROOM];
        let mut arrived = 0;
        let end = Instant::now() + Duration::from_secs_f64(seconds) + TAIL;
        socket.set_read_timeout(Some(TAIL))?;
        while arrived < u64::from(asked) && Instant::now() < end {
            if let Ok(arrival) = train::receive(&socket, &mut room) {
                arrived += arrival.datagrams();
            }
        }
        Ok(format!("sent={asked} arrived={arrived}"))
    }

    /// One question and one answer after the other, over so many flows in turn.
    ///
    /// # Errors
    /// A socket breaks.
    pub fn echo(self, length: usize, flows: usize, seconds: f64) -> io::Result<String> {
        let sockets: io::Result<Vec<_>> = (0..flows).map(|number| self.socket(number)).collect();
        let (sockets, question) = (sockets?, vec![b'e'; length.max(1)]);
        let mut answer = vec![0; ROOM];
        // The sessions are made before the clock runs.
        for socket in &sockets {
            socket.send_to(&question, self.site)?;
            let _ = socket.recv(&mut answer);
        }
        let (began, mut arrived, mut sent) = (Instant::now(), 0_u64, 0_u64);
        while began.elapsed().as_secs_f64() < seconds {
            for socket in &sockets {
                socket.send_to(&question, self.site)?;
                sent += 1;
                arrived += u64::from(socket.recv(&mut answer).is_ok());
            }
        }
        let each = began.elapsed().as_micros() as f64 / arrived.max(1) as f64;
        Ok(format!("sent={sent} arrived={arrived} microseconds={each:.1}"))
    }

    /// Makes sessions, each of which has asked and was answered once, from so many addresses in a
    /// row. Their sockets are closed again.
    ///
    /// # Errors
    /// A socket breaks, or there is no such address.
    pub fn hold(self, sessions: usize, sources: usize) -> io::Result<String> {
        let IpAddr::V4(first) = self.from.ip() else {
            return Err(io::Error::other("sources are counted in IPv4"));
        };
        let (mut arrived, mut answer, sources) = (0, [0; 100], sources.max(1));
        for begin in (0..sessions).step_by(AT_ONCE) {
            let sockets: io::Result<Vec<_>> = (begin..sessions.min(begin + AT_ONCE))
                .map(|number| {
                    let ip = Ipv4Addr::from_bits(first.to_bits() + (number % sources) as u32);
                    let port = usize::from(self.from.port()) + number / sources;
                    self.bound(SocketAddr::new(ip.into(), port.try_into().unwrap_or(0)))
                })
                .collect();
            let sockets = sockets?;
            for socket in &sockets {
                socket.send_to(b"e hold", self.site)?;
            }
            for socket in &sockets {
                arrived += usize::from(socket.recv(&mut answer).is_ok());
            }
        }
        Ok(format!("sent={sessions} arrived={arrived}"))
    }
}
