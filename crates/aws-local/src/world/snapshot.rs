//! The state on disk, so that a restart of `taskfault-local` forgets nothing.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::World;

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its fields are")]
pub enum SnapshotError {
    #[error("could not read the state file {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("could not write the state file {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("the state file {path} is not ours or is damaged ({source}); remove it to start afresh")]
    Parse { path: PathBuf, source: serde_json::Error },
}

impl World {
    /// Reads the state of an earlier run; an empty state if there is no such file.
    ///
    /// # Errors
    /// The file exists but cannot be read, or is not a state.
    pub fn load(path: &Path) -> Result<World, SnapshotError> {
        match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| SnapshotError::Parse { path: path.to_owned(), source }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(World::default()),
            Err(source) => Err(SnapshotError::Read { path: path.to_owned(), source }),
        }
    }

    /// Writes the state beside its file (`.NAME.new`) and moves it into place: a crash leaves the old one or the
    /// new one. It holds activation codes and secrets of its own making, so only its owner may read it.
    ///
    /// # Errors
    /// The folder is missing, not writable or full.
    pub fn save(&self, path: &Path) -> Result<(), SnapshotError> {
        let failed = |source| SnapshotError::Write { path: path.to_owned(), source };
        let text = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        let name = path.file_name().ok_or_else(|| failed(std::io::ErrorKind::IsADirectory.into()))?;
        let mut beside = std::ffi::OsString::from(".");
        beside.push(name);
        beside.push(".new");
        let beside = path.with_file_name(beside);
        private_file(&beside).and_then(|mut file| file.write_all(&text)).map_err(failed)?;
        std::fs::rename(&beside, path).map_err(failed)
    }
}

/// A file that did not exist before: what a killed process left goes, and no link of somebody else is followed.
fn private_file(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A state file from before each service owned its state.
    const EARLIER: &str = include_str!("../../tests/data/state.json");

    #[test]
    fn a_state_file_of_an_earlier_version_is_read_and_written_as_it_is() {
        let world: World = serde_json::from_str(EARLIER).unwrap();
        assert_eq!(world.ssm.commands[0].document_name, "AWSFIS-Run-CPU-Stress");
        assert_eq!(serde_json::to_string(&world).unwrap(), EARLIER.trim_end());
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert!(World::load(&path).unwrap().ssm.commands.is_empty());
        let state = serde_json::from_str::<World>(EARLIER).unwrap();
        // What a killed process left, or somebody else laid out.
        let other = folder.path().join("other");
        std::fs::write(&other, "untouched").unwrap();
        std::os::unix::fs::symlink(&other, folder.path().join(".state.json.new")).unwrap();
        state.save(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "untouched");
        std::fs::remove_file(&other).unwrap();
        let back = World::load(&path).unwrap();
        assert_eq!(format!("{back:?}"), format!("{state:?}"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_file_is_said_so_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        std::fs::write(&path, "{\"commands\": 5").unwrap();
        let error = World::load(&path).unwrap_err().to_string();
        assert!(error.contains("state.json") && error.contains("remove it"), "{error}");
        assert!(World::default().save(&folder.path().join("no/such/folder")).is_err());
    }
}
