//! What the heartbeat found last of each way of capture, for those who ask.

use super::proof::CaptureWay;
use crate::family::Family;
use crate::sync::lock;
use crate::view::CaptureView;
use std::sync::Mutex;
use tokio::time::Instant;

/// The state of a family in which this machine has no route.
pub(super) const NO_ROUTE: &str = "nothing to capture: there is no route";

/// The present state of both ways of both families.
#[derive(Debug, Default)]
pub(super) struct CaptureBoard(Mutex<[Option<CaptureNote>; 4]>);

#[derive(Debug)]
struct CaptureNote {
    state: String,
    is_good: bool,
    since: Instant,
}

impl CaptureBoard {
    /// It has changed. `since` stays where only the words are others.
    pub(super) fn note(&self, way: CaptureWay, family: Family, is_good: bool, state: String) {
        let mut board = lock(&self.0);
        let entry = &mut board[place(way, family)];
        let now = Instant::now();
        let since = entry.as_ref().filter(|it| it.is_good == is_good).map_or(now, |it| it.since);
        *entry = Some(CaptureNote { state, is_good, since });
    }

    /// Connections first, IPv4 first.
    pub(super) fn view(&self) -> Vec<CaptureView> {
        let board = lock(&self.0);
        let ways = [CaptureWay::Redirect, CaptureWay::Datagrams];
        let all = ways.iter().flat_map(|way| Family::ALL.map(|family| (*way, family)));
        all.filter_map(|(way, family)| {
            let note = board[place(way, family)].as_ref()?;
            Some(CaptureView {
                what: way.subject(family),
                state: note.state.clone(),
                is_good: note.is_good,
                since: note.since.elapsed().as_secs(),
            })
        })
        .collect()
    }
}

fn place(way: CaptureWay, family: Family) -> usize {
    let way = match way {
        CaptureWay::Redirect => 0,
        CaptureWay::Datagrams => 2,
    };
    way + Family::ALL.iter().position(|it| *it == family).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_state_has_its_age_and_its_latest_words() {
        let board = CaptureBoard::default();
        assert!(board.view().is_empty());
        board.note(CaptureWay::Datagrams, Family::V6, true, "captured".into());
        board.note(CaptureWay::Redirect, Family::V4, false, "not captured".into());
        tokio::time::advance(Duration::from_secs(5)).await;
        board.note(CaptureWay::Redirect, Family::V4, false, "not captured: a rule".into());
        board.note(CaptureWay::Datagrams, Family::V6, false, "not captured".into());
        let seen: Vec<_> = board
            .view()
            .into_iter()
            .map(|it| format!("{}: {} {} {}", it.what, it.state, it.is_good, it.since))
            .collect();
        assert_eq!(seen, ["IPv4: not captured: a rule false 5", "IPv6 UDP: not captured false 0"]);
    }
}
