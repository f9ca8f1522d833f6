//! A list of a million names: how long it takes to read, what it holds in memory, how long a
//! look-up takes; beside a `HashSet` of the same names in the same run.
//!
//! Each is measured in a process of its own, one after the other, so that neither uses what the
//! other has given back. Loading is CPU time, so that a busy machine counts less. Memory is what
//! the process has more of once the list stands (VmRSS), and the most that it had while it read
//! (VmHWM); the text of the list is not counted, but it is there.

use nix::time::{ClockId, clock_gettime};
use snet::domain::{Name, NameListBuilder};
use snet::lists::{ListUse, read_names};
use std::collections::HashSet;
use std::env;
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

const NAMES: usize = 1_000_000;
/// Enough for every part of a table, and few enough to leave the caches to it.
const ASKED: usize = 100_000;
const PASSES: usize = 40;
const ROUNDS: usize = 5;

fn main() {
    if let Some(kind) = env::args().find_map(|word| word.strip_prefix("kind=").map(str::to_owned)) {
        println!("{}", Measured::of(&kind).line());
        return;
    }
    let mut rounds = Vec::new();
    println!("load ms, bytes a name, bytes a name at the most, ns of a hit, ns of a miss");
    for round in 1..=ROUNDS {
        let [snet, set] = ["snet", "HashSet"].map(in_own_process);
        println!("round {round}: snet {snet:.1?}, HashSet {set:.1?}");
        rounds.push((snet, set));
    }
    for (at, what) in ["load", "memory", "memory at the most", "hit", "miss"].iter().enumerate() {
        let mut ratios: Vec<f64> = rounds.iter().map(|(snet, set)| snet[at] / set[at]).collect();
        ratios.sort_by(f64::total_cmp);
        println!("{what}: snet / HashSet {:.2}", ratios[ROUNDS / 2]);
    }
}

fn in_own_process(kind: &str) -> Vec<f64> {
    let program = env::current_exe().expect("the path of this program");
    let output = Command::new(program).arg(format!("kind={kind}")).output().expect("it starts");
    let line = String::from_utf8_lossy(&output.stdout).into_owned();
    line.split_whitespace().map(|word| word.parse().expect("a number")).collect()
}

/// Given in wire form.
type IsListed = Box<dyn Fn(&[u8]) -> bool>;

struct Measured {
    load: Duration,
    bytes: usize,
    most: usize,
    hit: f64,
    miss: f64,
}

impl Measured {
    fn of(kind: &str) -> Self {
        let text: String = (0..NAMES).map(|n| format!("{}\n", host(n))).collect();
        let (hits, misses) = (asked(0), asked(NAMES));
        let before = memory("VmRSS:");
        let begin = cpu_time();
        let is_listed: IsListed = match kind {
            "snet" => {
                let mut builder = NameListBuilder::default();
                let (bytes, mut none) = (text.as_bytes(), |_: &str| None);
                let report = read_names(bytes, ListUse::Block, &mut none, &mut builder);
                assert_eq!(report.lines_used(), NAMES);
                let list = builder.build();
                Box::new(move |name| list.find(name).is_some())
            }
            _ => {
                let names = text.lines().filter_map(|line| line.parse::<Name>().ok());
                let set: HashSet<Box<[u8]>> = names.map(|name| name.as_wire().into()).collect();
                Box::new(move |name| has_suffix(&set, name))
            }
        };
        let load = cpu_time() - begin;
        let (bytes, most) = (memory("VmRSS:") - before, memory("VmHWM:") - before);
        let (hit, hits_found) = lookups(&hits, &is_listed);
        let (miss, misses_found) = lookups(&misses, &is_listed);
        assert_eq!((hits_found, misses_found), (ASKED * PASSES, 0));
        Measured { load, bytes, most, hit, miss }
    }

    fn line(&self) -> String {
        let a_name = |bytes: usize| bytes as f64 / NAMES as f64;
        let (load, bytes, most) =
            (self.load.as_secs_f64() * 1e3, a_name(self.bytes), a_name(self.most));
        format!("{load} {bytes} {most} {} {}", self.hit, self.miss)
    }
}

/// A name of the length that lists have; all differ.
fn host(n: usize) -> String {
    format!("host-{:x}.example{}.com", n.wrapping_mul(2_654_435_761) % (1 << 32), n % 1000)
}

/// Names with four labels, in no order, of hosts from `first` on.
fn asked(first: usize) -> Vec<Name> {
    let numbers = (0..ASKED).map(|n| first + n.wrapping_mul(7_919) % NAMES);
    numbers.filter_map(|n| format!("www.{}", host(n)).parse().ok()).collect()
}

/// Nanoseconds of one in the fastest pass over all, since other programs disturb the rest; and how
/// many were found.
fn lookups(asked: &[Name], is_listed: &dyn Fn(&[u8]) -> bool) -> (f64, usize) {
    let pass = |_| {
        let begin = Instant::now();
        let found = asked.iter().filter(|name| is_listed(black_box(name.as_wire()))).count();
        (begin.elapsed().as_nanos() as f64 / asked.len() as f64, black_box(found))
    };
    let passes: Vec<(f64, usize)> = (0..PASSES).map(pass).collect();
    let fastest = passes.iter().map(|(time, _)| *time).fold(f64::INFINITY, f64::min);
    (fastest, passes.iter().map(|(_, found)| found).sum())
}

fn has_suffix(set: &HashSet<Box<[u8]>>, name: &[u8]) -> bool {
    let mut suffix = name;
    loop {
        if set.contains(suffix) {
            return true;
        }
        match suffix.first().map(|length| usize::from(*length)) {
            None | Some(0) => return false,
            Some(length) => suffix = &suffix[1 + length..],
        }
    }
}

/// CPU time of this process so far.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("the clock is there").into()
}

/// Bytes of this process in memory, by a line of /proc/self/status (proc_pid_status(5)).
fn memory(line: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is there");
    let value = status.lines().find_map(|it| it.strip_prefix(line)).expect("the line is there");
    let kib = value.split_whitespace().next().and_then(|word| word.parse::<usize>().ok());
    kib.expect("a number") * 1024
}
