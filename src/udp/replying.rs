//! What comes back: opened, and sent to the client from the address that it names.

use super::SharedState;
use super::leg::Packets;
use super::session::{DatagramSession, SessionPhase};
use crate::dispatch::Upstream;
use crate::net::udp::leg::LegSocket;
use crate::route::Reason;
use crate::sync::lock;
use crate::target::Target;
use std::io;
use std::net::SocketAddr;
use tokio::time::Instant;
use tracing::debug;

impl DatagramSession {
    /// Takes what the proxy has sent, and sends it on. Returns whether that was all for now.
    pub(super) fn receive(
        &self,
        shared: &SharedState,
        socket: &LegSocket,
        via: &Upstream,
    ) -> io::Result<bool> {
        let mut phase = self.phase.borrow_mut();
        let SessionPhase::Open(leg) = &mut *phase else { return Ok(true) };
        let mut inbox = shared.inbox.borrow_mut();
        let is_empty = match socket.receive(&mut inbox) {
            Ok(is_empty) => is_empty,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        };
        lock(&shared.pace).carried(inbox.datagrams());
        let now = Instant::now();
        let stats = &shared.relay.stats.datagrams;
        let mut packets = shared.outgoing.borrow_mut();
        let mut from = None;
        for mut train in inbox.trains() {
            for packet in train.datagrams() {
                let opened = match leg.codec.open(packet) {
                    Ok(opened) => opened,
                    Err(error) => {
                        stats.unopenable.add(1);
                        let proxy = via.name();
                        debug!(client = %self.client, proxy, "not its protocol: {error}");
                        continue;
                    }
                };
                if from != Some(opened.source) {
                    if let Some(source) = from {
                        self.reply(shared, source, &mut packets, now);
                    }
                    from = Some(opened.source);
                }
                let payload = &packet[opened.payload];
                let _ = packets.add(|bytes| {
                    bytes.extend_from_slice(payload);
                    Ok::<_, ()>(())
                });
            }
        }
        if let Some(source) = from {
            self.reply(shared, source, &mut packets, now);
            let mut activity = self.activity.get();
            if !activity.is_replied() {
                via.datagrams_answered();
            }
            activity.replied(now);
            self.activity.set(activity);
        }
        Ok(is_empty)
    }

    /// Sends replies of one source to the client.
    fn reply(&self, shared: &SharedState, source: SocketAddr, packets: &mut Packets, now: Instant) {
        let stats = &shared.relay.stats.datagrams;
        let count = packets.lengths.len() as u64;
        let socket = match self.may_come_from(shared, source) {
            true => shared.replies.borrow_mut().get(source, now),
            false => None,
        };
        let result =
            socket.map(|socket| socket.send(&packets.bytes, &packets.lengths, self.client));
        match result {
            Some(Ok(sent)) => {
                self.live.meter.down.add(sent.bytes as u64);
                stats.down.add(sent.datagrams as u64);
                stats.too_large.add(sent.too_large as u64);
                stats.dropped.add(sent.no_room as u64);
            }
            Some(Err(error)) => {
                stats.dropped.add(count);
                debug!(client = %self.client, %source, "a reply cannot be delivered: {error}");
            }
            None => stats.dropped.add(count),
        }
        packets.clear();
    }

    /// A proxy must not speak in the name of hosts that only the local networks have.
    fn may_come_from(&self, shared: &SharedState, source: SocketAddr) -> bool {
        if self.judged.get() == Some((source, false)) {
            return true;
        }
        let decision = shared.relay.current.load().route(&Target::addr(source));
        decision.reason != Reason::Reserved
    }
}
