//! Cgroups of a test's own, beneath the one that it runs in. Their numbers are the host's: they go
//! at the end, whatever comes.

use crate::wait;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const ROOT: &str = "/sys/fs/cgroup";

const PATIENCE: Duration = Duration::from_secs(5);

/// The hierarchy as this test sees it: its own cgroup is the root.
pub struct Cgroups(RefCell<Vec<PathBuf>>);

impl Cgroups {
    /// Mounts it; in a cgroup namespace of its own.
    pub fn mount() -> Self {
        unshare(CloneFlags::CLONE_NEWCGROUP).expect("its owner may");
        let (kind, none) = (Some("cgroup2"), None::<&str>);
        mount(kind, ROOT, kind, MsFlags::empty(), none).expect("its owner may");
        Cgroups(RefCell::default())
    }

    /// A name that no other test has: process numbers are another test's too.
    pub fn name(part: &str) -> String {
        let network = fs::read_link("/proc/self/ns/net").expect("proc is mounted");
        let digits = |c: &char| c.is_ascii_digit();
        let number: String = network.to_string_lossy().chars().filter(digits).collect();
        format!("snet-test-{number}-{part}")
    }

    /// Makes one, with a path beneath that of the test.
    pub fn make(&self, path: &str) {
        let directory = Path::new(ROOT).join(path);
        fs::create_dir(&directory).unwrap_or_else(|error| {
            panic!(
                "{path}: {error}; as an ordinary user: systemd-run --user --scope -p Delegate=yes"
            )
        });
        self.0.borrow_mut().push(directory);
    }

    /// Removes one that was made.
    pub fn remove(&self, path: &str) {
        let directory = Path::new(ROOT).join(path);
        // What was moved out or has ended is counted there for a moment (EBUSY).
        let removed = wait::quietly(PATIENCE, || fs::remove_dir(&directory).is_ok());
        assert!(removed, "{} is not empty", directory.display());
        self.0.borrow_mut().retain(|made| *made != directory);
    }

    /// What this process makes in `act` belongs to that cgroup.
    pub fn within<T>(&self, path: &str, act: impl FnOnce() -> T) -> T {
        enter(&Path::new(ROOT).join(path));
        let result = act();
        enter(Path::new(ROOT));
        result
    }
}

fn enter(directory: &Path) {
    fs::write(directory.join("cgroup.procs"), std::process::id().to_string())
        .expect("a process may move");
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let _ = fs::write(Path::new(ROOT).join("cgroup.procs"), std::process::id().to_string());
        for made in self.0.borrow().iter().rev() {
            let _ = fs::remove_dir(made);
        }
    }
}
