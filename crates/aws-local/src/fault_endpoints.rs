//! The fault endpoints of the ECS agent, under `ECS_AGENT_URI` = `http://HOST/api/{cluster}/{service}/{task}`:
//! the nine routes `/fault/v1/{fault}/{start|stop|status}`.
//!
//! No packet is touched: what runs in a task is written down and told, nothing else. Routes, order of the
//! checks, answers and texts as the agent has them (`ecs-agent/tmds/handlers/fault/v1/handlers/handlers.go`,
//! wired in `agent/handlers/task_server_setup.go`).

pub(super) mod answer;
mod limiter;
mod request;
mod running;

use std::collections::HashMap;

use serde_json::json;

use limiter::Limiter;
use request::{Kind, Operation};
use running::TaskFaults;

/// What runs in every task, and when each route was last used.
#[derive(Debug, Default)]
pub(super) struct FaultEndpoints {
    tasks: HashMap<String, TaskFaults>,
    limiter: Limiter,
}

/// One of the nine routes of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Route<'a> {
    /// `cluster/service/task`.
    task: &'a str,
    arn_tail: String,
    kind: Kind,
    operation: Operation,
}

/// The route of a path; None if it is none of the nine, or its task has no proper name.
fn route(path: &str) -> Option<Route<'_>> {
    let (task, call) = path.strip_prefix("/api/")?.split_once("/fault/v1/")?;
    let names: Vec<&str> = task.split('/').collect();
    let [cluster, _service, id] = names[..] else { return None };
    if !names.iter().all(|name| super::ecs::is_name(name)) {
        return None;
    }
    let (kind, operation) = call.split_once('/')?;
    Some(Route {
        task,
        arn_tail: format!("task/{cluster}/{id}"),
        kind: Kind::of(kind)?,
        operation: Operation::of(operation)?,
    })
}

/// A refusal: HTTP status and text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub status: u16,
    pub text: String,
}

impl Refusal {
    fn bad(text: String) -> Refusal {
        Refusal { status: 400, text }
    }

    fn internal() -> Refusal {
        Refusal { status: 500, text: "internal error".to_owned() }
    }
}

impl FaultEndpoints {
    fn task(&mut self, task: &str) -> &mut TaskFaults {
        self.tasks.entry(task.to_owned()).or_default()
    }

    /// What runs, for tests: task (`cluster/service/id`) and fault, with what was asked.
    pub(super) fn running(&self) -> serde_json::Value {
        let tasks = self.tasks.iter().map(|(task, faults)| (task.clone(), faults.describe()));
        tasks.filter(|(_, faults)| faults != &json!([])).collect::<serde_json::Map<_, _>>().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_routes_and_no_more() {
        for kind in ["network-blackhole-port", "network-latency", "network-packet-loss"] {
            for operation in ["start", "stop", "status"] {
                let path = format!("/api/c/s/t1/fault/v1/{kind}/{operation}");
                let route = route(&path).unwrap();
                assert_eq!((route.task, route.arn_tail.as_str()), ("c/s/t1", "task/c/t1"));
                assert_eq!((route.kind.name(), route.operation.name()), (kind, operation));
            }
        }
        for path in [
            "/api/c/s/t1/fault/v1/network-latency",
            "/api/c/s/t1/fault/v1/network-latency/start/",
            "/api/c/s/t1/fault/v1/cpu-stress/start",
            "/api/c/s/fault/v1/network-latency/start",
            "/api/c/s/t 1/fault/v1/network-latency/start",
            "/api/c/../t/fault/v1/network-latency/start",
            "/api/c/s/t1/fault/v2/network-latency/start",
        ] {
            assert_eq!(route(path), None, "{path}");
        }
    }
}
