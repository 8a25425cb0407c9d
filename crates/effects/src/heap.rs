//! The process's own heap.

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
