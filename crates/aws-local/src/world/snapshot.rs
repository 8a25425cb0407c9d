//! The state on disk, so that a restart of `taskfault-local` forgets nothing.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{Regions, World};

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

impl Regions {
    /// Reads the state of an earlier run; an empty state if there is no such file. What was at home in another
    /// region then stays in that region.
    ///
    /// # Errors
    /// The file exists but cannot be read, or is not a state.
    pub(crate) fn load(path: &Path, region: &str) -> Result<Regions, SnapshotError> {
        let parsed = match std::fs::read(path) {
            Ok(bytes) => {
                parse(&bytes).map_err(|source| SnapshotError::Parse { path: path.to_owned(), source })?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Parsed::default(),
            Err(source) => return Err(SnapshotError::Read { path: path.to_owned(), source }),
        };
        let Parsed { mut home, region: before, mut others } = parsed;
        if let Some(before) = before.filter(|before| before != region) {
            let mut now = others.remove(region).unwrap_or_default();
            // There is one IAM for all regions.
            now.iam = std::mem::take(&mut home.iam);
            others.insert(before, std::mem::replace(&mut home, now));
        }
        Ok(Regions::new(region, home, others))
    }

    /// Nothing in any region.
    pub(crate) fn empty(region: &str) -> Regions {
        Regions::new(region, World::default(), BTreeMap::new())
    }

    /// Writes the state beside its file (`.NAME.new`) and moves it into place: a crash leaves the old one or the
    /// new one. It holds activation codes and secrets of its own making, so only its owner may read it.
    ///
    /// # Errors
    /// The folder is missing, not writable or full.
    pub(crate) fn save(&self, path: &Path) -> Result<(), SnapshotError> {
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

#[derive(Default)]
struct Parsed {
    home: World,
    /// Not in files from before there were several.
    region: Option<String>,
    others: BTreeMap<String, World>,
}

fn parse(bytes: &[u8]) -> serde_json::Result<Parsed> {
    let mut members: Map<String, Value> = serde_json::from_slice(bytes)?;
    let region = members.remove("home_region").map(serde_json::from_value).transpose()?;
    let others = members.remove("regions").map(serde_json::from_value).transpose()?.unwrap_or_default();
    Ok(Parsed { home: serde_json::from_value(Value::Object(members))?, region, others })
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
    use std::time::SystemTime;

    use super::*;
    use crate::cloudwatch::MetricId;

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
        assert!(Regions::load(&path, "eu-west-1").unwrap().home().ssm.commands.is_empty());
        std::fs::write(&path, EARLIER).unwrap();
        let mut state = Regions::load(&path, "eu-west-1").unwrap();
        state.of("us-west-2").cloudwatch.put(MetricId::new("N", "M", &[]), SystemTime::now(), 1.0, "Count");
        // What a killed process left, or somebody else laid out.
        let other = folder.path().join("other");
        std::fs::write(&other, "untouched").unwrap();
        std::os::unix::fs::symlink(&other, folder.path().join(".state.json.new")).unwrap();
        state.save(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "untouched");
        std::fs::remove_file(&other).unwrap();
        // AWS's own documents are those of today, so their times differ.
        let shown = |regions: &mut Regions, region: &str| {
            let world = regions.of(region);
            world.ssm.documents.clear();
            // Nor is it in the file where the home is.
            world.fis.tasks_elsewhere = None;
            format!("{world:?}")
        };
        let mut back = Regions::load(&path, "eu-west-1").unwrap();
        for region in ["eu-west-1", "us-west-2"] {
            assert!(shown(&mut back, region) == shown(&mut state, region), "{region}");
        }
        // At home elsewhere, it finds what was at home there, and leaves the rest where it was.
        let mut moved = Regions::load(&path, "us-west-2").unwrap();
        let metrics = |regions: &mut Regions| format!("{:?}", regions.of("us-west-2").cloudwatch);
        assert!(metrics(&mut moved) == metrics(&mut state));
        assert!(shown(&mut moved, "eu-west-1") == shown(&mut state, "eu-west-1"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_file_is_said_so_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        std::fs::write(&path, "{\"commands\": 5").unwrap();
        let error = Regions::load(&path, "eu-west-1").unwrap_err().to_string();
        assert!(error.contains("state.json") && error.contains("remove it"), "{error}");
        assert!(Regions::empty("eu-west-1").save(&folder.path().join("no/such/folder")).is_err());
    }
}
