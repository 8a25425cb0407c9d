//! What can be asked for: a table for each fault, and from it validated parameters. Pure.
//!
//! Must not know where a fault was asked for (a document, the command line) nor how it is performed.
//!
//! Adding a fault: a file like `disk_fill.rs` with its table and its [`Parameters`], its `mod` line, and its line in
//! the registry below.

#![forbid(unsafe_code)]

mod arguments;
pub mod cpu_stress;
pub mod disk_fill;
pub mod document;
pub mod duration;
pub mod glob;
pub mod http_fault;
pub mod io_stress;
pub mod kill_process;
pub mod memory_stress;
mod names;
pub mod network_blackhole_port;
pub mod network_impairment;
pub mod network_latency;
pub mod network_packet_loss;
pub mod network_reset;
pub mod network_source;
pub mod parameter;
pub(crate) mod pattern;
pub mod process_pause;
mod range;
#[cfg(feature = "read-back")]
pub mod read_back;
pub mod share;
pub mod spec;

pub use arguments::Arguments;
pub use parameter::Parameter;
pub use range::{ParameterError, Range, plain_number};
pub use spec::Spec;

/// The parameters of one fault, all accepted.
pub trait Parameters: Sized {
    /// Takes them from what was given, with the defaults of the table for what was not.
    ///
    /// # Errors
    /// [`ParameterError`] naming the first that is wrong.
    fn read(arguments: &Arguments) -> Result<Self, ParameterError>;

    /// Those of a fault for which nothing was given.
    ///
    /// # Errors
    /// [`ParameterError`]: there is a parameter that must be given.
    fn with_defaults() -> Result<Self, ParameterError> {
        Self::read(&Arguments::default())
    }

    /// One of them as it would be given, by the name of its option. None for those that have no text here: the
    /// duration, switches, what is left to the place.
    fn text(&self, option: &str) -> Option<String>;

    /// How strong it is by one of the percentages of [`Spec::strength`], as it acts: where a value stands for another,
    /// the other one.
    fn strength(&self, option: &str) -> Option<String> {
        self.text(option)
    }
}

/// Makes [`Fault`] and [`ALL`] of the line that each fault has.
macro_rules! registry {
    ($($module:ident::$fault:ident,)*) => {
        /// A fault whose parameters are all in range.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Fault {
            $(#[doc = concat!("See [`", stringify!($module), "`].")] $fault($module::$fault),)*
        }

        impl Fault {
            /// The table of the fault.
            pub fn spec(&self) -> &'static Spec {
                match self {
                    $(Fault::$fault(_) => &$module::SPEC,)*
                }
            }

            /// One of its parameters as it would be given, see [`Parameters::text`].
            pub fn text(&self, option: &str) -> Option<String> {
                match self {
                    $(Fault::$fault(fault) => fault.text(option),)*
                }
            }

            /// How strong it is by one of its percentages, see [`Parameters::strength`].
            pub fn strength(&self, option: &str) -> Option<String> {
                match self {
                    $(Fault::$fault(fault) => fault.strength(option),)*
                }
            }
        }

        $(impl From<$module::$fault> for Fault {
            fn from(fault: $module::$fault) -> Fault {
                Fault::$fault(fault)
            }
        })*

        /// Every fault there is, in alphabetical order.
        pub static ALL: &[&Spec] = &[$(&$module::SPEC,)*];
    };
}

registry! {
    cpu_stress::CpuStress,
    disk_fill::DiskFill,
    http_fault::HttpFault,
    io_stress::IoStress,
    kill_process::KillProcess,
    memory_stress::MemoryStress,
    network_blackhole_port::NetworkBlackholePort,
    network_impairment::NetworkImpairment,
    network_latency::NetworkLatency,
    network_packet_loss::NetworkPacketLoss,
    network_reset::NetworkReset,
    process_pause::ProcessPause,
}

impl Fault {
    /// The fault's name, as FIS has it (`cpu-stress`).
    pub fn name(&self) -> &'static str {
        self.spec().name
    }

    /// The fault with the parameters of `T` that were given.
    fn read<T: Parameters + Into<Fault>>(arguments: &Arguments) -> Result<Fault, ParameterError> {
        T::read(arguments).map(Into::into)
    }
}

/// The fault of that name.
pub fn find(name: &str) -> Option<&'static Spec> {
    ALL.iter().copied().find(|spec| spec.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameter::{Preset, Values};
    use crate::spec::Lives;

    #[test]
    fn the_registry_is_alphabetical_and_without_twins() {
        assert!(ALL.windows(2).all(|pair| pair[0].name < pair[1].name));
    }

    #[test]
    fn every_name_of_fis_and_of_the_documents_is_listed() {
        // FIS reference, aws:ecs:task-* actions, and the documents AWSFIS-Run-Memory-Stress and -Disk-Fill.
        for name in [
            "cpu-stress",
            "io-stress",
            "kill-process",
            "network-blackhole-port",
            "network-latency",
            "network-packet-loss",
            "memory-stress",
            "disk-fill",
        ] {
            assert!(find(name).is_some(), "{name}");
        }
        assert!(find("CPU-stress").is_none());
    }

    #[test]
    fn the_tables_are_sound() {
        for spec in ALL {
            assert!(spec.action.is_none_or(|action| action == format!("aws:ecs:task-{}", spec.name)));
            let asks = spec.parameters.iter().any(|parameter| parameter.values == Values::Duration);
            assert_eq!(asks, spec.lives == Lives::Asked, "{}", spec.name);
            for parameter in spec.parameters {
                let same = |other: &&Parameter| other.option == parameter.option;
                assert_eq!(spec.parameters.iter().filter(same).count(), 1, "{}", parameter.option);
                assert!(!parameter.description.ends_with('.'), "{}", parameter.option);
            }
        }
    }

    /// With what must be given and nothing else, a fault has the defaults of its table; with each example it has
    /// that.
    #[test]
    fn what_is_read_is_what_the_table_says() {
        for spec in ALL {
            let mut required = Arguments::default();
            for parameter in spec.parameters.iter().filter(|it| it.default == Preset::Required) {
                required.give(parameter, parameter.option, parameter.values.example().into_owned());
            }
            let fault = (spec.read)(&required).unwrap();
            assert_eq!((fault.name(), fault.spec().summary), (spec.name, spec.summary));
            for parameter in spec.parameters {
                if let (Preset::Value(value), Some(text)) = (parameter.default, fault.text(parameter.option))
                {
                    assert_eq!(value, text, "{} {}", spec.name, parameter.option);
                }
                let mut arguments = Arguments::default();
                let example = parameter.values.example().into_owned();
                arguments.give(parameter, parameter.option, example.clone());
                for other in spec.parameters.iter().filter(|it| it.default == Preset::Required) {
                    arguments.give(other, other.option, other.values.example().into_owned());
                }
                let told = (spec.read)(&arguments).unwrap().text(parameter.option);
                assert!(told.is_none_or(|told| told == example), "{} {}", spec.name, parameter.option);
            }
        }
    }
}
