//! `network-blackhole-port`: all packets to a port are lost.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use outcome::{Figures, figures};

use crate::ecs_agent::request::Request;
use crate::ecs_agent::target::Targets;
use crate::fault::{Perform, Preflight, Started};
use crate::net::{NetworkPlan, Work};
use crate::network_fault::{self, AtAgent, NetworkFault, Shapes};
use crate::task::Task;
use faults::network_blackhole_port::{NetworkBlackholePort, SPEC};
use faults::network_source::{Direction, Selection, Source};

impl Perform for NetworkBlackholePort {
    fn preflight(task: &Task) -> Preflight {
        network_fault::preflight::<NetworkBlackholePort>(task)
    }

    fn start<'a>(&'a self, duration: Duration, task: &'a Task) -> LocalBoxFuture<'a, Started> {
        Box::pin(network_fault::start(self, duration, task))
    }
}

impl NetworkFault for NetworkBlackholePort {
    const NAME: &'static str = SPEC.name;
    const SHAPES: Shapes = Shapes::Nothing;

    fn summary(&self) -> String {
        let where_to = match self.direction {
            Direction::Egress => "that leave for",
            Direction::Ingress => "that come in for",
        };
        format!("all packets lost {where_to} {} port {}", self.protocol, self.port)
    }

    fn figures(&self) -> Figures {
        figures([
            ("port", self.port.into()),
            ("protocol", self.protocol.to_string().into()),
            ("direction", self.direction.to_string().into()),
        ])
    }

    fn plan(&self, lasts: Duration) -> NetworkPlan {
        NetworkPlan {
            name: "blackhole",
            work: Work::Discard,
            direction: self.direction,
            // As a firewall rule would: between the containers of the task too, over loopback.
            interfaces: None,
            sources: vec![Source::All],
            port: Some((self.protocol, self.port)),
            selection: Selection::default(),
            flows_percent: 100,
            lasts,
        }
    }
}

impl AtAgent for NetworkBlackholePort {
    fn request(&self, targets: &Targets) -> Request {
        Request::blackhole_port(self, &targets.exempt)
    }
}
