//! The proxies: a shadowsocks server made of the client's own sealer and opener, which are
//! symmetric, and one for HTTP CONNECT. Each takes its connections along when it is switched off.

use super::{Tally, count, datagrams};
use crate::mark::Fwmark;
use crate::net::{Outbound, Refusal, listen, udp};
use crate::proxy::shadowsocks::cipher::master_key::MasterKey;
use crate::proxy::shadowsocks::cipher::method::Method;
use crate::proxy::shadowsocks::server::{self, Accepted};
use crate::secret::Secret;
use crate::selftest::world::{self, at};
use crate::target::Target;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The longest header and address that a client of ours sends.
const LONGEST_HEADER: usize = 1024;

pub(super) fn shadowsocks(tally: &Rc<Tally>) -> io::Result<()> {
    let address = at(world::SHADOWSOCKS, world::SHADOWSOCKS_PORT);
    let listener = listen::tcp(address)?;
    let for_datagrams = udp::bind(address)?.listen()?;
    let key = MasterKey::new(Method::Chacha20IetfPoly1305, &Secret::new(world::PASSWORD))
        .map_err(io::Error::other)?;
    let counters = Rc::clone(tally);
    let listening = tokio::task::spawn_local(async move {
        let mut connections = JoinSet::new();
        let key_of_datagrams = key.clone();
        let own = [world::SHADOWSOCKS.into(), world::SHADOWSOCKS_V6.into()];
        connections.spawn_local(async move {
            datagrams::serve(for_datagrams, key_of_datagrams, own).await;
            Ok(())
        });
        while let Ok((tcp, _)) = listener.accept().await {
            count(&counters.shadowsocks);
            connections.spawn_local(unseal_and_forward(tcp, key.clone()));
        }
    });
    tally.listeners.borrow_mut().insert("shadowsocks", listening);
    Ok(())
}

async fn unseal_and_forward(tcp: TcpStream, key: MasterKey) -> io::Result<()> {
    let Accepted { target, first, mut stream } = server::accept(tcp, &key).await?;
    let mut site = dial(&target).await?;
    site.write_all(&first).await?;
    copy_bidirectional(&mut stream, &mut site).await.map(drop)
}

pub(super) fn http(tally: &Rc<Tally>) -> io::Result<()> {
    let listener = listen::tcp(at(world::HTTP, world::HTTP_PORT))?;
    let counters = Rc::clone(tally);
    let listening = tokio::task::spawn_local(async move {
        let mut connections = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            count(&counters.http);
            connections.spawn_local(connect_and_forward(client));
        }
    });
    tally.listeners.borrow_mut().insert("http", listening);
    Ok(())
}

async fn connect_and_forward(mut client: TcpStream) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if request.len() > LONGEST_HEADER || client.read_buf(&mut request).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    let request = String::from_utf8_lossy(&request);
    let credentials = STANDARD.encode(format!("self:{}", world::PASSWORD));
    if !request.contains(&format!("Proxy-Authorization: Basic {credentials}\r\n")) {
        return client.write_all(b"HTTP/1.1 407 Wrong password\r\n\r\n").await;
    }
    let authority = request.split(' ').nth(1).unwrap_or_default();
    let address: SocketAddr = authority.parse().map_err(io::Error::other)?;
    let mut site = dial(&Target::addr(address)).await?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut site).await.map(drop)
}

async fn dial(target: &Target) -> io::Result<TcpStream> {
    let Target::Addr(address) = target else { return Err(io::ErrorKind::Unsupported.into()) };
    Outbound::new(Fwmark::SNET, Refusal::Harmless).tcp(&[*address]).await
}
