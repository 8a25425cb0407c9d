//! Which faults run in one task, as the agent would read it back from the kernel. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Refusal;
use super::request::{Asked, Hole, Kind, Operation};

const RUNNING: &str = "running";
const STOPPED: &str = "stopped";
const NOT_RUNNING: &str = "not-running";

/// The faults of one task: any number of black holes, and one latency or one packet loss.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TaskFaults {
    holes: BTreeMap<Hole, Value>,
    shaping: Option<(Kind, Value)>,
    /// Kinds whose starts fail from now on.
    half_done: BTreeSet<Kind>,
}

impl TaskFaults {
    /// A start of the kind has failed and left something that is in the way of the next.
    pub(super) fn leave_half_done(&mut self, kind: Kind) {
        self.half_done.insert(kind);
    }

    /// Does what is asked and gives the status.
    ///
    /// # Errors
    /// 409 for a latency or a packet loss while one of them runs; 500 where a start has left something half done.
    pub(super) fn apply(&mut self, operation: Operation, asked: &Asked) -> Result<&'static str, Refusal> {
        if operation == Operation::Start && self.half_done.contains(&asked.kind()) {
            return Err(Refusal::internal());
        }
        match asked {
            Asked::Hole(hole, body) => Ok(self.hole(operation, hole, body)),
            Asked::Shaping(kind, body) => self.shape(*kind, body),
            Asked::Any(kind) => Ok(self.stop_or_status(operation, *kind)),
        }
    }

    /// Starting what runs already is fine: the chain is there.
    fn hole(&mut self, operation: Operation, hole: &Hole, body: &Value) -> &'static str {
        match operation {
            Operation::Start => {
                self.holes.entry(hole.clone()).or_insert_with(|| body.clone());
                RUNNING
            }
            Operation::Stop => {
                self.holes.remove(hole);
                STOPPED
            }
            Operation::Status if self.holes.contains_key(hole) => RUNNING,
            Operation::Status => NOT_RUNNING,
        }
    }

    fn shape(&mut self, kind: Kind, body: &Value) -> Result<&'static str, Refusal> {
        let conflict = |fault: &str| {
            Err(Refusal { status: 409, text: format!("There is already one {fault} fault running") })
        };
        match self.shaping {
            Some((Kind::Latency, _)) => conflict("network latency"),
            Some(_) => conflict("network packet loss"),
            None => {
                self.shaping = Some((kind, body.clone()));
                Ok(RUNNING)
            }
        }
    }

    fn stop_or_status(&mut self, operation: Operation, kind: Kind) -> &'static str {
        let runs = self.shaping.as_ref().is_some_and(|(running, _)| *running == kind);
        match operation {
            Operation::Status if runs => RUNNING,
            Operation::Status => NOT_RUNNING,
            _ => {
                // A stop leaves the other kind alone.
                if runs {
                    self.shaping = None;
                }
                STOPPED
            }
        }
    }

    /// What runs: the fault's name and the body that started it.
    pub(super) fn describe(&self) -> Value {
        let holes = self.holes.values().map(|body| (Kind::BlackholePort, body));
        let shaping = self.shaping.iter().map(|(kind, body)| (*kind, body));
        holes.chain(shaping).map(|(kind, body)| json!({ "fault": kind.name(), "request": body })).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hole(port: u16) -> Asked {
        let hole = Hole { traffic_type: "egress".into(), protocol: "tcp".into(), port };
        Asked::Hole(hole, json!({ "Port": port }))
    }

    fn shaping(kind: Kind) -> Asked {
        Asked::Shaping(kind, json!({}))
    }

    #[test]
    fn latency_and_loss_exclude_each_other_and_say_which_runs() {
        let mut task = TaskFaults::default();
        assert_eq!(task.apply(Operation::Start, &shaping(Kind::Latency)), Ok("running"));
        for kind in [Kind::Latency, Kind::PacketLoss] {
            let refusal = task.apply(Operation::Start, &shaping(kind)).unwrap_err();
            assert_eq!(refusal.status, 409);
            assert_eq!(refusal.text, "There is already one network latency fault running");
        }
        assert_eq!(task.apply(Operation::Stop, &Asked::Any(Kind::PacketLoss)), Ok("stopped"));
        assert_eq!(task.apply(Operation::Status, &Asked::Any(Kind::Latency)), Ok("running"));
        assert_eq!(task.apply(Operation::Stop, &Asked::Any(Kind::Latency)), Ok("stopped"));
        assert_eq!(task.apply(Operation::Start, &shaping(Kind::PacketLoss)), Ok("running"));
        let refusal = task.apply(Operation::Start, &shaping(Kind::Latency)).unwrap_err();
        assert_eq!(refusal.text, "There is already one network packet loss fault running");
    }

    #[test]
    fn what_is_left_half_done_fails_every_later_start_of_its_kind() {
        let mut task = TaskFaults::default();
        task.leave_half_done(Kind::Latency);
        for _ in 0..2 {
            let refusal = task.apply(Operation::Start, &shaping(Kind::Latency)).unwrap_err();
            assert_eq!((refusal.status, refusal.text.as_str()), (500, "internal error"));
            assert_eq!(task.apply(Operation::Stop, &Asked::Any(Kind::Latency)), Ok("stopped"));
        }
        assert_eq!(task.apply(Operation::Start, &hole(1)), Ok("running"));
    }

    #[test]
    fn black_holes_never_conflict_and_each_is_its_own() {
        let mut task = TaskFaults::default();
        for port in [1, 1, 2] {
            assert_eq!(task.apply(Operation::Start, &hole(port)), Ok("running"));
        }
        assert_eq!(task.apply(Operation::Start, &shaping(Kind::Latency)), Ok("running"));
        assert_eq!(task.describe().as_array().map(Vec::len), Some(3));
        assert_eq!(task.apply(Operation::Stop, &hole(1)), Ok("stopped"));
        assert_eq!(task.apply(Operation::Status, &hole(1)), Ok("not-running"));
        assert_eq!(task.apply(Operation::Status, &hole(2)), Ok("running"));
    }

    proptest! {
        /// Whatever was asked before: after a stop it does not run, and a second stop changes nothing.
        #[test]
        fn a_stop_is_final(calls in proptest::collection::vec((0..3_u8, 0..4_u8), 0..40)) {
            let mut task = TaskFaults::default();
            let of = |what: u8, operation| match (what, operation) {
                (0 | 1, _) => hole(u16::from(what)),
                (2, Operation::Start) => shaping(Kind::Latency),
                (_, Operation::Start) => shaping(Kind::PacketLoss),
                (2, _) => Asked::Any(Kind::Latency),
                _ => Asked::Any(Kind::PacketLoss),
            };
            for (operation, what) in calls {
                let operation = [Operation::Start, Operation::Stop, Operation::Status][usize::from(operation)];
                let _ = task.apply(operation, &of(what, operation));
            }
            for what in 0..4 {
                for _ in 0..2 {
                    prop_assert_eq!(task.apply(Operation::Stop, &of(what, Operation::Stop)), Ok("stopped"));
                }
            }
            prop_assert_eq!(task, TaskFaults::default());
        }
    }
}
