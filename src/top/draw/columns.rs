//! The columns of the table: what each shows, and which of them a screen has room for. Pure.
//!
//! SNET's six come first: Host, Port, RX, TX, RX rate, TX rate.

use super::super::line::{Line, SortBy};
use crate::view::{Bytes, Span};

/// A column.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// What sorts by it.
    pub(super) sort: Option<SortBy>,
    /// In which order columns get their room.
    importance: u8,
    /// Below this width it is left out.
    least: u16,
    /// Wider than this it need not be.
    most: u16,
    /// Numbers stand on the right.
    pub(super) is_number: bool,
    is_of_groups: bool,
    pub(super) text: fn(&Line) -> String,
}

/// In the order in which they stand.
static COLUMNS: [Column; 12] = [
    Column { sort: Some(SortBy::Host), ..words("Host", 0, 24, 40, |line| line.host.clone()) },
    Column { sort: Some(SortBy::Port), ..number("Port", 5, 6, |line| line.port.to_string()) },
    Column { sort: Some(SortBy::Rx), ..number("RX", 1, 7, |line| size(line.rx)) },
    Column { sort: Some(SortBy::Tx), ..number("TX", 2, 7, |line| size(line.tx)) },
    Column { sort: Some(SortBy::RxRate), ..number("RX rate", 3, 9, |line| speed(line.rate.rx)) },
    Column { sort: Some(SortBy::TxRate), ..number("TX rate", 4, 9, |line| speed(line.rate.tx)) },
    Column { is_of_groups: true, ..number("Conns", 6, 5, |line| line.connections.to_string()) },
    words("Proxy", 7, 10, 20, |line| line.proxy.clone()),
    words("Source", 9, 21, 47, |line| line.source.clone()),
    words("Route", 8, 8, 16, |line| line.route.clone()),
    number("Age", 10, 11, |line| Span(line.age).to_string()),
    words("Net", 11, 3, 7, |line| line.network.clone()),
];

const fn words(
    title: &'static str,
    importance: u8,
    least: u16,
    most: u16,
    text: fn(&Line) -> String,
) -> Column {
    Column {
        title,
        sort: None,
        importance,
        least,
        most,
        is_number: false,
        is_of_groups: false,
        text,
    }
}

const fn number(
    title: &'static str,
    importance: u8,
    width: u16,
    text: fn(&Line) -> String,
) -> Column {
    Column { is_number: true, ..words(title, importance, width, width, text) }
}

/// The columns that fit into so many cells, and their widths; one cell is free between two. The
/// first one always fits, cut if need be.
pub(super) fn layout(width: u16, is_grouped: bool) -> Vec<(&'static Column, u16)> {
    let mut columns: Vec<&Column> =
        COLUMNS.iter().filter(|column| is_grouped || !column.is_of_groups).collect();
    columns.sort_by_key(|column| column.importance);
    let mut fitting: Vec<(&Column, u16)> = Vec::new();
    let mut free = width;
    for column in columns {
        let gap = u16::from(!fitting.is_empty());
        if gap > 0 && column.least + gap > free {
            break;
        }
        let least = column.least.min(free);
        free -= least + gap;
        fitting.push((column, least));
    }
    for (column, width) in &mut fitting {
        let more = free.min(column.most.saturating_sub(*width));
        *width += more;
        free -= more;
    }
    let place = |title| COLUMNS.iter().position(|column| column.title == title);
    fitting.sort_by_key(|(column, _)| place(column.title));
    fitting
}

/// Bytes, in seven cells.
fn size(bytes: u64) -> String {
    Bytes(bytes).to_string()
}

/// Bytes a second, in nine cells.
pub(super) fn speed(rate: u64) -> String {
    format!("{}/s", Bytes(rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(width: u16, is_grouped: bool) -> String {
        let titles: Vec<_> =
            layout(width, is_grouped).iter().map(|(column, _)| column.title).collect();
        titles.join(", ")
    }

    #[test]
    fn what_does_not_fit_goes_by_importance() {
        for (width, expected) in [
            (0, "Host"),
            (31, "Host"),
            (32, "Host, RX"),
            (60, "Host, RX, TX, RX rate, TX rate"),
            (67, "Host, Port, RX, TX, RX rate, TX rate"),
            (80, "Host, Port, RX, TX, RX rate, TX rate, Proxy"),
            (87, "Host, Port, RX, TX, RX rate, TX rate, Proxy, Route"),
            (120, "Host, Port, RX, TX, RX rate, TX rate, Proxy, Source, Route"),
            (160, "Host, Port, RX, TX, RX rate, TX rate, Proxy, Source, Route, Age, Net"),
        ] {
            assert_eq!(titles(width, false), expected, "{width}");
        }
        assert_eq!(titles(80, true), "Host, Port, RX, TX, RX rate, TX rate, Conns");
    }

    #[test]
    fn columns_fill_the_screen_and_no_more() {
        for width in 0..=300 {
            let columns = layout(width, true);
            let gaps = columns.len() as u16 - 1;
            let used: u16 = columns.iter().map(|(_, width)| *width).sum::<u16>() + gaps;
            assert!(used <= width, "{used} of {width}");
            assert!(columns.iter().all(|(column, width)| *width <= column.most), "{width}");
        }
        assert_eq!(layout(20, false)[0].1, 20);
        assert_eq!(layout(85, false)[0].1, 31, "the host gets what is left");
    }

    #[test]
    fn amounts_fit_their_columns() {
        for bytes in (0..64).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, 999 << bit >> 1]) {
            assert!(size(bytes).len() <= 7 && speed(bytes).len() <= 9, "{bytes}: {}", size(bytes));
        }
    }
}
