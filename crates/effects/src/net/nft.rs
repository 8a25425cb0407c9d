//! nf_tables: the messages about tables, chains, sets and rules (`linux/netfilter/nf_tables.h`).
//!
//! What the netlink crates have is typed by them; the rest is in [`expression`] and [`set`]. Knows the kernel's
//! objects, and nothing of what a fault wants of them.

pub mod chain;
pub mod expression;
pub mod rule;
pub mod set;
pub mod table;
mod user_data;
