//! What proxies of every protocol have in common: a name, the place of their server, and the way
//! to it.

use super::doubt::ServerDoubt;
use super::endpoint::Endpoint;
use super::{Error, HalfClose, Progress};
use crate::net::Outbound;
use crate::net::allowance::Allowance;
use crate::plugin::Plugin;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::Instant;

/// The server of one `[[proxy]]`.
#[derive(Debug)]
pub struct ProxyServer {
    name: String,
    endpoint: Arc<Endpoint>,
    outbound: Outbound,
    plugin: Option<Arc<Plugin>>,
    doubt: ServerDoubt,
    warm: Option<Duration>,
}

impl ProxyServer {
    /// `name` is the one for logs; `outbound` makes the sockets, with the options of this proxy.
    pub fn new(name: String, endpoint: Arc<Endpoint>, outbound: Outbound) -> Self {
        let (plugin, doubt) = (None, ServerDoubt::default());
        ProxyServer { name, endpoint, outbound, plugin, doubt, warm: None }
    }

    /// The same, with connections dialled ahead of need where a dial takes at least so long.
    #[must_use]
    pub fn warm(self, worth: Option<Duration>) -> Self {
        ProxyServer { warm: worth, ..self }
    }

    /// From which time of a dial on connections are dialled ahead. `None`: they are not, also where
    /// a plugin makes them: what is dialled then leads no further than to the plugin.
    pub(super) fn warms(&self) -> Option<Duration> {
        self.warm.filter(|_| self.plugin.is_none())
    }

    /// How many sockets may be open beside those of connections.
    pub(super) fn allowance(&self) -> &Allowance {
        self.outbound.allowance()
    }

    /// The same, with a plugin before it for what [`dial`](Self::dial) connects. Datagrams pass it
    /// by.
    #[must_use]
    pub fn behind(self, plugin: Option<Arc<Plugin>>) -> Self {
        ProxyServer { plugin, ..self }
    }

    /// The name for logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether the protocol should have its first bytes ready for [`dial`](Self::dial), since they
    /// leave in the SYN.
    pub(super) fn opens_fast(&self) -> bool {
        self.outbound.opens_fast()
    }

    /// Connects, sends `first`, and reports that the server is reached.
    ///
    /// # Errors
    /// No address is known, or none of them answers; the plugin does not run.
    pub(super) async fn dial(&self, first: &[u8], progress: &Progress) -> Result<TcpStream, Error> {
        let tcp = match &self.plugin {
            Some(plugin) => self.dial_plugin(plugin, first).await?,
            None => self.endpoint.dial(&self.outbound, first).await?,
        };
        progress.server_is_reached();
        Ok(tcp)
    }

    /// Connects ahead of need and sends `first`. No failure of it is told to others.
    ///
    /// # Errors
    /// No address is known, or none of them answers.
    pub(super) async fn dial_ahead(&self, first: &[u8]) -> Result<TcpStream, Error> {
        self.endpoint.dial_ahead(&self.outbound, first).await
    }

    /// obfs-local and v2ray-plugin end both halves when one ends.
    pub(super) fn half_close(&self) -> HalfClose {
        if self.plugin.is_some() { HalfClose::Held } else { HalfClose::Forwarded }
    }

    /// Tells that a connection which [`dial`](Self::dial) made has ended without a byte.
    pub(super) fn was_unanswered(&self) {
        if self.plugin.as_deref().is_some_and(Plugin::goes_by_tcp) {
            self.doubt.raise(Instant::now());
        }
    }

    async fn dial_plugin(&self, plugin: &Plugin, first: &[u8]) -> Result<TcpStream, Error> {
        if self.doubt.is_raised() {
            self.endpoint.dial(&self.outbound, &[]).await?;
            self.doubt.settle(Instant::now());
        }
        let address = plugin
            .address()
            .await
            .map_err(|source| Error::Plugin { plugin: plugin.name().to_owned(), source })?;
        let server = || format!("the plugin {} at {address}", plugin.name());
        let failed = |source| Error::Dial { server: server(), source };
        self.outbound.tcp_saying(&[address], first).await.map_err(failed)
    }

    /// A UDP socket that is connected to the server. Nothing is sent, so it may be down.
    ///
    /// # Errors
    /// No address is known, or there is no way to it.
    pub(super) async fn datagrams(&self) -> Result<UdpSocket, Error> {
        self.endpoint.datagrams(&self.outbound).await
    }

    /// A UDP socket that is connected to this address, which the server has named.
    ///
    /// # Errors
    /// There is no way to it.
    pub(super) async fn datagrams_to(&self, address: SocketAddr) -> Result<UdpSocket, Error> {
        let failed = |source| Error::Dial { server: format!("UDP {address}"), source };
        self.outbound.udp(address).await.map_err(failed)
    }

    /// The error of a handshake that ended before the connection stood.
    pub(super) fn broke_off(&self, source: io::Error) -> Error {
        Error::Handshake { server: self.endpoint.to_string(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mark::Fwmark;
    use crate::net::{Refusal, listen};
    use crate::plugin::Launcher;
    use crate::plugin::spec::PluginSpec;
    use crate::secret::Secret;

    /// A plugin that takes everything, before a server that is not there, and comes.
    #[tokio::test]
    async fn a_doubted_server_is_asked_itself() {
        let place = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let at = place.local_addr().unwrap();
        drop(place);
        let endpoint = Arc::new(Endpoint::new("127.0.0.1", at.port()));
        let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
        let server = ProxyServer::new("tokyo".into(), endpoint, outbound);
        let of = |text: &str| {
            let spec = PluginSpec::of_link(text).unwrap();
            Some(Arc::new(Plugin::new(spec, Box::new(Vec::new), Launcher::own())))
        };
        let server = server.behind(of("obfs-local"));
        let failure = async |server: &ProxyServer| {
            server.dial(&[], &Progress::default()).await.unwrap_err().to_string()
        };
        assert!(failure(&server).await.starts_with("its plugin obfs-local"), "no doubt");
        server.was_unanswered();
        for _ in 0..2 {
            let said = failure(&server).await;
            assert!(said.contains(&at.to_string()) && !said.contains("plugin"), "{said}");
        }
        let _place = listen::tcp(at).unwrap();
        for _ in 0..2 {
            assert!(failure(&server).await.starts_with("its plugin obfs-local"), "it is there");
            server.was_unanswered();
        }
        // By UDP perhaps: nothing of TCP says anything of its server.
        let server = server.behind(of("v2ray-plugin;mode=quic"));
        server.was_unanswered();
        assert!(!server.doubt.is_raised());
    }

    /// The server itself would answer.
    #[tokio::test]
    async fn nothing_goes_past_a_plugin_that_does_not_run() {
        let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let at = listener.local_addr().unwrap();
        let endpoint = Arc::new(Endpoint::new("127.0.0.1", at.port()));
        let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
        let server = ProxyServer::new("tokyo".into(), endpoint, outbound);
        let progress = Progress::default();
        let spec = PluginSpec::new("snet-no-such-plugin".into(), Secret::new(""));
        let plugin = Plugin::new(spec, Box::new(move || vec![at]), Launcher::own());
        let server = server.behind(Some(Arc::new(plugin)));
        let error = server.dial(&[], &progress).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "its plugin snet-no-such-plugin does not run: it cannot be started: there is \
             no such program in PATH"
        );
        assert!(!error.is_targets_fault() && !error.is_shortage());
        assert!(!progress.is_server_reached());
    }
}
