//! Proxies that do not do what they should.

use super::service;
use crate::snet;
use crate::world::{Family, PROXY};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

/// How it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Accepts and says nothing.
    Hang,
    /// Nobody listens.
    Refuse,
    /// Speaks another protocol.
    Garbage,
    /// Closes before it has said anything.
    Close,
    /// Starts a header that never ends.
    Endless,
    /// Breaks off within the header.
    Half,
    /// Has no connection to give: 503.
    Unavailable,
}

pub const LIES: [Lie; 7] =
    [Lie::Hang, Lie::Refuse, Lie::Garbage, Lie::Close, Lie::Endless, Lie::Half, Lie::Unavailable];

/// The `[[proxy]]` of type http that leads to it.
pub fn start(family: Family, lie: Lie) -> String {
    static PORT: AtomicU16 = AtomicU16::new(9000);
    let address = PROXY.port(family, PORT.fetch_add(1, Ordering::Relaxed));
    if lie != Lie::Refuse {
        service::tcp(address, move |stream| tell(lie, stream));
    }
    snet::http_proxy(address, None)
}

fn tell(lie: Lie, mut stream: TcpStream) {
    if lie == Lie::Close {
        return;
    }
    let mut request = [0; 1024];
    let _ = stream.read(&mut request);
    let _ = match lie {
        Lie::Garbage => stream.write_all(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
        Lie::Half => stream.write_all(b"HTTP/1.1 200 OK\r\nX-Half: "),
        Lie::Unavailable => {
            stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        }
        Lie::Endless => {
            let line = format!("X-Padding: {}\r\n", "a".repeat(1000));
            let mut result = stream.write_all(b"HTTP/1.1 200 OK\r\n");
            while result.is_ok() {
                result = stream.write_all(line.as_bytes());
            }
            result
        }
        Lie::Hang | Lie::Refuse | Lie::Close => Ok(()),
    };
    if lie == Lie::Hang {
        thread::sleep(Duration::from_secs(600));
    }
}
