//! A proxy server that is a program of this machine: who runs it, and what the operator can write
//! so that its own connections do not come back to it.

use crate::exempt_programs::{ExemptPrograms, cgroup_path};
use crate::net::is_own;
use crate::net::owner::{self, SocketOwner};
use nix::unistd::{Uid, User};
use std::net::SocketAddr;

/// The users below this number are services (SYS_UID_MAX of login.defs); 0 is root.
const FIRST_PERSON: u32 = 1000;

/// Who listens at a proxy server's address, as people call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Neighbour {
    user: Uid,
    /// The name of the user, or the number.
    name: String,
    /// The cgroup, if it is known and not the root.
    cgroup: Option<String>,
}

impl Neighbour {
    pub(super) fn of(owner: SocketOwner) -> Self {
        let known = User::from_uid(owner.user).ok().flatten();
        let name = known.map_or_else(|| owner.user.to_string(), |user| user.name);
        let cgroup = owner.cgroup.and_then(cgroup_path);
        Neighbour { user: owner.user, name, cgroup }
    }

    /// Whether everything of this user and cgroup is this one program: a user that is there for a
    /// service, or the cgroup of one.
    pub(super) fn is_alone(&self) -> bool {
        self.has_own_user() || self.own_cgroup().is_some()
    }

    fn has_own_user(&self) -> bool {
        (1..FIRST_PERSON).contains(&self.user.as_raw())
    }

    fn own_cgroup(&self) -> Option<&str> {
        let path = self.cgroup.as_deref()?;
        let last = path.rsplit('/').next()?;
        (last.ends_with(".service") && !last.starts_with("user@")).then_some(path)
    }

    /// What to write.
    pub(super) fn remedy(&self) -> String {
        let user = format!("rules.direct-users = [\"{}\"]", self.name);
        // In TOML a backslash is itself only between single quotes, as systemd's names have it.
        let cgroup = self.own_cgroup().map(|path| format!("rules.direct-cgroups = ['{path}']"));
        match (self.has_own_user(), cgroup) {
            (true, Some(cgroup)) => format!("write {user} or {cgroup}"),
            (true, None) => format!("write {user}"),
            (false, Some(cgroup)) => format!("write {cgroup}"),
            (false, None) => format!(
                "run it as a user of its own, who then stands in rules.direct-users, or as a \
                 service, for rules.direct-cgroups (it runs as {}, as other programs do)",
                self.name
            ),
        }
    }

    /// Whether it is left alone, or will be in a moment: a service that is just being started.
    pub(super) fn is_covered(&self, exempt: &ExemptPrograms) -> bool {
        let beneath = |path: &str, above: &str| {
            path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let cgroup = self.cgroup.as_deref().unwrap_or_default();
        exempt.users.contains(&self.user.as_raw())
            || exempt.cgroups.iter().any(|above| beneath(cgroup, above))
    }
}

/// What the operator should know of the proxy of this name, whose server is at this address;
/// `None`: nothing, since it is elsewhere, or left alone.
pub fn advice(name: &str, server: SocketAddr, exempt: &ExemptPrograms) -> Option<String> {
    if !is_own(server.ip()) {
        return None;
    }
    let begin = format!(
        "proxy \"{name}\": {server} is this machine, and the connections of the program there \
         would be captured and come back to it"
    );
    match owner::of_listener(server).ok().flatten().map(Neighbour::of) {
        Some(neighbour) if neighbour.is_covered(exempt) => None,
        Some(neighbour) => Some(format!("{begin}: {}", neighbour.remedy())),
        None if !exempt.users.is_empty() || !exempt.cgroups.is_empty() => None,
        None => Some(format!(
            "{begin}: write rules.direct-users = [\"the user it runs as\"] or \
             rules.direct-cgroups = [\"system.slice/its.service\"] (nobody listens there at \
             present)"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbour(user: u32, name: &str, cgroup: Option<&str>) -> Neighbour {
        let cgroup = cgroup.map(str::to_owned);
        Neighbour { user: Uid::from_raw(user), name: name.into(), cgroup }
    }

    #[test]
    fn what_to_write_and_whether_it_is_one_program() {
        for (user, name, cgroup, remedy) in [
            (990, "tinyproxy", None, Some("write rules.direct-users = [\"tinyproxy\"]")),
            (
                990,
                "proxy",
                Some("system.slice/a.service"),
                Some(
                    "write rules.direct-users = [\"proxy\"] or rules.direct-cgroups = \
                     ['system.slice/a.service']",
                ),
            ),
            (
                0,
                "root",
                Some(r"system.slice/a\x2db.service"),
                Some(r"write rules.direct-cgroups = ['system.slice/a\x2db.service']"),
            ),
            (0, "root", None, None),
            (0, "root", Some("user.slice/user-0.slice/session-1.scope"), None),
            (1000, "alice", Some("user.slice/user-1000.slice/user@1000.service"), None),
        ] {
            let neighbour = neighbour(user, name, cgroup);
            let said = neighbour.remedy();
            assert_eq!(neighbour.is_alone(), remedy.is_some(), "{neighbour:?}");
            match remedy {
                Some(remedy) => assert_eq!(said, remedy),
                None => assert!(said.contains(name) && said.contains("direct-users"), "{said}"),
            }
        }
    }

    #[test]
    fn exempt_programs_need_no_advice() {
        let exempt = ExemptPrograms { users: vec![990], cgroups: vec!["proxy.slice".into()] };
        assert!(neighbour(990, "a", None).is_covered(&exempt));
        assert!(neighbour(0, "root", Some("proxy.slice")).is_covered(&exempt));
        assert!(neighbour(0, "root", Some("proxy.slice/b.service")).is_covered(&exempt));
        assert!(!neighbour(0, "root", Some("proxy.slices")).is_covered(&exempt));
        assert!(!neighbour(0, "root", None).is_covered(&exempt));
    }

    #[test]
    fn a_server_elsewhere_is_no_neighbour() {
        let elsewhere = "192.0.2.1:8388".parse().unwrap();
        assert_eq!(advice("far", elsewhere, &ExemptPrograms::default()), None);
        let here = "127.0.0.1:1".parse().unwrap();
        let said = advice("near", here, &ExemptPrograms::default()).unwrap();
        assert!(said.contains("nobody listens there"), "{said}");
    }
}
