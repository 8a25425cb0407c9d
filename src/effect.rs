//! The only place that touches the kernel. Each effect is a value whose Drop undoes it.

pub mod shell;
pub mod load;
