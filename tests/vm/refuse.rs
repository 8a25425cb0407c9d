//! Makes the kernel refuse chosen messages of this process: a seccomp filter on the thread that plays hands
//! each `sendto` to another thread, which lets it pass or answers ENOBUFS in the kernel's place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

const ENOBUFS: i32 = 105;
/// `SECCOMP_IOCTL_NOTIF_RECV` and `SECCOMP_IOCTL_NOTIF_SEND`.
const RECEIVE: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;
/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE`.
const CONTINUE: u32 = 1;

/// Which messages are refused, and how many there were.
#[derive(Debug, Default)]
struct Orders {
    first: AtomicU32,
    last: AtomicU32,
    seen: AtomicU32,
}

/// The filter of the thread that made it. It stays for as long as the thread lives.
#[derive(Debug)]
pub(crate) struct Refusals(Arc<Orders>);

impl Refusals {
    /// Puts this thread's messages under orders; none is refused yet.
    pub(crate) fn install() -> Refusals {
        let orders = Arc::new(Orders::default());
        let (send, receive) = std::sync::mpsc::channel();
        let theirs = Arc::clone(&orders);
        // Started first: the filter is inherited.
        thread::spawn(move || obey(receive.recv().unwrap(), &theirs));
        send.send(listen()).unwrap();
        Refusals(orders)
    }

    /// From now on, counting from 1, the messages `first` to `last` are refused.
    pub(crate) fn order(&self, first: u32, last: u32) {
        self.0.first.store(first, Ordering::SeqCst);
        self.0.last.store(last, Ordering::SeqCst);
        self.0.seen.store(0, Ordering::SeqCst);
    }

    /// How many messages were sent since the last order.
    pub(crate) fn seen(&self) -> u32 {
        self.0.seen.load(Ordering::SeqCst)
    }
}

/// Sets the filter on this thread; gives the descriptor by which its calls can be read.
fn listen() -> i32 {
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code.try_into().unwrap(), jt, jf, k };
    let mut steps = [
        // The number of the call; the architecture is the one we are built for.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_sendto.try_into().unwrap()),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: steps.len().try_into().unwrap(), filter: steps.as_mut_ptr() };
    // SAFETY: the program and its steps live across the call, and the kernel copies them.
    let descriptor = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    assert!(descriptor >= 0, "{}", std::io::Error::last_os_error());
    descriptor.try_into().unwrap()
}

fn obey(listener: i32, orders: &Orders) {
    loop {
        // struct seccomp_notif: id, process, flags, the call. It must come zeroed.
        let mut call = [0_u64; 10];
        // SAFETY: the array is as large as the structure.
        if unsafe { libc::ioctl(listener, RECEIVE, call.as_mut_ptr()) } != 0 {
            continue;
        }
        let number = orders.seen.fetch_add(1, Ordering::SeqCst) + 1;
        let (first, last) = (orders.first.load(Ordering::SeqCst), orders.last.load(Ordering::SeqCst));
        let (error, flags) = if (first..=last).contains(&number) { (-ENOBUFS, 0) } else { (0, CONTINUE) };
        // struct seccomp_notif_resp: id, value, error and flags.
        let mut answer = [call[0], 0, u64::from(error.cast_unsigned()) | u64::from(flags) << 32];
        // SAFETY: as above; the kernel reads it only.
        unsafe { libc::ioctl(listener, SEND, answer.as_mut_ptr()) };
    }
}
