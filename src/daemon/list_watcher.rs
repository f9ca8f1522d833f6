//! Watches the files of lists, with `rules.watch`, and tells which have changed.
//!
//! Every two seconds each file is looked at (stat(2)). inotify would tell sooner, but not of a file
//! on a network share, of one behind a symbolic link that is turned to another folder, or through
//! an overlay; and it has a queue that overflows. A list is in no hurry.
//!
//! Programs write a list in pieces, several lists one after the other, or put a file in the place
//! of another, so that for a moment there is none. So a change is told when all files have been as
//! they are for two looks; where one is never quiet, after half a minute. Then there is a rest,
//! since reading takes time. What was told is not told again, also if it could not be used.

use crate::file_stamp::{FileStamp, ListFile};
use crate::task::spawn_blocking;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

const INTERVAL: Duration = Duration::from_secs(2);

/// Looks from one telling to the next, at least.
const REST: u32 = 5;

/// Looks that a change waits for quiet, at most.
const PATIENCE: u32 = 15;

/// The versions of all files; `None`: there is no such file.
type Versions = Vec<Option<FileStamp>>;

/// Tells of changes to the files that `files` holds, until `stopped` turns true. Returns true.
pub(super) async fn watch(
    mut files: watch::Receiver<Vec<ListFile>>,
    told: mpsc::Sender<Vec<PathBuf>>,
    mut stopped: watch::Receiver<bool>,
) -> bool {
    let mut changes = ListChanges::default();
    changes.begin(&files.borrow_and_update());
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return true,
            Ok(()) = files.changed() => {
                changes.begin(&files.borrow_and_update());
                continue;
            }
            _ = ticks.tick(), if !changes.known.is_empty() => {}
        }
        let paths: Vec<PathBuf> = files.borrow().iter().map(|file| file.path.clone()).collect();
        // A disk that hangs stops no other part.
        let looking = spawn_blocking(move || {
            let now = paths.iter().map(|path| FileStamp::at(path)).collect();
            (paths, now)
        });
        let seen = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return true,
            seen = looking => seen,
        };
        let Ok((paths, now)) = seen else { continue };
        let changed: Vec<PathBuf> = changes.look(now).map(|at| paths[at].clone()).collect();
        if !changed.is_empty() {
            // One that waits says as much as two.
            let _ = told.try_send(changed);
        }
    }
}

/// What was seen of the files.
#[derive(Default)]
struct ListChanges {
    /// What was read, or told last.
    known: Versions,
    /// What the last look saw.
    last: Versions,
    /// Looks for which a change has waited.
    waited: u32,
    /// Looks in which nothing is told.
    rest: u32,
}

impl ListChanges {
    /// These files have been read.
    fn begin(&mut self, files: &[ListFile]) {
        self.known = files.iter().map(|file| file.stamp).collect();
        self.last.clone_from(&self.known);
        self.waited = 0;
    }

    /// The files whose change is to be told, by their place among all.
    fn look(&mut self, now: Versions) -> impl Iterator<Item = usize> {
        let is_quiet = now == self.last;
        self.last = now;
        self.rest = self.rest.saturating_sub(1);
        let differs = |(at, (last, known))| (last != known).then_some(at);
        let pairs = self.last.iter().zip(&self.known).enumerate();
        let mut changed: Vec<usize> = pairs.filter_map(differs).collect();
        self.waited = if changed.is_empty() { 0 } else { self.waited + 1 };
        if self.rest > 0 || !is_quiet && self.waited < PATIENCE {
            changed.clear();
        }
        if !changed.is_empty() {
            self.known.clone_from(&self.last);
            (self.waited, self.rest) = (0, REST);
        }
        changed.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use tokio::time::timeout;

    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Folder {
            let name = format!("snet-watch-{}-{test}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Folder(path)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn read(path: &Path) -> ListFile {
        ListFile { path: path.to_owned(), stamp: FileStamp::at(path) }
    }

    /// Looks at these files, and says which are told.
    struct Looking {
        changes: ListChanges,
        paths: Vec<PathBuf>,
    }

    impl Looking {
        fn at(files: Vec<ListFile>) -> Self {
            let mut changes = ListChanges::default();
            changes.begin(&files);
            Looking { changes, paths: files.into_iter().map(|file| file.path).collect() }
        }

        fn look(&mut self) -> Vec<usize> {
            let now = self.paths.iter().map(|path| FileStamp::at(path)).collect();
            self.changes.look(now).collect()
        }

        /// Looks until nothing new is to come; a number for each telling.
        fn settle(&mut self) -> Vec<usize> {
            (0..REST + PATIENCE).flat_map(|_| self.look()).collect()
        }
    }

    #[test]
    fn a_change_is_told_once_and_when_it_is_quiet() {
        let folder = Folder::new("quiet");
        let list = folder.write("list", "a.example\n");
        let other = folder.write("other", "z.example\n");
        let mut looking = Looking::at(vec![read(&other), read(&list)]);
        assert!(looking.settle().is_empty(), "nothing has changed");
        folder.write("list", "a.example\nb.ex");
        assert!(looking.look().is_empty(), "it may still be written");
        folder.write("list", "a.example\nb.example\n");
        assert!(looking.look().is_empty(), "it was");
        assert_eq!(looking.look(), [1]);
        assert!(looking.settle().is_empty(), "it is known");
    }

    #[test]
    fn a_file_that_goes_and_one_that_comes_into_its_place() {
        let folder = Folder::new("rename");
        let list = folder.write("list", "a.example\n");
        let mut looking = Looking::at(vec![read(&list)]);
        fs::remove_file(&list).unwrap();
        assert!(looking.look().is_empty(), "another one may take its place");
        fs::rename(folder.write("next", "a.example\n"), &list).unwrap();
        assert_eq!(looking.settle(), [0]);
        fs::remove_file(&list).unwrap();
        assert_eq!(looking.settle(), [0], "it is gone");
        folder.write("list", "a.example\n");
        assert_eq!(looking.settle(), [0], "it is back");
    }

    #[test]
    fn a_file_behind_links() {
        let folder = Folder::new("links");
        for version in ["1", "2"] {
            fs::create_dir(folder.0.join(version)).unwrap();
            folder.write(&format!("{version}/list"), "a.example\n");
        }
        symlink("1", folder.0.join("current")).unwrap();
        let mut looking = Looking::at(vec![read(&folder.0.join("current/list"))]);
        symlink("2", folder.0.join("next")).unwrap();
        fs::rename(folder.0.join("next"), folder.0.join("current")).unwrap();
        assert_eq!(looking.settle(), [0]);
        let list = folder.write("2/list", "a.example\nb.example\n");
        assert_eq!(looking.settle(), [0]);
        symlink(&list, folder.0.join("link")).unwrap();
        let mut looking = Looking::at(vec![read(&folder.0.join("link"))]);
        folder.write("2/list", "c.example\n");
        assert_eq!(looking.settle(), [0]);
    }

    #[test]
    fn a_change_that_leaves_length_and_time() {
        let folder = Folder::new("times");
        let list = folder.write("list", "a.example\n");
        let then = fs::metadata(&list).unwrap().modified().unwrap();
        let mut looking = Looking::at(vec![read(&list)]);
        folder.write("list", "b.example\n");
        fs::File::open(&list).unwrap().set_modified(then).unwrap();
        assert_eq!(looking.settle(), [0]);
    }

    #[test]
    fn one_that_is_never_quiet_is_told_now_and_then() {
        let folder = Folder::new("storm");
        let list = folder.write("list", "");
        let other = folder.write("other", "");
        let mut looking = Looking::at(vec![read(&list), read(&other)]);
        folder.write("other", "a.example\n");
        let mut storm = |looks: u32| -> usize {
            let one = |number| {
                folder.write("list", &"#".repeat(number as usize + 1));
                looking.look().len()
            };
            (0..looks).map(one).sum()
        };
        assert_eq!(storm(PATIENCE - 1), 0);
        assert_eq!(storm(1), 2, "the quiet one is told too");
        assert_eq!(storm(10 * PATIENCE), 10);
    }

    #[test]
    fn between_tellings_there_is_a_rest() {
        let folder = Folder::new("rest");
        let list = folder.write("list", "");
        let mut looking = Looking::at(vec![read(&list)]);
        let mut told = 0;
        for number in 0..10 * REST {
            // Quiet for a look each time.
            if number % 2 == 0 {
                folder.write("list", &"#".repeat(number as usize + 1));
            }
            if !looking.look().is_empty() {
                told += 1;
                // It is read.
                looking.changes.begin(&[read(&list)]);
            }
        }
        assert!((5..=10).contains(&told), "{told}");
    }

    #[test]
    fn a_change_before_the_first_look() {
        let folder = Folder::new("before");
        let list = folder.write("list", "a.example\n");
        let missing = ListFile { path: folder.0.join("included"), stamp: None };
        let files = vec![read(&list), missing];
        fs::rename(folder.write("next", "b.example\n"), &list).unwrap();
        folder.write("included", "c.example\n");
        assert_eq!(Looking::at(files).settle(), [0, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_says_what_is_watched() {
        let folder = Folder::new("task");
        let list = folder.write("list", "a.example\n");
        let (files, watched) = watch::channel(Vec::new());
        let (telling, mut told) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(watch(watched, telling, stopped));
        folder.write("list", "a.example\nb.example\n");
        tokio::time::sleep(INTERVAL * 3).await;
        files.send_replace(vec![read(&list)]);
        tokio::time::sleep(INTERVAL * 3).await;
        assert!(told.try_recv().is_err(), "nothing has changed");
        folder.write("list", "a.example\n");
        assert_eq!(timeout(INTERVAL * 20, told.recv()).await.unwrap().unwrap(), [list]);
        stop.send_replace(true);
        assert!(task.await.unwrap());
    }
}
