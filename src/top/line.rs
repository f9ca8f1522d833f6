//! One line of the table: a connection, or all connections to one host and port; and which of two
//! lines comes first. Pure.

use super::rates::Rate;
use crate::view::FlowView;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::net::SocketAddr;

/// What stands where the connections of a line differ.
const SEVERAL: &str = "several";

/// A line. RX is what the program receives, TX what it sends.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) key: LineKey,
    pub(super) network: String,
    pub(super) host: String,
    pub(super) port: u16,
    /// Bytes.
    pub(super) rx: u64,
    /// Bytes.
    pub(super) tx: u64,
    pub(super) rate: Rate,
    /// How many connections it stands for.
    pub(super) connections: usize,
    pub(super) proxy: String,
    pub(super) source: String,
    /// What decided about the destination.
    pub(super) route: String,
    /// Seconds, of the oldest connection.
    pub(super) age: u64,
}

/// What a line stays the same by when its figures change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum LineKey {
    /// The connection of this number.
    Flow(u64),
    /// All to this host and port.
    Target(String, u16),
}

/// What the table is sorted by: sizes and rates from the largest, names and ports from the
/// smallest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SortBy {
    #[default]
    Rx,
    Tx,
    RxRate,
    TxRate,
    Host,
    Port,
}

impl Line {
    pub(super) fn of(mut flow: FlowView, rate: Rate) -> Self {
        Line {
            key: LineKey::Flow(flow.id),
            host: flow.name.take().unwrap_or_else(|| flow.host()),
            port: flow.destination.port(),
            rx: flow.down,
            tx: flow.up,
            rate,
            connections: 1,
            proxy: flow.route(),
            source: SocketAddr::new(flow.client.ip().to_canonical(), flow.client.port())
                .to_string(),
            route: flow.reason,
            age: flow.age,
            network: flow.network,
        }
    }

    /// Which of the two comes first. Never equal, so that lines with the same figures do not jump.
    pub(super) fn compare(&self, other: &Self, by: SortBy) -> Ordering {
        let order = match by {
            SortBy::Rx => other.rx.cmp(&self.rx),
            SortBy::Tx => other.tx.cmp(&self.tx),
            SortBy::RxRate => other.rate.rx.cmp(&self.rate.rx),
            SortBy::TxRate => other.rate.tx.cmp(&self.rate.tx),
            SortBy::Host => self.host.cmp(&other.host).then(self.port.cmp(&other.port)),
            SortBy::Port => self.port.cmp(&other.port).then_with(|| self.host.cmp(&other.host)),
        };
        order.then_with(|| self.key.cmp(&other.key))
    }

    fn add(&mut self, other: &Line) {
        self.rx += other.rx;
        self.tx += other.tx;
        self.rate.rx += other.rate.rx;
        self.rate.tx += other.rate.tx;
        self.connections += other.connections;
        self.age = self.age.max(other.age);
        agree(&mut self.network, &other.network);
        agree(&mut self.proxy, &other.proxy);
        agree(&mut self.source, address(&other.source));
        agree(&mut self.route, &other.route);
    }
}

/// One line for each host and port.
pub(super) fn grouped(lines: &[Line]) -> Vec<Line> {
    let mut groups: Vec<Line> = Vec::new();
    let mut places: HashMap<(&str, u16), usize> = HashMap::new();
    for line in lines {
        let place = *places.entry((&line.host, line.port)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.add(line),
            None => groups.push(Line {
                key: LineKey::Target(line.host.clone(), line.port),
                source: address(&line.source).to_owned(),
                ..line.clone()
            }),
        }
    }
    groups
}

fn agree(all: &mut String, one: &str) {
    if all != one {
        SEVERAL.clone_into(all);
    }
}

/// Without the port, which no two connections share.
fn address(source: &str) -> &str {
    source.rsplit_once(':').map_or(source, |(address, _)| address)
}

#[cfg(test)]
mod tests {
    use super::super::samples::flow;
    use super::*;

    fn line(id: u64, host: &str, down: u64) -> Line {
        Line::of(flow(id, host, down), Rate { rx: down, tx: 1 })
    }

    #[test]
    fn what_a_connection_shows() {
        let mut flow = flow(7, "example.com", 2048);
        flow.client = "[::ffff:192.0.2.7]:40000".parse().unwrap();
        let line = Line::of(flow.clone(), Rate::default());
        assert_eq!((line.host.as_str(), line.port), ("example.com", 443));
        assert_eq!((line.rx, line.tx), (2048, 10), "RX is what comes down");
        assert_eq!(line.source, "192.0.2.7:40000");
        assert_eq!((line.proxy.as_str(), line.route.as_str()), ("tokyo", "foreign"));
        flow.name = None;
        assert_eq!(Line::of(flow, Rate::default()).host, "203.0.113.1");
    }

    #[test]
    fn each_order() {
        let [mut one, mut other] = [line(1, "b.example", 5), line(2, "a.example", 9)];
        (one.port, one.tx, one.rate.tx) = (80, 99, 99);
        other.rate.rx = 1;
        for (by, first) in [
            (SortBy::Rx, &other),
            (SortBy::Tx, &one),
            (SortBy::RxRate, &one),
            (SortBy::TxRate, &one),
            (SortBy::Host, &other),
            (SortBy::Port, &one),
        ] {
            let mut lines = [&one, &other];
            lines.sort_by(|a, b| a.compare(b, by));
            assert_eq!(lines[0], first, "{by:?}");
        }
        other = Line { key: LineKey::Flow(2), ..one.clone() };
        assert_eq!(one.compare(&other, SortBy::Rx), Ordering::Less, "the older one");
    }

    #[test]
    fn a_host_and_port_has_one_line() {
        let mut lines = [line(1, "a.example", 5), line(2, "b.example", 1), line(3, "a.example", 7)];
        (lines[2].age, lines[2].proxy) = (99, "osaka".into());
        lines[2].source = "192.0.2.7:40001".into();
        let groups = grouped(&lines);
        let [group, single] = &groups[..] else { panic!("{groups:?}") };
        assert_eq!(group.key, LineKey::Target("a.example".into(), 443));
        assert_eq!((group.rx, group.tx, group.connections), (12, 20, 2));
        assert_eq!((group.rate, group.age), (Rate { rx: 12, tx: 2 }, 99));
        assert_eq!((group.source.as_str(), group.proxy.as_str()), ("192.0.2.7", SEVERAL));
        assert_eq!(group.route, "foreign");
        assert_eq!((single.connections, single.proxy.as_str()), (1, "tokyo"));
        lines[2].port = 80;
        assert_eq!(grouped(&lines).len(), 3, "another port is another line");
    }
}
