//! The capabilities of this process: raised at the start, and given up once they are not needed any more.
//!
//! As another user than root the process has what its file gives it (`setcap`), as permitted and not as effective: a
//! file whose capabilities are effective by themselves cannot be executed where the container lacks one of them. Both
//! calls act on the calling thread and on those that it starts later, so they belong before the first of these.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

/// What faults need while they run: netlink and nf_tables; signals to processes of other users, whose files can be in
/// the way; files in folders of other users, for root.
const NEEDED: CapabilitySet = CapabilitySet::NET_ADMIN
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::DAC_OVERRIDE);

/// Makes all that is permitted effective.
///
/// # Errors
/// The kernel refuses it; nothing has changed then.
pub fn raise() -> io::Result<()> {
    let sets = capabilities(None)?;
    Ok(set_capabilities(None, CapabilitySets { effective: sets.permitted, ..sets })?)
}

/// Keeps what faults need and gives up everything else, for good: nothing that is executed from here has more either.
///
/// # Errors
/// The kernel refuses a part of it; the rest is done. Without SETPCAP the bounding set stays as it is, which gives
/// nothing back to a process that can gain no privileges ([`crate::syscall_filter`]).
pub fn give_up_the_rest() -> io::Result<()> {
    let sets = capabilities(None)?;
    let bounds = if sets.effective.contains(CapabilitySet::SETPCAP) { limit_bounds() } else { Ok(()) };
    let ambient = clear_ambient_capability_set();
    let kept = CapabilitySets {
        effective: sets.effective & NEEDED,
        permitted: sets.permitted & NEEDED,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, kept)?;
    bounds?;
    Ok(ambient?)
}

/// Takes everything that is not needed out of the bounding set.
fn limit_bounds() -> rustix::io::Result<()> {
    (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit)).try_for_each(|capability| {
        let given_up = !NEEDED.contains(capability);
        // One that this kernel does not know is an error, and is nobody's.
        if given_up && capability_is_in_bounding_set(capability).unwrap_or(false) {
            remove_capability_from_bounding_set(capability)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_permitted_is_raised_and_the_rest_is_gone_for_good() {
        // Capabilities are a thread's: the others of this program keep theirs.
        let thread = std::thread::spawn(|| {
            let before = capabilities(None).unwrap();
            set_capabilities(None, CapabilitySets { effective: CapabilitySet::empty(), ..before }).unwrap();
            raise().unwrap();
            assert_eq!(capabilities(None).unwrap().effective, before.permitted);
            give_up_the_rest().unwrap();
            let after = capabilities(None).unwrap();
            assert_eq!(after.permitted, before.permitted & NEEDED);
            assert_eq!((after.effective, after.inheritable), (after.permitted, CapabilitySet::empty()));
            if before.permitted.contains(CapabilitySet::SETPCAP) {
                assert!(!capability_is_in_bounding_set(CapabilitySet::SETUID).unwrap());
                assert!(capability_is_in_bounding_set(CapabilitySet::NET_ADMIN).unwrap());
            }
            let back = set_capabilities(None, before);
            assert_eq!(back.is_err(), before.permitted != after.permitted, "{back:?}");
        });
        thread.join().unwrap();
    }
}
