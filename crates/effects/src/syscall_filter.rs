//! Which system calls this process may make: those that it makes, and no other.
//!
//! The list is what the program needs on every way that it has, its C library included, which is linked into it. A call
//! that is not on it is not made: the caller sees `ENOSYS`, as on a kernel that does not have it, and [`Refused`] tells
//! the number, once each. Nothing on the list starts a program, makes a namespace or loads anything into the kernel, so
//! where scripts may run there can be no filter.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};

use libc::{c_int, c_long, c_void, siginfo_t, ucontext_t};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::pipe2;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};
use tokio::net::unix::pipe;

/// On every architecture, whatever the arguments.
#[rustfmt::skip]
const CALLS: &[c_long] = &[
    // Files and folders.
    libc::SYS_openat, libc::SYS_close, libc::SYS_close_range, libc::SYS_read, libc::SYS_write, libc::SYS_readv,
    libc::SYS_writev, libc::SYS_pread64, libc::SYS_pwrite64, libc::SYS_lseek, libc::SYS_fstat, libc::SYS_newfstatat,
    libc::SYS_statx, libc::SYS_statfs, libc::SYS_fstatfs, libc::SYS_getdents64, libc::SYS_readlinkat,
    libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_mkdirat, libc::SYS_unlinkat, libc::SYS_renameat,
    libc::SYS_renameat2, libc::SYS_utimensat, libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_ftruncate, libc::SYS_fallocate,
    libc::SYS_fadvise64, libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_sync_file_range, libc::SYS_flock,
    libc::SYS_getcwd, libc::SYS_copy_file_range, libc::SYS_sendfile, libc::SYS_splice,
    // Descriptors.
    libc::SYS_fcntl, libc::SYS_dup, libc::SYS_dup3, libc::SYS_pipe2, libc::SYS_eventfd2, libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_memfd_create,
    // Sockets. What kinds there may be is said below.
    libc::SYS_socketpair, libc::SYS_bind, libc::SYS_connect, libc::SYS_listen, libc::SYS_accept4,
    libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_getsockopt, libc::SYS_setsockopt, libc::SYS_sendto,
    libc::SYS_recvfrom, libc::SYS_sendmsg, libc::SYS_recvmsg, libc::SYS_sendmmsg, libc::SYS_recvmmsg,
    libc::SYS_shutdown,
    // Memory.
    libc::SYS_brk, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_mincore,
    // Threads, children, signals.
    libc::SYS_clone3, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_wait4, libc::SYS_waitid,
    libc::SYS_set_robust_list, libc::SYS_rseq, libc::SYS_futex, libc::SYS_membarrier, libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity, libc::SYS_sched_getparam, libc::SYS_sched_getscheduler, libc::SYS_getpid,
    libc::SYS_getppid, libc::SYS_gettid, libc::SYS_kill, libc::SYS_tgkill, libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal, libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend, libc::SYS_rt_sigtimedwait, libc::SYS_sigaltstack, libc::SYS_restart_syscall,
    // What this process is and may do.
    libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_setfsgid, libc::SYS_capget,
    libc::SYS_prlimit64, libc::SYS_getrusage, libc::SYS_sysinfo, libc::SYS_uname,
    // Time and chance.
    libc::SYS_clock_gettime, libc::SYS_clock_getres, libc::SYS_clock_nanosleep, libc::SYS_nanosleep,
    libc::SYS_gettimeofday, libc::SYS_times, libc::SYS_getrandom,
];

/// Older forms of the same, which later architectures do not have.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OLDER_CALLS: &[c_long] = &[
    libc::SYS_open, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink, libc::SYS_mkdir,
    libc::SYS_rmdir, libc::SYS_unlink, libc::SYS_rename, libc::SYS_chmod, libc::SYS_dup2, libc::SYS_epoll_wait,
    libc::SYS_poll, libc::SYS_select, libc::SYS_getrlimit, libc::SYS_time, libc::SYS_pause,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER_CALLS: &[c_long] = &[];

/// What an argument has to be for a call to be made.
enum Argument {
    /// One of these.
    Is(&'static [c_int]),
    /// Without any of these bits.
    Without(c_int),
}

/// Calls that are made for some of what they can do: the call, the number of the argument, and what it has to be.
const CALLS_BY_ARGUMENT: [(c_long, u8, Argument); 7] = [
    (libc::SYS_socket, 0, Argument::Is(&[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK])),
    // Threads, and children that are copies of this process.
    (libc::SYS_clone, 0, Argument::Without(NEW_NAMESPACES)),
    // Nothing that is written becomes code.
    (libc::SYS_mmap, 2, Argument::Without(libc::PROT_EXEC)),
    (libc::SYS_mprotect, 2, Argument::Without(libc::PROT_EXEC)),
    (libc::SYS_ioctl, 1, Argument::Is(&IOCTLS)),
    (libc::SYS_prctl, 0, Argument::Is(&PRCTLS)),
    // Of this thread's own process alone, as the C library asks for it.
    (libc::SYS_sched_setaffinity, 0, Argument::Is(&[0])),
];

const NEW_NAMESPACES: c_int = libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWUTS;

/// Whether standard error is a terminal and how wide it is, and sockets that do not block.
#[expect(clippy::cast_possible_truncation, reason = "the numbers of ioctl(2) have 32 bits")]
const IOCTLS: [c_int; 5] = [
    libc::TCGETS as c_int,
    libc::TIOCGWINSZ as c_int,
    libc::FIONBIO as c_int,
    libc::FIOCLEX as c_int,
    libc::FIONREAD as c_int,
];

const PRCTLS: [c_int; 9] = [
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_SET_PDEATHSIG,
    libc::PR_SET_DUMPABLE,
    libc::PR_GET_DUMPABLE,
    libc::PR_SET_TIMERSLACK,
    libc::PR_GET_NO_NEW_PRIVS,
    libc::PR_CAPBSET_READ,
    // The C library names its mappings by it, where the kernel can.
    libc::PR_SET_VMA,
];

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// It cannot be made for this machine.
    #[error("the system-call filter cannot be made: {0}")]
    Make(#[from] seccompiler::BackendError),
    /// The kernel does not take it.
    #[error("the system-call filter cannot be installed: {0}")]
    Install(#[from] seccompiler::Error),
    /// The refused calls could not be told.
    #[error("the handler of refused system calls cannot be installed: {0}")]
    Handler(#[from] Errno),
}

/// From here on this thread and its threads make no other calls than the program needs, and gain no privileges by
/// executing anything (`no_new_privs`). There is no way back.
///
/// # Errors
/// The kernel has no seccomp, or does not let us use it. There is no filter then.
pub fn install() -> Result<Refused, FilterError> {
    let (filter, no_clone3) = (filter()?, no_clone3()?);
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    // Open for as long as the process lives: the handler may need it at any time.
    PIPE.store(writer.into_raw_fd(), Relaxed);
    let handler = SigHandler::SigAction(refuse);
    // SAFETY: the handler makes one system call, which may be made anywhere, and uses atomics.
    unsafe { sigaction(Signal::SIGSYS, &SigAction::new(handler, SaFlags::SA_ONSTACK, SigSet::empty())) }?;
    apply_filter(&no_clone3)?;
    apply_filter(&filter)?;
    Ok(Refused(reader.into()))
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        CALLS.iter().chain(OLDER_CALLS).map(|call| (*call, Vec::new())).collect();
    for (call, index, argument) in &CALLS_BY_ARGUMENT {
        let rule = |operator, value: c_int| {
            let value = u64::from(value.cast_unsigned());
            let condition = SeccompCondition::new(*index, SeccompCmpArgLen::Dword, operator, value)?;
            SeccompRule::new(vec![condition])
        };
        let any_of: Result<Vec<_>, _> = match argument {
            Argument::Is(values) => values.iter().map(|value| rule(SeccompCmpOp::Eq, *value)).collect(),
            Argument::Without(bits) => {
                [rule(SeccompCmpOp::MaskedEq(u64::from(bits.cast_unsigned())), 0)].into_iter().collect()
            }
        };
        rules.insert(*call, any_of?);
    }
    program(rules, SeccompAction::Trap, SeccompAction::Allow)
}

/// The arguments of clone3 are in memory, where no filter can look. The C library makes its threads by clone where there
/// is no clone3.
fn no_clone3() -> Result<BpfProgram, seccompiler::BackendError> {
    let rules = [(libc::SYS_clone3, Vec::new())].into();
    program(rules, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS.cast_unsigned()))
}

fn program(
    rules: BTreeMap<c_long, Vec<SeccompRule>>,
    others: SeccompAction,
    these: SeccompAction,
) -> Result<BpfProgram, seccompiler::BackendError> {
    SeccompFilter::new(rules, others, these, std::env::consts::ARCH.try_into()?)?.try_into()
}

/// Where the handler tells what it has refused.
static PIPE: AtomicI32 = AtomicI32::new(-1);
/// A bit for each number that it has told.
static TOLD: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];

/// The kernel has not made a call and asks what is to be done instead: tells its number, and goes on as on a kernel
/// without it.
extern "C" fn refuse(_: c_int, _: *mut siginfo_t, context: *mut c_void) {
    let errno = Errno::last_raw();
    // SAFETY: the kernel's own context of the call, for this handler alone (SA_SIGINFO).
    let machine = unsafe { &mut (*context.cast::<ucontext_t>()).uc_mcontext };
    let number = take_number(machine);
    let (word, bit) = (usize::try_from(number / 64).unwrap_or(usize::MAX), 1 << (number % 64));
    if TOLD.get(word).is_some_and(|told| told.fetch_or(bit, Relaxed) & bit == 0) {
        let bytes = number.to_ne_bytes();
        // SAFETY: writes eight bytes of this function's. A pipe that is full, or closed in a child, takes none.
        unsafe { libc::write(PIPE.load(Relaxed), bytes.as_ptr().cast(), bytes.len()) };
    }
    Errno::set_raw(errno);
}

/// The number of the call, in whose place its result comes.
#[cfg(target_arch = "x86_64")]
#[expect(clippy::cast_sign_loss, reason = "an index, and a number of a call")]
fn take_number(machine: &mut libc::mcontext_t) -> u64 {
    let register = &mut machine.gregs[libc::REG_RAX as usize];
    std::mem::replace(register, -i64::from(libc::ENOSYS)) as u64
}

/// The number of the call; its result goes where its first argument was.
#[cfg(target_arch = "aarch64")]
fn take_number(machine: &mut libc::mcontext_t) -> u64 {
    machine.regs[0] = (-i64::from(libc::ENOSYS)).cast_unsigned();
    machine.regs[8]
}

/// Tells which calls were refused.
#[derive(Debug)]
#[must_use = "nobody is told which calls are refused"]
pub struct Refused(File);

/// What to say of a call that was refused.
pub fn describe(number: u64) -> String {
    format!(
        "system call {number} ({}) was refused: taskfault does not know that it needs it; please report this with the \
         lines above",
        std::env::consts::ARCH
    )
}

impl Refused {
    /// The numbers that were refused and not told yet, each once.
    ///
    /// # Errors
    /// The pipe cannot be read.
    pub fn so_far(&mut self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        let mut bytes = [0; 8];
        loop {
            // A number is written whole or not at all.
            match nix::unistd::read(&self.0, &mut bytes) {
                Ok(8) => numbers.push(u64::from_ne_bytes(bytes)),
                Err(Errno::EAGAIN) => return Ok(numbers),
                Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Calls `tell` with each number as it is refused. Ends only if they cannot be read any more.
    ///
    /// # Errors
    /// As for [`Refused::so_far`]; or there is no runtime to wait with.
    pub async fn tell_all(self, mut tell: impl FnMut(u64)) -> io::Result<()> {
        let numbers = pipe::Receiver::from_file(self.0)?;
        let mut bytes = [0; 8];
        loop {
            numbers.readable().await?;
            match numbers.try_read(&mut bytes) {
                Ok(8) => tell(u64::from_ne_bytes(bytes)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

    use super::*;

    fn opens(family: AddressFamily) -> Result<(), Errno> {
        socket(family, SockType::Datagram, SockFlag::empty(), None).map(drop)
    }

    #[test]
    fn what_the_program_does_not_need_is_refused_and_told() {
        // The filter is a thread's: the others of this program go on without.
        let thread = std::thread::spawn(|| {
            let mut refused = install().unwrap();
            let program = c"/bin/true";
            assert_eq!(nix::unistd::execv(program, &[program]), Err(Errno::ENOSYS));
            assert_eq!(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER), Err(Errno::ENOSYS));
            assert_eq!(nix::unistd::chroot("/"), Err(Errno::ENOSYS));
            assert_eq!(nix::unistd::chroot("/"), Err(Errno::ENOSYS));
            for family in [AddressFamily::Unix, AddressFamily::Inet, AddressFamily::Inet6] {
                assert_eq!(opens(family), Ok(()));
            }
            assert_eq!(opens(AddressFamily::Packet), Err(Errno::ENOSYS));
            let code = memmap2::MmapOptions::new().len(1).map_anon().unwrap().make_exec();
            assert_eq!(code.unwrap_err().raw_os_error(), Some(libc::ENOSYS));
            let expected =
                [libc::SYS_execve, libc::SYS_unshare, libc::SYS_chroot, libc::SYS_socket, libc::SYS_mprotect];
            assert_eq!(refused.so_far().unwrap(), expected.map(i64::cast_unsigned));
            // Threads inherit it, and can be had without clone3.
            let below = std::thread::spawn(|| nix::unistd::chroot("/"));
            assert_eq!(below.join().unwrap(), Err(Errno::ENOSYS));
            assert!(rustix::thread::no_new_privs().unwrap());
        });
        thread.join().unwrap();
    }
}
