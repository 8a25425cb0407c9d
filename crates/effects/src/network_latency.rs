//! `network-latency`: packets are delayed.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use outcome::{Figures, figures};

use crate::ecs_agent::request::Request;
use crate::ecs_agent::target::Targets;
use crate::fault::{Perform, Preflight, Started};
use crate::net::{NetworkPlan, Work};
use crate::network_fault::{self, NetworkFault, figures_of, words_of};
use crate::task::Task;
use faults::network_latency::{NetworkLatency, SPEC};
use faults::network_source::Scope;

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
    const SHAPES_INGRESS: bool = true;

    fn words(&self) -> String {
        let (delay, jitter) = (self.delay.as_millis(), self.jitter.as_millis());
        words_of(&format!("{delay} ms, give or take {jitter} ms,"), &self.scope)
    }

    fn figures(&self) -> Figures {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX).into();
        let own = [("delay_ms", milliseconds(self.delay)), ("jitter_ms", milliseconds(self.jitter))];
        figures_of(figures(own), &self.scope)
    }

    fn plan(&self) -> NetworkPlan {
        NetworkPlan {
            name: "latency",
            work: Work::Delay { delay: self.delay, jitter: self.jitter },
            direction: self.scope.direction,
            interfaces: Some(self.scope.interfaces.clone()),
            sources: self.scope.sources.clone(),
            port: None,
            flows_percent: self.scope.flows_percent,
        }
    }

    fn request(&self, targets: &Targets) -> Request {
        Request::latency(self, targets)
    }

    fn scope(&self) -> Option<&Scope> {
        Some(&self.scope)
    }

    fn scope_mut(&mut self) -> Option<&mut Scope> {
        Some(&mut self.scope)
    }
}
