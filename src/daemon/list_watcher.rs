//! Watches the files of lists, with `rules.watch`, and tells when they have changed.
//!
//! Every two seconds each file is looked at (stat(2)). inotify would tell sooner, but not of a file
//! on a network share, of one behind a symbolic link that is turned to another folder, or through
//! an overlay; and it has a queue that overflows. A list is in no hurry.
//!
//! Programs write a list in pieces, several lists one after the other, or put a file in the place
//! of another, so that for a moment there is none. So a change is told when all files have been as
//! they are for two looks. What was told is not told again, also if it could not be used.

use crate::file_stamp::{FileStamp, ListFile};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

const INTERVAL: Duration = Duration::from_secs(2);

/// The versions of all files; `None`: there is no such file.
type Versions = Vec<Option<FileStamp>>;

/// Tells of changes to the files that `files` holds, until `stopped` turns true. Returns true.
pub(super) async fn watch(
    mut files: watch::Receiver<Vec<ListFile>>,
    told: mpsc::Sender<()>,
    mut stopped: watch::Receiver<bool>,
) -> bool {
    let mut watched = files.borrow_and_update().clone();
    let mut changes = ListChanges::since(&watched);
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return true,
            Ok(()) = files.changed() => {
                watched = files.borrow_and_update().clone();
                changes = ListChanges::since(&watched);
                continue;
            }
            _ = ticks.tick(), if !watched.is_empty() => {}
        }
        let paths: Vec<_> = watched.iter().map(|file| file.path.clone()).collect();
        // A disk that hangs stops no other part.
        let looking = tokio::task::spawn_blocking(move || {
            paths.iter().map(|path| FileStamp::at(path)).collect::<Versions>()
        });
        if looking.await.is_ok_and(|now| changes.look(now)) {
            // One that waits says as much as two.
            let _ = told.try_send(());
        }
    }
}

/// What was seen of the files.
struct ListChanges {
    /// What was read, or told last.
    known: Versions,
    /// What the last look saw.
    last: Versions,
}

impl ListChanges {
    fn since(files: &[ListFile]) -> Self {
        let known: Versions = files.iter().map(|file| Some(file.stamp)).collect();
        ListChanges { last: known.clone(), known }
    }

    /// Whether there is a change to tell.
    fn look(&mut self, now: Versions) -> bool {
        let is_steady = now == self.last;
        let is_new = is_steady && now != self.known;
        if is_new {
            self.known = now.clone();
        }
        self.last = now;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn folder(test: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("snet-watch-{}-{test}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn file(path: PathBuf) -> ListFile {
        ListFile { stamp: FileStamp::at(&path).unwrap(), path }
    }

    #[test]
    fn a_change_is_told_once_and_when_it_is_steady() {
        let folder = folder("steady");
        let (list, next) = (folder.0.join("list"), folder.0.join("next"));
        fs::write(&list, "a.example\n").unwrap();
        let mut changes = ListChanges::since(&[file(list.clone())]);
        let mut look = || changes.look(vec![FileStamp::at(&list)]);
        assert_eq!([look(), look()], [false, false]);
        fs::write(&list, "a.example\nb.ex").unwrap();
        assert!(!look(), "it may still be written");
        fs::write(&list, "a.example\nb.example\n").unwrap();
        assert_eq!([look(), look(), look()], [false, true, false]);
        fs::remove_file(&list).unwrap();
        assert!(!look(), "another one may take its place");
        fs::write(&next, "a.example\nb.example\n").unwrap();
        fs::rename(&next, &list).unwrap();
        assert_eq!([look(), look(), look()], [false, true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_says_what_is_watched() {
        let folder = folder("task");
        let list = folder.0.join("list");
        fs::write(&list, "a.example\n").unwrap();
        let (files, watched) = watch::channel(Vec::new());
        let (told, mut changes) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(watch(watched, told, stopped));
        files.send_replace(vec![file(list.clone())]);
        tokio::time::sleep(INTERVAL * 3).await;
        assert!(changes.try_recv().is_err(), "nothing has changed");
        fs::write(&list, "a.example\nb.example\n").unwrap();
        changes.recv().await.unwrap();
        stop.send_replace(true);
        assert!(task.await.unwrap());
    }
}
