//! How much memory this process may use: what the machine has, or less if its cgroup or one above
//! it gets less (MemoryMax= and MemoryHigh= of systemd, the limit of a container). Both versions of
//! cgroups are known (cgroups(7); Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst
//! of the kernel).

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes; `None` where /proc does not say.
pub(super) fn for_this_process() -> Option<u64> {
    within(Path::new("/"))
}

fn within(root: &Path) -> Option<u64> {
    let machine = of_machine(&fs::read_to_string(root.join("proc/meminfo")).ok()?);
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap_or_default();
    let (memberships, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
    let limits = mounts.lines().filter_map(Hierarchy::of_mount).filter_map(|hierarchy| {
        let path = memberships.lines().find_map(|line| hierarchy.path_in(line))?;
        hierarchy.least(root, path)
    });
    limits.chain(machine).min()
}

/// proc(5): `MemTotal:  24683520 kB`.
fn of_machine(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// A mount of cgroups in which memory can be limited.
#[derive(Clone, Copy, Debug)]
struct Hierarchy<'a> {
    /// The cgroup that is mounted; in a container it may be one far from the top.
    top: &'a str,
    at: &'a str,
    /// Files in which a limit stands: a number of bytes, or `max`.
    files: &'static [&'static str],
}

impl<'a> Hierarchy<'a> {
    /// A line of /proc/self/mountinfo: fields, a hyphen, the type, the source, the options of the
    /// file system (proc_pid_mountinfo(5)).
    fn of_mount(line: &'a str) -> Option<Self> {
        let (fields, kind) = line.split_once(" - ")?;
        let (mut fields, mut kind) = (fields.split(' ').skip(3), kind.split(' '));
        let files: &[&str] = match (kind.next()?, kind.nth(1)?) {
            ("cgroup2", _) => &["memory.max", "memory.high"],
            ("cgroup", options) if options.split(',').any(|option| option == "memory") => {
                &["memory.limit_in_bytes"]
            }
            _ => return None,
        };
        Some(Hierarchy { top: fields.next()?, at: fields.next()?, files })
    }

    /// The path of a line of /proc/self/cgroup, if that is about this hierarchy.
    fn path_in<'b>(&self, line: &'b str) -> Option<&'b str> {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let is_first = controllers.split(',').any(|controller| controller == "memory");
        let is_second = controllers.is_empty();
        let is_wanted = if self.files.len() > 1 { is_second } else { is_first };
        is_wanted.then_some(path)
    }

    /// The least that the cgroup of this path or one above it gets.
    fn least(&self, root: &Path, path: &str) -> Option<u64> {
        let inside = Path::new(path).strip_prefix(self.top).unwrap_or(Path::new(""));
        let top: PathBuf = root.join(self.at.trim_start_matches('/'));
        let cgroups = inside.ancestors().map(|inside| top.join(inside));
        let limits = cgroups.flat_map(|cgroup| self.files.iter().map(move |f| cgroup.join(f)));
        limits.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = "MemTotal:         131072 kB\nMemFree:           90000 kB\n";
    const MIB: u64 = 1 << 20;

    /// What the kernel would show, in files; and the answer.
    fn seen(name: &str, files: &[(&str, &str)]) -> Option<u64> {
        let root = std::env::temp_dir().join(format!("snet-memory-{}-{name}", std::process::id()));
        for (file, text) in files {
            let file = root.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let seen = within(&root);
        fs::remove_dir_all(root).unwrap();
        seen
    }

    #[test]
    fn without_cgroups_it_is_the_machines() {
        assert_eq!(seen("machine", &[("proc/meminfo", MACHINE)]), Some(128 * MIB));
        assert_eq!(within(Path::new("/nowhere")), None);
    }

    #[test]
    fn a_service_has_what_systemd_gives_it() {
        let common = [
            ("proc/meminfo", MACHINE),
            ("proc/self/cgroup", "0::/system.slice/snet.service\n"),
            (
                "proc/self/mountinfo",
                "25 30 0:23 / /proc rw - proc proc rw\n\
                 31 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
            ),
        ];
        let with = |name, limits: &[(&'static str, &'static str)]| {
            seen(name, &[&common[..], limits].concat())
        };
        const SERVICE: &str = "sys/fs/cgroup/system.slice/snet.service/memory.max";
        const HIGH: &str = "sys/fs/cgroup/system.slice/snet.service/memory.high";
        const SLICE: &str = "sys/fs/cgroup/system.slice/memory.max";
        assert_eq!(with("none", &[(SERVICE, "max\n"), (SLICE, "max\n")]), Some(128 * MIB));
        assert_eq!(with("max", &[(SERVICE, "67108864\n"), (HIGH, "max\n")]), Some(64 * MIB));
        assert_eq!(with("high", &[(SERVICE, "67108864\n"), (HIGH, "50331648\n")]), Some(48 * MIB));
        assert_eq!(
            with("above", &[(SERVICE, "67108864\n"), (SLICE, "33554432\n")]),
            Some(32 * MIB)
        );
        assert_eq!(with("more", &[(SERVICE, "999999999999\n")]), Some(128 * MIB));
    }

    #[test]
    fn the_first_version_has_a_hierarchy_for_memory() {
        let common = [
            ("proc/meminfo", MACHINE),
            ("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/b/c\n0::/\n"),
            (
                "proc/self/mountinfo",
                "33 31 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                 36 31 0:30 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n\
                 43 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
            ),
        ];
        let limit = |value| ("sys/fs/cgroup/memory/b/c/memory.limit_in_bytes", value);
        let seen = |name, value| seen(name, &[&common[..], &[limit(value)]].concat());
        assert_eq!(seen("first", "67108864\n"), Some(64 * MIB));
        assert_eq!(seen("unlimited", "9223372036854771712\n"), Some(128 * MIB));
    }

    /// It may see the host's path and only its own part of the hierarchy.
    #[test]
    fn a_container_sees_its_own_cgroup_at_the_top() {
        for (name, membership, top) in [
            ("docker", "4:memory:/docker/0123\n", "/docker/0123"),
            ("elsewhere", "4:memory:/../0123\n", "/"),
        ] {
            let mount =
                format!("36 31 0:30 {top} /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
            let files = [
                ("proc/meminfo", MACHINE),
                ("proc/self/cgroup", membership),
                ("proc/self/mountinfo", &mount),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864\n"),
            ];
            assert_eq!(seen(name, &files), Some(64 * MIB), "{name}");
        }
    }
}
