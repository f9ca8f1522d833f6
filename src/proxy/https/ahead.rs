//! What is dialled ahead to an HTTPS proxy: connections of HTTP/1.1, and the spare one of HTTP/2.

use super::HttpsConnect;
use crate::proxy::BoxFuture;
use crate::proxy::warm::{DialledAhead, WarmCounts};

impl DialledAhead for HttpsConnect {
    fn give_up(&self) {
        self.warm.iter().for_each(DialledAhead::give_up);
    }

    fn was_of_no_use(&self) {
        self.warm.iter().for_each(DialledAhead::was_of_no_use);
    }

    fn suspicion(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            match &self.warm {
                Some(warm) => tokio::select! {
                    () = warm.suspicion() => {}
                    () = self.spare.failed() => {}
                },
                None => self.spare.failed().await,
            }
        })
    }

    fn counts(&self) -> WarmCounts {
        self.warm.as_ref().map(DialledAhead::counts).unwrap_or_default()
    }

    fn ready(&self) -> usize {
        self.warm.as_ref().map_or(0, DialledAhead::ready)
    }
}
