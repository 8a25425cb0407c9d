//! `network-packet-loss`: a share of the packets is lost.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use outcome::{Figures, figures};

use crate::ecs_agent::request::Request;
use crate::ecs_agent::target::Targets;
use crate::fault::{Perform, Preflight, Started};
use crate::net::{NetworkPlan, Work};
use crate::network_fault::{self, AtAgent, NetworkFault, Shapes, figures_of, plan_of, summary_of};
use crate::task::Task;
use faults::network_packet_loss::{NetworkPacketLoss, SPEC};
use faults::network_source::Scope;

impl Perform for NetworkPacketLoss {
    fn preflight(task: &Task) -> Preflight {
        network_fault::preflight::<NetworkPacketLoss>(task)
    }

    fn start<'a>(&'a self, duration: Duration, task: &'a Task) -> LocalBoxFuture<'a, Started> {
        Box::pin(network_fault::start(self, duration, task))
    }
}

impl NetworkFault for NetworkPacketLoss {
    const NAME: &'static str = SPEC.name;
    const SHAPES: Shapes = Shapes::Egress;

    fn summary(&self) -> String {
        summary_of(&format!("{} % of the packets lost", self.percent), &self.scope)
    }

    fn figures(&self) -> Figures {
        figures_of(figures([("percent", self.percent.into())]), &self.scope)
    }

    fn plan(&self, lasts: Duration) -> NetworkPlan {
        plan_of("loss", Work::Lose { percent: self.percent }, &self.scope, lasts)
    }

    fn scope(&self) -> Option<&Scope> {
        Some(&self.scope)
    }

    fn scope_mut(&mut self) -> Option<&mut Scope> {
        Some(&mut self.scope)
    }
}

impl AtAgent for NetworkPacketLoss {
    fn request(&self, targets: &Targets) -> Request {
        Request::packet_loss(self, targets)
    }
}
