//! The report: a record as one HTML page that stands alone, and as JSON.
//!
//! The page needs nothing from anywhere else: no script, no font, no picture. plotters draws the charts as SVG
//! in marker colours, and [`paint`] turns those into CSS variables, so that one picture serves light, dark and
//! paper. Each chart is drawn twice, for wide and for narrow screens; CSS shows the one that fits.

mod axis;
mod chart;
mod figure;
mod figures;
mod markup;
mod page;
mod paint;
mod tables;
mod timeline;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::record::Record;

/// What [`write`] has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub page: PathBuf,
    pub data: PathBuf,
}

/// The page.
pub fn html(record: &Record) -> String {
    page::page(record)
}

/// Writes `report.html` and `report.json` to a folder, which is made if it is not there.
///
/// # Errors
/// The folder cannot be made or written to; the error names the file.
pub fn write(record: &Record, folder: &Path) -> io::Result<Written> {
    let written = Written { page: folder.join("report.html"), data: folder.join("report.json") };
    let named = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| io::Error::new(error.kind(), format!("writing {path}: {error}"))
    };
    fs::create_dir_all(folder).map_err(named(folder))?;
    fs::write(&written.page, html(record)).map_err(named(&written.page))?;
    let data = serde_json::to_string_pretty(record).map_err(io::Error::other)?;
    fs::write(&written.data, data + "\n").map_err(named(&written.data))?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::record::sample;

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
