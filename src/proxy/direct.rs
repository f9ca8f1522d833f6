//! Straight to the destination, over a marked socket.

use super::{BoxFuture, Error, HalfClose, Link, Progress, Proxy};
use crate::net::Outbound;
use crate::target::Target;
use std::io;

/// The way without a proxy.
#[derive(Debug)]
pub struct Direct {
    outbound: Outbound,
}

impl Direct {
    /// Dials through the given birthplace of sockets.
    pub fn new(outbound: Outbound) -> Self {
        Direct { outbound }
    }
}

impl Proxy for Direct {
    fn name(&self) -> &str {
        "direct"
    }

    fn connect<'a>(
        &'a self,
        target: &'a Target,
        _: &'a Progress,
    ) -> BoxFuture<'a, Result<Link, Error>> {
        Box::pin(async move {
            let failed = |source| Error::Dial { server: target.to_string(), source };
            let Some(address) = target.address() else {
                return Err(failed(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "a name cannot be dialled directly",
                )));
            };
            let tcp = self.outbound.tcp(&[address]).await.map_err(failed)?;
            Ok(Link::Plain { tcp, early: Vec::new(), half_close: HalfClose::Forwarded })
        })
    }
}
