//! `taskfault inject FAULT`: one fault now, in the foreground.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{USAGE, confine, injected};
use crate::aws::endpoint::Endpoints;
use crate::config::own_variable;
use crate::policy::Policy;
use crate::run::run_fault::{Ending, run_fault};
use crate::shutdown::Signals;
use effects::task::ecs_agent::{AGENT_VARIABLE, ALLOW_HOST_NETWORK_VARIABLE, AgentAccess};
use effects::task::metadata::{METADATA_VARIABLE, TaskMetadata};
use effects::task::prefixes::{LIST_VARIABLE, Region};
use effects::task::{Task, lifelines};
use faults::Fault;
use http_client::{Client, Network};

#[cfg(test)]
mod hostile;
mod options;

pub use options::InjectArgs;
use options::Refusal;

/// Performs the fault and prints its report. Code 0 when it lived its whole duration, 128 and the signal's
/// number after a signal, 2 for wrong usage, 1 when it failed.
pub fn run(args: InjectArgs) -> ExitCode {
    let (fault, duration) = match args.asked {
        Ok(asked) => asked,
        Err(Refusal::Parameter(error)) => return refused(USAGE, &error.to_string()),
        Err(Refusal::NoSuchFault(name)) => return no_such_fault(&name),
    };
    let policy = match Policy::read(std::env::vars_os()) {
        Ok(policy) => policy,
        Err(error) => return refused(USAGE, &error.to_string()),
    };
    let network = match Network::read(own_variable) {
        Ok(network) => network,
        Err(error) => return refused(USAGE, &error.to_string()),
    };
    if let Err(forbidden) = policy.check(&fault, duration) {
        return refused(USAGE, &format!("{forbidden}; nothing was started"));
    }
    let mut confinement = confine::confine(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().enable_io().build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(perform(&fault, duration, &policy, network));
            // Not waited for: the thread of a name look-up may hang for longer than anybody waits.
            runtime.shutdown_background();
            confinement.tell_refused(|text| log(&format!("taskfault inject: {text}\n")));
            code
        }
        Err(error) => refused(1, &format!("could not start the runtime: {error}")),
    }
}

/// Writes to standard error. Where it cannot be written the fault goes on: its end and the exit code count.
fn log(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn refused(code: u8, why: &str) -> ExitCode {
    log(&format!("taskfault inject: {why}\n"));
    ExitCode::from(code)
}

fn no_such_fault(name: &str) -> ExitCode {
    let names: Vec<_> = faults::ALL.iter().map(|spec| spec.name).collect();
    refused(USAGE, &format!("there is no fault {name:?}; there are {}", names.join(", ")))
}

async fn perform(fault: &Fault, duration: Duration, policy: &Policy, network: Network) -> ExitCode {
    // Before the fault starts, so that no signal can end the process while it lives.
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return refused(1, &format!("could not listen for signals: {error}")),
    };
    let cancel = CancellationToken::new();
    let task = policy.limit(surroundings(network).await);
    let mut shown = None;
    let mut on_start = |text: &str, _| {
        log(&format!("{text}\n"));
        // Only taskfault status misses it where it cannot be had.
        shown = injected::show(fault.name(), duration).ok();
    };
    let running = run_fault(fault, duration, &task, &cancel, &mut on_start);
    let finished = CancellationToken::new();
    let running = async {
        let outcome = running.await;
        finished.cancel();
        outcome
    };
    let (outcome, number) = tokio::join!(running, watch(&mut signals, &cancel, &finished));
    log(&outcome.stderr);
    let mut stdout = io::stdout().lock();
    if let Err(error) = stdout.write_all(outcome.stdout.as_bytes()).and_then(|()| stdout.flush()) {
        return refused(1, &format!("the fault is over, and its report cannot be written: {error}"));
    }
    match (outcome.ending, number) {
        (Ending::Completed, _) => ExitCode::SUCCESS,
        (Ending::Cancelled, Some(number)) => ExitCode::from(128 + number),
        (Ending::Cancelled, None) | (Ending::Failed, _) => ExitCode::FAILURE,
    }
}

/// What a fault needs to know of the task: its limits and, for those on the network, its lifelines, its region and
/// how the ECS agent is reached. What cannot be found out counts as not there; the fault says so if it needs it.
async fn surroundings(network: Network) -> Task {
    let mut task = Task {
        state_dir: own_variable("TASKFAULT_STATE_DIR").map(Into::into),
        lifelines: lifelines::addresses(own_variable),
        region: Region {
            name: own_variable("AWS_REGION")
                .or_else(|| own_variable("AWS_DEFAULT_REGION"))
                .unwrap_or_default(),
            partition: String::new(),
            list_url: own_variable(LIST_VARIABLE),
            network: network.clone(),
        },
        ..Task::default()
    };
    let Some(base) = own_variable(METADATA_VARIABLE) else { return task };
    let Ok(client) = Client::new(&network.direct()) else { return task };
    task.metadata_uri = Some(base.clone());
    match TaskMetadata::read(&client, &base).await {
        Ok(found) => {
            task.cpu_limit = found.cpu_limit;
            task.memory_limit = found.memory_limit;
            task.region.name.clone_from(&found.arn.region);
            task.region.partition.clone_from(&found.arn.partition);
            let endpoints = Endpoints::resolve(&found.arn.region, &found.arn.partition, own_variable);
            let hosts = endpoints.map(|all| all.hosts(&network.proxies)).unwrap_or_default();
            task.ecs_agent = AgentAccess::new(own_variable(AGENT_VARIABLE), &found, hosts)
                .allowing(own_variable(ALLOW_HOST_NETWORK_VARIABLE).as_deref());
        }
        Err(error) => log(&format!("taskfault inject: {error}\n")),
    }
    task
}

/// Cancels at the first signal and gives its number. Later ones change nothing: undoing is on its way.
async fn watch(
    signals: &mut Signals,
    cancel: &CancellationToken,
    finished: &CancellationToken,
) -> Option<u8> {
    let number = tokio::select! {
        (_, number) = signals.next() => number,
        () = finished.cancelled() => return None,
    };
    cancel.cancel();
    Some(number)
}
