//! `network-reset`: TCP connections are reset.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use outcome::{Figures, figures};

use crate::fault::{Perform, Preflight, Started};
use crate::net::{NetworkPlan, Work};
use crate::network_fault::{self, NetworkFault, Shapes, figures_of, plan_of, summary_of};
use crate::task::Task;
use faults::network_reset::{Connections, NetworkReset, SPEC};
use faults::network_source::{Protocol, Scope};

impl Perform for NetworkReset {
    fn preflight(task: &Task) -> Preflight {
        network_fault::preflight_here::<NetworkReset>(task)
    }

    fn start<'a>(&'a self, duration: Duration, task: &'a Task) -> LocalBoxFuture<'a, Started> {
        Box::pin(network_fault::start_here(self, duration, task))
    }
}

impl NetworkFault for NetworkReset {
    const NAME: &'static str = SPEC.name;
    const SHAPES: Shapes = Shapes::Nothing;

    fn summary(&self) -> String {
        let what = match self.connections {
            Connections::All => "TCP connections refused and reset",
            Connections::Established => "established TCP connections reset",
            Connections::New => "new TCP connections refused",
        };
        summary_of(what, &self.scope)
    }

    fn figures(&self) -> Figures {
        figures_of(figures([("connections", self.connections.to_string().into())]), &self.scope)
    }

    fn notes(&self) -> Vec<String> {
        match self.connections {
            Connections::New => Vec::new(),
            _ => vec![
                "an established connection is reset with its next packet: one that is silent stays".into(),
            ],
        }
    }

    fn plan(&self, lasts: Duration) -> NetworkPlan {
        let mut plan = plan_of("reset", Work::Reset(self.connections), &self.scope, lasts);
        plan.selection.protocol = Some(Protocol::Tcp);
        plan
    }

    fn scope(&self) -> Option<&Scope> {
        Some(&self.scope)
    }

    fn scope_mut(&mut self) -> Option<&mut Scope> {
        Some(&mut self.scope)
    }
}
