//! Answers the calls: what the agent's handlers do, in their order.

use std::time::{Duration, SystemTime};

use serde_json::json;

use super::request::Asked;
use super::{Refusal, Route, route};
use crate::shared::Shared;
use crate::switches::Switches;
use crate::wire::{self, Answer};

/// The agent's rate limiter speaks for itself, not in JSON (tollbooth's default).
const TOO_MANY: &str = "You have reached maximum request limit.";
/// The agent gives all commands of a request together this long.
const TIMED_OUT: Duration = Duration::from_secs(5);

/// Answers a call below `/api/`.
pub(crate) async fn answer(shared: &Shared, method: &http::Method, path: &str, body: &[u8]) -> Answer {
    let Some(route) = route(path) else {
        tracing::info!(who = "task", what = format!("{method} {path}"), outcome = 404);
        return wire::plain_json(404, &json!({ "Error": format!("there is no fault endpoint at {path}") }));
    };
    let what = format!("{} {}", route.operation.name(), route.kind.name());
    if method != http::Method::POST {
        tracing::info!(who = "task", what = format!("{method} {path}"), outcome = 405);
        return wire::answer(405, "text/plain", "");
    }
    let who = route.task.rsplit('/').next().unwrap_or_default();
    let interval = Duration::from_secs(shared.switches().fault_rate_seconds);
    let admitted = shared.faults(|all| {
        let key = (route.task.to_owned(), route.kind, route.operation);
        all.limiter.admit(key, SystemTime::now(), interval)
    });
    if !admitted {
        tracing::info!(who, what, outcome = 429);
        return wire::answer(429, "text/plain; charset=utf-8", TOO_MANY);
    }
    let outcome = perform(shared, &route, body).await;
    // The log says so, or readers would look for lost packets here.
    let (status, value) = match &outcome {
        Ok(status) => {
            let outcome = format!("200 {status} (kept in mind only: no packet is touched)");
            tracing::info!(who, what, outcome);
            (200, json!({ "Status": status }))
        }
        Err(refusal) => {
            tracing::info!(who, what, outcome = format!("{} {}", refusal.status, refusal.text));
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
