//! QUIC, by quinn: a server at the foreign site's twin, and its client.

use crate::digest::Digest;
use crate::peer::unbound;
use crate::world::{FAMILIES, FOREIGN_TWIN, enter_internet, in_internet};
use quinn::rustls::RootCertStore;
use quinn::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use quinn::{ClientConfig, Endpoint, EndpointConfig, RecvStream, SendStream, ServerConfig};
use quinn::{TokioRuntime, VarInt};
use std::fs;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

pub const PORT: u16 = 443;

/// Whom the certificate is for.
const NAME: &str = "dns.example";

/// SHA-256 in hexadecimal.
const DIGEST: usize = 64;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Serves in both families. A stream begins with a number (64 bits): so many bytes the server sends
/// after the digest of what comes behind the number.
pub fn start() {
    for family in FAMILIES {
        let address = FOREIGN_TWIN.port(family, PORT);
        let socket = in_internet(|| {
            UdpSocket::bind(address).unwrap_or_else(|error| panic!("bind {address}: {error}"))
        });
        thread::spawn(move || {
            enter_internet();
            runtime().block_on(serve(socket)).expect("a QUIC server");
        });
    }
}

/// Sends so many bytes from this socket and gets as many. Returns how they arrived.
pub fn exchange(socket: UdpSocket, server: SocketAddr, bytes: u64) -> Result<Exchange, String> {
    let exchanging = async {
        // As the patience of a user; a gigabyte takes longer.
        let patience = Duration::from_secs(60 + (bytes >> 20));
        timeout(patience, talk(socket, server, bytes)).await?
    };
    runtime().block_on(exchanging).map_err(|failure: Failure| failure.to_string())
}

/// What has arrived, as digests, and what was sent in either direction.
#[derive(Debug, PartialEq, Eq)]
pub struct Exchange {
    pub sent: String,
    pub up: String,
    pub down: String,
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn serve(socket: UdpSocket) -> io::Result<()> {
    let file = |name: &str| fs::read(unbound::certificates().join(name));
    let certificate = CertificateDer::from(file("dns.example.der")?);
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(file("dns.example.key.der")?));
    let config =
        ServerConfig::with_single_cert(vec![certificate], key).map_err(io::Error::other)?;
    let (own, runtime) = (EndpointConfig::default(), Arc::new(TokioRuntime));
    let endpoint = Endpoint::new(own, Some(config), socket, runtime)?;
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let connection = incoming.await?;
            while let Ok((to, from)) = connection.accept_bi().await {
                answer(to, from).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    Ok(())
}

async fn answer(mut to: SendStream, mut from: RecvStream) -> Result<(), Failure> {
    let mut wanted = [0; 8];
    from.read_exact(&mut wanted).await?;
    to.write_all(hear(&mut from).await?.as_bytes()).await?;
    say(&mut to, u64::from_be_bytes(wanted)).await
}

async fn talk(socket: UdpSocket, server: SocketAddr, bytes: u64) -> Result<Exchange, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(fs::read(unbound::authority())?))?;
    let (own, runtime) = (EndpointConfig::default(), Arc::new(TokioRuntime));
    let mut endpoint = Endpoint::new(own, None, socket, runtime)?;
    endpoint.set_default_client_config(ClientConfig::with_root_certificates(Arc::new(roots))?);
    let connection = endpoint.connect(server, NAME)?.await?;
    let (mut to, mut from) = connection.open_bi().await?;
    to.write_all(&bytes.to_be_bytes()).await?;
    say(&mut to, bytes).await?;
    let mut up = [0; DIGEST];
    from.read_exact(&mut up).await?;
    let down = hear(&mut from).await?;
    connection.close(VarInt::from_u32(0), b"");
    endpoint.wait_idle().await;
    let mut sent = Digest::new();
    blocks(bytes, |block| sent.add(block));
    Ok(Exchange { sent: sent.end(), up: String::from_utf8(up.into())?, down })
}

async fn say(to: &mut SendStream, bytes: u64) -> Result<(), Failure> {
    for number in 0..bytes / BLOCK {
        to.write_all(&block(number)).await?;
    }
    to.finish()?;
    Ok(())
}

async fn hear(from: &mut RecvStream) -> Result<String, Failure> {
    let mut digest = Digest::new();
    let mut buffer = vec![0; 64 << 10];
    while let Some(length) = from.read(&mut buffer).await? {
        digest.add(&buffer[..length]);
    }
    Ok(digest.end())
}

const BLOCK: u64 = 64 << 10;

fn blocks(bytes: u64, mut take: impl FnMut(&[u8])) {
    (0..bytes / BLOCK).for_each(|number| take(&block(number)));
}

/// No two are alike.
fn block(number: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d);
    let words = (0..BLOCK / 8).flat_map(|_| {
        // xorshift64 (Marsaglia 2003)
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.collect()
}
