//! Name servers whose listeners are overtaken: whatever is asked over open UDP is first answered by
//! a forger, with the right number and with a wrong one, as on a real poisoned path. Only what
//! comes through a proxy, over TCP, is answered truly. Replies are made by hickory-proto.

use crate::net::{listen, udp};
use crate::selftest::world::{self, at};
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};
use std::io;
use std::net::Ipv4Addr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const TTL: u32 = 60;

/// Where a name server stands decides what it knows.
#[derive(Clone, Copy)]
enum Side {
    Domestic,
    Trusted,
}

pub(super) fn serve_all() -> io::Result<()> {
    over_udp(world::DOMESTIC_NAMES, Side::Domestic)?;
    over_udp(world::TRUSTED_NAMES, Side::Trusted)?;
    over_tcp(world::TRUSTED_NAMES, Side::Trusted)
}

fn over_udp(address: Ipv4Addr, side: Side) -> io::Result<()> {
    let socket = udp::bind(at(address, world::DNS))?.listen()?;
    tokio::task::spawn_local(async move {
        let mut buffer = [0; 1500];
        while socket.readable().await.is_ok() {
            let Ok((length, asker)) = socket.try_receive(&mut buffer) else { continue };
            let Ok(query) = Message::from_vec(&buffer[..length]) else { continue };
            for reply in forged(&query).into_iter().chain([truth(&query, side)]) {
                let Ok(bytes) = reply.to_vec() else { continue };
                let _ = socket.reply(&asker, &bytes);
            }
        }
    });
    Ok(())
}

fn over_tcp(address: Ipv4Addr, side: Side) -> io::Result<()> {
    let listener = listen::tcp(at(address, world::DNS))?;
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(answer_all(stream, side));
        }
    });
    Ok(())
}

async fn answer_all(mut stream: TcpStream, side: Side) -> io::Result<()> {
    loop {
        let mut bytes = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut bytes).await?;
        let query = Message::from_vec(&bytes).map_err(io::Error::other)?;
        let reply = truth(&query, side).to_vec().map_err(io::Error::other)?;
        stream.write_u16(u16::try_from(reply.len()).map_err(io::Error::other)?).await?;
        stream.write_all(&reply).await?;
    }
}

/// The foreign name is forged; a domestic address with a wrong number tries its luck too.
fn forged(query: &Message) -> Vec<Message> {
    if name(query) != world::FOREIGN_NAME {
        return Vec::new();
    }
    let mut wrong_number = addresses(query, &[world::DOMESTIC]);
    wrong_number.metadata.id ^= 0x5555;
    vec![wrong_number, addresses(query, &[world::FORGED])]
}

fn truth(query: &Message, side: Side) -> Message {
    match (name(query).as_str(), side) {
        (world::DOMESTIC_NAME, Side::Domestic) => addresses(query, &[world::DOMESTIC]),
        (world::DOMESTIC_NAME, Side::Trusted) => addresses(query, &[world::FAR_COPY]),
        (world::FOREIGN_NAME, _) => addresses(query, &[world::FOREIGN]),
        _ => {
            let mut reply = addresses(query, &[]);
            reply.metadata.response_code = ResponseCode::NXDomain;
            reply
        }
    }
}

fn name(query: &Message) -> String {
    let first = query.queries.first();
    first.map(|query| query.name().to_ascii().to_ascii_lowercase()).unwrap_or_default()
}

fn addresses(query: &Message, list: &[Ipv4Addr]) -> Message {
    let mut reply = Message::query();
    reply.metadata.id = query.metadata.id;
    reply.metadata.message_type = MessageType::Response;
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.queries = query.queries.clone();
    if let Some(question) = query.queries.first()
        && question.query_type() == RecordType::A
    {
        let record = |address: &Ipv4Addr| {
            Record::from_rdata(question.name().clone(), TTL, RData::A(A(*address)))
        };
        reply.answers = list.iter().map(record).collect();
    }
    reply
}
