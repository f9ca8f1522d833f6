//! Name servers on loopback that say what a test wants, as early and as often as it wants. Replies
//! are built by hickory-proto, so that this program's own wire code is checked by another's.

use crate::net::udp;
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What a server does with a question.
pub(super) type Script = Rc<dyn Fn(&Message) -> Vec<Say>>;

/// One reply.
pub(super) struct Say {
    pub(super) after: Duration,
    pub(super) message: Message,
}

/// A server, and how often it was asked.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) asked: Rc<Cell<u32>>,
}

pub(super) fn say(after: u64, message: Message) -> Say {
    Say { after: Duration::from_millis(after), message }
}

/// A script with one reply, at once.
pub(super) fn always(reply: impl Fn(&Message) -> Message + 'static) -> Script {
    Rc::new(move |query| vec![say(0, reply(query))])
}

pub(super) fn silent() -> Script {
    Rc::new(|_| Vec::new())
}

pub(super) fn reply(query: &Message) -> Message {
    let mut reply = Message::query();
    reply.metadata.id = query.metadata.id;
    reply.metadata.message_type = MessageType::Response;
    reply.metadata.recursion_desired = true;
    reply.metadata.recursion_available = true;
    reply.queries = query.queries.clone();
    reply
}

/// A reply with these addresses, if the query asks for their type.
pub(super) fn addresses(query: &Message, ttl: u32, list: &[&str]) -> Message {
    let mut reply = reply(query);
    for address in list {
        let data = match address.parse().unwrap() {
            IpAddr::V4(v4) => RData::A(A(v4)),
            IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
        };
        if data.record_type() == query.queries[0].query_type() {
            let record = Record::from_rdata(query.queries[0].name().clone(), ttl, data);
            reply.answers.push(record);
        }
    }
    reply
}

/// NODATA or NXDOMAIN, with the record that lets it be cached.
pub(super) fn nothing(query: &Message, code: ResponseCode) -> Message {
    let mut reply = reply(query);
    reply.metadata.response_code = code;
    let host = Name::from_ascii("ns.example.").unwrap();
    let soa = SOA::new(host.clone(), host, 1, 1, 1, 1, 60);
    let mut record = Record::from_rdata(Name::from_ascii("example.").unwrap(), 60, RData::SOA(soa));
    record.dns_class = DNSClass::IN;
    reply.authorities.push(record);
    reply
}

pub(super) fn asks_for(query: &Message, kind: RecordType) -> bool {
    query.queries[0].query_type() == kind
}

/// A server over UDP; runs on the `LocalSet`.
pub(super) fn over_udp(script: Script) -> Server {
    over_udp_at("127.0.0.1:0".parse().unwrap(), script)
}

/// The same there, for example beside one over TCP.
pub(super) fn over_udp_at(address: SocketAddr, script: Script) -> Server {
    let bound = udp::bind(address).unwrap();
    let address = bound.local_addr().unwrap();
    let asked = Rc::new(Cell::new(0));
    let counted = Rc::clone(&asked);
    tokio::task::spawn_local(async move {
        let socket = Rc::new(bound.listen().unwrap());
        let mut buffer = [0; 4096];
        loop {
            socket.readable().await.unwrap();
            let Ok((length, asker)) = socket.try_receive(&mut buffer) else { continue };
            counted.set(counted.get() + 1);
            let query = Message::from_vec(&buffer[..length]).unwrap();
            for Say { after, message } in script(&query) {
                let socket = Rc::clone(&socket);
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(after).await;
                    socket.reply(&asker, &message.to_vec().unwrap()).unwrap();
                });
            }
        }
    });
    Server { address, asked }
}

/// A server over TCP; `per_connection` queries, then it closes without an answer to the last.
pub(super) fn over_tcp(script: Script, per_connection: u32) -> Server {
    let listener = crate::net::listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Rc::new(Cell::new(0));
    let counted = Rc::clone(&asked);
    tokio::task::spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (script, counted) = (Rc::clone(&script), Rc::clone(&counted));
            tokio::task::spawn_local(async move {
                for _ in 0..per_connection {
                    let Ok(length) = stream.read_u16().await else { return };
                    let mut bytes = vec![0; length.into()];
                    stream.read_exact(&mut bytes).await.unwrap();
                    counted.set(counted.get() + 1);
                    for Say { after, message } in script(&Message::from_vec(&bytes).unwrap()) {
                        tokio::time::sleep(after).await;
                        let bytes = message.to_vec().unwrap();
                        stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
                        stream.write_all(&bytes).await.unwrap();
                    }
                }
            });
        }
    });
    Server { address, asked }
}
