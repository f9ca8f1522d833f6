//! One of the configured proxies, with what is known of how its TCP and its UDP go.

use super::datagrams::{DatagramHealth, SILENT_SESSIONS};
use super::health::{Health, Silence};
use super::refusals::{MOST_REFUSALS, Refusals};
use crate::proxy::{self, Proxy};
use crate::target::Target;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// One of the configured proxies.
#[derive(Debug)]
pub struct Upstream {
    pub(super) proxy: Box<dyn Proxy>,
    pub(super) timeout: Duration,
    pub(super) health: Health,
    pub(super) refusals: Refusals,
    pub(super) datagrams: DatagramHealth,
}

impl Upstream {
    /// A proxy whose dial may take `timeout`.
    pub fn new(proxy: Box<dyn Proxy>, timeout: Duration) -> Self {
        Upstream {
            proxy,
            timeout,
            health: Health::default(),
            refusals: Refusals::default(),
            datagrams: DatagramHealth::default(),
        }
    }

    /// The proxy's name.
    pub fn name(&self) -> &str {
        self.proxy.name()
    }

    /// Tells that its UDP does not work: the kernel reports an error of the server's socket, or
    /// several associations that asked hear nothing. It rests, and its host is resolved again.
    pub fn datagrams_failed(&self, cause: &str) {
        if let Some(endpoint) = self.proxy.endpoint() {
            endpoint.miss();
        }
        if self.datagrams.failed(Instant::now()) {
            warn!(proxy = self.name(), "its UDP is down: {cause}");
        }
    }

    /// A session has ended, and nothing ever came back on it. Many in a row let the proxy's UDP
    /// rest.
    pub fn datagrams_unanswered(&self) {
        if self.datagrams.unanswered(Instant::now()) {
            warn!(
                proxy = self.name(),
                "nothing ever came back on {SILENT_SESSIONS} UDP sessions in a row: does the \
                 server carry UDP, on the same port? (if not: udp = false of this [[proxy]])"
            );
        }
    }

    /// Tells that something came back by UDP.
    pub fn datagrams_answered(&self) {
        if self.datagrams.answered() {
            info!(proxy = self.name(), "its UDP answers again");
        }
    }

    /// It works, and does not allow a target. One that allows nothing at all earns one warning: its
    /// rules may want something, or it is no proxy.
    pub(super) fn refused(&self, target: &Target, why: &proxy::Error) {
        if self.refusals.add(target) {
            warn!(
                proxy = self.name(),
                "it refuses every destination, {MOST_REFUSALS} in a row; is it a proxy, and does \
                 it let this machine use it? (the last: {why})"
            );
        }
    }

    /// Tells how a connection to `destination` went. Three in a row that sent something and never
    /// got a byte back, to more than one destination, earn one warning: a shadowsocks server
    /// answers a wrong password, and one of 2022 a wrong clock, by silence or a reset.
    pub fn report(&self, destination: SocketAddr, sent: u64, received: u64) {
        if received == 0 && self.proxy.is_heard_at_the_dial() {
            return;
        }
        if received == 0 && sent > 0 {
            self.proxy.was_unanswered();
        }
        if let Some(Silence { destinations }) = self.health.went(destination, sent, received) {
            let [one, other] = destinations;
            warn!(
                proxy = self.name(),
                "nothing ever came back on three connections in a row, among them {one} and \
                 {other}; {} (else the proxy does not reach these)",
                self.proxy.suspicion_of_silence()
            );
        }
    }
}
