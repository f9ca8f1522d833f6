//! Watches for another network and for a suspend of the machine.
//!
//! Monotonic clocks stand still during a suspend (clock_gettime(2)); CLOCK_BOOTTIME does not, and
//! how far the two have come apart says how long it was. A wall clock that jumps has no effect: no
//! timer and no TTL looks at it.

use crate::firewall::DefaultRoute;
use crate::warnings::StandingWarning;
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tracing::info;

const INTERVAL: Duration = Duration::from_secs(2);

/// A shorter suspend changes nothing.
const SHORTEST_SUSPEND: Duration = Duration::from_secs(5);

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NetworkChange {
    /// How long the machine has slept.
    pub(super) slept: Duration,
}

/// Tells of changes until `stopped` turns true. Returns true.
pub(super) async fn watch(
    told: mpsc::Sender<NetworkChange>,
    mut stopped: watch::Receiver<bool>,
) -> bool {
    let mut route = DefaultRoute::look()
        .inspect_err(|error| {
            StandingWarning::raise(format!("network: changes are not noticed: {error}")).for_good()
        })
        .ok();
    let mut apart = apart();
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return true,
            _ = ticks.tick() => {}
        }
        let now = self::apart();
        let slept = now.saturating_sub(apart);
        apart = now;
        let elsewhere = match route.as_mut().map(DefaultRoute::has_changed) {
            Some(Ok(changed)) => changed,
            None => false,
            Some(Err(error)) => {
                let told = format!("network: changes are no longer noticed: {error}");
                StandingWarning::raise(told).for_good();
                route = None;
                false
            }
        };
        if slept >= SHORTEST_SUSPEND || elsewhere {
            // One that waits says as much as two.
            let _ = told.try_send(NetworkChange { slept });
            let what = if elsewhere { "another default route" } else { "resumed from a suspend" };
            info!(
                "network: {what}: connections to name servers and what is known of proxies start \
                 anew"
            );
        }
    }
}

/// How far the clock that counts a suspend is ahead of the one that does not.
fn apart() -> Duration {
    let read = |clock| clock_gettime(clock).map(Duration::from).unwrap_or_default();
    let monotonic = read(ClockId::CLOCK_MONOTONIC);
    read(ClockId::CLOCK_BOOTTIME).saturating_sub(monotonic)
}
