//! Whose packets pass on this machine as snet's own do: programs of some users, and of some
//! cgroups.
//!
//! A user is told by number (xt_owner, `meta skuid`): that of whoever made the socket. A cgroup
//! (v2) is a path to its user, but to a rule it is the cgroup that had this path when the rule was
//! made (xt_cgroup, nft_socket): a service that is started again has a new one, and the rule has to
//! be made anew. So a cgroup is known by path and number; it may be absent, and [`CgroupEvents`]
//! tells at once when that changes.
//!
//! Source: xt_owner.c, xt_cgroup.c, nft_socket.c, cgroups(7), inotify(7).

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What escapes every rule for this machine's own packets, DNS too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExemptPrograms {
    /// `rules.direct-users`, by number.
    pub users: Vec<u32>,
    /// `rules.direct-cgroups`, with those beneath them. Each is a path below the root, without a
    /// slash at either end: `system.slice/sing-box.service`.
    pub cgroups: Vec<String>,
}

/// A cgroup of version 2 as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// As [`ExemptPrograms`] has it.
    pub path: String,
    /// Its number, which is that of its directory; `None`: it is not there.
    pub id: Option<u64>,
}

impl Cgroup {
    /// How many levels it lies below the root.
    pub fn level(&self) -> u32 {
        u32::try_from(self.path.split('/').count()).unwrap_or(u32::MAX)
    }
}

impl ExemptPrograms {
    /// Whether nothing is exempt.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.cgroups.is_empty()
    }

    /// Looks which of the cgroups there are.
    pub fn observe(&self) -> Vec<Cgroup> {
        let root = if self.cgroups.is_empty() { None } else { root() };
        let observe = |path: &String| {
            let directory = root.as_ref().map(|root| root.join(path));
            let found = directory.and_then(|directory| directory.metadata().ok());
            let id = found.filter(|found| found.is_dir()).map(|found| found.ino());
            Cgroup { path: path.clone(), id }
        };
        self.cgroups.iter().map(observe).collect()
    }
}

/// Where the cgroups of version 2 are to be seen (also beside those of version 1).
pub fn root() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    // One may be hidden by another that was mounted over it.
    mount_points(&mounts).find(|place| place.join("cgroup.procs").exists())
}

/// The path of a cgroup by its number, as [`Cgroup`] has it. Walks the hierarchy: nothing for every
/// packet.
pub fn cgroup_path(number: u64) -> Option<String> {
    let root = root()?;
    let mut waiting = vec![root.clone()];
    for _ in 0..MOST_CGROUPS {
        let directory = waiting.pop()?;
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.metadata().is_ok_and(|found| found.ino() == number) {
                return Some(entry.path().strip_prefix(&root).ok()?.to_str()?.to_owned());
            }
            waiting.push(entry.path());
        }
    }
    None
}

/// A machine that has more is not searched to its end.
const MOST_CGROUPS: usize = 10_000;

/// proc_pid_mountinfo(5): the fourth field is what is mounted, the fifth where; behind ` - ` the
/// type.
fn mount_points(mounts: &str) -> impl Iterator<Item = PathBuf> {
    mounts.lines().filter_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut fields = place.split(' ').skip(3);
        let whole = fields.next()? == "/" && kind.starts_with("cgroup2 ");
        fields.next().filter(|_| whole).map(PathBuf::from)
    })
}

/// Tells that cgroups come and go.
#[derive(Debug)]
pub struct CgroupEvents(Inotify);

impl CgroupEvents {
    /// # Errors
    /// What inotify_init1(2) says.
    pub fn new() -> io::Result<Self> {
        Ok(CgroupEvents(Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?))
    }

    /// Listens to the directories in which these cgroups, and those above them, may appear. To be
    /// called again after each event, and before [`ExemptPrograms::observe`].
    pub fn listen(&self, exempt: &ExemptPrograms) {
        let Some(root) = root() else { return };
        let events =
            AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_ONLYDIR;
        for cgroup in &exempt.cgroups {
            let parents = Path::new(cgroup).ancestors().skip(1);
            for parent in parents {
                // One that is not there is made in one that is; one more watch of the same changes
                // nothing.
                let _ = self.0.add_watch(&root.join(parent), events);
            }
        }
    }

    /// Takes what has come; never waits.
    pub fn drain(&self) {
        while self.0.read_events().is_ok_and(|events| !events.is_empty()) {}
    }
}

impl AsFd for CgroupEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroups_of_version_2_are_found_beside_those_of_version_1() {
        let mounts = "\
            25 1 0:22 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro\n\
            30 25 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            31 25 0:28 /a /mnt rw - cgroup2 cgroup2 rw\n\
            32 25 0:28 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        let found: Vec<PathBuf> = mount_points(mounts).collect();
        assert_eq!(found, [PathBuf::from("/sys/fs/cgroup/unified")]);
        assert_eq!(mount_points("- cgroup2 \n - cgroup2 \n").count(), 0);
    }

    #[test]
    fn a_level_for_each_part_of_the_path() {
        let level = |path: &str| Cgroup { path: path.into(), id: None }.level();
        assert_eq!(level("proxy.slice"), 1);
        assert_eq!(level("system.slice/sing-box.service"), 2);
    }

    #[test]
    fn a_cgroup_that_is_not_there_has_no_number() {
        let cgroups = vec!["no/such.slice".into()];
        let observed = ExemptPrograms { users: Vec::new(), cgroups }.observe();
        assert_eq!(observed, [Cgroup { path: "no/such.slice".into(), id: None }]);
    }
}
