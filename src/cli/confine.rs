//! Keeps other processes of the task out of this one: before anything secret is in memory.

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};

/// From now on neither root without SYS_PTRACE nor a process of the same user reads this process's memory or
/// environment, and it leaves no core dump. A shell step can be traced again: the kernel opens what is executed.
/// It inherits the limit on core dumps.
pub(super) fn confine() {
    // Where a kernel refuses, the sidecar is as open as any process; that is no reason not to run.
    let _ = prctl::set_dumpable(false);
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_this_process_is_closed() {
        confine();
        assert!(!prctl::get_dumpable().unwrap());
        assert_eq!(nix::sys::resource::getrlimit(Resource::RLIMIT_CORE).unwrap(), (0, 0));
    }
}
