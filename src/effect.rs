//! The only place that touches the kernel. Each effect is a value whose Drop undoes it.

pub mod ecs_agent;
pub mod load;
pub mod shell;
