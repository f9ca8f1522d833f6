//! What the heartbeat acts on: switches of the installed rules, learned addresses, the service
//! manager.

use super::capture_board::CaptureBoard;
use super::heartbeat::Effects;
use super::notify;
use super::proof::CaptureWay;
use super::shared_rules::SharedRules;
use crate::dispatch::Current;
use crate::family::Family;
use crate::firewall::{self, Switches};
use crate::task;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Capture {
    pub(super) firewall: Arc<SharedRules>,
    pub(super) current: Current,
    /// `listen.tcp-port`, `listen.dns-port`.
    pub(super) ports: [u16; 2],
    pub(super) board: Arc<CaptureBoard>,
}

impl Effects for Capture {
    fn captures_datagrams(&self) -> [bool; 2] {
        self.firewall.captures_datagrams()
    }

    async fn set_switches(&self, switches: Switches) -> bool {
        let is_set = self.firewall.set_switches(switches).await;
        let learned = Arc::clone(self.current.load().learned());
        // In the middle of a reload none is connected: then at the next heartbeat.
        if learned.is_connected() && self.firewall.forgot() {
            task::spawn_blocking(move || learned.teach_again());
        }
        is_set
    }

    fn note(&self, way: CaptureWay, family: Family, is_good: bool, state: String) {
        self.board.note(way, family, is_good, state);
    }

    fn alive(&self) {
        notify::alive();
    }

    async fn explain(&self, way: CaptureWay, family: Family) -> Option<String> {
        let ports = self.ports;
        // It runs tools and waits for packets.
        let looking = task::spawn_blocking(move || match way {
            CaptureWay::Redirect => firewall::culprit(family, ports),
            CaptureWay::Datagrams => firewall::culprit_of_datagrams(family),
        });
        looking.await.ok().flatten()
    }
}
