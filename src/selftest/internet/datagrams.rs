//! UDP of the shadowsocks server: each datagram goes to its destination from a socket of its own,
//! and what comes back first, within some seconds, goes to the client with its source.

use crate::mark::Fwmark;
use crate::net::udp::{Asker, UdpListener};
use crate::net::{Outbound, Refusal};
use crate::proxy::association::DatagramCodec;
use crate::proxy::shadowsocks::cipher::master_key::MasterKey;
use crate::proxy::shadowsocks::datagram::SaltedDatagrams;
use crate::target::Target;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(5);

/// The longest datagram there is.
const LONGEST: usize = 65_535;

/// Serves until it is dropped. What does not open is dropped, as every server does.
pub(super) async fn serve(listener: UdpListener, key: MasterKey) {
    let listener = Rc::new(listener);
    let codec = SaltedDatagrams::new(key.clone());
    let mut questions = JoinSet::new();
    let mut buffer = vec![0; LONGEST];
    while listener.readable().await.is_ok() {
        while questions.try_join_next().is_some() {}
        let Ok((length, asker)) = listener.try_receive(&mut buffer) else { continue };
        let Ok((target, payload)) = codec.open_any(&mut buffer[..length]) else { continue };
        let payload = buffer[payload].to_vec();
        let answering = answer(Rc::clone(&listener), asker, target, payload, key.clone());
        questions.spawn_local(answering);
    }
}

async fn answer(
    listener: Rc<UdpListener>,
    asker: Asker,
    target: Target,
    payload: Vec<u8>,
    key: MasterKey,
) -> io::Result<()> {
    let Target::Addr(address) = target else { return Err(io::ErrorKind::Unsupported.into()) };
    let socket = Outbound::new(Fwmark::SNET, Refusal::Harmless).udp(address).await?;
    socket.send(&payload).await?;
    let mut reply = vec![0; LONGEST];
    let length = timeout(PATIENCE, socket.recv(&mut reply)).await??;
    let mut packet = Vec::new();
    let mut codec = SaltedDatagrams::new(key);
    codec.seal(&target, &reply[..length], &mut packet).map_err(io::Error::other)?;
    listener.reply(&asker, &packet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::udp;
    use crate::proxy::shadowsocks::cipher::method::Method;
    use crate::secret::Secret;
    use tokio::task::{LocalSet, spawn_local};

    #[tokio::test]
    async fn an_echo_comes_back_with_its_source() {
        let bind = || udp::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (server, echo) = (bind(), bind());
        let (server_at, echo_at) = (server.local_addr().unwrap(), echo.local_addr().unwrap());
        let key = MasterKey::new(Method::Aes256Gcm, &Secret::new("secret")).unwrap();
        let mut codec = SaltedDatagrams::new(key.clone());
        LocalSet::new()
            .run_until(async {
                spawn_local(serve(server.listen().unwrap(), key));
                let echo = echo.listen().unwrap();
                spawn_local(async move {
                    let mut buffer = [0; 100];
                    echo.readable().await.unwrap();
                    let (length, asker) = echo.try_receive(&mut buffer).unwrap();
                    echo.reply(&asker, &buffer[..length]).unwrap();
                });
                let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
                let client = outbound.udp(server_at).await.unwrap();
                client.send(b"no packet of this key").await.unwrap();
                let mut packet = Vec::new();
                codec.seal(&Target::Addr(echo_at), b"hello", &mut packet).unwrap();
                client.send(&packet).await.unwrap();
                let mut reply = vec![0; 200];
                let length = timeout(PATIENCE, client.recv(&mut reply)).await.unwrap().unwrap();
                let opened = codec.open(&mut reply[..length]).unwrap();
                assert_eq!((opened.source, &reply[opened.payload]), (echo_at, &b"hello"[..]));
            })
            .await;
    }
}
