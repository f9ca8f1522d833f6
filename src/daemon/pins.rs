//! The operator's pins over a restart: a small file in the folder that the unit makes. Where there
//! is no such folder they end with the process.

use crate::config::KEPT_FOLDER;
use crate::kept_file::{self, KeptFormat, Piece};
use crate::task::spawn_blocking;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tracing::{debug, warn};

/// How the file begins. A JSON object follows: members by groups.
const FORMAT: KeptFormat = KeptFormat { head: b"snet pins ", line: b"snet pins 1\n" };

/// Names of some hundred groups.
const LONGEST: usize = 64 << 10;

/// The pins by the name of the group, and their file.
pub(super) struct KeptPins(PathBuf);

impl KeptPins {
    /// In the folder of this machine's snet. `None`: there is none.
    pub(super) fn here() -> Option<Self> {
        KeptPins::within(Path::new(KEPT_FOLDER))
    }

    fn within(folder: &Path) -> Option<Self> {
        folder.is_dir().then(|| KeptPins(folder.join("pins")))
    }

    /// What was pinned. Waits for the disk.
    pub(super) fn read(&self) -> BTreeMap<String, String> {
        let shown = self.0.display();
        match kept_file::read(&self.0, FORMAT, LONGEST) {
            Ok(Some(content)) => serde_json::from_slice(&content).unwrap_or_else(|error| {
                warn!("{shown}: the pins of groups are lost: {error}");
                BTreeMap::new()
            }),
            Ok(None) => BTreeMap::new(),
            Err(error) => {
                warn!("{shown}: the pins of groups cannot be read: {error}");
                BTreeMap::new()
            }
        }
    }

    /// Keeps these instead.
    pub(super) async fn write(&self, pins: &BTreeMap<String, String>) {
        let (path, json) = (self.0.clone(), serde_json::to_vec(pins));
        let writing = spawn_blocking(move || {
            let mut pieces = [Piece::Some(json?), Piece::End].into_iter();
            kept_file::replace(&path, FORMAT, || pieces.next()).map(drop)
        });
        match writing.await {
            Ok(Ok(())) => debug!("{}: written", self.0.display()),
            Ok(Err(error)) => warn!(
                "{}: the pins of groups end with this run, they cannot be written: {error}",
                self.0.display()
            ),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[tokio::test]
    async fn what_is_written_is_read_again() {
        let folder = std::env::temp_dir().join(format!("snet-pins-{}", std::process::id()));
        assert!(KeptPins::within(&folder).is_none(), "no folder is made for it");
        fs::create_dir(&folder).unwrap();
        let kept = KeptPins::within(&folder).unwrap();
        assert!(kept.read().is_empty());
        let pins = BTreeMap::from([("auto".to_owned(), "香港 1".to_owned())]);
        kept.write(&pins).await;
        assert_eq!(kept.read(), pins);
        kept.write(&BTreeMap::new()).await;
        assert!(kept.read().is_empty());
        fs::write(folder.join("pins"), "somebody's").unwrap();
        kept.write(&pins).await;
        assert_eq!(fs::read(folder.join("pins")).unwrap(), b"somebody's", "it is not ours");
        fs::remove_dir_all(&folder).unwrap();
    }
}
