//! `taskfault inject FAULT`: one fault now, in the foreground.

mod network;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{USAGE, duration};
use network::{BlackholePortArgs, LatencyArgs, PacketLossArgs};

use crate::effect::net::lifeline;
use crate::fault::cpu_stress::CpuStress;
use crate::fault::{self, Fault};
use crate::run::hold::{Ending, hold};
use crate::task::{Task, lifelines};

/// Options of `taskfault inject`.
#[derive(Debug, clap::Args)]
pub struct InjectArgs {
    #[command(subcommand)]
    fault: FaultArgs,
}

#[derive(Debug, clap::Subcommand)]
enum FaultArgs {
    /// Keep a share of the CPU busy
    CpuStress(CpuStressArgs),
    /// Drop the traffic of a port without a word
    NetworkBlackholePort(BlackholePortArgs),
    /// Delay traffic to chosen targets
    NetworkLatency(LatencyArgs),
    /// Lose a share of the packets to chosen targets
    NetworkPacketLoss(PacketLossArgs),
    /// A fault by a name that is no subcommand: one that is not there yet, or a typing error
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

#[derive(Debug, clap::Args)]
struct CpuStressArgs {
    /// How long, 1 s to 12 h: PT5M, PT1H30M, 90s, 5m, 2h
    #[arg(long, value_parser = duration::parse)]
    duration: Duration,
    /// Share of a core per worker, 0-100; with 0 workers, share of the task's CPU limit
    #[arg(long, default_value_t = u64::from(CpuStress::DEFAULT_PERCENT))]
    percent: u64,
    /// Worker threads, 0-4096; 0 means all cores, or the task's CPU limit where it has one
    #[arg(long, default_value_t = u64::from(CpuStress::DEFAULT_WORKERS))]
    workers: u64,
}

/// Performs the fault and prints its report. Code 0 when it lived its whole duration, 128 and the signal's
/// number after a signal, 2 for wrong usage, 1 when it failed.
pub fn run(args: InjectArgs) -> ExitCode {
    let (fault, duration) = match args.fault {
        FaultArgs::CpuStress(args) => {
            (CpuStress::new(args.workers, args.percent).map(Fault::CpuStress), args.duration)
        }
        FaultArgs::NetworkBlackholePort(args) => (args.fault(), args.duration),
        FaultArgs::NetworkLatency(args) => (args.fault(), args.scope.duration),
        FaultArgs::NetworkPacketLoss(args) => (args.fault(), args.scope.duration),
        FaultArgs::Other(words) => return not_there(words.first()),
    };
    let fault = match fault {
        Ok(fault) => fault,
        Err(error) => return refused(USAGE, &error.to_string()),
    };
    // Names must be found again while everything else is cut; where it is refused nothing is lost.
    lifeline::mark_this_thread();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().enable_io().build();
    match runtime {
        Ok(runtime) => runtime.block_on(perform(&fault, duration)),
        Err(error) => refused(1, &format!("could not start the runtime: {error}")),
    }
}

fn refused(code: u8, why: &str) -> ExitCode {
    eprintln!("taskfault inject: {why}");
    ExitCode::from(code)
}

/// Says why there is no such subcommand: a fault of FIS that this version lacks, or no fault at all.
fn not_there(name: Option<&OsString>) -> ExitCode {
    let name = name.map(|name| name.to_string_lossy()).unwrap_or_default();
    if fault::find(&name).is_some() {
        return refused(1, &format!("{name} is not in this version yet; nothing was done"));
    }
    let names: Vec<_> = fault::ALL.iter().map(|spec| spec.name).collect();
    refused(USAGE, &format!("there is no fault {name:?}; there are {}", names.join(", ")))
}

async fn perform(fault: &Fault, duration: Duration) -> ExitCode {
    // Before the fault starts, so that no signal can end the process while it lives.
    let signals = signal(SignalKind::interrupt()).and_then(|int| Ok((int, signal(SignalKind::terminate())?)));
    let (interrupt, terminate) = match signals {
        Ok(signals) => signals,
        Err(error) => return refused(1, &format!("could not listen for signals: {error}")),
    };
    let cancel = CancellationToken::new();
    let get = |name: &str| std::env::var(name).ok();
    let task = Task {
        cpu_limit: None,
        state_dir: get("TASKFAULT_STATE_DIR").map(Into::into),
        lifelines: lifelines::addresses(get),
    };
    let holding = hold(fault, duration, &task, &cancel);
    let ((outcome, done), number) = {
        let finished = CancellationToken::new();
        let watching = watch(interrupt, terminate, &cancel, &finished);
        let holding = async {
            let outcome = holding.await;
            finished.cancel();
            (outcome, ())
        };
        tokio::join!(holding, watching)
    };
    let () = done;
    print!("{}", outcome.stdout);
    eprint!("{}", outcome.stderr);
    match (outcome.ending, number) {
        (Ending::Completed, _) => ExitCode::SUCCESS,
        (Ending::Cancelled, Some(number)) => ExitCode::from(128 + number),
        (Ending::Cancelled, None) | (Ending::Failed, _) => ExitCode::FAILURE,
    }
}

/// Cancels at the first signal and gives its number. Later ones change nothing: undoing is on its way.
async fn watch(
    mut interrupt: Signal,
    mut terminate: Signal,
    cancel: &CancellationToken,
    finished: &CancellationToken,
) -> Option<u8> {
    let number = tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
        () = finished.cancelled() => return None,
    };
    cancel.cancel();
    u8::try_from(number).ok()
}
