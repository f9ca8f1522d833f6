//! Sites. A site speaks first and says which client it sees; then it reads everything to the end,
//! sends it all again, and closes. One visit so shows the way taken, that a server may speak first,
//! half-close, and that every byte arrives, both ways.

use super::{Tally, count, is_machine};
use crate::net::udp::UdpListener;
use crate::net::{listen, udp};
use crate::selftest::world::{self, at};
use crate::task;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(super) fn serve_all(tally: &Rc<Tally>, has_ipv6: bool) -> io::Result<()> {
    let mut sites: Vec<(IpAddr, bool)> =
        vec![(world::DOMESTIC.into(), false), (world::FOREIGN.into(), true)];
    if has_ipv6 {
        sites.extend([(world::DOMESTIC_V6.into(), false), (world::FOREIGN_V6.into(), true)]);
    }
    for (address, is_foreign) in sites {
        web(at(address, world::WEB), is_foreign, Rc::clone(tally))?;
        quic(at(address, world::QUIC), is_foreign, Rc::clone(tally))?;
    }
    calls(world::FOREIGN.into(), world::FOREIGN_TWIN.into(), tally)?;
    if has_ipv6 {
        calls(world::FOREIGN_V6.into(), world::FOREIGN_TWIN_V6.into(), tally)?;
    }
    Ok(())
}

fn web(address: SocketAddr, is_foreign: bool, tally: Rc<Tally>) -> io::Result<()> {
    let listener = listen::tcp(address)?;
    task::spawn_local(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            if is_foreign && is_machine(peer) {
                count(&tally.direct_foreign);
            }
            task::spawn_local(visit(stream, peer));
        }
    });
    Ok(())
}

async fn visit(mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    let came = if is_machine(peer) { "direct" } else { "proxied" };
    stream.write_all(format!("{came}\n").as_bytes()).await?;
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await?;
    stream.write_all(&heard).await
}

/// Something that answers on UDP 443; a selftest needs no more of QUIC.
fn quic(address: SocketAddr, is_foreign: bool, tally: Rc<Tally>) -> io::Result<()> {
    let socket = udp::bind(address)?.listen()?;
    task::spawn_local(async move {
        let mut buffer = [0; 1500];
        while socket.readable().await.is_ok() {
            let Ok((length, asker)) = socket.try_receive(&mut buffer) else { continue };
            if is_foreign && is_machine(asker.address) {
                count(&tally.direct_foreign);
            }
            // A lost reply fails the trial, which is all that it can do.
            let _ = socket.reply(&asker, &buffer[..length]);
        }
    });
    Ok(())
}

/// Two hosts that say which client they see, each for the other if they are asked to.
fn calls(site: IpAddr, twin: IpAddr, tally: &Rc<Tally>) -> io::Result<()> {
    let site = Rc::new(udp::bind(at(site, world::CALL))?.listen()?);
    let twin = Rc::new(udp::bind(at(twin, world::OTHER_CALL))?.listen()?);
    call(Rc::clone(&site), Rc::clone(&twin), Rc::clone(tally));
    call(twin, site, Rc::clone(tally));
    Ok(())
}

fn call(asked: Rc<UdpListener>, other: Rc<UdpListener>, tally: Rc<Tally>) {
    task::spawn_local(async move {
        let mut buffer = [0; 1500];
        while asked.readable().await.is_ok() {
            let Ok((length, asker)) = asked.try_receive(&mut buffer) else { continue };
            let is_direct = is_machine(asker.address);
            if is_direct {
                count(&tally.direct_foreign);
            }
            let came = if is_direct { "direct" } else { "proxied" };
            let answer = format!("{came} {}", asker.address);
            let is_for_other = &buffer[..length] == world::ELSEWHERE.as_bytes();
            let answering = if is_for_other { &other } else { &asked };
            // As above.
            let _ = answering.reply(&asker, answer.as_bytes());
        }
    });
}
