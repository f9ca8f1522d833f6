//! The trials, in the order of a daemon's life: before, running, with its proxies down, after.
//!
//! What must not happen is counted, and every counter is first seen to count: without the daemon
//! the same acts do what they must not do with it.

use super::client::{
    NameClient, ask_over_ipv6, ask_over_tcp, control, knock, listen_to, try_site, visit,
};
use super::daemon::{self, DaemonProcess, Started};
use super::datagrams::DatagramTrials;
use super::table::{Row, TrialTable};
use super::unmarked::Witness;
use super::world::ProxyHost;
use super::{Unable, tables, world};
use crate::firewall::Backend;
use hickory_proto::rr::RecordType::{A, AAAA};
use std::io;
use std::net::IpAddr;

/// More than one read of a relay takes, and than one sealed chunk holds.
const MUCH: usize = 1_000_000;
const LITTLE: usize = 9;

/// What a trial of UDP cannot do without.
const A_CALL: &str = "a socket of UDP";

const NO_IPV6: &str = "no IPv6 on this kernel";

const DIRECT: &str = "direct, all bytes";
const PROXIED: &str = "proxied, all bytes";

/// Runs all of them.
///
/// # Errors
/// The little internet is broken, or a tool; a trial that goes wrong is a row.
pub(super) fn run(table: &mut TrialTable, backend: Backend, has_ipv6: bool) -> Result<(), Unable> {
    // Opened before the kernel tracks connections, so that it is new to conntrack while the daemon
    // runs; the name server's client is asked for afterwards, so that its port is known already.
    let open = visit(world::FOREIGN.into());
    let mut witness = Witness::new()?;
    tables::track_connections(backend, has_ipv6)?;
    let before = tables::now(backend, has_ipv6)?;
    let asker = NameClient::new().map_err(unable("a client of name servers"))?;
    without(table, &asker);
    let calls = DatagramTrials::begin(table, has_ipv6).map_err(unable(A_CALL))?;
    Leaks::now(&mut witness)?.must_have_been_seen(table);

    let busy = calls.talk().map_err(unable(A_CALL))?;
    let started = DaemonProcess::start(backend, has_ipv6).map_err(unable("starting the daemon"))?;
    let mut daemon = match started {
        Started::Ready(daemon, took) => {
            table.add(Row::ok("start", "ready", &format!("ready in {} ms", took.as_millis())));
            daemon
        }
        Started::Failed(end) => {
            same(table, "start", "ready", end);
            return Ok(());
        }
    };
    busy.rest();
    let leaked = Leaks::now(&mut witness)?;
    let running = tables::now(backend, has_ipv6)?;
    sites(table, has_ipv6);
    names(table, &asker, has_ipv6);
    quic(table, has_ipv6);
    calls.running(table, NO_IPV6).map_err(unable(A_CALL))?;
    proxies(table, &asker, &calls).map_err(unable("the control port"))?;
    Leaks::now(&mut witness)?.must_be(&leaked, table);
    let lived = open.and_then(|visit| visit.say(MUCH)).unwrap_or_else(|error| error.to_string());
    same(table, "a connection opened before the start", DIRECT, lived);
    calls.older(table);

    same(table, "stop", "exit status: 0", daemon.stop());
    // Not before: the daemon does not end while a line of its log waits to be written.
    same(table, "domestic connections inside the daemon", "none", inside(&daemon::log()));
    let left = match before == running {
        true => "there never was a rule".into(),
        false => tables::difference(&before, &tables::now(backend, has_ipv6)?),
    };
    same(table, "tables and sets, before and after", "unchanged", left);
    same(table, "stopped: foreign site", DIRECT, try_site(world::FOREIGN, LITTLE));
    calls.stopped(table).map_err(unable(A_CALL))?;
    let asked = asker.ask(world::TRUSTED_NAMES, world::DOMESTIC_NAME, A);
    same(table, "stopped: a name, from the kept port", world::FAR_COPY, asked);
    Ok(())
}

/// What the machine sees without snet.
fn without(table: &mut TrialTable, asker: &NameClient) {
    same(table, "no daemon: foreign site", DIRECT, try_site(world::FOREIGN, LITTLE));
    let poisoned = asker.ask(world::DOMESTIC_NAMES, world::FOREIGN_NAME, A);
    same(table, "no daemon: foreign name is forged", world::FORGED, poisoned);
    let asked = asker.ask(world::TRUSTED_NAMES, world::DOMESTIC_NAME, A);
    same(table, "no daemon: domestic name, asked abroad", world::FAR_COPY, asked);
}

fn sites(table: &mut TrialTable, has_ipv6: bool) {
    same(table, "foreign site", PROXIED, try_site(world::FOREIGN, MUCH));
    same(table, "domestic site", DIRECT, try_site(world::DOMESTIC, MUCH));
    same(table, "foreign server that speaks first", "proxied", listen_to(world::FOREIGN));
    same(table, "foreign, half-closed", PROXIED, try_site(world::FOREIGN, LITTLE));
    if has_ipv6 {
        same(table, "foreign site, IPv6", PROXIED, try_site(world::FOREIGN_V6, MUCH));
        same(table, "domestic site, IPv6", DIRECT, try_site(world::DOMESTIC_V6, MUCH));
    } else {
        table.add(Row::skipped("foreign site, IPv6", NO_IPV6));
        table.add(Row::skipped("domestic site, IPv6", NO_IPV6));
    }
}

fn names(table: &mut TrialTable, asker: &NameClient, has_ipv6: bool) {
    let (foreign, domestic) = (world::FOREIGN_NAME, world::DOMESTIC_NAME);
    let true_address = asker.ask(world::NOBODY, foreign, A);
    same(table, "foreign name, forged answers first", world::FOREIGN, true_address);
    let true_address = asker.ask(world::NOBODY, foreign, AAAA);
    same(table, "foreign name, IPv6 address", world::FOREIGN_V6, true_address);
    let near = asker.ask(world::NOBODY, domestic, A);
    same(table, "domestic name: its near address", world::DOMESTIC, near);
    let near = asker.ask(world::NOBODY, domestic, AAAA);
    same(table, "domestic name, IPv6 address", world::DOMESTIC_V6, near);
    let kept = asker.ask(world::TRUSTED_NAMES, domestic, A);
    same(table, "domestic name, from a port kept open", world::DOMESTIC, kept);
    let over_tcp = ask_over_tcp(world::NOBODY, foreign);
    same(table, "foreign name, asked over TCP", world::FOREIGN, over_tcp);
    if has_ipv6 {
        let over_ipv6 = ask_over_ipv6(world::NOBODY_V6, foreign);
        same(table, "foreign name, asked over IPv6", world::FOREIGN, over_ipv6);
    } else {
        table.add(Row::skipped("foreign name, asked over IPv6", NO_IPV6));
    }
    let none = asker.ask(world::NOBODY, "nothing.example.", A);
    same(table, "a name that does not exist", "NXDOMAIN", none);
}

fn quic(table: &mut TrialTable, has_ipv6: bool) {
    same(table, "foreign QUIC", "refused", knock(world::FOREIGN));
    same(table, "domestic QUIC", "answered", knock(world::DOMESTIC));
    if has_ipv6 {
        same(table, "foreign QUIC, IPv6", "refused", knock(world::FOREIGN_V6));
        same(table, "domestic QUIC, IPv6", "answered", knock(world::DOMESTIC_V6));
    } else {
        table.add(Row::skipped("foreign QUIC, IPv6", NO_IPV6));
        table.add(Row::skipped("domestic QUIC, IPv6", NO_IPV6));
    }
}

/// One proxy after the other goes down, and the next has to serve. Names below the sites' are in no
/// cache, so they are really asked for.
fn proxies(table: &mut TrialTable, asker: &NameClient, calls: &DatagramTrials) -> io::Result<()> {
    let below = |first: &str, name: &str| format!("{first}.{name}");
    for (down, next) in ProxyHost::ALL.iter().zip(&ProxyHost::ALL[1..]) {
        let before = control(&format!("{} off", down.name()))?;
        let way = try_site(world::FOREIGN, MUCH);
        let after = control("tally")?;
        let way = match after.proxied(*next) > before.proxied(*next) {
            true => way,
            false => format!("{way}, not by it"),
        };
        same(table, &format!("then {}: foreign site", next.title()), PROXIED, way);
        let name = asker.ask(world::NOBODY, &below(next.name(), world::FOREIGN_NAME), A);
        same(table, &format!("then {}: foreign name", next.title()), world::FOREIGN, name);
        calls.through(table, *next)?;
    }

    control("http off")?;
    same(table, "all proxies down: foreign site", "refused", try_site(world::FOREIGN, LITTLE));
    same(table, "all proxies down: domestic site", DIRECT, try_site(world::DOMESTIC, LITTLE));
    let name = asker.ask(world::NOBODY, &below("none", world::FOREIGN_NAME), A);
    same(table, "all proxies down: foreign name", "SERVFAIL", name);
    let name = asker.ask(world::NOBODY, &below("none", world::DOMESTIC_NAME), A);
    same(table, "all proxies down: domestic name", world::DOMESTIC, name);
    Ok(())
}

/// What went abroad past the proxies, counted where it leaves and where it arrives.
struct Leaks {
    /// Packets without snet's mark that left for foreign addresses.
    unmarked: u64,
    /// Connections and datagrams that reached foreign hosts from the machine's own address.
    arrived: u32,
}

impl Leaks {
    fn now(witness: &mut Witness) -> Result<Self, Unable> {
        let arrived = control("tally").map_err(unable("the control port"))?.direct_foreign;
        Ok(Leaks { unmarked: witness.count()?, arrived })
    }

    /// Without the daemon everything is one.
    fn must_have_been_seen(&self, table: &mut TrialTable) {
        let seen = match (self.unmarked, self.arrived) {
            (0, 0) => "neither counts",
            (0, _) => "marks do not count",
            (_, 0) => "arrivals do not",
            _ => "both count",
        };
        same(table, "no daemon: the two counters of leaks", "both count", seen.into());
    }

    fn must_be(&self, before: &Leaks, table: &mut TrialTable) {
        let left = self.unmarked.wrapping_sub(before.unmarked);
        same(table, "foreign packets without snet's mark", 0, left.to_string());
        let arrived = self.arrived.wrapping_sub(before.arrived);
        same(table, "foreign packets past the proxies", 0, arrived.to_string());
    }
}

/// Whether the daemon's log has a domestic site: it has a line for every connection and every UDP
/// session that came in.
fn inside(log: &str) -> String {
    let knows = |site: IpAddr| match site {
        IpAddr::V4(v4) => log.contains(&format!(" destination={v4}:")),
        IpAddr::V6(v6) => log.contains(&format!(" destination=[{v6}]:")),
    };
    if !knows(world::FOREIGN.into()) {
        return "no line at all".into();
    }
    let domestic: [IpAddr; 2] = [world::DOMESTIC.into(), world::DOMESTIC_V6.into()];
    domestic.into_iter().find(|site| knows(*site)).map_or("none".into(), |site| site.to_string())
}

fn same(table: &mut TrialTable, tried: &str, expected: impl ToString, seen: String) {
    table.add(Row::compare(tried, &expected.to_string(), &seen));
}

fn unable(what: &'static str) -> impl Fn(io::Error) -> Unable {
    move |source| Unable::Trial { what, source }
}

#[cfg(test)]
mod tests {
    use super::inside;

    #[test]
    fn what_the_log_says_of_domestic_sites() {
        let line = |site: &str| format!("2026 INFO closed client=192.0.2.2:9 destination={site}\n");
        let foreign = line("203.0.113.10:80 proxy=\"far\"");
        assert_eq!(inside(""), "no line at all");
        assert_eq!(inside(&line("198.51.100.10:80")), "no line at all");
        assert_eq!(inside(&foreign), "none");
        assert_eq!(inside(&(line("198.51.100.100:80") + &foreign)), "none");
        for (site, found) in [
            ("198.51.100.10:80", "198.51.100.10"),
            ("198.51.100.10:443 up=1", "198.51.100.10"),
            ("[2001:db8:c::a]:80", "2001:db8:c::a"),
        ] {
            assert_eq!(inside(&(foreign.clone() + &line(site))), found, "{site}");
        }
    }
}
