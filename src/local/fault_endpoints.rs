//! The fault endpoints of the ECS agent, under `ECS_AGENT_URI` = `http://HOST/api/{cluster}/{service}/{task}`:
//! the nine routes `/fault/v1/{fault}/{start|stop|status}`.
//!
//! No packet is touched: what runs in a task is written down and told, nothing else. Routes, order of the
//! checks, answers and texts as the agent has them (`ecs-agent/tmds/handlers/fault/v1/handlers/handlers.go`,
//! wired in `agent/handlers/task_server_setup.go`).

mod limiter;
mod request;
mod running;

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::server::Shared;
use super::switches::Switches;
use super::wire::{self, Answer};
use limiter::Limiter;
use request::{Asked, Kind, Operation};
use running::TaskFaults;

/// The agent's rate limiter speaks for itself, not in JSON (tollbooth's default).
const TOO_MANY: &str = "You have reached maximum request limit.";
/// The agent gives all commands of a request together this long.
const TIMED_OUT: Duration = Duration::from_secs(5);

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
    if !names.iter().all(|name| super::metadata::is_name(name)) {
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
}

/// Answers a call below `/api/`.
pub(super) async fn answer(shared: &Shared, method: &http::Method, path: &str, body: &[u8]) -> Answer {
    let Some(route) = route(path) else {
        shared.log.line("task", &format!("{method} {path}"), 404);
        return wire::plain_json(404, &json!({ "Error": format!("there is no fault endpoint at {path}") }));
    };
    let what = format!("{} {}", route.operation.name(), route.kind.name());
    if method != http::Method::POST {
        shared.log.line("task", &format!("{method} {path}"), 405);
        return wire::answer(405, "text/plain", "");
    }
    let who = route.task.rsplit('/').next().unwrap_or_default();
    let interval = Duration::from_secs(shared.switches().fault_rate_seconds);
    let admitted = shared.faults(|all| {
        let key = (route.task.to_owned(), route.kind, route.operation);
        all.limiter.admit(key, SystemTime::now(), interval)
    });
    if !admitted {
        shared.log.line(who, &what, 429);
        return wire::answer(429, "text/plain; charset=utf-8", TOO_MANY);
    }
    let outcome = perform(shared, &route, body).await;
    // Honest in the log: nobody should look for lost packets here.
    let (status, value) = match &outcome {
        Ok(status) => {
            shared.log.line(who, &what, format!("200 {status} (kept in mind only: no packet is touched)"));
            (200, json!({ "Status": status }))
        }
        Err(refusal) => {
            shared.log.line(who, &what, format!("{} {}", refusal.status, refusal.text));
            (refusal.status, json!({ "Error": refusal.text }))
        }
    };
    wire::plain_json(status, &value)
}

async fn perform(shared: &Shared, route: &Route<'_>, body: &[u8]) -> Result<&'static str, Refusal> {
    let asked = Asked::read(route.kind, route.operation, body).map_err(Refusal::bad)?;
    if !shared.fault_injection {
        let arn = format!("arn:aws:ecs:{}:{}:{}", shared.region, shared.account, route.arn_tail);
        return Err(Refusal::bad(format!("enableFaultInjection is not enabled for task: {arn}")));
    }
    let trouble = |count: fn(&mut Switches) -> &mut u32| {
        shared.use_switches(|switches| {
            let meant = ["", route.operation.name()].contains(&switches.fault_trouble_with.as_str());
            let count = count(switches);
            let some = meant && *count > 0;
            *count -= u32::from(some);
            some
        })
    };
    if trouble(|switches| &mut switches.fault_error_next) {
        return Err(Refusal { status: 500, text: "internal error".to_owned() });
    }
    if trouble(|switches| &mut switches.fault_timeout_next) {
        // As in the agent, what was begun stays: a start that timed out may have done its work.
        let _ = shared.faults(|all| all.task(route.task).apply(route.operation, &asked));
        tokio::time::sleep(TIMED_OUT).await;
        let text = format!("{} {}: request timed out", route.operation.request_type(), route.kind.name());
        return Err(Refusal { status: 500, text });
    }
    shared.faults(|all| all.task(route.task).apply(route.operation, &asked))
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
