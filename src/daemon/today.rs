//! The traffic of today: what has flowed since midnight, by the clock on the wall.
//!
//! All counters run from the start. So the sums that they had at midnight are kept, and taken off:
//! one set of sums, however long snet runs. They are taken by whoever comes first on the new day;
//! somebody does each minute.

use crate::clock::since_boot;
use crate::local_time::{self, LocalDay};
use crate::stats::{LiveFlow, Stats};
use crate::sync::lock;
use crate::view::{DirectView, TodayView};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// When somebody looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct DayMoment {
    /// `None`: this machine's clock says nonsense.
    day: Option<LocalDay>,
    /// So much of the day is over.
    over: Duration,
    /// Since this machine was started, which no clock changes.
    uptime: Duration,
}

/// Bytes since the start, or of a day: up and down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DayBytes {
    proxied: (u64, u64),
    direct: (u64, u64),
    kernel: (u64, u64),
}

/// What today began with.
#[derive(Debug)]
pub(super) struct DayLedger(Mutex<DayPage>);

#[derive(Debug)]
struct DayPage {
    day: Option<LocalDay>,
    /// When snet started, since this machine did.
    start: Duration,
    /// snet has not run before today.
    is_first: bool,
    /// The sums when it began.
    before: DayBytes,
    /// Those of the kernel when they were looked at last.
    kernel: (u64, u64),
}

impl DayMoment {
    pub(super) fn now() -> Self {
        let today = local_time::here(SystemTime::now()).map(|time| LocalDay::of(&time));
        let (day, over) = today.map_or((None, Duration::ZERO), |(day, over)| (Some(day), over));
        DayMoment { day, over, uptime: since_boot() }
    }
}

impl DayBytes {
    /// What has ended, and what lives.
    pub(super) fn of(stats: &Stats, live: &[Arc<LiveFlow>]) -> Self {
        let (all_up, all_down) = (stats.bytes_up.get(), stats.bytes_down.get());
        let mut direct = (stats.direct_up.get(), stats.direct_down.get());
        let mut proxied = (all_up.saturating_sub(direct.0), all_down.saturating_sub(direct.1));
        for flow in live {
            let is_direct = flow.way().is_some_and(|way| way.proxy.is_none());
            let sums = if is_direct { &mut direct } else { &mut proxied };
            sums.0 += flow.meter.up.get();
            sums.1 += flow.meter.down.get();
        }
        DayBytes { proxied, direct, kernel: (0, 0) }
    }
}

impl DayLedger {
    pub(super) fn new(start: DayMoment) -> Self {
        DayLedger(Mutex::new(DayPage {
            day: start.day,
            start: start.uptime,
            is_first: true,
            before: DayBytes::default(),
            kernel: (0, 0),
        }))
    }

    /// Whether nobody has looked since midnight: then the kernel's counters are worth reading.
    pub(super) fn is_over(&self, now: DayMoment) -> bool {
        lock(&self.0).day != now.day
    }

    /// What has flowed today. `sums` are since the start; `kernel`: what the kernel sent directly,
    /// if anybody has looked.
    pub(super) fn today(
        &self,
        now: DayMoment,
        mut sums: DayBytes,
        kernel: Option<&[DirectView]>,
    ) -> TodayView {
        let mut page = lock(&self.0);
        if let Some(kernel) = kernel {
            page.kernel = kernel.iter().fold((0, 0), |sum, it| (sum.0 + it.up, sum.1 + it.down));
        }
        sums.kernel = page.kernel;
        if page.day != now.day {
            page.day = now.day;
            // A router has no clock until it has asked for the time: the date changes, and it has
            // not been midnight.
            page.is_first &= now.over >= now.uptime.saturating_sub(page.start);
            page.before = if page.is_first { DayBytes::default() } else { sums };
        }
        let since = |now: (u64, u64), before: (u64, u64)| {
            (now.0.saturating_sub(before.0), now.1.saturating_sub(before.1))
        };
        let (proxied, direct) =
            (since(sums.proxied, page.before.proxied), since(sums.direct, page.before.direct));
        let kernel = kernel.map(|_| since(sums.kernel, page.before.kernel));
        TodayView {
            since_start: page.is_first,
            proxied_up: proxied.0,
            proxied_down: proxied.1,
            direct_up: direct.0,
            direct_down: direct.1,
            kernel_up: kernel.map(|it| it.0),
            kernel_down: kernel.map(|it| it.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{FlowWay, LiveKind};
    use std::time::UNIX_EPOCH;

    const HOUR: u64 = 3600;

    /// A moment by a clock that shows UTC, so many seconds after 1970; and after the boot.
    fn moment(time: u64, uptime: u64) -> DayMoment {
        let zone = local_time::zone_of(Some("UTC0")).unwrap();
        let time = local_time::at(UNIX_EPOCH + Duration::from_secs(time), &zone).unwrap();
        let (day, over) = LocalDay::of(&time);
        DayMoment { day: Some(day), over, uptime: Duration::from_secs(uptime) }
    }

    fn sums(proxied: u64, direct: u64) -> DayBytes {
        DayBytes { proxied: (proxied, 2 * proxied), direct: (direct, 0), kernel: (0, 0) }
    }

    fn kernel(up: u64) -> Vec<DirectView> {
        ["domestic", "foreign"].map(|_| DirectView { up, down: 1, ..DirectView::default() }).into()
    }

    fn shown(view: &TodayView) -> (bool, u64, u64, u64, Option<u64>) {
        let TodayView { since_start, proxied_up, proxied_down, direct_up, kernel_up, .. } = view;
        (*since_start, *proxied_up, *proxied_down, *direct_up, *kernel_up)
    }

    #[test]
    fn a_day_begins_at_midnight() {
        let days = 20_000 * 24 * HOUR;
        let ledger = DayLedger::new(moment(days + 22 * HOUR, 500));
        let today = |hours: u64, proxied, direct, kernel: Option<&[DirectView]>| {
            let now = moment(days + hours * HOUR, 500 + (hours - 22) * HOUR);
            shown(&ledger.today(now, sums(proxied, direct), kernel))
        };
        assert_eq!(today(23, 5, 7, Some(&kernel(10))), (true, 5, 10, 7, Some(20)));
        let tomorrow = moment(days + 24 * HOUR, 500 + 2 * HOUR);
        assert!(ledger.is_over(tomorrow));
        // Who comes first reads the kernel's counters.
        assert_eq!(today(24, 100, 50, Some(&kernel(15))), (false, 0, 0, 0, Some(0)));
        assert!(!ledger.is_over(tomorrow));
        assert_eq!(today(30, 101, 60, None), (false, 1, 2, 10, None));
        assert_eq!(today(31, 101, 60, Some(&kernel(16))), (false, 1, 2, 10, Some(2)));
        assert_eq!(today(24 * 3, 200, 60, None), (false, 0, 0, 0, None));
    }

    #[test]
    fn a_clock_that_is_set_makes_no_day() {
        let ledger = DayLedger::new(moment(60, 60));
        let set = 20_000 * 24 * HOUR + 9 * HOUR;
        let now = ledger.today(moment(set, 90), sums(5, 0), None);
        assert_eq!(shown(&now), (true, 5, 10, 0, None));
        let later = moment(set + 14 * HOUR, 90 + 14 * HOUR);
        assert_eq!(shown(&ledger.today(later, sums(6, 0), None)), (true, 6, 12, 0, None));
        let tomorrow = moment(set + 15 * HOUR, 90 + 15 * HOUR);
        assert_eq!(shown(&ledger.today(tomorrow, sums(7, 0), None)), (false, 0, 0, 0, None));
        // Nor does one that is set back make the second day the first.
        let back = moment(set + 14 * HOUR, 90 + 16 * HOUR);
        assert!(!ledger.today(back, sums(8, 0), None).since_start);
    }

    #[test]
    fn what_lives_counts_on_its_way() {
        let stats = Stats::default();
        let flow = |proxy: Option<&str>, bytes| {
            let client = "192.0.2.7:40000".parse().unwrap();
            let flow = stats.live.enter(LiveKind::Datagrams, client);
            flow.goes(FlowWay { proxy: proxy.map(Arc::from), group: None, reason: "rule" });
            flow.is_for("203.0.113.1:443".parse().unwrap());
            flow.meter.up.add(bytes);
            flow
        };
        let (proxied, direct) = (flow(Some("tokyo"), 10), flow(None, 3));
        let live = DayBytes::of(&stats, &stats.live.list());
        assert_eq!((live.proxied, live.direct), ((10, 0), (3, 0)));
        for flow in [proxied, direct] {
            stats.add_bytes(&flow);
            stats.live.leave(&flow);
        }
        assert_eq!(DayBytes::of(&stats, &stats.live.list()), live, "when they have ended too");
    }
}
