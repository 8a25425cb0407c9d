//! The end of what a container has written.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes of a log that are shown.
const MOST_BYTES: u64 = 8 * 1024;

/// The last lines of a container's log. Both names must come from the control plane, and are looked at again: neither
/// may lead out of the folder.
///
/// # Errors
/// There is no such log, or it cannot be read.
pub(crate) fn tail(folder: &Path, task: &str, container: &str) -> io::Result<String> {
    let plain = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if !plain(task) || !plain(container) {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    let mut file = File::open(folder.join(task).join(format!("{container}.log")))?;
    let length = file.metadata()?.len();
    let skipped = length.saturating_sub(MOST_BYTES);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // It begins with a whole line.
    let whole = match text.split_once('\n') {
        Some((_, rest)) if skipped > 0 => rest,
        _ => &text,
    };
    Ok(whole.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_is_cut_at_a_line_and_a_name_leads_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("t1")).unwrap();
        let lines: String = (0..5000).map(|number| format!("line {number}\n")).collect();
        std::fs::write(folder.path().join("t1/app.log"), lines).unwrap();
        std::fs::write(folder.path().join("t1/short.log"), "one\u{1b}[31m\ntwo").unwrap();
        let text = tail(folder.path(), "t1", "app").unwrap();
        assert!(
            text.ends_with("line 4999\n") && text.starts_with("line ") && text.len() as u64 <= MOST_BYTES
        );
        assert_eq!(tail(folder.path(), "t1", "short").unwrap(), "one[31m\ntwo");
        for (task, container) in [("t1", "gone"), ("..", "app"), ("t1", "../t1/app"), ("", "app"), ("t1", "")]
        {
            assert!(tail(folder.path(), task, container).is_err(), "{task} {container}");
        }
    }
}
