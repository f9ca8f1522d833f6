//! UDP of the proxies: a client has one socket in each family, to every destination, and what comes
//! there from any host goes back to it (a full cone, as of ssserver).
#![expect(clippy::disallowed_methods, reason = "plays a proxy server, whose sockets need no mark")]

use crate::net::udp::{Asker, UdpListener};
use crate::proxy::association::DatagramCodec;
use crate::target::Target;
use crate::task::JoinSet;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use tokio::net::UdpSocket;

/// The longest datagram there is.
const LONGEST: usize = 65_535;

/// Makes what wraps and unwraps the datagrams of one client. What snet's end does, a server's does
/// too: what stands in a packet is always an address.
pub(super) type ClientCodec = Box<dyn Fn() -> io::Result<Box<dyn DatagramCodec>>>;

type SharedCodec = Rc<RefCell<Box<dyn DatagramCodec>>>;

/// Serves until it is dropped; its sockets have one of these addresses. What does not open is
/// dropped, as every server does.
pub(super) async fn serve(listener: UdpListener, codec: ClientCodec, own: [IpAddr; 2]) {
    let listener = Rc::new(listener);
    let mut clients: HashMap<SocketAddr, SharedCodec> = HashMap::new();
    let mut sockets: HashMap<(SocketAddr, IpAddr), Rc<UdpSocket>> = HashMap::new();
    let mut answering = JoinSet::new();
    let mut buffer = vec![0; LONGEST];
    while listener.readable().await.is_ok() {
        let Ok((length, asker)) = listener.try_receive(&mut buffer) else { continue };
        let known = clients.get(&asker.address).cloned();
        let client = match known {
            Some(client) => client,
            None => {
                let Ok(client) = codec().map(RefCell::new).map(Rc::new) else { continue };
                clients.insert(asker.address, Rc::clone(&client));
                client
            }
        };
        let Ok(opened) = client.borrow_mut().open(&mut buffer[..length]) else { continue };
        let target = opened.source;
        let Some(from) = own.into_iter().find(|own| own.is_ipv4() == target.is_ipv4()) else {
            continue;
        };
        let known = sockets.get(&(asker.address, from)).cloned();
        let socket = match known {
            Some(socket) => socket,
            None => {
                let Ok(socket) = UdpSocket::bind((from, 0)).await.map(Rc::new) else { continue };
                sockets.insert((asker.address, from), Rc::clone(&socket));
                let answers = answers(Rc::clone(&listener), asker, Rc::clone(&socket), client);
                answering.spawn_local(answers);
                socket
            }
        };
        // What is lost fails the trial, which is all that it can do.
        let _ = socket.send_to(&buffer[opened.payload], target).await;
    }
}

async fn answers(
    listener: Rc<UdpListener>,
    asker: Asker,
    socket: Rc<UdpSocket>,
    codec: SharedCodec,
) -> io::Result<()> {
    let mut answer = vec![0; LONGEST];
    let mut packet = Vec::new();
    loop {
        let (length, from) = socket.recv_from(&mut answer).await?;
        packet.clear();
        codec
            .borrow_mut()
            .seal(&Target::addr(from), &answer[..length], &mut packet)
            .map_err(io::Error::other)?;
        listener.reply(&asker, &packet)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mark::Fwmark;
    use crate::net::{Outbound, Refusal, udp};
    use crate::proxy::shadowsocks::cipher::master_key::MasterKey;
    use crate::proxy::shadowsocks::cipher::method::Method;
    use crate::proxy::shadowsocks::datagram::SaltedDatagrams;
    use crate::secret::Secret;
    use std::time::Duration;
    use tokio::task::{LocalSet, spawn_local};
    use tokio::time::timeout;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn answers_come_back_with_their_source() {
        let loopback: [IpAddr; 2] = ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        let bind = || udp::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (server, asked, stranger) = (bind(), bind(), bind());
        let server_at = server.local_addr().unwrap();
        let asked_at = asked.local_addr().unwrap();
        let stranger_at = stranger.local_addr().unwrap();
        let key = MasterKey::new(Method::Aes256Gcm, &Secret::new("secret")).unwrap();
        let mut codec = SaltedDatagrams::new(key.clone());
        let codec_of_server: ClientCodec =
            Box::new(move || Ok(Box::new(SaltedDatagrams::new(key.clone()))));
        LocalSet::new()
            .run_until(async {
                spawn_local(serve(server.listen().unwrap(), codec_of_server, loopback));
                let (asked, stranger) = (asked.listen().unwrap(), stranger.listen().unwrap());
                spawn_local(async move {
                    let mut buffer = [0; 100];
                    asked.readable().await.unwrap();
                    let (length, asker) = asked.try_receive(&mut buffer).unwrap();
                    asked.reply(&asker, &buffer[..length]).unwrap();
                    stranger.reply(&asker, &buffer[..length]).unwrap();
                });
                let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
                let client = outbound.udp(server_at).await.unwrap();
                client.send(b"no packet of this key").await.unwrap();
                let mut packet = Vec::new();
                codec.seal(&Target::Addr(asked_at), b"hello", &mut packet).unwrap();
                client.send(&packet).await.unwrap();
                for source in [asked_at, stranger_at] {
                    let mut answer = vec![0; 200];
                    let length =
                        timeout(PATIENCE, client.recv(&mut answer)).await.unwrap().unwrap();
                    let opened = codec.open(&mut answer[..length]).unwrap();
                    assert_eq!((opened.source, &answer[opened.payload]), (source, &b"hello"[..]));
                }
            })
            .await;
    }
}
