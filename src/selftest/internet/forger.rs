//! Name servers whose listeners are overtaken: whatever is asked over open UDP is first answered by
//! a forger, as on a real poisoned path: a lie about the foreign name with the right number, and
//! one about every name with a wrong number. Only what comes through a proxy, over TCP, is answered
//! truly. Replies are made by hickory-proto.

use super::{Tally, count, is_machine};
use crate::net::{listen, udp};
use crate::selftest::world::{self, at};
use crate::task;
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{RData, Record, RecordType};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const TTL: u32 = 60;

/// Where a name server stands decides what it knows.
#[derive(Clone, Copy)]
enum NameSide {
    Domestic,
    Trusted,
}

pub(super) fn serve_all(tally: &Rc<Tally>) -> io::Result<()> {
    over_udp(world::DOMESTIC_NAMES, NameSide::Domestic, tally)?;
    over_udp(world::TRUSTED_NAMES, NameSide::Trusted, tally)?;
    over_tcp(world::TRUSTED_NAMES, NameSide::Trusted, tally)
}

fn over_udp(address: Ipv4Addr, side: NameSide, tally: &Rc<Tally>) -> io::Result<()> {
    let socket = udp::bind(at(address, world::DNS))?.listen()?;
    let tally = Rc::clone(tally);
    task::spawn_local(async move {
        let mut buffer = [0; 1500];
        while socket.readable().await.is_ok() {
            let Ok((length, asker)) = socket.try_receive(&mut buffer) else { continue };
            tally_direct(&tally, side, asker.address);
            let Ok(query) = Message::from_vec(&buffer[..length]) else { continue };
            for reply in forged(&query).into_iter().chain([truth(&query, side)]) {
                let Ok(bytes) = reply.to_vec() else { continue };
                // A lost reply fails the trial, which is all that it can do.
                let _ = socket.reply(&asker, &bytes);
            }
        }
    });
    Ok(())
}

fn over_tcp(address: Ipv4Addr, side: NameSide, tally: &Rc<Tally>) -> io::Result<()> {
    let listener = listen::tcp(at(address, world::DNS))?;
    let tally = Rc::clone(tally);
    task::spawn_local(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            tally_direct(&tally, side, peer);
            task::spawn_local(answer_all(stream, side));
        }
    });
    Ok(())
}

fn tally_direct(tally: &Tally, side: NameSide, peer: SocketAddr) {
    if matches!(side, NameSide::Trusted) && is_machine(peer) {
        count(&tally.direct_foreign);
    }
}

async fn answer_all(mut stream: TcpStream, side: NameSide) -> io::Result<()> {
    loop {
        let mut bytes = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut bytes).await?;
        let query = Message::from_vec(&bytes).map_err(io::Error::other)?;
        let reply = truth(&query, side).to_vec().map_err(io::Error::other)?;
        stream.write_u16(u16::try_from(reply.len()).map_err(io::Error::other)?).await?;
        stream.write_all(&reply).await?;
    }
}

fn forged(query: &Message) -> Vec<Message> {
    let lie = addresses(query, &[world::FORGED.into(), world::FORGED_V6.into()]);
    let mut wrong_number = lie.clone();
    wrong_number.metadata.id ^= 0x5555;
    match site(query) {
        Some(world::FOREIGN_NAME) => vec![wrong_number, lie],
        _ => vec![wrong_number],
    }
}

fn truth(query: &Message, side: NameSide) -> Message {
    match (site(query), side) {
        (Some(world::DOMESTIC_NAME), NameSide::Domestic) => {
            addresses(query, &[world::DOMESTIC.into(), world::DOMESTIC_V6.into()])
        }
        (Some(world::DOMESTIC_NAME), NameSide::Trusted) => {
            addresses(query, &[world::FAR_COPY.into()])
        }
        (Some(_), _) => addresses(query, &[world::FOREIGN.into(), world::FOREIGN_V6.into()]),
        (None, _) => {
            let mut reply = addresses(query, &[]);
            reply.metadata.response_code = ResponseCode::NXDomain;
            reply
        }
    }
}

/// Whose name it is, or a name below.
fn site(query: &Message) -> Option<&'static str> {
    let name = query.queries.first()?.name().to_ascii().to_ascii_lowercase();
    [world::DOMESTIC_NAME, world::FOREIGN_NAME].into_iter().find(|site| {
        name.strip_suffix(site).is_some_and(|below| below.is_empty() || below.ends_with('.'))
    })
}

/// A reply with those of the addresses that were asked for.
fn addresses(query: &Message, list: &[IpAddr]) -> Message {
    let mut reply = Message::query();
    reply.metadata.id = query.metadata.id;
    reply.metadata.message_type = MessageType::Response;
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.queries = query.queries.clone();
    if let Some(question) = query.queries.first() {
        let record = |data| Record::from_rdata(question.name().clone(), TTL, data);
        reply.answers = list
            .iter()
            .filter_map(|address| match (address, question.query_type()) {
                (IpAddr::V4(v4), RecordType::A) => Some(record(RData::A(A(*v4)))),
                (IpAddr::V6(v6), RecordType::AAAA) => Some(record(RData::AAAA(AAAA(*v6)))),
                _ => None,
            })
            .collect();
    }
    reply
}
