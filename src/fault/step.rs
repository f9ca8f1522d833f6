//! Steps in the life of the daemon: a test lets it fail, panic, hang or die at any of them.
//!
//! `SNET_STEP=count` numbers the steps that are passed, from 1, on standard error;
//! `SNET_STEP=kill@7` acts at the seventh, once. Only debug builds know the variable: elsewhere
//! [`at`] and [`pass`] are empty.

use std::io;

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// In the order of the story: start, reload, stop. Those of a backend are passed only with
        /// it; those that clean are passed by a start and by a stop.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Step {
            $($(#[$doc])* $name,)*
        }

        impl Step {
            /// All of them.
            pub const ALL: &[Step] = &[$(Step::$name),*];
        }
    };
}

steps! {
    /// Before rights are given up.
    Rights,
    /// Before the backend is made ready.
    Prepare,
    /// Before the lock is taken.
    Claim,
    /// Before the redirect port is bound.
    Listen,
    /// Before the resolver is bound.
    Resolver,
    /// Before names of servers are resolved.
    Bootstrap,
    /// Before the network is looked at.
    Rules,
    /// iptables: before chains of ours are removed.
    CleanRules,
    /// iptables: before sets of ours are destroyed.
    CleanSets,
    /// iptables: before the sets are made.
    MakeSets,
    /// iptables: before the tables of a family are filled.
    PutTables,
    /// iptables: after that, before it is looked at.
    LookAtTables,
    /// nftables: before the table is made.
    MakeTable,
    /// nftables: when it is there.
    MadeTable,
    /// Before the network is followed.
    Follow,
    /// When the rules are installed.
    Installed,
    /// Before the service manager is told.
    Ready,
    /// Before the file is read again.
    Reload,
    /// When the new world stands beside the old one.
    Rebuilt,
    /// When the dispatcher is the new one.
    Swapped,
    /// iptables: before new sets are made.
    NewSets,
    /// iptables: before sets change.
    ChangeSets,
    /// iptables: before one table changes.
    TurnTable,
    /// iptables: before sets that no rule needs are destroyed.
    DropSets,
    /// nftables: before the table changes.
    ChangeTable,
    /// When the kernel has the new rules.
    Turned,
    /// When all of the new world is in force.
    Reloaded,
    /// Before nothing more is captured.
    Release,
    /// iptables: before the jumps are taken out.
    Detach,
    /// Before open connections are waited for.
    Drain,
    /// Before those that are left are cut.
    Cut,
    /// Before the rules are removed.
    Remove,
    /// nftables: before the table is removed.
    RemoveTable,
    /// When nothing of ours is left.
    Removed,
}

#[cfg(debug_assertions)]
mod injected {
    use super::{Step, io};
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static PASSED: AtomicU32 = AtomicU32::new(0);

    #[derive(Clone, Copy)]
    enum Injection {
        Count,
        Fail,
        Panic,
        Hang,
        Kill,
    }

    /// A step at which the work can fail.
    ///
    /// # Errors
    /// On purpose.
    pub fn at(step: Step) -> io::Result<()> {
        match reached(step) {
            Some(Injection::Fail) => {
                Err(io::Error::other(format!("failed on purpose at {step:?}")))
            }
            Some(act) => {
                perform(act, step);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// A step at which nothing fails.
    pub fn pass(step: Step) {
        if let Some(act) = reached(step) {
            perform(act, step);
        }
    }

    fn reached(step: Step) -> Option<Injection> {
        static ASKED: OnceLock<Option<(Injection, u32)>> = OnceLock::new();
        let (act, number) = (*ASKED.get_or_init(asked))?;
        let passed = PASSED.fetch_add(1, Ordering::SeqCst) + 1;
        if matches!(act, Injection::Count) || passed == number {
            // Not the log, which may be filtered; in one write, since its thread writes there too.
            let line = format!("step {passed}: {step:?}\n");
            let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
            return Some(act);
        }
        None
    }

    fn asked() -> Option<(Injection, u32)> {
        let text = std::env::var("SNET_STEP").ok()?;
        let (act, number) = text.split_once('@').unwrap_or((&text, "0"));
        let act = match act {
            "count" => Injection::Count,
            "fail" => Injection::Fail,
            "panic" => Injection::Panic,
            "hang" => Injection::Hang,
            "kill" => Injection::Kill,
            _ => return None,
        };
        Some((act, number.parse().ok()?))
    }

    fn perform(act: Injection, step: Step) {
        let signal = match act {
            Injection::Count | Injection::Fail => return,
            Injection::Panic => panic!("on purpose at {step:?}"),
            Injection::Hang => Signal::SIGSTOP,
            Injection::Kill => Signal::SIGKILL,
        };
        // To the process, not to this thread: neither signal can be held off.
        let _ = kill(Pid::this(), signal);
    }
}

#[cfg(debug_assertions)]
pub use injected::{at, pass};

/// A step at which the work can fail.
///
/// # Errors
/// Never.
#[cfg(not(debug_assertions))]
#[expect(clippy::unnecessary_wraps, reason = "as in a debug build")]
pub const fn at(_: Step) -> io::Result<()> {
    Ok(())
}

/// A step at which nothing fails.
#[cfg(not(debug_assertions))]
pub const fn pass(_: Step) {}
