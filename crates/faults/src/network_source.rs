//! What the network faults have in common: whom, where, which way, and how much of it. Pure.

mod direction;
mod interfaces;
mod net;
mod scope;
mod selection;
mod source;

pub use direction::{Direction, Protocol};
pub use interfaces::Interfaces;
pub use net::Net;
pub use scope::Scope;
pub(crate) use scope::{
    CHOSEN_INTERFACE, FLOWS_PERCENT, INTERFACE, OUR_SOURCES, OUR_TRAFFIC_TYPE, SOURCES, TRAFFIC_TYPE,
    WHOLE_INTERFACE, one_interface,
};
pub(crate) use selection::{EXCLUDE_PORTS, EXCLUDE_SOURCES, PORTS, PROTOCOL};
pub use selection::{Ports, Selection};
pub use source::{Prefixes, Service, Source, parse_sources};
