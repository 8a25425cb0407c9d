//! The table of one fault: its name and its parameters, each under all of its names. Pure data.
//!
//! All that says what a fault takes comes from here: the options of `taskfault inject`, the parameters of the
//! documents, `taskfault faults`, the reference page.

use std::time::Duration;

use crate::parameter::Parameter;
use crate::{Arguments, Fault, ParameterError};

/// One fault.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// The name of the FIS action after `aws:ecs:task-`, or of the document where FIS has no action.
    pub name: &'static str,
    /// What it does, in a line without a capital or a full stop.
    pub summary: &'static str,
    /// The action of FIS; None where FIS has none for tasks.
    pub action: Option<&'static str>,
    /// How long it lives.
    pub lives: Lives,
    /// How strong it is; None where that has no measure in percent.
    pub strength: Option<Strength>,
    /// In the order in which they are listed.
    pub parameters: &'static [Parameter],
    /// The documents that ask for it, in alphabetical order.
    pub documents: &'static [Document],
    /// The fault that the values of its parameters ask for.
    pub read: fn(&Arguments) -> Result<Fault, ParameterError>,
}

/// Which parameters say how strong a fault is, of 100 %. How many it hits (`flows-percent`) is another matter.
#[derive(Debug, Clone, Copy)]
pub struct Strength {
    /// The percentages.
    pub percents: &'static [&'static Parameter],
    /// What is taken instead of them, in another unit, where it is not 0.
    pub instead: Option<&'static Parameter>,
}

/// How long a fault lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lives {
    /// As its parameter [`DURATION`](crate::duration::DURATION) says.
    Asked,
    /// There is no such parameter.
    Fixed(Duration),
}

/// One document.
#[derive(Debug, Clone, Copy)]
pub struct Document {
    /// As it is sent by.
    pub name: &'static str,
    /// Those of the fault's parameters that it has. Besides them, those of AWS have [`INSTALL_DEPENDENCIES`](crate::document::INSTALL_DEPENDENCIES).
    pub parameters: &'static [Parameter],
    /// Whether it lives on heartbeats, with the parameter `FISActionState`.
    pub heartbeats: bool,
    /// Parameters of the fault that it has not, with the values that it means.
    pub settles: &'static [(Parameter, &'static str)],
    /// The fault that its values ask for. [`Spec::read`] of the fault, but where the document
    /// takes less than the fault does.
    pub read: fn(&Arguments) -> Result<Fault, ParameterError>,
}
