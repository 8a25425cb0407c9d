//! What is asked of the kernel: the only crate that touches the kernel. Each effect is a value whose Drop undoes it.

pub mod amount;
pub mod disk;
pub mod ecs_agent;
pub mod environment;
pub mod fault;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod given_up;
pub mod heap;
pub mod io;
pub mod load;
pub mod memory;
pub mod net;
pub mod privileges;
pub mod registry;
pub mod shell;
pub mod signal;
pub mod state_folder;
pub mod syscall_filter;
pub mod task;
pub mod worker_pool;

mod child;
mod cpu_stress;
mod disk_fill;
mod http_fault;
mod io_stress;
mod kill_process;
mod memory_stress;
mod network_blackhole_port;
mod network_fault;
mod network_impairment;
mod network_latency;
mod network_packet_loss;
mod network_reset;
mod process_pause;
