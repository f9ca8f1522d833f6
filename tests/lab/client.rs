//! The clients of the machine: curl, and plain sockets whose every wait is bounded.

use crate::process::{Finished, Place, command, finish};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// Connects.
pub fn connect(address: SocketAddr) -> TcpStream {
    try_connect(address).unwrap_or_else(|error| panic!("connect {address}: {error}"))
}

/// Connects, or not.
pub fn try_connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends `bytes` to an echo service and hears them again.
pub fn echo(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    let mut heard = vec![0; bytes.len()];
    stream.read_exact(&mut heard)?;
    assert_eq!(heard, bytes, "another echo than what was sent");
    Ok(())
}

/// Connects, sends a little, and returns how the connection ended before anything came back.
pub fn failure(address: SocketAddr) -> io::ErrorKind {
    let result = try_connect(address).and_then(|mut stream| {
        stream.write_all(b"hello")?;
        stream.read(&mut [0; 64])
    });
    match result {
        Err(error) => error.kind(),
        Ok(0) => io::ErrorKind::UnexpectedEof,
        Ok(length) => panic!("{length} bytes came back from {address}"),
    }
}

/// curl on the machine.
pub fn curl(arguments: &[&str]) -> Finished {
    let mut curl = command(Place::Machine, "curl");
    finish(curl.args(["-sS", "--noproxy", "*", "--max-time", "240"]).args(arguments))
}

/// What curl gets.
pub fn get(url: &str) -> String {
    let finished = curl(&["--fail", "--max-time", "20", url]);
    assert!(finished.status.success(), "curl {url}: {}", finished.stderr);
    finished.stdout.trim().to_owned()
}

/// A datagram and its echo; an error of the kernel, or silence.
pub fn ask(address: SocketAddr) -> io::Result<()> {
    let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    // A rejected packet fails to leave, too (EPERM); what counts is the ICMP message behind it.
    match socket.send(b"hello") {
        Err(error) if error.kind() != ErrorKind::PermissionDenied => Err(error),
        _ => socket.recv(&mut [0; 16]).map(drop),
    }
}
