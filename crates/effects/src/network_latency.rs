//! `network-latency`: packets are delayed.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use outcome::{Figures, figures};

use crate::ecs_agent::request::Request;
use crate::ecs_agent::target::Targets;
use crate::fault::{Perform, Preflight, Started};
use crate::net::{NetworkPlan, Work};
use crate::network_fault::{self, AtAgent, NetworkFault, Shapes, figures_of, plan_of, summary_of};
use crate::task::Task;
use faults::network_latency::{NetworkLatency, SPEC};
use faults::network_source::Scope;

/// The widest jitter of the kernel: netem cuts it to `INT_MAX` nanoseconds (`netem_change` in net/sched/sch_netem.c).
/// The ECS agent uses the same netem.
pub(crate) const MOST_JITTER: Duration = Duration::from_nanos(0x7fff_ffff);

impl Perform for NetworkLatency {
    fn preflight(task: &Task) -> Preflight {
        network_fault::preflight::<NetworkLatency>(task)
    }

    fn start<'a>(&'a self, duration: Duration, task: &'a Task) -> LocalBoxFuture<'a, Started> {
        Box::pin(network_fault::start(self, duration, task))
    }
}

impl NetworkFault for NetworkLatency {
    const NAME: &'static str = SPEC.name;
    const SHAPES: Shapes = Shapes::Both;

    fn summary(&self) -> String {
        let (delay, jitter) = (self.delay.as_millis(), self.jitter.as_millis());
        let jitter = if jitter == 0 { String::new() } else { format!(" ± {jitter} ms") };
        summary_of(&format!("{delay} ms{jitter}"), &self.scope)
    }

    fn figures(&self) -> Figures {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX).into();
        let own = [("delay_ms", milliseconds(self.delay)), ("jitter_ms", milliseconds(self.jitter))];
        figures_of(figures(own), &self.scope)
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.jitter.is_zero() {
            notes.push("jitter reorders packets, which makes TCP slower than the delay alone".into());
        }
        if self.jitter > MOST_JITTER {
            notes.push(format!("the kernel limits the jitter to {} ms", MOST_JITTER.as_millis()));
        }
        notes
    }

    fn plan(&self, lasts: Duration) -> NetworkPlan {
        plan_of("latency", Work::Delay { delay: self.delay, jitter: self.jitter }, &self.scope, lasts)
    }

    fn scope(&self) -> Option<&Scope> {
        Some(&self.scope)
    }

    fn scope_mut(&mut self) -> Option<&mut Scope> {
        Some(&mut self.scope)
    }
}

impl AtAgent for NetworkLatency {
    fn request(&self, targets: &Targets) -> Request {
        Request::latency(self, targets)
    }
}
