//! What a restarted container needs to go on as the same instance, on disk.
//!
//! Two files in the state directory: `registration`, as the stock agent writes it and as scripts read it,
//! and `taskfault.json` with the key, readable by the owner only. Written to a temporary name and renamed.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use effects::state_folder;
use serde::{Deserialize, Serialize};

const REGISTRATION: &str = "registration";
const IDENTITY: &str = "taskfault.json";
/// Three pages: the identity takes one (its key is 1.6 KB), the registration and the status one each.
const PROBE_BYTES: usize = 3 * 4096;

/// One registered instance. Debug shows nothing of the key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// `mi-…`.
    pub instance_id: String,
    /// The region of the registration.
    pub region: String,
    /// The task that registered; the identity counts for no other.
    pub task_arn: String,
    /// The activation that was used up, to be deleted at the end.
    pub activation_id: String,
    /// Sent with each request for a token; the service compares it with that of the registration.
    pub fingerprint: String,
    /// Base64 of the PKCS#8 private key.
    pub private_key: String,
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored")
            .field("instance_id", &self.instance_id)
            .field("task_arn", &self.task_arn)
            .finish_non_exhaustive()
    }
}

/// A file of the state directory that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {reason}; taskfault needs a writable directory there (--state-dir)", path.display())]
pub struct StoreError {
    action: &'static str,
    path: PathBuf,
    /// Part of the message, which is why it is no `source`: it would be said twice.
    reason: std::io::Error,
}

/// The state directory, `/var/lib/amazon/ssm` by default.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// Opens the directory, making it if need be, and proves that it can be written.
    ///
    /// # Errors
    /// It cannot.
    pub fn open(dir: &Path) -> Result<Store, StoreError> {
        let fail = |reason| StoreError { action: "make", path: dir.to_owned(), reason };
        fs::DirBuilder::new().recursive(true).mode(0o755).create(dir).map_err(fail)?;
        let store = Store { dir: dir.to_owned() };
        // As much as will be written: a full disk must show before anything is registered.
        store.write(".probe", &" ".repeat(PROBE_BYTES))?;
        store.remove(".probe")?;
        Ok(store)
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether an earlier life of this container left an identity, of whatever worth.
    pub fn holds_identity(&self) -> bool {
        self.dir.join(IDENTITY).exists()
    }

    /// The identity of an earlier life of this container for the same task, if there is one. A damaged or
    /// foreign file is reported in the log and counts as none.
    pub fn load(&self, task_arn: &str) -> Option<Stored> {
        let path = self.dir.join(IDENTITY);
        let text = match state_folder::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read the stored identity, registering anew");
                return None;
            }
        };
        match serde_json::from_slice::<Stored>(&text) {
            Ok(stored) if stored.task_arn == task_arn => Some(stored),
            Ok(stored) => {
                tracing::warn!(
                    task = stored.task_arn,
                    "the stored identity is of another task, registering anew"
                );
                None
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the stored identity is damaged, registering anew");
                None
            }
        }
    }

    /// Keeps `stored`, and writes `registration` for scripts that look there.
    ///
    /// # Errors
    /// Disk full, read-only, …
    pub fn save(&self, stored: &Stored) -> Result<(), StoreError> {
        let fail = |reason: serde_json::Error| StoreError {
            action: "write",
            path: self.dir.join(IDENTITY),
            reason: reason.into(),
        };
        self.write(IDENTITY, &serde_json::to_string(stored).map_err(fail)?)?;
        // Source: amazon-ssm-agent writes exactly these two members; wrapper scripts read the first.
        let registration =
            serde_json::json!({"ManagedInstanceID": stored.instance_id, "Region": stored.region}).to_string();
        self.write(REGISTRATION, &registration)
    }

    /// Removes what [`Self::save`] wrote, after what is still to be written there; files that are gone already are fine.
    ///
    /// # Errors
    /// A file is there and cannot be removed, or the folder does not answer.
    pub async fn clear(&self) -> Result<(), StoreError> {
        let store = self.clone();
        // A folder that hangs must not keep the end waiting.
        state_folder::done(move || Ok(store.remove(IDENTITY).and(store.remove(REGISTRATION))))
            .await
            .unwrap_or_else(|reason| {
                Err(StoreError { action: "remove", path: self.dir.join(IDENTITY), reason })
            })
    }

    /// Writes a file of the state directory whole: readers see the old text or the new one.
    ///
    /// # Errors
    /// Disk full, read-only, …
    pub fn write(&self, name: &str, text: &str) -> Result<(), StoreError> {
        state_folder::replace(&self.dir, name, text.as_bytes()).map_err(|reason| StoreError {
            action: "write",
            path: self.dir.join(name),
            reason,
        })
    }

    /// Removes a file of the state directory; one that is gone already is fine.
    ///
    /// # Errors
    /// It is there and cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        let path = self.dir.join(name);
        match fs::remove_file(&path) {
            Err(reason) if reason.kind() != ErrorKind::NotFound => {
                Err(StoreError { action: "remove", path, reason })
            }
            _ => Ok(()),
        }
    }
}

/// Reads bytes as a stored identity, with the key that stands in it.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let _ = serde_json::from_slice::<Stored>(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn stored() -> Stored {
        Stored {
            instance_id: "mi-0123456789abcdef0".into(),
            region: "us-east-1".into(),
            task_arn: "arn:aws:ecs:us-east-1:123456789012:task/c/1".into(),
            activation_id: "a".into(),
            fingerprint: "f".into(),
            private_key: "k".into(),
        }
    }

    #[tokio::test]
    async fn what_is_saved_is_loaded_for_the_same_task_only() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("new/dir")).unwrap();
        assert_eq!(store.load(&stored().task_arn), None);
        store.save(&stored()).unwrap();
        assert_eq!(store.load(&stored().task_arn), Some(stored()));
        assert_eq!(store.load("arn:aws:ecs:us-east-1:123456789012:task/c/2"), None);
        store.clear().await.unwrap();
        store.clear().await.unwrap();
        assert_eq!(fs::read_dir(store.dir()).unwrap().count(), 0);
    }

    #[test]
    fn the_registration_file_is_the_stock_agents_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.save(&stored()).unwrap();
        let text = fs::read_to_string(dir.path().join("registration")).unwrap();
        assert_eq!(text, r#"{"ManagedInstanceID":"mi-0123456789abcdef0","Region":"us-east-1"}"#);
        for name in [REGISTRATION, IDENTITY] {
            let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn the_key_stays_out_of_debug_output() {
        let text = format!("{:?}", Stored { private_key: "SECRET".into(), ..stored() });
        assert!(text.contains("mi-0123456789abcdef0") && !text.contains("SECRET"), "{text}");
    }

    #[test]
    fn a_damaged_file_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        fs::write(dir.path().join(IDENTITY), "{\"instance_id\":").unwrap();
        assert_eq!(store.load(&stored().task_arn), None);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let error = Store::open(Path::new("/proc/taskfault")).unwrap_err().to_string();
        assert!(error.contains("/proc/taskfault") && error.contains("--state-dir"), "{error}");
        assert_eq!(error, http_client::chain(&Store::open(Path::new("/proc/taskfault")).unwrap_err()));
    }
}
