//! A temporary folder, removed with everything in it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A folder that only its owner can read, and that is removed when the value is dropped.
#[derive(Debug)]
#[must_use = "dropping a folder removes it"]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// A new folder under `TMPDIR`, or `/tmp`.
    ///
    /// # Errors
    /// It cannot be made there; the error names the place.
    pub fn new() -> io::Result<Folder> {
        let name = format!("taskfault-{}", uuid::Uuid::new_v4().simple());
        let parent = std::env::temp_dir();
        let path = parent.join(name);
        DirBuilder::new().mode(0o700).create(&path).map_err(|error| {
            let what = format!("making a temporary folder in {} (TMPDIR): {error}", parent.display());
            io::Error::new(error.kind(), what)
        })?;
        Ok(Folder { path })
    }

    /// Where it is: absolute, if `TMPDIR` is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_with_everything_in_it() {
        let folder = Folder::new().unwrap();
        let path = folder.path().to_owned();
        fs::create_dir(path.join("state")).unwrap();
        fs::write(path.join("state/file"), "text").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
