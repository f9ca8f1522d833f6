//! Each proxy's UDP is asked at the start and after a reload, before a program needs it: a server
//! that carries TCP only, or a firewall in front of it, drops datagrams without a word.

use super::{Dispatcher, Upstream};
use crate::proxy::association::Association;
use crate::target::Target;
use crate::task::JoinSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::info;

/// Who holds the root zone (RFC 1035, 4.1): every recursive name server answers it, and it tells a
/// server along the way nothing of anybody. The recursion bit is set.
pub(super) const QUESTION: [u8; 17] = [0, 53, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];

/// How long each question may take; as many are sent as stand here, since a datagram may be lost.
const WAITS: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(3)];

/// Room for an answer in its proxy's packet; what is longer counts as well, cut off or not, where
/// it opens.
const ANSWER: usize = 4096;

impl Dispatcher {
    /// Asks name servers through the UDP of each proxy that carries it, and tells the log which
    /// answers. Takes as long as the slowest of them, a few seconds at most.
    pub async fn ask_datagrams(&self, name_servers: Vec<SocketAddr>) {
        let name_servers: Arc<[SocketAddr]> = name_servers.into();
        let carrying = self.upstreams.iter().filter(|it| it.proxy.carries_datagrams());
        let mut asked: JoinSet<()> = carrying
            .map(|upstream| Arc::clone(upstream).ask_datagrams(Arc::clone(&name_servers)))
            .collect();
        while asked.join_next().await.is_some() {}
    }
}

impl Upstream {
    async fn ask_datagrams(self: Arc<Self>, name_servers: Arc<[SocketAddr]>) {
        let begun = Instant::now();
        let association = match timeout(self.timeout, self.proxy.associate()).await {
            Ok(Ok(association)) => association,
            Ok(Err(error)) if error.is_shortage() => return,
            Ok(Err(error)) => return self.datagrams_failed(&error.to_string()),
            Err(_) => {
                return self.datagrams_failed(&format!("no answer within {:?}", self.timeout));
            }
        };
        match ask(association, &name_servers).await {
            Ok(true) => {
                self.datagrams_answered();
                let milliseconds = begun.elapsed().as_millis();
                info!(proxy = self.name(), "its UDP answers, {milliseconds} ms");
            }
            Ok(false) => self.unheard("nothing comes back"),
            Err(error) => self.unheard(&error.to_string()),
        }
    }

    fn unheard(&self, what: &str) {
        if self.datagrams.failed(Instant::now()) {
            self.datagrams_fail(format!(
                "no trusted name server answers by its UDP ({what}): does the server carry UDP, on \
                 the same port, and does its firewall let it through? (if not: udp = false of this \
                 [[proxy]])"
            ));
        }
    }
}

/// Whether one of them answers.
async fn ask(mut association: Association, name_servers: &[SocketAddr]) -> io::Result<bool> {
    let Association { socket, codec, lifeline: _lifeline } = &mut association;
    let mut answer = vec![0; ANSWER];
    for wait in WAITS {
        for name_server in name_servers {
            let mut packet = Vec::new();
            // A target that the protocol cannot name gets no answer either.
            if codec.seal(&Target::addr(*name_server), &QUESTION, &mut packet).is_ok() {
                socket.send(&packet).await?;
            }
        }
        let end = Instant::now() + wait;
        while let Ok(received) = timeout_at(end, socket.recv(&mut answer)).await {
            if codec.open(&mut answer[..received?]).is_ok() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "it stays on loopback")]
mod tests {
    use super::*;
    use crate::mark::Fwmark;
    use crate::net::{Outbound, Refusal};
    use crate::proxy::association::DatagramCodec as _;
    use crate::proxy::shadowsocks::cipher::master_key::MasterKey;
    use crate::proxy::shadowsocks::cipher::method::Method;
    use crate::proxy::shadowsocks::datagram::SaltedDatagrams;
    use crate::secret::Secret;
    use tokio::net::UdpSocket;

    fn codec(password: &str) -> SaltedDatagrams {
        let key = MasterKey::new(Method::Aes128Gcm, &Secret::new(password)).unwrap();
        SaltedDatagrams::new(key)
    }

    /// A server, and an association with it.
    async fn server() -> (UdpSocket, Association) {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
        let socket = outbound.udp(server.local_addr().unwrap()).await.unwrap();
        (server, Association { socket, codec: Box::new(codec("a")), lifeline: None })
    }

    async fn received(server: &UdpSocket, packet: &mut [u8]) -> (usize, SocketAddr) {
        let received = timeout(Duration::from_secs(5), server.recv_from(packet)).await;
        received.expect("a question is sent").unwrap()
    }

    fn name_servers() -> [SocketAddr; 2] {
        ["192.0.2.53:53", "[2001:db8::53]:53"].map(|address| address.parse().unwrap())
    }

    #[tokio::test]
    async fn an_answer_to_any_of_the_questions_will_do() {
        let (server, association) = server().await;
        let asked = tokio::spawn(async move { ask(association, &name_servers()).await });
        let mut packet = [0; 256];
        // The first round is lost.
        for name_server in name_servers().into_iter().chain([name_servers()[0]]) {
            let (length, client) = received(&server, &mut packet).await;
            let opened = codec("a").open(&mut packet[..length]).unwrap();
            assert_eq!(opened.source, name_server);
            assert_eq!(packet[opened.payload], QUESTION);
            let stranger = Target::addr("192.0.2.9:53".parse().unwrap());
            let mut forged = Vec::new();
            codec("b").seal(&stranger, b"hello", &mut forged).unwrap();
            server.send_to(&forged, client).await.unwrap();
        }
        assert!(!asked.is_finished(), "what does not open counts for nothing");
        let (_, client) = received(&server, &mut packet).await;
        let mut answer = Vec::new();
        codec("a").seal(&Target::addr(name_servers()[1]), b"answer", &mut answer).unwrap();
        server.send_to(&answer, client).await.unwrap();
        assert!(asked.await.unwrap().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends() {
        let (server, association) = server().await;
        let begun = Instant::now();
        assert!(!ask(association, &name_servers()).await.unwrap());
        let took = begun.elapsed();
        assert!(took >= WAITS.iter().sum() && took < Duration::from_secs(7), "{took:?}");
        drop(server);
    }

    #[tokio::test]
    async fn a_closed_port_is_an_error() {
        let (server, association) = server().await;
        drop(server);
        let error = ask(association, &name_servers()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
