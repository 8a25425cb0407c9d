//! The way to network faults: our own hands with NET_ADMIN, else the ECS agent's fault endpoints. Pure.

use super::capabilities::Capabilities;
use super::metadata::TaskMetadata;

/// Set by ECS in every container: `http://169.254.170.2/api/<id>`.
pub const AGENT_VARIABLE: &str = "ECS_AGENT_URI";

/// Set to `true`, it allows network faults that hit the whole instance (network mode `host`).
pub const ALLOW_HOST_NETWORK_VARIABLE: &str = "TASKFAULT_ALLOW_HOST_NETWORK";

/// What is known of the ECS agent's fault endpoints, and of the task as far as they care.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentAccess {
    /// [`AGENT_VARIABLE`], without a slash at its end.
    pub uri: Option<String>,
    /// `FaultInjectionEnabled` of the task metadata.
    pub enabled: bool,
    /// The task's ARN; empty where there is no metadata.
    pub task_arn: String,
    /// `awsvpc`, `host`, …; empty if unknown.
    pub network_mode: String,
    /// `EC2`, `FARGATE`, …; empty if unknown.
    pub launch_type: String,
    /// Whether a container of the task has an IPv6 address.
    pub has_v6: bool,
    /// Whether who runs this has said that the whole instance may be hit ([`ALLOW_HOST_NETWORK_VARIABLE`]).
    pub allow_host_network: bool,
    /// Host and port of the control channel's endpoints: no fault may cut them.
    pub control_hosts: Vec<(String, u16)>,
}

impl AgentAccess {
    /// What the metadata and the environment say; `uri` is the value of [`AGENT_VARIABLE`].
    pub fn new(uri: Option<String>, task: &TaskMetadata, control_hosts: Vec<(String, u16)>) -> AgentAccess {
        AgentAccess {
            uri: uri.map(|uri| uri.trim_end_matches('/').to_owned()).filter(|uri| !uri.is_empty()),
            enabled: task.fault_injection_enabled,
            task_arn: task.arn.to_string(),
            network_mode: task.network_mode.clone(),
            launch_type: task.launch_type.clone(),
            has_v6: task.has_v6,
            allow_host_network: false,
            control_hosts,
        }
    }

    /// With the value of [`ALLOW_HOST_NETWORK_VARIABLE`].
    #[must_use]
    pub fn allowing(self, host_network: Option<&str>) -> AgentAccess {
        AgentAccess { allow_host_network: host_network == Some("true"), ..self }
    }
}

/// How a network fault is performed in this task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// By this process itself: it has NET_ADMIN.
    Netlink,
    /// By the ECS agent, at this address.
    Endpoints(String),
    /// Not at all, and what to change so that it could be.
    Neither(String),
}

/// The best way that there is: our own hands first, because then the kernel holds the undo.
pub fn choose(capabilities: &Capabilities, access: &AgentAccess) -> Way {
    if access.network_mode == "host" && !access.allow_host_network {
        return Way::Neither(format!(
            "this task uses the network of its instance (networkMode host), so a network fault would hit everything \
             on that instance: use networkMode awsvpc, or allow it with {ALLOW_HOST_NETWORK_VARIABLE}=true"
        ));
    }
    if capabilities.net_admin {
        return Way::Netlink;
    }
    let own = match access.launch_type.as_str() {
        "FARGATE" => "NET_ADMIN is missing, and Fargate does not grant it",
        _ => {
            "NET_ADMIN is missing: on EC2 add it to the sidecar's container \
             (linuxParameters.capabilities.add: [\"NET_ADMIN\"])"
        }
    };
    let agent = match (&access.uri, access.enabled) {
        (Some(uri), true) if ["awsvpc", "host", ""].contains(&access.network_mode.as_str()) => {
            return Way::Endpoints(uri.clone());
        }
        (Some(_), true) => format!(
            "the ECS agent's fault endpoints do not serve network mode {}: set networkMode to awsvpc in the task \
             definition",
            access.network_mode
        ),
        (Some(_), false) => "the ECS agent's fault endpoints are not enabled for this task \
             (FaultInjectionEnabled is not true in its metadata): set enableFaultInjection to true in the task definition"
            .to_owned(),
        (None, _) => format!(
            "{AGENT_VARIABLE} is not set, so there are no fault endpoints of an ECS agent: it is set in every container \
             of platform 1.4.0 and of agent 1.88.0 and newer"
        ),
    };
    Way::Neither(format!("{own}; {agent}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capabilities(net_admin: bool) -> Capabilities {
        Capabilities { net_admin, sys_ptrace: false, kill: false, shell: None, pid_namespace: None }
    }

    fn access() -> AgentAccess {
        AgentAccess {
            uri: Some("http://169.254.170.2/api/x".into()),
            enabled: true,
            network_mode: "awsvpc".into(),
            ..AgentAccess::default()
        }
    }

    #[test]
    fn own_hands_come_first_then_the_agent() {
        let uri = "http://169.254.170.2/api/x".to_owned();
        assert_eq!(choose(&capabilities(true), &access()), Way::Netlink);
        assert_eq!(choose(&capabilities(true), &AgentAccess::default()), Way::Netlink);
        assert_eq!(choose(&capabilities(false), &access()), Way::Endpoints(uri));
    }

    #[test]
    fn the_network_of_the_instance_is_left_alone_unless_that_is_asked_for() {
        let host = AgentAccess { network_mode: "host".into(), ..access() };
        // With NET_ADMIN, and without it through the ECS agent, whose fault is in the same network.
        for net_admin in [true, false] {
            let way = choose(&capabilities(net_admin), &host);
            let Way::Neither(words) = way else { panic!("not refused") };
            assert!(words.contains("would hit everything on that instance"), "{words}");
            assert!(words.contains("TASKFAULT_ALLOW_HOST_NETWORK=true"), "{words}");
        }
        let through_agent = choose(&capabilities(false), &host.clone().allowing(Some("true")));
        assert_eq!(through_agent, Way::Endpoints("http://169.254.170.2/api/x".into()));
        assert_eq!(choose(&capabilities(true), &host.clone().allowing(Some("true"))), Way::Netlink);
        assert_ne!(choose(&capabilities(true), &host.allowing(Some("yes"))), Way::Netlink);
    }

    #[test]
    fn what_to_change_is_said() {
        let words = |access: AgentAccess| match choose(&capabilities(false), &access) {
            Way::Neither(words) => words,
            other => panic!("{other:?}"),
        };
        let disabled = words(AgentAccess { enabled: false, launch_type: "FARGATE".into(), ..access() });
        assert!(disabled.contains("Fargate does not grant it"), "{disabled}");
        assert!(disabled.contains("set enableFaultInjection to true in the task definition"), "{disabled}");
        let bridge = words(AgentAccess { network_mode: "bridge".into(), ..access() });
        assert!(bridge.contains("network mode bridge"), "{bridge}");
        let outside = words(AgentAccess::default());
        assert!(outside.contains("ECS_AGENT_URI is not set"), "{outside}");
        assert!(outside.contains("capabilities.add"), "{outside}");
    }
}
