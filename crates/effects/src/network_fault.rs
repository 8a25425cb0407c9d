//! What the network faults have in common: they are performed by the best means of the task, which is this process itself
//! with NET_ADMIN, else the ECS agent, for those that it has.

use std::fmt::Write;
use std::time::Duration;

use outcome::{Figures, figures};

use crate::ecs_agent::request::Request;
use crate::ecs_agent::target::Targets;
use crate::ecs_agent::{self, AgentError};
use crate::fault::{Preflight, StartError, Started};
use crate::net::{self, NetError, NetworkPlan, Work};
use crate::task::Task;
use crate::task::capabilities::Capabilities;
use crate::task::ecs_agent::{Way, choose};
use crate::task::prefixes::expand;
use faults::network_source::{Direction, Scope, Source};

mod by_ecs_agent;
pub(crate) mod by_netlink;

/// The parameters of one network fault, for either means.
pub(crate) trait NetworkFault: Clone + 'static {
    /// As FIS has it: `network-latency`.
    const NAME: &'static str;
    /// What it needs queueing disciplines for.
    const SHAPES: Shapes;

    /// What is asked, in one line: `200 ms ± 10 ms to 10.0.0.0/8`.
    fn summary(&self) -> String;

    /// What is asked, as data.
    fn figures(&self) -> Figures;

    /// What the kernel makes of it that the summary leaves out.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// For this process itself, to last so long.
    fn plan(&self, lasts: Duration) -> NetworkPlan;

    /// The traffic that the fault matches, if sources name it.
    fn scope(&self) -> Option<&Scope> {
        None
    }

    /// As [`NetworkFault::scope`], to put prefixes in the place of services.
    fn scope_mut(&mut self) -> Option<&mut Scope> {
        None
    }
}

/// A network fault that the ECS agent has as well.
pub(crate) trait AtAgent: NetworkFault {
    /// What the agent is asked for.
    fn request(&self, targets: &Targets) -> Request;
}

/// Which packets a fault shapes, rather than doing all of its work by rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shapes {
    /// None.
    Nothing,
    /// Those that leave. What comes in is dropped by rules.
    Egress,
    /// Those that leave and those that come in.
    Both,
}

/// Whether the fault would work in `task`.
pub(crate) fn preflight<F: AtAgent>(task: &Task) -> Preflight {
    judge::<F>(&choose(&Capabilities::read(), &task.ecs_agent), net::probe, ecs_agent::probe)
}

fn judge<F: NetworkFault>(
    way: &Way,
    probe: impl FnOnce() -> Result<(), NetError>,
    ask: impl FnOnce(&str, &'static str) -> Result<(), AgentError>,
) -> Preflight {
    let wrong = |text: String| Preflight { works: false, text };
    match way {
        Way::Netlink => match probe() {
            Ok(()) => Preflight::works(),
            Err(error) => match F::SHAPES {
                Shapes::Nothing if error.concerns_shaping_only() => Preflight::works(),
                Shapes::Egress if error.concerns_shaping_only() => wrong(format!(
                    "for outgoing traffic it will not work: {error}; for incoming traffic it will work here"
                )),
                _ => wrong(format!("will not work: {error}")),
            },
        },
        Way::Endpoints(uri) => match ask(uri, F::NAME) {
            Ok(()) => {
                // A black hole of the agent is a rule of a firewall; what it shapes only leaves.
                let limits = match F::SHAPES {
                    Shapes::Nothing => "egress and ingress",
                    Shapes::Egress | Shapes::Both => {
                        "egress only, flowsPercent from agent 1.100.0 on: an older one hits every flow"
                    }
                };
                Preflight {
                    works: true,
                    text: format!(
                        "will work through the ECS agent, which answers (NET_ADMIN is missing; {limits}; a kill -9 \
                         leaves the fault until the next start or the task's end): {uri}"
                    ),
                }
            }
            Err(error) => wrong(format!("will not work: NET_ADMIN is missing, and {error}")),
        },
        Way::Neither(reason) => wrong(format!("will not work: {reason}")),
    }
}

/// Whether a fault that the ECS agent has not would work in `task`.
pub(crate) fn preflight_here<F: NetworkFault>(task: &Task) -> Preflight {
    let way = here(choose(&Capabilities::read(), &task.ecs_agent), F::NAME);
    judge::<F>(&way, net::probe, ecs_agent::probe)
}

/// The way for a fault that the ECS agent has not.
fn here(way: Way, name: &str) -> Way {
    match way {
        Way::Endpoints(_) => Way::Neither(format!(
            "the ECS agent has no {name}: add NET_ADMIN to the sidecar's container (EC2)"
        )),
        way => way,
    }
}

/// Starts a fault that the ECS agent has not.
pub(crate) async fn start_here<F: NetworkFault>(fault: &F, duration: Duration, task: &Task) -> Started {
    match here(choose(&Capabilities::read(), &task.ecs_agent), F::NAME) {
        Way::Netlink => by_netlink::start(&with_prefixes(fault, task).await?, duration, task).await,
        Way::Neither(reason) | Way::Endpoints(reason) => Err(reason.into()),
    }
}

/// Starts the fault by the best means.
pub(crate) async fn start<F: AtAgent>(fault: &F, duration: Duration, task: &Task) -> Started {
    match choose(&Capabilities::read(), &task.ecs_agent) {
        Way::Netlink => by_netlink::start(&with_prefixes(fault, task).await?, duration, task).await,
        Way::Endpoints(uri) => {
            by_ecs_agent::start(&with_prefixes(fault, task).await?, duration, task, &uri).await
        }
        Way::Neither(reason) => Err(reason.into()),
    }
}

/// With the prefixes of the region where a source is a service.
async fn with_prefixes<F: NetworkFault>(fault: &F, task: &Task) -> Result<F, StartError> {
    let mut fault = fault.clone();
    if let Some(scope) = fault.scope_mut() {
        expand(&mut scope.sources, &task.region).await?;
        expand(&mut scope.selection.exclude_sources, &task.region).await?;
    }
    Ok(fault)
}

/// `work`, and which traffic: `… to 10.0.0.0/8, for 30 % of the flows`.
pub(crate) fn summary_of(work: &str, scope: &Scope) -> String {
    let way = match scope.direction {
        Direction::Egress => "to",
        Direction::Ingress => "from",
    };
    let mut text = format!("{work} {way} {}", list(&scope.sources));
    let selection = &scope.selection;
    if !selection.exclude_sources.is_empty() {
        let _ = write!(text, ", but not {}", list(&selection.exclude_sources));
    }
    if let Some(protocol) = selection.protocol {
        let _ = write!(text, ", {protocol} alone");
    }
    if !selection.ports.is_empty() {
        let _ = write!(text, ", ports {}", selection.ports);
    }
    if !selection.exclude_ports.is_empty() {
        let _ = write!(text, ", but not ports {}", selection.exclude_ports);
    }
    if scope.flows_percent < 100 {
        let _ = write!(text, ", for {} % of the flows", scope.flows_percent);
    }
    text
}

/// What is done to that traffic, to last so long. `name` as [`NetworkPlan::name`].
pub(crate) fn plan_of(name: &'static str, work: Work, scope: &Scope, lasts: Duration) -> NetworkPlan {
    NetworkPlan {
        name,
        work,
        direction: scope.direction,
        interfaces: Some(scope.interfaces.clone()),
        sources: scope.sources.clone(),
        port: None,
        selection: scope.selection.clone(),
        flows_percent: scope.flows_percent,
        lasts,
    }
}

/// `own`, and which traffic.
pub(crate) fn figures_of(mut own: Figures, scope: &Scope) -> Figures {
    own.extend(figures([
        ("direction", scope.direction.to_string().into()),
        ("flows_percent", scope.flows_percent.into()),
        ("sources", scope.sources.len().into()),
    ]));
    own
}

/// The sources in one line that stays short.
pub(crate) fn list(sources: &[Source]) -> String {
    const SHOWN: usize = 10;
    let mut shown: Vec<String> = sources.iter().take(SHOWN).map(ToString::to_string).collect();
    if sources.len() > SHOWN {
        shown.push(format!("and {} more", sources.len() - SHOWN));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use faults::network_blackhole_port::NetworkBlackholePort;
    use faults::network_latency::NetworkLatency;
    use faults::network_packet_loss::NetworkPacketLoss;

    /// The preflight of all three.
    fn judged(way: &Way, probe: fn() -> Result<(), NetError>) -> [Preflight; 3] {
        [
            judge::<NetworkBlackholePort>(way, probe, |_, _| Ok(())),
            judge::<NetworkLatency>(way, probe, |_, _| Ok(())),
            judge::<NetworkPacketLoss>(way, probe, |_, _| Ok(())),
        ]
    }

    #[test]
    fn a_kernel_that_lacks_a_part_is_said_by_each() {
        for preflight in judged(&Way::Netlink, || Err(NetError::NotPermitted)) {
            assert!(!preflight.works);
            let text = preflight.text;
            assert!(text.starts_with("will not work: this process has no CAP_NET_ADMIN"), "{text}");
        }
        for preflight in judged(&Way::Netlink, || Ok(())) {
            assert_eq!(preflight, Preflight::works());
        }
    }

    #[test]
    fn the_way_is_said() {
        let agent = Way::Endpoints("http://169.254.170.2/api/x".into());
        for Preflight { works, text } in judged(&agent, || Err(NetError::NotPermitted)) {
            assert!(works && text.starts_with("will work through the ECS agent"), "{text}");
        }
        let texts = judged(&agent, || Ok(())).map(|preflight| preflight.text);
        assert!(texts[0].contains("egress and ingress") && texts[1].contains("egress only"), "{texts:?}");
        let url = || "http://169.254.170.2/api/x/fault/v1/network-latency/status".to_owned();
        let silent = |_: &str, _| Err(AgentError::Unreachable { url: url(), reason: "refused".into() });
        let Preflight { works, text } = judge::<NetworkLatency>(&agent, || Ok(()), silent);
        assert!(!works && text.contains("cannot be reached at http://169.254.170.2/api/x/fault"), "{text}");
        let none = Way::Neither("set enableFaultInjection".into());
        for Preflight { works, text } in judged(&none, || Ok(())) {
            assert!(!works && text == "will not work: set enableFaultInjection", "{text}");
        }
    }

    #[test]
    fn many_sources_stay_one_short_line() {
        let many = (0..200).map(|n| format!("10.0.0.{n}")).collect::<Vec<_>>().join(",");
        let text = summary_of("1 ms", &Scope::new(&many, "egress", "DEFAULT", 100).unwrap());
        assert!(text.len() < 250 && text.ends_with("and 190 more"), "{text}");
        let text = summary_of("1 ms", &Scope::new(&many, "egress", "DEFAULT", 30).unwrap());
        assert!(text.len() < 250 && text.ends_with("and 190 more, for 30 % of the flows"), "{text}");
    }
}
