//! The proxies: two shadowsocks servers made of the client's own sealer and opener, which are
//! symmetric, one for SOCKS5, and one for HTTP CONNECT. Each takes its connections along when it is
//! switched off.

use super::{Tally, datagrams, dial, socks5};
use crate::net::{listen, udp};
use crate::proxy::shadowsocks::cipher::master_key::MasterKey;
use crate::proxy::shadowsocks::cipher::method::Method;
use crate::proxy::shadowsocks::datagram::SaltedDatagrams;
use crate::proxy::shadowsocks::server::{self, Accepted};
use crate::proxy::shadowsocks::sessions::SessionDatagrams;
use crate::proxy::socks5::datagram::SocksDatagrams;
use crate::secret::Secret;
use crate::selftest::world::{self, ProxyHost};
use crate::target::Target;
use crate::task::{self, JoinSet};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

/// The longest header and address that a client of ours sends.
const LONGEST_HEADER: usize = 1024;

/// Serves as this proxy until it is switched off.
pub(super) fn serve(proxy: ProxyHost, tally: &Rc<Tally>) -> io::Result<()> {
    let address = proxy.address();
    let listener = listen::tcp(address)?;
    let mut connections = JoinSet::new();
    let key = match proxy {
        ProxyHost::Shadowsocks2022 => Some((Method::Blake3Aes128Gcm, world::KEY)),
        ProxyHost::Shadowsocks => Some((Method::Chacha20IetfPoly1305, world::PASSWORD)),
        ProxyHost::Socks5 | ProxyHost::Http => None,
    };
    let key = key.map(|(method, password)| MasterKey::new(method, &Secret::new(password)));
    let key = key.transpose().map_err(io::Error::other)?;
    let own = [address.ip(), world::PROXIES_V6.into()];
    if let Some(codec) = codec(proxy, key.clone()) {
        let listener = udp::bind(address)?.listen()?;
        connections.spawn_local(async move {
            datagrams::serve(listener, codec, own).await;
            Ok(())
        });
    }
    let counters = Rc::clone(tally);
    let listening = task::spawn_local(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            *counters.proxied.borrow_mut().entry(proxy).or_default() += 1;
            match &key {
                Some(key) => connections.spawn_local(unseal_and_forward(tcp, key.clone())),
                None if proxy == ProxyHost::Socks5 => {
                    connections.spawn_local(socks5::serve(tcp, address))
                }
                None => connections.spawn_local(connect_and_forward(tcp)),
            };
        }
    });
    tally.listeners.borrow_mut().insert(proxy.name(), listening);
    Ok(())
}

/// What a client's datagrams are wrapped in; `None`: it carries none.
fn codec(proxy: ProxyHost, key: Option<MasterKey>) -> Option<datagrams::ClientCodec> {
    match (proxy, key) {
        (ProxyHost::Shadowsocks2022, Some(key)) => {
            Some(Box::new(move || Ok(Box::new(SessionDatagrams::of_server(&key)?))))
        }
        (ProxyHost::Shadowsocks, Some(key)) => {
            Some(Box::new(move || Ok(Box::new(SaltedDatagrams::new(key.clone())))))
        }
        (ProxyHost::Socks5, _) => Some(Box::new(|| Ok(Box::new(SocksDatagrams)))),
        _ => None,
    }
}

async fn unseal_and_forward(tcp: TcpStream, key: MasterKey) -> io::Result<()> {
    let Accepted { target, first, mut stream } = server::accept(tcp, &key).await?;
    let mut site = dial(&target).await?;
    site.write_all(&first).await?;
    copy_bidirectional(&mut stream, &mut site).await.map(drop)
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
