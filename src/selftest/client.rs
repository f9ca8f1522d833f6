//! Programs of the machine: what they try, and what they get. They know nothing of snet, so their
//! sockets are plain ones.
#![expect(clippy::disallowed_methods, reason = "plays programs, whose sockets carry no mark")]

use super::world::{self, ProxyHost, at};
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// Nothing here takes longer; a program's user would have given up.
const PATIENCE: Duration = Duration::from_secs(6);

/// A connection to a site that has said which client it sees.
#[derive(Debug)]
pub(super) struct Visit {
    stream: TcpStream,
    /// "direct" or "proxied".
    pub(super) came: String,
}

/// Connects and waits for the site to speak, saying nothing.
pub(super) fn visit(site: IpAddr) -> io::Result<Visit> {
    let mut stream = TcpStream::connect_timeout(&at(site, world::WEB), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut came = String::new();
    loop {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed without a word"));
        }
        if byte[0] == b'\n' {
            return Ok(Visit { stream, came });
        }
        came.push(char::from(byte[0]));
    }
}

impl Visit {
    /// Sends this many bytes and a FIN, then hears them all again: half-close, both ways.
    pub(super) fn say(mut self, length: usize) -> io::Result<String> {
        let bytes: Vec<u8> = (0..length).map(|number| (number * 31 / 7) as u8).collect();
        self.stream.write_all(&bytes)?;
        self.stream.shutdown(Shutdown::Write)?;
        let mut heard = Vec::new();
        self.stream.read_to_end(&mut heard)?;
        let state = if heard == bytes { "all bytes" } else { "bytes lost or changed" };
        Ok(format!("{}, {state}", self.came))
    }
}

/// Visits, says something, and puts the result into words.
pub(super) fn try_site(site: impl Into<IpAddr>, length: usize) -> String {
    let heard = visit(site.into()).and_then(|visit| visit.say(length));
    heard.unwrap_or_else(|error| in_words(&error))
}

/// Visits and listens, saying nothing.
pub(super) fn listen_to(site: impl Into<IpAddr>) -> String {
    visit(site.into()).map_or_else(|error| in_words(&error), |visit| visit.came)
}

/// A client of name servers that keeps its port.
#[derive(Debug)]
pub(super) struct NameClient(UdpSocket);

impl NameClient {
    pub(super) fn new() -> io::Result<Self> {
        Self::beside(Ipv4Addr::UNSPECIFIED.into())
    }

    /// With a port of the same family.
    fn beside(any: IpAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(at(any, 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(NameClient(socket))
    }

    /// Asks a server for an address and takes the first answer with the right number, as every
    /// stub resolver does.
    pub(super) fn ask(&self, server: impl Into<IpAddr>, name: &str, kind: RecordType) -> String {
        let server = at(server, world::DNS);
        let exchange = || {
            let query = question(name, kind)?;
            self.0.send_to(&query.to_vec().map_err(io::Error::other)?, server)?;
            let mut buffer = [0; 4096];
            loop {
                let (length, _) = self.0.recv_from(&mut buffer)?;
                let reply = Message::from_vec(&buffer[..length]).map_err(io::Error::other)?;
                if reply.metadata.id == query.metadata.id {
                    return Ok(reply);
                }
            }
        };
        described(exchange())
    }
}

/// Asks from a port of its own, over IPv6.
pub(super) fn ask_over_ipv6(server: Ipv6Addr, name: &str) -> String {
    match NameClient::beside(Ipv6Addr::UNSPECIFIED.into()) {
        Ok(asker) => asker.ask(server, name, RecordType::A),
        Err(error) => in_words(&error),
    }
}

/// Asks over TCP.
pub(super) fn ask_over_tcp(server: Ipv4Addr, name: &str) -> String {
    let exchange = || {
        let mut stream = TcpStream::connect_timeout(&at(server, world::DNS), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let query = question(name, RecordType::A)?.to_vec().map_err(io::Error::other)?;
        let length = u16::try_from(query.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes()[..], &query].concat())?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut reply = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut reply)?;
        Message::from_vec(&reply).map_err(io::Error::other)
    };
    described(exchange())
}

/// Knocks at UDP 443, as a browser does before it falls back to TCP.
pub(super) fn knock(site: impl Into<IpAddr>) -> String {
    let site: SocketAddr = at(site, world::QUIC);
    let exchange = || {
        let any: IpAddr = match site {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind(at(any, 0))?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket.connect(site)?;
        socket.send(b"initial")?;
        socket.recv(&mut [0; 100])
    };
    match exchange() {
        Ok(_) => "answered".into(),
        Err(error) => in_words(&error),
    }
}

/// What the internet's host has counted.
#[derive(Debug)]
pub(super) struct Tallied {
    /// Connections and datagrams that reached foreign hosts from the machine's own address.
    pub(super) direct_foreign: u32,
    proxied: HashMap<ProxyHost, u32>,
}

impl Tallied {
    /// Connections that came to a proxy.
    pub(super) fn proxied(&self, proxy: ProxyHost) -> u32 {
        self.proxied.get(&proxy).copied().unwrap_or(0)
    }
}

/// Gives an order to the internet's host and reads its counters.
pub(super) fn control(order: &str) -> io::Result<Tallied> {
    let mut stream = TcpStream::connect_timeout(&at(world::ROUTER, world::CONTROL), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(order.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let counters = answer.split(' ').map(str::parse);
    let counters: Vec<u32> = counters.collect::<Result<_, _>>().map_err(io::Error::other)?;
    let (direct_foreign, proxied) = counters.split_first().ok_or(io::ErrorKind::UnexpectedEof)?;
    let proxied = ProxyHost::ALL.into_iter().zip(proxied.iter().copied()).collect();
    Ok(Tallied { direct_foreign: *direct_foreign, proxied })
}

fn question(name: &str, kind: RecordType) -> io::Result<Message> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    let mut query = Message::new(u16::from_ne_bytes(id), MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    let name = Name::from_ascii(name).map_err(io::Error::other)?;
    query.queries.push(Query::query(name, kind));
    Ok(query)
}

fn described(reply: io::Result<Message>) -> String {
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => return in_words(&error),
    };
    let mut words = String::new();
    for address in reply.answers.iter().filter_map(|record| record.data.ip_addr()) {
        let separator = if words.is_empty() { "" } else { " " };
        // A String takes every write.
        let _ = write!(words, "{separator}{address}");
    }
    if words.is_empty() {
        // As dig writes it: NXDOMAIN, SERVFAIL.
        return format!("{:?}", reply.metadata.response_code).to_uppercase();
    }
    words
}

/// What a program's user would say of it.
pub(super) fn in_words(error: &io::Error) -> String {
    match error.kind() {
        // A rejected datagram is EPERM for its sender (net/netfilter: NF_DROP of a local
        // packet), and ECONNREFUSED for its next send.
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::PermissionDenied => "refused".into(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "silence".into(),
        _ => error.to_string(),
    }
}
