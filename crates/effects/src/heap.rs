//! The memory of this process itself: its heap, and its text.

/// Gives memory back as soon as it is free, at the price of a system call: after ten thousand commands the heap is
/// half as large as with glibc's own thresholds, which grow with what is freed. One arena is enough for what few
/// threads there are.
pub fn keep_small() {
    #[cfg(target_env = "gnu")]
    for (what, value) in
        [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, 64 * 1024), (libc::M_TRIM_THRESHOLD, 64 * 1024)]
    {
        // SAFETY: mallopt(3) only sets a number of the allocator; no other thread runs yet. A value that it does
        // not take changes nothing.
        unsafe { libc::mallopt(what, value) };
    }
}

/// Gives back what is free in the middle of the heap too, after something large and short: a start, a file that was
/// read whole. Takes some tens of microseconds for each MiB.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) only returns pages that no allocation uses, and takes the allocator's own lock.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Unmaps the program's own text: most of what a start has run is never run again. The pages stay in the kernel's cache
/// for as long as there is room, and those that are needed are mapped again when they are run.
pub fn unmap_text() {
    let Ok(program) = std::fs::read_link("/proc/self/exe") else { return };
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (start, end) in maps.lines().filter_map(|line| text_of(line, &program)) {
        let length = end.saturating_sub(start);
        // SAFETY: a private mapping of a file that is only read and run: no page of it differs from the file, so
        // dropping one loses nothing, and the next access reads it from the file again.
        unsafe {
            libc::madvise(std::ptr::without_provenance_mut(start), length, libc::MADV_DONTNEED);
        }
    }
}

/// First address and end of a mapping of `program` that is run and cannot be written, from a line of `/proc/self/maps`:
/// `START-END r-xp OFFSET DEVICE INODE   PATH`.
fn text_of(line: &str, program: &std::path::Path) -> Option<(usize, usize)> {
    let mut parts = line.split_ascii_whitespace();
    let (range, permissions) = (parts.next()?, parts.next()?);
    let path = parts.nth(3)?;
    if permissions != "r-xp" || std::path::Path::new(path) != program {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn only_what_is_run_and_never_written_is_text() {
        let program = Path::new("/taskfault");
        let text = |line| text_of(line, program);
        assert_eq!(text("7f00-7fff r-xp 00100000 00:2a 12  /taskfault"), Some((0x7f00, 0x7fff)));
        for other in [
            "7f00-7fff r--p 00100000 00:2a 12  /taskfault",
            "7f00-7fff rwxp 00100000 00:2a 12  /taskfault",
            "7f00-7fff r-xp 00100000 00:2a 12  /lib/x86_64-linux-gnu/libc.so.6",
            "7f00-7fff r-xp 00000000 00:00 0   [vdso]",
            "7f00-7fff r-xp 00000000 00:00 0",
            "",
        ] {
            assert_eq!(text(other), None, "{other}");
        }
    }

    #[test]
    fn a_program_goes_on_without_its_text() {
        unmap_text();
        give_back();
        assert_eq!((0..100).map(|n| format!("{n}")).collect::<String>().len(), 190);
    }
}
