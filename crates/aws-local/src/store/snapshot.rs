//! The state on disk, so that a restart of `taskfault-local` forgets nothing.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::State;

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("could not read the state file {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("could not write the state file {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("the state file {path} is not ours or is damaged ({source}); remove it to start afresh")]
    Parse { path: PathBuf, source: serde_json::Error },
}

impl State {
    /// Reads the state of an earlier run; an empty state if there is no such file.
    ///
    /// # Errors
    /// The file exists but cannot be read, or is not a state.
    pub fn load(path: &Path) -> Result<State, SnapshotError> {
        match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| SnapshotError::Parse { path: path.to_owned(), source }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(State::default()),
            Err(source) => Err(SnapshotError::Read { path: path.to_owned(), source }),
        }
    }

    /// Writes the state beside its file and moves it into place: a crash leaves the old one or the new one.
    /// It holds activation codes and secrets of its own making, so only its owner may read it.
    ///
    /// # Errors
    /// The folder is missing, not writable or full.
    pub fn save(&self, path: &Path) -> Result<(), SnapshotError> {
        let failed = |source| SnapshotError::Write { path: path.to_owned(), source };
        let text = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        let beside = path.with_extension("new");
        private_file(&beside).and_then(|mut file| file.write_all(&text)).map_err(failed)?;
        std::fs::rename(&beside, path).map_err(failed)
    }
}

fn private_file(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// A uuid as text in the state file.
pub(super) mod uuid_text {
    use serde::{Deserialize, Deserializer, Serializer};
    use uuid::Uuid;

    pub(in super::super) fn serialize<S: Serializer>(id: &Uuid, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Uuid, D::Error> {
        Uuid::parse_str(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::sample::submitted;
    use super::*;

    #[test]
    fn what_was_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert!(State::load(&path).unwrap().commands.is_empty());
        let state = submitted(&["mi-1"]);
        state.save(&path).unwrap();
        let back = State::load(&path).unwrap();
        assert_eq!(format!("{back:?}"), format!("{state:?}"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_file_is_said_so_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        std::fs::write(&path, "{\"commands\": 5").unwrap();
        let error = State::load(&path).unwrap_err().to_string();
        assert!(error.contains("state.json") && error.contains("remove it"), "{error}");
        assert!(State::default().save(&folder.path().join("no/such/folder")).is_err());
    }
}
