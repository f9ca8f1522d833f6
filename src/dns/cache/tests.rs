use super::*;
use crate::dns::reply::sample::{query, wire};
use crate::dns::reply::{Clamp, Reply, Side};
use crate::dns::wire::{TCP_SIZE, rr};
use hickory_proto::op::Message;
use hickory_proto::serialize::binary::BinDecodable;
use proptest::prelude::*;

fn stored(answers: &str) -> Stored {
    let clamp = Clamp::new(Duration::ZERO, Duration::from_secs(86_400));
    let wire = wire(rr::A, 0, [answers, "", ""]);
    Stored::new(&Reply::parse(&wire).unwrap(), Side::Trusted, clamp)
}

fn usual() -> Stored {
    stored("www.example.com 60 A 192.0.2.1")
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn read(hit: Hit<'_>, query: &Query) -> Message {
    let mut out = Vec::new();
    hit.write(query, TCP_SIZE, &mut out);
    Message::from_bytes(&out).unwrap()
}

#[test]
fn an_answer_ages_and_goes_stale() {
    let (now, asked) = (Instant::now(), query("www.example.com", rr::A, Some(1232)));
    let mut cache = Cache::new(10_000);
    assert!(cache.get(&asked, now).is_none());
    cache.insert(&asked, usual(), now);
    let hit = cache.get(&asked, now + seconds(59)).unwrap();
    assert_eq!((hit.remaining, read(hit, &asked).answers[0].ttl), (seconds(1), 1));
    assert!(cache.get(&asked, now + seconds(60)).is_none());
    let stale = cache.get_stale(&asked, now + seconds(60)).unwrap();
    assert_eq!(stale.remaining, Duration::ZERO);
    let sent = read(stale, &asked);
    assert_eq!(sent.answers[0].ttl, 30);
    assert_eq!(sent.edns.unwrap().options().as_ref().len(), 1, "it says that it is stale");
    let day = seconds(24 * 3600);
    assert!(cache.get_stale(&asked, now + seconds(59) + day).is_some());
    assert!(cache.get_stale(&asked, now + seconds(60) + day).is_none());
}

#[test]
fn a_popular_answer_is_refreshed_once_before_it_ends() {
    let (now, asked) = (Instant::now(), query("www.example.com", rr::A, None));
    let due = |times: &[u64], ttl: &str| -> Vec<bool> {
        let mut cache = Cache::new(10_000);
        cache.insert(&asked, stored(&format!("www.example.com {ttl} A 192.0.2.1")), now);
        let mut hit = |at| cache.get(&asked, now + seconds(at)).unwrap().refresh;
        times.iter().map(|at| hit(*at)).collect()
    };
    assert_eq!(due(&[1, 2, 3, 53, 54, 55], "60"), [false, false, false, false, true, false]);
    assert_eq!(due(&[57, 58, 59], "60"), [false, false, true], "three times");
    assert_eq!(due(&[8, 8, 8, 8], "9"), [false; 4], "too short a life");
}

#[test]
fn case_does_not_matter_and_type_does() {
    let now = Instant::now();
    let mut cache = Cache::new(10_000);
    cache.insert(&query("www.example.com", rr::A, None), usual(), now);
    let other = query("WWW.example.COM", rr::A, None);
    let sent = read(cache.get(&other, now).unwrap(), &other);
    assert_eq!(sent.queries[0].name().to_string(), "WWW.example.COM.");
    assert!(cache.get(&query("www.example.com", rr::AAAA, None), now).is_none());
}

#[test]
fn an_error_does_not_displace_an_answer() {
    let (now, asked) = (Instant::now(), query("www.example.com", rr::A, None));
    let mut cache = Cache::new(10_000);
    cache.insert(&asked, usual(), now);
    cache.insert(&asked, stored(""), now + seconds(100));
    let kept = cache.get_stale(&asked, now + seconds(100)).unwrap();
    assert_eq!(read(kept, &asked).answers.len(), 1);
    cache.insert(&asked, stored("www.example.com 9 A 192.0.2.7"), now + seconds(100));
    assert_eq!(cache.get(&asked, now + seconds(100)).unwrap().remaining, seconds(9));
    assert_eq!(cache.len(), 1);
}

#[test]
fn size_zero_is_off() {
    let (now, asked) = (Instant::now(), query("www.example.com", rr::A, None));
    let mut cache = Cache::new(0);
    cache.insert(&asked, usual(), now);
    assert!(cache.is_empty() && cache.get(&asked, now).is_none());
}

#[test]
fn stale_answers_go_first() {
    let now = Instant::now();
    let mut cache = Cache::new(5_000);
    let old = query("old.example", rr::A, None);
    cache.insert(&old, usual(), now);
    let mut number = 0;
    let later = now + seconds(60);
    while cache.get_stale(&old, later).is_some() {
        number += 1;
        cache.insert(&query(&format!("n{number}.example"), rr::A, None), usual(), later);
        assert!(number < 100);
    }
    for kept in 1..=number {
        let kept = query(&format!("n{kept}.example"), rr::A, None);
        assert!(cache.get(&kept, later).is_some(), "{kept:?}");
    }
}

proptest! {
    #[test]
    fn the_bound_holds(
        limit in 0usize..5_000,
        names in prop::collection::vec(("[a-c]{1,30}", 1usize..10), 0..100),
    ) {
        let now = Instant::now();
        let mut cache = Cache::new(limit);
        for (name, count) in names {
            let asked = query(&name, rr::A, None);
            let answers = vec!["www.example.com 60 A 192.0.2.1"; count].join("\n");
            let size = stored(&answers).size();
            cache.insert(&asked, stored(&answers), now);
            prop_assert!(cache.size() <= limit);
            if let Some(hit) = cache.get(&asked, now) {
                prop_assert_eq!(hit.stored().size(), size);
            }
        }
        prop_assert_eq!(cache.is_empty(), cache.size() == 0);
    }
}
