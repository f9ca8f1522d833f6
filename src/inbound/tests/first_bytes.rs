//! The name in the first bytes: it is found without delay or loss, and rules for names follow it
//! where the resolver told nothing.

use super::*;
use crate::net::stream::is_acknowledged;
use crate::route::GroupPlace;
use crate::sniff::tests::{ECH, extended, hello};
use crate::stats::DecidedBy;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

const SITE: &str = "203.0.113.10:443";

/// Names for each way.
fn rules() -> Rules {
    let mut rules = Rules::default();
    for (name, route) in [
        ("block.example", Route::Block),
        ("direct.example", Route::Direct),
        ("other.example", Route::Proxy),
        ("cloudflare-ech.com", Route::Block),
    ] {
        rules.names.insert(&name.parse().unwrap(), route);
    }
    rules.via.add_name(&"other.example".parse().unwrap(), GroupPlace(1));
    rules
}

fn at_the_site(acts: &[Act]) -> House {
    house_at(SITE.parse().unwrap(), rules(), acts, 16)
}

/// A site that this test can reach directly, and its house.
fn at_a_site_nearby(acts: &[Act]) -> House {
    let site = loopback();
    let address = site.local_addr().unwrap();
    tokio::spawn(echo_all(site, Arc::default()));
    house_at(address, rules(), acts, 16)
}

/// Sends bytes, and returns when they have arrived. The session has not run meanwhile: it is of the
/// same thread.
async fn deliver(client: &mut TcpStream, bytes: &[u8]) {
    client.write_all(bytes).await.unwrap();
    while !is_acknowledged(client) {
        std::thread::yield_now();
    }
}

async fn echoes(client: &mut TcpStream, bytes: &[u8]) {
    let mut echoed = vec![0; bytes.len()];
    let echo = timeout(Duration::from_secs(20), client.read_exact(&mut echoed));
    echo.await.expect("no echo").unwrap();
    assert!(echoed == bytes, "other bytes came back");
}

/// Nobody was told a name: what the client sends while it is dialled has it, and arrives whole.
#[tokio::test]
async fn the_line_has_the_name_that_the_first_bytes_tell() {
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: far.example\r\n\r\n";
    let house = house(&[Act::ConnectOnceHeard], 16);
    let mut client = house.client().await;
    deliver(&mut client, REQUEST).await;
    house.heard.notify_one();
    let mut echoed = [0; REQUEST.len()];
    client.read_exact(&mut echoed).await.unwrap();
    assert_eq!(echoed, REQUEST);
    drop(client);
    house.inbound.drained().await;
    assert_eq!(house.lines("destination=203.0.113.10:80 name=\"far.example\""), 1);
}

/// The dial through the proxy, which never ends, is given up for the way of the name; whether its
/// hello comes at once or in parts.
#[tokio::test]
async fn the_way_of_the_name_is_dialled_instead() {
    for parts in [1, 3] {
        let house = at_a_site_nearby(&[Act::Hang]);
        for (name, way) in [("www.direct.example", "direct"), ("other.example", "other")] {
            let hello = hello(name, 15);
            let mut client = house.client().await;
            for part in hello.chunks(hello.len().div_ceil(parts)) {
                client.write_all(part).await.unwrap();
                tokio::task::yield_now().await;
            }
            echoes(&mut client, &hello).await;
            drop(client);
            house.inbound.drained().await;
            assert_eq!(house.lines(&format!("name=\"{name}\" proxy=\"{way}\"")), 1, "{name}");
        }
        assert_eq!(house.counts(), [2, 0, 2, 0]);
        let hits = [DecidedBy::DirectNames, DecidedBy::ProxyNames, DecidedBy::Rest];
        let hits = hits.map(|by| house.stats.hits.get(by));
        assert_eq!(hits, [1, 1, 0], "the way that was given up is none");
        let mut blocked = house.client().await;
        blocked.write_all(&hello("www.block.example", 15)).await.unwrap();
        assert!(is_reset(blocked).await);
        house.inbound.drained().await;
        assert_eq!(house.counts(), [3, 1, 2, 0]);
        assert_eq!(house.lines("block.example"), 0, "the operator wrote the rule");
    }
}

/// The dial has ended when the hello comes.
#[tokio::test]
async fn a_link_that_was_not_used_is_left_for_the_way_of_the_name() {
    let house = at_a_site_nearby(&[Act::Connect]);
    let settled = async |proxied: u64| {
        while house.stats.proxied.get() < proxied {
            tokio::task::yield_now().await;
        }
    };
    let hello_to = |name| hello(name, 0);
    let direct = hello_to("direct.example");
    let mut client = house.client().await;
    settled(1).await;
    client.write_all(&direct).await.unwrap();
    echoes(&mut client, &direct).await;
    let flow = house.stats.live.list().remove(0);
    let way = flow.way().expect("it goes");
    assert_eq!((way.proxy, way.reason), (None, "rule of its claimed name"));
    assert_eq!(flow.name(), Some("direct.example"));
    // Its end is that of any other connection.
    client.shutdown().await.unwrap();
    assert_eq!(client.read(&mut [0; 9]).await.unwrap(), 0);
    let mut blocked = house.client().await;
    settled(2).await;
    blocked.write_all(&hello_to("block.example")).await.unwrap();
    assert!(is_reset(blocked).await);
    house.inbound.drained().await;
    assert_eq!(house.lines("name=\"direct.example\" proxy=\"direct\""), 1);
    assert_eq!(house.proxied.load(Ordering::Relaxed), 0, "bytes on a link that was left");
    assert_eq!(house.counts(), [2, 1, 1, 0]);
    // A name without a rule of its own changes nothing.
    let far = hello_to("far.example");
    let mut client = house.client().await;
    settled(3).await;
    client.write_all(&far).await.unwrap();
    echoes(&mut client, &far).await;
    drop(client);
    house.inbound.drained().await;
    assert_eq!(house.lines("name=\"far.example\" proxy=\"scripted\""), 1);
}

/// The rest of the hello may never come, and the address decides.
#[tokio::test]
async fn the_begin_of_a_hello_does_not_wait_for_its_end() {
    for (act, is_late) in
        [(Act::Connect, false), (Act::Connect, true), (Act::ConnectOnceHeard, false)]
    {
        let house = at_the_site(&[act]);
        let hello = hello("block.example", 15);
        let (begin, end) = hello.split_at(1400);
        let mut client = house.client().await;
        while is_late && house.stats.proxied.get() == 0 {
            tokio::task::yield_now().await;
        }
        client.write_all(begin).await.unwrap();
        house.heard.notify_one();
        echoes(&mut client, begin).await;
        client.write_all(end).await.unwrap();
        echoes(&mut client, end).await;
    }
}

/// The server speaks first: what it says comes at once, and it stays the one whatever follows.
#[tokio::test]
async fn who_has_heard_the_server_stays_with_it() {
    let house = at_the_site(&[Act::Greet]);
    let mut client = house.client().await;
    echoes(&mut client, BANNER).await;
    let hello = hello("block.example", 0);
    client.write_all(&hello).await.unwrap();
    echoes(&mut client, &hello).await;
    drop(client);
    house.inbound.drained().await;
    assert_eq!(house.lines("name=\"block.example\" proxy=\"scripted\""), 1);
}

/// Whatever the name is, it counts in these cases only for the log, if at all.
#[tokio::test]
async fn where_the_address_decides() {
    let site: SocketAddr = SITE.parse().unwrap();
    let served = async |house: &House, hello: &[u8]| {
        let mut client = house.client().await;
        client.write_all(hello).await.unwrap();
        echoes(&mut client, hello).await;
        drop(client);
        house.inbound.drained().await;
    };
    let blocked = hello("block.example", 0);

    let told = at_the_site(&[Act::Connect]);
    tell(&told, "127.0.0.1", "far.example");
    served(&told, &blocked).await;
    assert_eq!(told.lines("name=\"far.example\" proxy=\"scripted\""), 1, "the resolver knows it");

    for port in [53, 853] {
        let site = SocketAddr::new(site.ip(), port);
        let house = house_at(site, rules(), &[Act::Connect], 16);
        served(&house, &blocked).await;
        assert_eq!(house.lines("name=\"block.example\" proxy=\"scripted\""), 1, "port {port}");
    }

    let off = house_with(site, rules(), &[Act::Connect], 16, |it| it.looking(false));
    served(&off, &blocked).await;
    assert_eq!((off.lines("name="), off.lines("proxy=\"scripted\"")), (0, 1));

    let by_address = Rules { proxy: ["203.0.113.10/32"].map(net).into_iter().collect(), ..rules() };
    let house = house_at(site, by_address, &[Act::Connect], 16);
    served(&house, &blocked).await;
    assert_eq!(house.lines("name=\"block.example\" proxy=\"scripted\""), 1, "a rule for it");

    // The name that many sites share is no site's.
    let shared = extended(&hello("cloudflare-ech.com", 0), ECH, &[0; 200]);
    let house = at_the_site(&[Act::Connect]);
    served(&house, &shared).await;
    assert_eq!((house.lines("name="), house.lines("proxy=\"scripted\"")), (0, 1));
}

fn net(text: &str) -> ipnet::IpNet {
    text.parse().unwrap()
}

/// However a dial ends, what the client has sent by then decides.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_dial_is_the_last_look() {
    for act in [Act::ConnectOnceHeard, Act::RefuseOnceHeard] {
        let house = at_a_site_nearby(&[act]);
        let hello = hello("direct.example", 15);
        let (begin, end) = hello.split_at(1400);
        let mut client = house.client().await;
        deliver(&mut client, begin).await;
        // Looks at what is not whole have become rare, and the next one is not due.
        tokio::time::sleep(Duration::from_secs(10)).await;
        deliver(&mut client, end).await;
        house.heard.notify_one();
        let mut echoed = vec![0; hello.len()];
        client.read_exact(&mut echoed).await.unwrap();
        assert!(echoed == hello, "other bytes came back");
        drop(client);
        house.inbound.drained().await;
        assert_eq!(house.counts(), [1, 0, 1, 0]);
        assert_eq!(house.lines("name=\"direct.example\" proxy=\"direct\""), 1);
        assert_eq!(house.proxied.load(Ordering::Relaxed), 0);
    }
}

/// A proxy that sends the first bytes ahead has none of them before the name was seen.
#[tokio::test]
async fn what_is_sent_ahead_is_looked_at_before() {
    let house = at_a_site_nearby(&[Act::SendAhead]);
    for (name, way, bytes) in [
        ("direct.example", "direct", 0),
        ("far.example", "scripted", hello("far.example", 0).len()),
    ] {
        let hello = hello(name, 0);
        let mut client = house.client().await;
        client.write_all(&hello).await.unwrap();
        echoes(&mut client, &hello).await;
        drop(client);
        house.inbound.drained().await;
        let up = hello.len();
        assert_eq!(house.lines(&format!("name=\"{name}\" proxy=\"{way}\" up={up}")), 1, "{name}");
        assert_eq!(house.proxied.load(Ordering::Relaxed), bytes, "{name}");
    }
    // What has left cannot go another way.
    let hello = hello("direct.example", 15);
    let (begin, end) = hello.split_at(1400);
    let mut client = house.client().await;
    client.write_all(begin).await.unwrap();
    echoes(&mut client, begin).await;
    client.write_all(end).await.unwrap();
    echoes(&mut client, end).await;
    drop(client);
    house.inbound.drained().await;
    assert_eq!(house.lines("proxy=\"scripted\""), 2);
    assert_eq!(house.counts(), [3, 0, 3, 0]);
}

/// However a hello is cut, its name is found and every byte arrives once, in order.
#[test]
fn any_segments_of_a_hello() {
    let hellos = ["direct.example", "other.example", "far.example"].map(|name| hello(name, 10));
    let cuts = (0..hellos.len(), prop::collection::vec(1usize..2000, 0..6));
    let mut runner = TestRunner::new(ProptestConfig::with_cases(32));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let checked = runner.run(&cuts, |(which, sizes)| {
        runtime.block_on(async {
            // What has no rule waits for the proxy, and the rest for none.
            let house = at_a_site_nearby(&[Act::ConnectOnceHeard]);
            let mut client = house.client().await;
            let mut rest = &hellos[which][..];
            for size in sizes {
                let (segment, beyond) = rest.split_at(size.min(rest.len()));
                client.write_all(segment).await.unwrap();
                tokio::task::yield_now().await;
                rest = beyond;
            }
            client.write_all(rest).await.unwrap();
            if which == 2 {
                house.heard.notify_one();
            }
            echoes(&mut client, &hellos[which]).await;
            drop(client);
            house.inbound.drained().await;
            let way = ["direct", "other", "scripted"][which];
            assert_eq!(house.lines(&format!("proxy=\"{way}\"")), 1, "{way}");
        });
        Ok(())
    });
    checked.unwrap();
}
