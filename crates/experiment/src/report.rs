//! The report: a record as one HTML page that stands alone, and as JSON.
//!
//! The page needs nothing from anywhere else: no script, no font, no picture. Charts are elements of SVG with
//! classes, and the style sheet has their colours, so that one picture serves light, dark and paper. Each chart is
//! drawn twice, for wide and for narrow screens; CSS shows the one that fits.

mod axis;
mod chart;
mod extent;
mod figure;
mod figures;
mod markup;
mod page;
mod paint;
pub mod picture;
mod running;
mod tables;
mod timeline;
mod usage;
mod verdict;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

pub use markup::milliseconds;

use crate::effect::{self, Effect, Phase, Recovery};
use record::Record;

/// What [`write()`] has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// report.html.
    pub page: PathBuf,
    /// report.json.
    pub data: PathBuf,
}

/// The style of the page and of every [`picture`].
pub const STYLE: &str = include_str!("report/style.css");

/// The page.
pub fn html(record: &Record) -> String {
    page::page(record)
}

/// What clients saw of each experiment, a line for each; none without a load.
pub fn effect_lines(record: &Record) -> Vec<String> {
    if record.load.is_none() {
        return Vec::new();
    }
    let time = |phase: &Phase, when: &str| match phase.p95_ms() {
        Some(ms) => format!("{} {when} (n {})", milliseconds(ms), phase.answered.count()),
        None => format!("unknown {when}"),
    };
    let effects = effect::effects(record).into_iter();
    effects
        .map(|(experiment, effect)| {
            format!(
                "clients of {}: P95 {}, {}, {}; {} of {} requests failed; {}",
                experiment.id,
                time(&effect.before, "before"),
                time(&effect.during, "during"),
                time(&effect.after, "after"),
                effect.whole.failed,
                effect.whole.sent,
                recovery_words(&effect)
            )
        })
        .collect()
}

/// Whether and when the service was again as before, in a few words: `recovered after 3.7 s`.
pub fn recovery_words(effect: &Effect) -> String {
    match effect.recovery {
        Recovery::Unharmed => "no second was bad".to_owned(),
        Recovery::After(seconds) => format!("recovered {} after the fault", markup::lasting(seconds)),
        Recovery::NotSeen => "no recovery was seen".to_owned(),
    }
}

/// Makes the folder of a report that is yet to come, so that it does not fail at the very end for that.
///
/// # Errors
/// The folder cannot be made or written to; the error names it.
pub fn prepare(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder).map_err(named(folder))?;
    access(folder, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|errno| named(folder)(errno.into()))
}

fn named(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    let path = path.display().to_string();
    move |error| io::Error::new(error.kind(), format!("writing {path}: {error}"))
}

/// All of a file or nothing: a report that was cut short by a full disk would look like one.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let written = fs::write(&unfinished, text).and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written.map_err(named(path))
}

/// Writes `report.html` and `report.json` to a folder, which is made if it is not there.
///
/// # Errors
/// The folder cannot be made or written to; the error names the file.
pub fn write(record: &Record, folder: &Path) -> io::Result<Written> {
    let written = Written { page: folder.join("report.html"), data: folder.join("report.json") };
    prepare(folder)?;
    write_whole(&written.page, &html(record))?;
    let data = serde_json::to_string_pretty(record).map_err(io::Error::other)?;
    write_whole(&written.data, &(data + "\n"))?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::sample;

    #[test]
    fn page_and_data_are_written_to_a_new_folder() {
        let folder = tempfile::tempdir().unwrap();
        let written = write(&sample::record(), &folder.path().join("a/b")).unwrap();
        let data = fs::read_to_string(written.data).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&data).unwrap(), sample::record());
        assert!(fs::read_to_string(written.page).unwrap().starts_with("<!doctype html>"));
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        fs::write(&taken, "").unwrap();
        let error = write(&sample::record(), &taken).unwrap_err().to_string();
        assert!(error.contains("taken"), "{error}");
    }
}
