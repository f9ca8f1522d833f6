//! One question to one server in whatever way it wants to be asked, over a socket of its own: for
//! questions that are rare, from any thread.

#[cfg(feature = "tls")]
use super::https;
use super::{tcp, udp};
use crate::dns::name_server::{NameServer, Transport};
use crate::dns::wire::Query;
use crate::net::Outbound;
use crate::proxy::Stream;
use crate::proxy::tls::Tls;
use std::io;
use std::time::Duration;
use tokio::time::timeout;

/// Asks until the server replies or `patience` ends.
///
/// # Errors
/// `TimedOut`, what the kernel says, a certificate of another name.
pub(in crate::dns) async fn ask(
    outbound: &Outbound,
    tls: &Tls,
    server: &NameServer,
    query: &Query,
    patience: Duration,
) -> io::Result<Vec<u8>> {
    if let Transport::Plain = server.transport {
        return udp::ask(outbound, server.address, query, patience).await;
    }
    let asking = over_stream(outbound, tls, server, query, patience);
    let asked = timeout(patience, asking).await;
    asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn over_stream(
    outbound: &Outbound,
    tls: &Tls,
    server: &NameServer,
    query: &Query,
    patience: Duration,
) -> io::Result<Vec<u8>> {
    let stream: Box<dyn Stream> = Box::new(outbound.tcp(&[server.address]).await?);
    match &server.transport {
        Transport::Plain | Transport::Tcp => tcp::ask_over(stream, query).await,
        Transport::Tls { name } => {
            tcp::ask_over(tls.connect(name, b"dot", stream, patience).await?, query).await
        }
        #[cfg(not(feature = "tls"))]
        Transport::Https { .. } => Err(io::ErrorKind::Unsupported.into()),
        #[cfg(feature = "tls")]
        Transport::Https { name, path } => {
            let url = format!("https://{name}{path}");
            https::ask_once(&url, tls.connect(name, b"h2", stream, patience).await?, query).await
        }
    }
}
