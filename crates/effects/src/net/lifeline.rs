//! What no network fault may cut: our own sockets, and the addresses of metadata and credentials.
//!
//! Our sockets are known by the file-system group of the thread that made them, which the kernel keeps with
//! each of them. A mark (SO_MARK) would need a hook in every place that makes a socket, and the resolver of
//! the C library and the AWS SDK have none; the user is no mark, because other containers of the task run as
//! root too; a cgroup is one only with version 2 and a path that depends on the machine. The group is set
//! once, before any thread or socket is made, is inherited by threads and not by programs that are started
//! (exec sets it back), and costs CAP_SETGID, which containers have by default.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::unistd::{Gid, setfsgid};

/// The group: a number that no group has, below 65536 so that user namespaces map it.
pub const GROUP: u32 = 29_798;

/// Where ECS gives metadata and credentials, and where EKS-style agents do (IPv4 and IPv6).
pub const ALWAYS: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
];

/// From here on, what this thread and its threads open is let through by every fault. False if the kernel
/// refuses it: CAP_SETGID is missing.
pub fn mark_this_thread() -> bool {
    let group = Gid::from_raw(GROUP);
    setfsgid(group);
    is_marked()
}

/// Whether sockets that this thread makes are let through.
pub fn is_marked() -> bool {
    let group = Gid::from_raw(GROUP);
    // The call gives what was set before it, and changes nothing if that is what is asked for, or if the
    // group cannot be had: there is no other way to ask.
    let before = setfsgid(Gid::from_raw(u32::MAX));
    before == group
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_marked_and_its_threads_are_too() {
        // In a thread of its own: the others of this program stay as they are.
        std::thread::spawn(|| {
            assert!(!is_marked());
            if mark_this_thread() {
                assert!(std::thread::spawn(is_marked).join().unwrap());
            } else {
                println!("SKIP: CAP_SETGID is missing");
            }
        })
        .join()
        .unwrap();
        assert!(!is_marked());
    }
}
