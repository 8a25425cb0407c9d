//! Keeps other processes of the task out of this one, and this one to what it needs: before anything secret is in memory,
//! and before there is a second thread.

use std::fmt::Display;

use effects::net::lifeline;
use effects::privileges;
use effects::syscall_filter::{self, Refused};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};

/// What the process is confined to.
#[derive(Debug, Default)]
pub(crate) struct Confinement {
    /// Parts that the kernel has refused. The process is as open as any then; that is no reason not to run.
    pub(crate) problems: Vec<String>,
    /// Tells the system calls that the filter refuses; None without a filter.
    pub(crate) refused: Option<Refused>,
}

impl Confinement {
    /// Calls `tell` with a line for each system call that was refused, for who does not stay to wait for them.
    pub(crate) fn tell_refused(&mut self, mut tell: impl FnMut(&str)) {
        let numbers = self.refused.iter_mut().flat_map(Refused::so_far).flatten();
        numbers.for_each(|number| tell(&syscall_filter::describe(number)));
    }

    fn note<E: Display>(&mut self, what: &str, result: Result<(), E>) {
        if let Err(error) = result {
            self.problems.push(format!("{what}: {error}"));
        }
    }
}

/// From now on neither root without SYS_PTRACE nor a process of the same user reads this process's memory or
/// environment, and it leaves no core dump. Its sockets are let through by every network fault.
///
/// Unless `scripts` may run, it keeps the capabilities that faults need and no other, gains none by executing
/// anything, and makes no system call that it does not need. A script has what the container was given: it can be
/// traced, because the kernel opens what is executed, and inherits the limit on core dumps.
pub(crate) fn confine(scripts: bool) -> Confinement {
    let mut confinement = Confinement::default();
    confinement.note("its memory stays open to its user's processes", prctl::set_dumpable(false));
    confinement.note("it may leave a core dump", setrlimit(Resource::RLIMIT_CORE, 0, 0));
    confinement.note("its capabilities cannot be raised", privileges::raise());
    // While SETGID is there. Who needs it and has no such sockets says so.
    lifeline::mark_this_thread();
    if !scripts {
        confinement.note("it keeps capabilities that it does not need", privileges::give_up_the_rest());
        match syscall_filter::install() {
            Ok(refused) => confinement.refused = Some(refused),
            Err(error) => confinement.problems.push(error.to_string()),
        }
    }
    confinement
}
