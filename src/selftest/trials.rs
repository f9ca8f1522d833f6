//! The trials, in the order of a daemon's life: before, running, with its proxies down, after.

use super::client::{self, Asker, ask_over_tcp, knock, try_site};
use super::daemon::{self, Daemon};
use super::table::{Row, Table};
use super::{Unable, tables, world};
use std::io;

/// Enough to fill every buffer on the way.
const MUCH: usize = 2_000_000;

const NO_IPV6: &str = "no IPv6 on this kernel";

/// Runs all of them.
pub(super) fn run(table: &mut Table, has_ipv6: bool) -> Result<(), Unable> {
    let unable = |what| move |source| Unable::Trial { what, source };
    let before = tables::now()?;
    let asker = Asker::new().map_err(unable("a client of name servers"))?;
    same(table, "no daemon: foreign site", "direct, all bytes", try_site(world::FOREIGN, 9));
    let far = world::FAR_COPY.to_string();
    let asked = asker.ask(world::TRUSTED_NAMES, world::DOMESTIC_NAME);
    same(table, "no daemon: a name, from a port that is kept", &far, asked);
    let open = client::visit(world::FOREIGN.into());

    let (mut daemon, took) = Daemon::start(has_ipv6).map_err(unable("starting the daemon"))?;
    table.add(Row::ok("start", "ready", &format!("ready in {} ms", took.as_millis())));
    let [_, _, direct_before] = client::control("tally").map_err(unable("the control port"))?;

    sites(table, has_ipv6);
    names(table, &asker);
    same(table, "foreign QUIC", "refused", knock(world::FOREIGN));
    same(table, "domestic QUIC", "answered", knock(world::DOMESTIC));
    proxies(table).map_err(unable("the control port"))?;

    let [_, _, direct_after] = client::control("tally").map_err(unable("the control port"))?;
    let leaks = direct_after.wrapping_sub(direct_before).to_string();
    same(table, "foreign packets past the proxy", "0", leaks);
    let seen =
        if daemon::log().contains(&world::DOMESTIC.to_string()) { "seen" } else { "never seen" };
    same(table, "domestic connections in the daemon's log", "never seen", seen.into());
    let own = if daemon::log().contains("snet's own") { "captured" } else { "not captured" };
    same(table, "snet's own connections", "not captured", own.into());
    let lived = open.and_then(|visit| visit.say(MUCH));
    let lived = lived.unwrap_or_else(|error: io::Error| error.to_string());
    same(table, "a connection opened before the start", "direct, all bytes", lived);

    same(table, "stop", "exit status: 0", daemon.stop());
    same(
        table,
        "tables and sets, before and after",
        "unchanged",
        tables::difference(&before, &tables::now()?),
    );
    same(table, "stopped: foreign site", "direct, all bytes", try_site(world::FOREIGN, 9));
    let asked = asker.ask(world::TRUSTED_NAMES, world::DOMESTIC_NAME);
    same(table, "stopped: a name, from the same port", &far, asked);
    Ok(())
}

fn sites(table: &mut Table, has_ipv6: bool) {
    let proxied = "proxied, all bytes";
    same(table, "foreign site, IPv4", proxied, try_site(world::FOREIGN, MUCH));
    same(table, "domestic site, IPv4", "direct, all bytes", try_site(world::DOMESTIC, MUCH));
    if has_ipv6 {
        same(table, "foreign site, IPv6", proxied, try_site(world::FOREIGN_V6, MUCH));
        let domestic = try_site(world::DOMESTIC_V6, MUCH);
        same(table, "domestic site, IPv6", "direct, all bytes", domestic);
    } else {
        table.add(Row::skipped("foreign site, IPv6", NO_IPV6));
        table.add(Row::skipped("domestic site, IPv6", NO_IPV6));
    }
}

fn names(table: &mut Table, asker: &Asker) {
    let near = world::DOMESTIC.to_string();
    let far = world::FOREIGN.to_string();
    let foreign = asker.ask(world::NOBODY, world::FOREIGN_NAME);
    same(table, "foreign name, forged answers come first", &far, foreign);
    let domestic = asker.ask(world::NOBODY, world::DOMESTIC_NAME);
    same(table, "domestic name: its near address", &near, domestic);
    let kept = asker.ask(world::TRUSTED_NAMES, world::DOMESTIC_NAME);
    same(table, "the same from the port that was kept", &near, kept);
    let over_tcp = ask_over_tcp(world::NOBODY, world::FOREIGN_NAME);
    same(table, "foreign name over TCP", &far, over_tcp);
    let none = asker.ask(world::NOBODY, "nothing.example.");
    same(table, "a name that does not exist", "Non-Existent Domain", none);
}

fn proxies(table: &mut Table) -> io::Result<()> {
    let [_, http_before, _] = client::control("shadowsocks off")?;
    let proxied = "proxied, all bytes";
    let second = try_site(world::FOREIGN, MUCH);
    let [_, http_after, _] = client::control("tally")?;
    let way = if http_after > http_before { second } else { format!("{second}, not by HTTP") };
    same(table, "first proxy down: the second, HTTP CONNECT", proxied, way);
    client::control("http off")?;
    same(table, "all proxies down: foreign site", "refused", try_site(world::FOREIGN, 9));
    let domestic = try_site(world::DOMESTIC, 9);
    same(table, "all proxies down: domestic site", "direct, all bytes", domestic);
    Ok(())
}

fn same(table: &mut Table, tried: &str, expected: &str, seen: String) {
    table.add(Row::compare(tried, expected, &seen));
}
