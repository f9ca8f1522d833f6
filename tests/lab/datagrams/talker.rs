//! A program's UDP socket, on this machine or on a host behind it.

use nix::sched::{CloneFlags, setns};
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

/// A program's socket that asks again and again.
#[derive(Debug)]
pub struct Talker {
    pub socket: UdpSocket,
    pub site: SocketAddr,
}

impl Talker {
    /// A program of this machine.
    pub fn to(site: SocketAddr) -> Self {
        let any: IpAddr = if site.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
        let socket = UdpSocket::bind((any, 0)).expect("any port");
        socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket");
        Talker { socket, site }
    }

    /// A program of a host in this network namespace; `None`: of this machine.
    pub fn of(namespace: Option<&str>, site: SocketAddr) -> Self {
        match namespace {
            Some(namespace) => there(namespace, move || Talker::to(site)),
            None => Talker::to(site),
        }
    }

    /// Whether what it sends comes back, from where it was sent.
    pub fn is_answered(&self, text: &[u8]) -> bool {
        if self.send(text).is_err() {
            return false;
        }
        let mut buffer = [0; 65_536];
        let answer = self.socket.recv_from(&mut buffer);
        answer.is_ok_and(|(length, from)| from == self.site && &buffer[..length] == text)
    }

    pub fn send(&self, text: &[u8]) -> io::Result<usize> {
        self.socket.send_to(text, self.site)
    }
}

/// Runs something on a thread that lives in this network namespace. Sockets stay where they were
/// born.
pub fn there<T: Send + 'static>(namespace: &str, body: impl FnOnce() -> T + Send + 'static) -> T {
    let path = format!("/run/netns/{namespace}");
    let entering = std::thread::spawn(move || {
        let there = fs::File::open(path).expect("the host is there");
        setns(there, CloneFlags::CLONE_NEWNET).expect("the namespace is ours");
        body()
    });
    entering.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
