//! `memory-stress`: processes that hold a share of the memory.

use crate::duration::DURATION;
use crate::parameter::{InDocument, Parameter, Preset, Values};
use crate::pattern;
use crate::pattern::DIGITS;
use crate::spec::Document;
use crate::spec::{Lives, Spec, Strength};
use crate::{Arguments, Fault, ParameterError, Parameters, Range};

/// Document `AWSFIS-Run-Memory-Stress`; FIS has no action of that name for tasks.
pub static SPEC: Spec = Spec {
    name: "memory-stress",
    summary: "hold a share of the memory",
    action: None,
    lives: Lives::Asked,
    strength: Some(Strength { percents: &[&PERCENT], instead: None }),
    parameters: &[DURATION, PERCENT, WORKERS],
    documents: &[Document {
        name: "AWSFIS-Run-Memory-Stress",
        parameters: &[DURATION, WORKERS, PERCENT],
        heartbeats: false,
        settles: &[],
        read: Fault::read::<MemoryStress>,
    }],
    read: Fault::read::<MemoryStress>,
};

const PERCENT: Parameter = Parameter {
    option: "percent",
    fis: None,
    document: Some(InDocument::new("Percent", pattern::PERCENT)),
    default: Preset::Value("80"),
    values: Values::Number(Range::PERCENT),
    description: "share of the memory that is free to the task at the start: of its limit, less its use",
};

const WORKERS: Parameter = Parameter {
    option: "workers",
    fis: None,
    document: Some(InDocument::new("Workers", DIGITS)),
    default: Preset::Value("1"),
    values: Values::Number(Range::WORKERS),
    description: "processes that share it, as many as there are CPUs at most, and eight; 0 means one for each CPU",
};

/// Parameters of a memory stress, in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryStress {
    /// Processes that share the memory, as many as there are CPUs at most; 0 means one for each CPU.
    pub workers: u32,
    /// Share of the memory that is free to the task at the start, for all workers together, 1–100.
    pub percent: u8,
}

impl Parameters for MemoryStress {
    fn read(arguments: &Arguments) -> Result<Self, ParameterError> {
        Ok(MemoryStress { workers: arguments.number(&WORKERS)?, percent: arguments.number(&PERCENT)? })
    }

    fn text(&self, option: &str) -> Option<String> {
        match option {
            "workers" => Some(self.workers.to_string()),
            "percent" => Some(self.percent.to_string()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_at_all_is_refused() {
        let mut arguments = Arguments::default();
        arguments.give(&PERCENT, "percent", "0");
        let refused = MemoryStress::read(&arguments).map_err(|error| error.to_string());
        assert_eq!(refused, Err("percent is 0; accepted are 1 to 100 %".into()));
        let usual = MemoryStress::with_defaults();
        assert_eq!(usual, Ok(MemoryStress { workers: 1, percent: 80 }));
    }
}
