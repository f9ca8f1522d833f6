//! A connection to a name server, as it wants to be spoken to.

use super::known_servers::ServerNames;
use super::troubles::ServerTroubles;
use crate::dispatch::{Connected, Current, Upstream};
use crate::dns::name_server::{NameServer, Transport};
use crate::proxy::Stream;
use crate::proxy::tls::{self, Tls};
use crate::target::Target;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// A dial may take longer than a query: the next one finds the connection then. But one past a
/// proxy, whose own time is long, is repeated after this.
const DIRECT: Duration = Duration::from_secs(5);

/// How the name server is reached.
#[derive(Clone)]
pub(in crate::dns) struct Dialler {
    /// Who connects.
    pub(in crate::dns) current: Current,
    /// Through the proxies, or directly.
    pub(in crate::dns) through_proxy: bool,
    /// Whose certificates count.
    pub(in crate::dns) tls: Tls,
    /// Under which name a public name server speaks HTTPS.
    pub(in crate::dns) names_of_servers: ServerNames,
    /// `dns.timeout`
    pub(in crate::dns) patience: Duration,
    /// Who hears what is wrong with the server.
    pub(in crate::dns) troubles: Rc<ServerTroubles>,
}

/// What came of a dial.
pub(super) struct Dialled {
    /// The bytes' way, or why there is none.
    pub(super) stream: io::Result<Box<dyn Stream>>,
    /// The proxy that reached the server, and whether the server was heard over it: in its
    /// handshake.
    pub(super) via: Option<(Arc<Upstream>, Option<bool>)>,
}

/// Dials.
pub(super) async fn dial(server: &NameServer, dialler: &Dialler) -> Dialled {
    let connected = match connect(server, dialler).await {
        Ok(connected) => connected,
        Err(error) => return Dialled { stream: Err(error), via: None },
    };
    let Connected { link, via, .. } = connected;
    let stream = link.into_stream();
    let patience = tls::HANDSHAKE.max(dialler.patience);
    let stream = match &server.transport {
        Transport::Plain | Transport::Tcp => {
            return Dialled { stream: Ok(stream), via: via.map(|via| (via, None)) };
        }
        Transport::Tls { name } => dialler.tls.connect(name, b"dot", stream, patience).await,
        Transport::Https { name, .. } => dialler.tls.connect(name, b"h2", stream, patience).await,
    };
    // Of a handshake only its end is known: something was heard, or nothing was.
    let silent = stream.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut);
    Dialled { stream, via: via.map(|via| (via, Some(!silent))) }
}

async fn connect(server: &NameServer, dialler: &Dialler) -> io::Result<Connected> {
    let dispatcher = dialler.current.load();
    let target = Target::addr(server.address);
    if dialler.through_proxy {
        return dispatcher.connect_proxied(&target).await.map_err(io::Error::other);
    }
    let dialling = timeout(DIRECT.max(dialler.patience), dispatcher.connect_direct(&target));
    let connected = dialling.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
    connected.map_err(io::Error::other)
}
