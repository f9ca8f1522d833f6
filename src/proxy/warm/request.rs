//! A request on a connection that was dialled ahead, to a server that answers before any payload.

use super::{DialledAhead, Unspoken, Warm};
use crate::net::stream;
use crate::proxy::Progress;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The answer begins with so much at most; a read takes no more.
const FIRST: usize = 1024;

/// Dropped before there was an answer, it leaves in `progress` whether the server is there: TCP
/// tells whether it has taken the request. If it has not, the server is missed.
pub(in crate::proxy) struct WarmRequest<'a, C: Unspoken> {
    warm: &'a Warm<C>,
    progress: &'a Progress,
    /// Until it is handed on, or has ended.
    connection: Option<C>,
}

impl<'a, C: Unspoken> WarmRequest<'a, C> {
    /// On one that is ready, if one is.
    pub(in crate::proxy) fn on(warm: Option<&'a Warm<C>>, progress: &'a Progress) -> Option<Self> {
        let connection = Some(warm?.take(progress)?);
        Some(WarmRequest { warm: warm?, progress, connection })
    }

    /// Sends the request, and returns the connection with the first bytes of the answer. `None`: it
    /// ended without any, or with a word that `is_farewell` knows, which was on its way before the
    /// request; so the request may be made on another one.
    pub(in crate::proxy) async fn first_of_answer(
        mut self,
        request: &[u8],
        is_farewell: fn(&[u8]) -> bool,
    ) -> Option<(C, Vec<u8>)> {
        let connection = self.connection.as_mut()?;
        let mut first = Vec::with_capacity(FIRST);
        let asked = async {
            connection.write_all(request).await?;
            connection.flush().await?;
            connection.read_buf(&mut first).await
        };
        let read = asked.await;
        let connection = self.connection.take()?;
        if !matches!(read, Ok(1..)) || is_farewell(&first) {
            self.warm.was_of_no_use();
            return None;
        }
        self.warm.was_of_use();
        self.progress.server_is_reached();
        self.progress.connection_was_ready();
        Some((connection, first))
    }
}

impl<C: Unspoken> Drop for WarmRequest<'_, C> {
    fn drop(&mut self) {
        let Some(connection) = &self.connection else { return };
        match stream::is_acknowledged(connection.tcp()) {
            true => self.progress.server_is_reached(),
            false => self.warm.server().endpoint().miss(),
        }
    }
}
