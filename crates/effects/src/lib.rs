//! What is asked of the kernel: the only crate that touches the kernel. Each effect is a value whose Drop undoes it.

pub mod crew;
pub mod disk;
pub mod ecs_agent;
pub mod io;
pub mod load;
pub mod memory;
pub mod net;
pub mod shell;
pub mod signal;
pub mod task;
