//! Gathers what the state alone does not keep: traffic, CPU, and whose an instance was.

use std::collections::BTreeMap;

mod collect;

use record::{CpuSample, FORMAT, Load, MemorySample, Note, Record, Second, TaskCpu, TaskMemory};

use crate::Context;
use crate::tags::TASK_ARN_TAG;
use crate::wire::epoch_seconds;
use crate::world::World;

/// Seconds of traffic and of CPU that are kept: half a day, the longest that an experiment may take.
const MOST_SECONDS: usize = 43_200;

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Recorder {
    load: Option<Load>,
    /// By task, without their ARNs until they are told.
    cpu: BTreeMap<String, TaskCpu>,
    memory: BTreeMap<String, TaskMemory>,
    notes: Vec<Note>,
    /// The task of each instance there ever was: an instance goes with its sidecar, its commands stay.
    owners: BTreeMap<String, String>,
}

impl Recorder {
    /// A look at the state, now and then: often enough that no instance comes and goes in between.
    pub fn observe(&mut self, state: &World) {
        for instance in state.ssm.instances.values() {
            if let Some(task) = instance.tags.get(TASK_ARN_TAG)
                && self.owners.get(&instance.id) != Some(task)
            {
                self.owners.insert(instance.id.clone(), task.clone());
            }
        }
    }

    /// A load has begun; what is told of an earlier one is forgotten.
    pub fn load_begins(&mut self, what: String, rate: f64) {
        self.load = Some(Load { what, rate, seconds: Vec::new() });
    }

    /// One second of the load.
    pub fn second(&mut self, second: Second) {
        if let Some(load) = &mut self.load {
            push(&mut load.seconds, second);
        }
    }

    /// The CPU that a task used in the time that ends with the sample, and what it may use, in percent of one core.
    pub fn cpu(&mut self, task: &str, limit: Option<f64>, sample: CpuSample) {
        let cpu = self.cpu.entry(task.to_owned()).or_default();
        cpu.limit_percent = limit;
        push(&mut cpu.samples, sample);
    }

    /// The memory that a task holds, and what it may hold, in MiB.
    pub fn memory(&mut self, task: &str, limit: Option<f64>, sample: MemorySample) {
        let memory = self.memory.entry(task.to_owned()).or_default();
        memory.limit_mib = limit;
        push(&mut memory.samples, sample);
    }

    /// Something worth knowing.
    pub fn note(&mut self, note: Note) {
        self.notes.push(note);
    }

    /// All of it, with what the state says.
    pub fn record(&self, state: &World, context: &Context) -> Record {
        self.record_since(f64::NEG_INFINITY, state, context)
    }

    /// The same, with traffic and CPU since a moment only, in seconds since 1970. These are what is long.
    pub fn record_since(&self, from: f64, state: &World, context: &Context) -> Record {
        let to = epoch_seconds(context.now);
        let mut record = Record {
            format: FORMAT,
            from: to,
            to,
            region: context.region.clone(),
            account: context.account.clone(),
            speed: context.speed,
            load: self.load.as_ref().map(|load| load_since(from, load)),
            cpu: self.cpu.iter().map(|(task, cpu)| cpu_since(from, task, cpu)).collect(),
            memory: self.memory.iter().map(|(task, memory)| memory_since(from, task, memory)).collect(),
            tasks: collect::tasks(state),
            notes: self.notes.clone(),
            commands: collect::commands(state, &self.owners),
            ..Record::default()
        };
        collect::experiments(state, &mut record);
        collect::alarms(state, &mut record);
        record.notes.sort_by(|one, other| one.at.total_cmp(&other.at));
        record.from = began(&record).min(to);
        record
    }
}

fn load_since(from: f64, load: &Load) -> Load {
    let seconds = since(from, &load.seconds, |second| second.at).to_vec();
    Load { what: load.what.clone(), rate: load.rate, seconds }
}

/// The end of a list that is in the order of its times.
fn since<T>(from: f64, all: &[T], at: fn(&T) -> f64) -> &[T] {
    all.get(all.partition_point(|one| at(one) < from)..).unwrap_or_default()
}

/// The first thing that happened.
fn began(record: &Record) -> f64 {
    let load = record.load.iter().flat_map(|load| load.seconds.first()).map(|second| second.at);
    let cpu = record.cpu.iter().flat_map(|cpu| cpu.samples.first()).map(|sample| sample.at);
    let experiments = record.experiments.iter().filter_map(|experiment| experiment.started);
    let commands = record.commands.iter().map(|command| command.requested);
    let tasks = record.tasks.iter().map(|task| task.started);
    load.chain(cpu).chain(experiments).chain(commands).chain(tasks).fold(f64::INFINITY, f64::min)
}

fn cpu_since(from: f64, task: &str, all: &TaskCpu) -> TaskCpu {
    let samples = since(from, &all.samples, |sample| sample.at).to_vec();
    TaskCpu { task: task.to_owned(), limit_percent: all.limit_percent, samples }
}

fn memory_since(from: f64, task: &str, all: &TaskMemory) -> TaskMemory {
    let samples = since(from, &all.samples, |sample| sample.at).to_vec();
    TaskMemory { task: task.to_owned(), limit_mib: all.limit_mib, samples }
}

fn push<T>(kept: &mut Vec<T>, new: T) {
    // A tenth at once, so that it is rarely done.
    if kept.len() >= MOST_SECONDS {
        kept.drain(..MOST_SECONDS / 10);
    }
    kept.push(new);
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn context(seconds: u64) -> Context {
        Context {
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            region: "us-east-1".into(),
            account: "000000000000".into(),
            speed: 1.0,
        }
    }

    #[test]
    fn the_longest_load_is_bounded_and_keeps_its_end() {
        let mut recorder = Recorder::default();
        recorder.load_begins("GET /".into(), 1.0);
        for index in 0..MOST_SECONDS + 5 {
            recorder.second(Second { at: index as f64, ..Second::default() });
        }
        let load = recorder.record(&World::default(), &context(50_000)).load.unwrap();
        assert!(load.seconds.len() <= MOST_SECONDS);
        assert_eq!(load.seconds.last().unwrap().at, (MOST_SECONDS + 4) as f64);
    }

    #[test]
    fn a_record_begins_with_the_first_thing_that_happened() {
        let mut recorder = Recorder::default();
        let empty = recorder.record(&World::default(), &context(100));
        assert_eq!((empty.from, empty.to), (100.0, 100.0));
        recorder.cpu("a", None, CpuSample { at: 40.0, percent: 5.0 });
        recorder.cpu("b", None, CpuSample { at: 30.0, percent: 5.0 });
        let record = recorder.record(&World::default(), &context(100));
        assert_eq!((record.from, record.cpu.len()), (30.0, 2));
        let late = recorder.record_since(35.0, &World::default(), &context(100));
        assert_eq!((late.cpu[0].samples.len(), late.cpu[1].samples.len()), (1, 0));
    }
}
