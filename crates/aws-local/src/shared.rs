//! What all connections of the local AWS share: the state behind its lock, the switches, the wake-up call.

use parking_lot::Mutex;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use serde_json::{Map, Value};
use tokio::sync::watch;

use super::Context;
use super::error::ApiError;
use super::fault_endpoints::FaultEndpoints;
use super::fis::{Object, Outlook};
use super::gateway::links::Links;
use super::iam::IamState;
use super::recorder::Recorder;
use super::ssm::automation::Scripts;
use super::switches::Switches;
use crate::world::SnapshotError;
use crate::world::{Regions, World};
use record::Record;

/// Limits of a task; a task without them has none in its metadata either.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TaskLimits {
    /// vCPU.
    pub cpu: Option<f64>,
    /// MiB.
    pub memory_mib: Option<u64>,
}

/// How a server is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Port 0 takes any free port.
    pub listen: SocketAddr,
    /// Where everything is that is not signed: the tasks of `up`, task metadata.
    pub region: String,
    /// Twelve digits.
    pub account: String,
    /// Where the state outlives the process; without it everything is forgotten.
    pub state_file: Option<PathBuf>,
    /// What the metadata of every task says about its limits.
    pub limits: TaskLimits,
    /// Whether tasks may use the fault endpoints, and say so in their metadata.
    pub fault_injection: bool,
    /// [`Context::speed`].
    pub speed: f64,
    /// What goes into buckets of S3 is written below this folder; without it, it is lost.
    pub s3_folder: Option<PathBuf>,
    /// Names besides loopback and the address that a request came in by, which its `Host` may be.
    pub allow_hosts: Vec<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 4566)),
            region: "us-east-1".to_owned(),
            account: "000000000000".to_owned(),
            state_file: None,
            limits: TaskLimits::default(),
            fault_injection: true,
            speed: 1.0,
            s3_folder: None,
            allow_hosts: Vec::new(),
        }
    }
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<Regions>,
    /// Changed since it was last written to the state file.
    dirty: AtomicBool,
    switches: Mutex<Switches>,
    /// Counts up whenever something may wait for an agent.
    wake: watch::Sender<u64>,
    stop: watch::Sender<bool>,
    pub(super) links: Links,
    pub(super) region: String,
    pub(super) account: String,
    pub(super) address: SocketAddr,
    pub(super) limits: TaskLimits,
    pub(super) fault_injection: bool,
    speed: f64,
    pub(super) s3_folder: Option<PathBuf>,
    pub(super) allow_hosts: Vec<String>,
    faults: Mutex<FaultEndpoints>,
    recorder: Mutex<Recorder>,
    pub(super) started: SystemTime,
    state_file: Option<PathBuf>,
}

impl Shared {
    /// Reads the state file, if there is one.
    ///
    /// # Errors
    /// It is damaged, or cannot be written.
    pub(super) fn new(options: Options, address: SocketAddr) -> Result<Shared, SnapshotError> {
        let now = SystemTime::now();
        let region = options.region.as_str();
        let file = options.state_file.as_deref();
        let mut state =
            file.map_or_else(|| Ok(Regions::empty(region)), |path| Regions::load(path, region))?;
        let context =
            Context { now, region: region.to_owned(), account: options.account.clone(), speed: 1.0 };
        state.change_iam(|iam| iam.ensure_experiment_role(&context));
        if address.ip().is_loopback() {
            let scripts = Scripts::Run { endpoint: format!("http://{address}") };
            state.each(|_, world| world.ssm.automations.scripts = scripts.clone());
        }
        // Whether it can be written shows now, not when something is lost.
        options.state_file.as_deref().map_or(Ok(()), |path| state.save(path))?;
        Ok(Shared {
            state: Mutex::new(state),
            dirty: AtomicBool::new(false),
            switches: Mutex::default(),
            wake: watch::Sender::new(0),
            stop: watch::Sender::new(false),
            links: Links::default(),
            region: options.region,
            account: options.account,
            address,
            limits: options.limits,
            fault_injection: options.fault_injection,
            speed: options.speed,
            s3_folder: options.s3_folder,
            allow_hosts: options.allow_hosts,
            faults: Mutex::default(),
            recorder: Mutex::default(),
            started: now,
            state_file: options.state_file,
        })
    }

    /// Reads the state at home, or updates what no request waits for.
    pub(super) fn read<T>(&self, use_it: impl FnOnce(&mut World) -> T) -> T {
        self.regions(|regions| use_it(regions.home()))
    }

    /// Changes the state at home, and wakes those who wait for a change.
    pub(super) fn update<T>(&self, use_it: impl FnOnce(&mut World) -> T) -> T {
        self.changed(|regions| use_it(regions.home()))
    }

    /// Reads the state of the region where an instance is registered, or updates what no request waits for.
    pub(super) fn read_of<T>(&self, instance: &str, use_it: impl FnOnce(&mut World) -> T) -> T {
        self.regions(|regions| {
            let region = regions.of_instance(instance).to_owned();
            use_it(regions.of(&region))
        })
    }

    /// Changes the state of the region where an instance is registered, and wakes those who wait for a change.
    pub(super) fn update_of<T>(&self, instance: &str, use_it: impl FnOnce(&mut World) -> T) -> T {
        self.changed(|regions| {
            let region = regions.of_instance(instance).to_owned();
            use_it(regions.of(&region))
        })
    }

    /// Performs a call of an API in a region. Those that read change only what time changes, so nobody waits for the
    /// state file.
    pub(super) fn perform<T>(
        &self,
        operation: &str,
        region: &str,
        use_it: impl FnOnce(&mut World) -> T,
    ) -> T {
        match is_reading(operation) {
            true => {
                let result = self.regions(|regions| use_it(regions.of(region)));
                self.wake();
                result
            }
            false => self.changed(|regions| use_it(regions.of(region))),
        }
    }

    /// Performs a call of IAM or STS, which are one for all regions.
    pub(super) fn change_iam<T>(&self, operation: &str, use_it: impl FnOnce(&mut IamState) -> T) -> T {
        match is_reading(operation) {
            true => self.regions(|regions| use_it(&mut regions.home().iam)),
            false => self.changed(|regions| regions.change_iam(use_it)),
        }
    }

    /// Looks at all regions, or updates what no request waits for.
    pub(super) fn regions<T>(&self, use_them: impl FnOnce(&mut Regions) -> T) -> T {
        use_them(&mut self.state.lock())
    }

    fn changed<T>(&self, use_them: impl FnOnce(&mut Regions) -> T) -> T {
        let result = self.regions(use_them);
        self.dirty.store(true, Ordering::Relaxed);
        self.wake();
        result
    }

    pub(super) fn wake(&self) {
        self.wake.send_modify(|count| *count += 1);
    }

    /// Resolves at every change after this call.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.wake.subscribe()
    }

    /// Resolves when the server stops, at once if it has.
    pub(super) async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        // It cannot be closed: the sender is here.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    /// Ends what waits for [`Shared::stopped`].
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub(super) fn switches(&self) -> Switches {
        self.switches.lock().clone()
    }

    pub(super) fn set_switches(&self, switches: Switches) {
        *self.switches.lock() = switches;
        self.wake();
    }

    /// Changes the switches that count down or turn themselves off.
    pub(super) fn use_switches<T>(&self, use_them: impl FnOnce(&mut Switches) -> T) -> T {
        use_them(&mut self.switches.lock())
    }

    /// Looks at what the fault endpoints keep, or changes it.
    pub(super) fn faults<T>(&self, use_them: impl FnOnce(&mut FaultEndpoints) -> T) -> T {
        use_them(&mut self.faults.lock())
    }

    /// Looks at what the record keeps beside the state, or adds to it.
    pub(super) fn observe<T>(&self, use_it: impl FnOnce(&mut Recorder) -> T) -> T {
        use_it(&mut self.recorder.lock())
    }

    /// What happened so far, as data.
    pub(super) fn record(&self) -> Record {
        let context = self.context();
        self.read(|state| self.observe(|recorder| recorder.record(state, &context)))
    }

    /// A call at home, now.
    pub(super) fn context(&self) -> Context {
        self.context_in(&self.region)
    }

    /// A call in a region, now.
    pub(super) fn context_in(&self, region: &str) -> Context {
        Context {
            now: SystemTime::now(),
            region: region.to_owned(),
            account: self.account.clone(),
            speed: self.speed,
        }
    }

    /// Writes an object of S3 below the folder for them, if there is one.
    ///
    /// # Errors
    /// The folder is missing, not writable or full.
    pub(super) fn write_object(&self, object: &Object) -> std::io::Result<()> {
        let Some(folder) = &self.s3_folder else { return Ok(()) };
        // Names of buckets and prefixes are the user's: none leads out of the folder.
        let parts = object.key.split('/').filter(|part| !matches!(*part, "" | "." | ".."));
        let path = folder.join(object.bucket.replace('/', "_")).join(parts.collect::<PathBuf>());
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(&path, &object.text)
    }

    /// Writes the state file if anything changed since it was last written.
    ///
    /// # Errors
    /// The folder is missing, not writable or full.
    pub(super) fn save(&self) -> Result<(), SnapshotError> {
        match &self.state_file {
            Some(path) if self.dirty.swap(false, Ordering::Relaxed) => {
                let saved = self.regions(|regions| regions.save(path));
                if saved.is_err() {
                    self.dirty.store(true, Ordering::Relaxed);
                }
                saved
            }
            _ => Ok(()),
        }
    }
}

fn is_reading(operation: &str) -> bool {
    ["Describe", "Get", "List", "Filter"].iter().any(|verb| operation.starts_with(verb))
}

fn unknown(operation: &str) -> Result<Value, ApiError> {
    Err(ApiError::new("UnknownOperationException", format!("there is no operation {operation:?} here")))
}

/// The state of a server in the same process.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Shared>);

impl Handle {
    pub(super) fn of(shared: Arc<Shared>) -> Handle {
        Handle(shared)
    }

    /// Updates the state; agents that wait for something are woken.
    pub fn state<T>(&self, use_it: impl FnOnce(&mut World) -> T) -> T {
        self.0.update(use_it)
    }

    /// Adds to what is measured: nobody waits for it, and it goes to the state file with the next change.
    pub fn measure(&self, add: impl FnOnce(&mut World, &Context)) {
        let context = self.0.context();
        self.0.read(|world| add(world, &context));
    }

    /// Whether there is a log group in a region; with `make` it is made.
    pub fn log_group(&self, region: &str, group: &str, make: bool) -> bool {
        if make {
            let now = self.0.context().now;
            self.0.changed(|regions| regions.of(region).logs.ensure_group(group, now));
        }
        self.0.regions(|regions| regions.of(region).logs.has_group(group))
    }

    /// Appends lines to a stream of a log group, which is made if it is not there. They go to the state file with the
    /// next change. False if there is no such group.
    pub fn log(&self, region: &str, group: &str, stream: &str, at: SystemTime, lines: Vec<String>) -> bool {
        self.0.regions(|regions| {
            let logs = &mut regions.of(region).logs;
            lines.into_iter().all(|line| logs.put(group, stream, at, line))
        })
    }

    /// Tells the record what this process sees of tasks and load.
    pub fn observe<T>(&self, use_it: impl FnOnce(&mut Recorder) -> T) -> T {
        self.0.observe(use_it)
    }

    /// What happened so far.
    pub fn record(&self) -> Record {
        self.0.record()
    }

    /// The same, with traffic and CPU since a moment only, in seconds since 1970.
    pub fn record_since(&self, from: f64) -> Record {
        let context = self.0.context();
        self.0.read(|state| self.0.observe(|recorder| recorder.record_since(from, state, &context)))
    }

    /// Makes a call of FIS or CloudWatch that only reads, without the wire: `GetExperiment`, `DescribeAlarms`.
    ///
    /// # Errors
    /// Those of the operation; `UnknownOperationException` for one that there is not.
    pub fn ask(&self, operation: &str, members: &Map<String, Value>) -> Result<Value, ApiError> {
        let context = self.0.context();
        self.0.read(|world| {
            let of_fis = world.call_fis(operation, members, &context);
            of_fis
                .or_else(|| world.call_cloudwatch(operation, members, &context))
                .unwrap_or_else(|| unknown(operation))
        })
    }

    /// Makes a call of FIS that changes something, as `who` in the log.
    ///
    /// # Errors
    /// Those of the operation; `UnknownOperationException` for one that there is not.
    pub fn order(&self, who: &str, operation: &str, members: &Map<String, Value>) -> Result<Value, ApiError> {
        let context = self.0.context();
        let outcome = self.0.update(|world| {
            world.call_fis(operation, members, &context).unwrap_or_else(|| unknown(operation))
        });
        let what = format!("FIS.{operation}");
        let said =
            outcome.as_ref().err().map_or("200".to_owned(), |error| format!("{} {error}", error.status));
        tracing::info!(who, what, outcome = said);
        outcome
    }

    /// What an experiment of a template would come to if it were started now.
    ///
    /// # Errors
    /// There is no such template.
    pub fn outlook(&self, template: &str) -> Result<Outlook, ApiError> {
        let context = self.0.context();
        self.0.read(|world| world.outlook(template, &context))
    }

    /// Resolves when the server stops, at once if it has.
    pub async fn stopped(&self) {
        self.0.stopped().await;
    }

    /// Reads the state; no waiter is woken.
    pub fn read<T>(&self, use_it: impl FnOnce(&World) -> T) -> T {
        self.0.read(|state| use_it(state))
    }

    /// The moment and the place of a call that is made now.
    pub fn context(&self) -> Context {
        self.0.context()
    }

    /// Resolves once the state satisfies `condition`, which is asked at every change.
    pub async fn until(&self, condition: impl Fn(&World) -> bool) {
        let mut changes = self.0.changes();
        while !self.0.read(|state| condition(state)) {
            // It cannot be closed: the sender is here.
            let _ = changes.changed().await;
        }
    }
}
