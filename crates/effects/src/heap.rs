//! The memory of this process itself: its heap, and what it has of its own program.

use std::path::Path;

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

/// Unmaps what the program has of its own file: text, constants, and the relocations that only the loader reads. Most of
/// what a start or a command has used is not used again for long. The pages stay in the kernel's cache for as long as
/// there is room, and those that are needed are mapped again when they are used.
pub fn unmap_program() {
    let Ok(program) = std::fs::read_link("/proc/self/exe") else { return };
    let mappings = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    for (start, end) in unchanged(&mappings, &program) {
        let length = end.saturating_sub(start);
        // SAFETY: a private mapping of a file that cannot be written, and none of its pages differs from the file, so
        // dropping one loses nothing: the next access reads it from the file again.
        unsafe {
            libc::madvise(std::ptr::without_provenance_mut(start), length, libc::MADV_DONTNEED);
        }
    }
}

/// First address and end of each mapping of `program` in a text of `/proc/self/smaps` that cannot be written and has no
/// page of its own. What the loader has relocated and then protected has some.
fn unchanged(mappings: &str, program: &Path) -> Vec<(usize, usize)> {
    let (mut found, mut range) = (Vec::new(), None);
    for line in mappings.lines() {
        match line.strip_prefix("Anonymous:") {
            Some(own) if own.trim() == "0 kB" => found.extend(range.take()),
            Some(_) => range = None,
            // Other lines of the same mapping are `Name: …` and leave it as it is.
            None if line.split(' ').next().is_some_and(|word| word.ends_with(':')) => {}
            None => range = range_of(line, program),
        }
    }
    found
}

/// First address and end of a mapping of `program` that cannot be written, from the first of its lines:
/// `START-END r-xp OFFSET DEVICE INODE   PATH`.
fn range_of(line: &str, program: &Path) -> Option<(usize, usize)> {
    let mut parts = line.split_ascii_whitespace();
    let (range, permissions) = (parts.next()?, parts.next()?);
    let path = parts.nth(3)?;
    if !matches!(permissions, "r-xp" | "r--p") || Path::new(path) != program {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_never_written_and_unchanged_is_unmapped() {
        let mapping = |header: &str, own: u32| {
            format!("{header}\nSize:  4 kB\nRss:  4 kB\nAnonymous:  {own} kB\nVmFlags: rd mr mw me\n")
        };
        let text = [
            mapping("1000-2000 r--p 00000000 00:2a 12  /taskfault", 0),
            mapping("2000-3000 r-xp 00001000 00:2a 12  /taskfault", 0),
            // Relocated by the loader.
            mapping("3000-4000 r--p 00002000 00:2a 12  /taskfault", 4),
            mapping("4000-5000 rw-p 00003000 00:2a 12  /taskfault", 0),
            mapping("5000-6000 rwxp 00003000 00:2a 12  /taskfault", 0),
            mapping("6000-7000 r-xp 00000000 00:2a 12  /lib/x86_64-linux-gnu/libc.so.6", 0),
            mapping("7000-8000 r-xp 00000000 00:00 0   [vdso]", 0),
            mapping("8000-9000 r--p 00000000 00:00 0", 0),
        ];
        assert_eq!(unchanged(&text.concat(), Path::new("/taskfault")), [(0x1000, 0x2000), (0x2000, 0x3000)]);
        assert_eq!(unchanged("", Path::new("/taskfault")), []);
        // A kernel that does not say what is the mapping's own.
        assert_eq!(unchanged(&text[0].replace("Anonymous", "Other"), Path::new("/taskfault")), []);
    }

    #[test]
    fn a_program_goes_on_without_its_text() {
        unmap_program();
        give_back();
        assert_eq!((0..100).map(|n| format!("{n}")).collect::<String>().len(), 190);
    }
}
