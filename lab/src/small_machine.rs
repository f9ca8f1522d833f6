//! A machine with little memory and a slow processor: a cgroup that only gets so much. Both
//! versions of cgroups are known (cgroups(7)), also where one controller is of the first and
//! another of the second.
//!
//! What the kernel holds for the processes counts: sockets, pipes, tables. Of the first version the
//! buffers of TCP sockets do not. A bound of their own (memory.kmem.tcp.limit_in_bytes) is no help:
//! it holds for UDP too (mm/memcontrol-v1.c), so that the kernel drops every datagram as soon as
//! connections have filled it.

use crate::cgroup::Cgroups;
use crate::wait;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const ROOT: &str = "/sys/fs/cgroup";

/// Microseconds within which the processor's share is counted.
const PERIOD: u64 = 100_000;

/// What was moved out or has ended is counted there for a moment (EBUSY).
const PATIENCE: Duration = Duration::from_secs(5);

/// A controller, and the cgroup that was made for it.
#[derive(Debug)]
struct Controller {
    version: Version,
    /// Where this process was before.
    home: PathBuf,
    made: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    First,
    Second,
}

/// Made for a test, gone at its end.
#[derive(Debug)]
pub struct SmallMachine {
    memory: Controller,
    processor: Controller,
}

impl SmallMachine {
    /// With so many bytes of memory, no swap, and so many hundredths of a core.
    pub fn new(memory: u64, percent: u64) -> Self {
        let name = Cgroups::name("small");
        let machine = SmallMachine {
            memory: Controller::make("memory", &name),
            processor: Controller::make("cpu", &name),
        };
        let quota = PERIOD * percent / 100;
        match machine.memory.version {
            Version::First => {
                machine.memory.set("memory.limit_in_bytes", memory);
                machine.memory.set_if_there("memory.memsw.limit_in_bytes", memory);
            }
            Version::Second => {
                machine.memory.set("memory.max", memory);
                machine.memory.set_if_there("memory.swap.max", 0);
            }
        }
        match machine.processor.version {
            Version::First => {
                machine.processor.set("cpu.cfs_period_us", PERIOD);
                machine.processor.set("cpu.cfs_quota_us", quota);
            }
            Version::Second => machine.processor.set("cpu.max", format!("{quota} {PERIOD}")),
        }
        machine
    }

    /// What this process starts in `act` lives on that machine.
    pub fn within<T>(&self, act: impl FnOnce() -> T) -> T {
        for controller in [&self.memory, &self.processor] {
            enter(&controller.made);
        }
        let result = act();
        for controller in [&self.memory, &self.processor] {
            enter(&controller.home);
        }
        result
    }

    /// How many of its processes the kernel has killed for want of memory.
    pub fn killed_for_memory(&self) -> u64 {
        let text = self.memory.read(match self.memory.version {
            Version::First => "memory.oom_control",
            Version::Second => "memory.events",
        });
        field(&text, "oom_kill").expect("Linux 4.13 and newer count it")
    }

    /// Bytes in use, those of files included; and the most that there have been.
    pub fn memory(&self) -> (u64, u64) {
        let [now, most] = match self.memory.version {
            Version::First => ["memory.usage_in_bytes", "memory.max_usage_in_bytes"],
            // The second is of Linux 5.19.
            Version::Second => ["memory.current", "memory.peak"],
        };
        let number =
            |file| fs::read_to_string(self.memory.made.join(file)).ok()?.trim().parse().ok();
        (number(now).expect("a number"), number(most).unwrap_or(0))
    }

    /// In how many periods its processes had to wait for the processor.
    pub fn throttled(&self) -> u64 {
        field(&self.processor.read("cpu.stat"), "nr_throttled").expect("a number")
    }
}

impl Controller {
    fn make(name: &str, directory: &str) -> Self {
        let memberships = fs::read_to_string("/proc/self/cgroup").expect("proc is mounted");
        let line = |is: &dyn Fn(&str) -> bool| {
            memberships.lines().find_map(|line| {
                let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                is(controllers).then(|| path.trim_start_matches('/').to_owned())
            })
        };
        let first = line(&|controllers| controllers.split(',').any(|one| one == name));
        let (version, home, parents) = match first {
            Some(path) => {
                let home = Path::new(ROOT).join(name).join(path);
                (Version::First, home.clone(), vec![home])
            }
            None => {
                let root = [ROOT, "/sys/fs/cgroup/unified"].map(Path::new);
                let root = root.into_iter().find(|root| root.join("cgroup.controllers").exists());
                let path = line(&str::is_empty).expect("a cgroup");
                let home = root.unwrap_or(Path::new(ROOT)).join(path);
                let within = |folder: &&Path| folder.starts_with(ROOT);
                let parents = home.ancestors().take_while(within).map(PathBuf::from).collect();
                (Version::Second, home, parents)
            }
        };
        // In the second version a cgroup that has processes hands no controller down, so it is
        // beside the present one, or above it.
        let hands_down = |parent: &&PathBuf| {
            version == Version::First
                || fs::read_to_string(parent.join("cgroup.subtree_control"))
                    .is_ok_and(|text| text.split_whitespace().any(|one| one == name))
        };
        let made = parents.iter().filter(hands_down).map(|parent| parent.join(directory));
        let made = made.into_iter().find(|made| made.exists() || fs::create_dir(made).is_ok());
        let made = made.unwrap_or_else(|| {
            panic!(
                "no cgroup with {name} can be made beside {} or above it: run this test as root, \
                 or where systemd hands {name} down (Delegate=yes)",
                home.display()
            )
        });
        Controller { version, home, made }
    }

    fn set(&self, file: &str, value: impl ToString) {
        let file = self.made.join(file);
        fs::write(&file, value.to_string())
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    fn set_if_there(&self, file: &str, value: impl ToString) {
        if self.made.join(file).exists() {
            self.set(file, value);
        }
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.made.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }
}

impl Drop for SmallMachine {
    fn drop(&mut self) {
        for controller in [&self.memory, &self.processor] {
            let _ = fs::write(controller.home.join("cgroup.procs"), "0");
            wait::quietly(PATIENCE, || {
                fs::remove_dir(&controller.made).is_ok() || !controller.made.exists()
            });
        }
    }
}

fn enter(directory: &Path) {
    fs::write(directory.join("cgroup.procs"), "0")
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
}

/// The number behind a word at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}
