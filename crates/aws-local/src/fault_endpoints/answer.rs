//! Answers the calls: what the agent's handlers do, in their order.

use std::time::{Duration, SystemTime};

use serde_json::json;

use super::request::{Asked, Operation, Version};
use super::{Refusal, Route, route};
use crate::gateway::Hangup;
use crate::shared::Shared;
use crate::switches::Switches;
use crate::wire::{self, Answer};

/// The agent's rate limiter speaks for itself, not in JSON, and its router too.
const TOO_MANY: &str = "You have reached maximum request limit";
const NOT_FOUND: &str = "404 page not found\n";
/// The agent gives all commands of a request together this long, and its server the answer no longer.
const TIMED_OUT: Duration = Duration::from_secs(5);

/// Answers a call below `/api/`.
///
/// # Errors
/// The agent closes the connection instead: its time for the request is over.
pub(crate) async fn answer(
    shared: &Shared,
    method: &http::Method,
    path: &str,
    body: &[u8],
) -> Result<Answer, Hangup> {
    let Some(route) = route(path) else {
        tracing::info!(who = "task", what = format!("{method} {path}"), outcome = 404);
        return Ok(wire::answer(404, "text/plain; charset=utf-8", NOT_FOUND));
    };
    let what = format!("{} {}", route.operation.name(), route.kind.name());
    if method != http::Method::POST {
        tracing::info!(who = "task", what = format!("{method} {path}"), outcome = 405);
        return Ok(wire::answer(405, "text/plain", ""));
    }
    let who = route.task.rsplit('/').next().unwrap_or_default();
    let interval = Duration::from_secs(shared.switches().fault_rate_seconds);
    let admitted = shared.faults(|all| {
        let key = (route.task.to_owned(), route.kind, route.operation);
        all.limiter.admit(key, SystemTime::now(), interval)
    });
    if !admitted {
        tracing::info!(who, what, outcome = 429);
        return Ok(too_many(interval));
    }
    let outcome = perform(shared, &route, body).await;
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(hangup) => {
            tracing::info!(who, what, outcome = "hang up after 5 s (switch)");
            return Err(hangup);
        }
    };
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
    Ok(wire::plain_json(status, &value))
}

/// A refusal of the rate limiter, with what it lets through in a second.
fn too_many(interval: Duration) -> Answer {
    let mut answer = wire::answer(429, "text/plain; charset=utf-8", TOO_MANY);
    let limit = format!("{:.2}", 1.0 / interval.as_secs_f64());
    if let Ok(limit) = http::HeaderValue::try_from(limit) {
        answer.headers_mut().insert("x-rate-limit-limit", limit);
    }
    answer.headers_mut().insert("x-rate-limit-duration", http::HeaderValue::from_static("1"));
    answer
}

/// The status of the fault, or a refusal.
type Outcome = Result<&'static str, Refusal>;

async fn perform(shared: &Shared, route: &Route<'_>, body: &[u8]) -> Result<Outcome, Hangup> {
    match admit(shared, route, body) {
        Ok(asked) => act(shared, route, &asked).await,
        Err(refusal) => Ok(Err(refusal)),
    }
}

fn admit(shared: &Shared, route: &Route<'_>, body: &[u8]) -> Result<Asked, Refusal> {
    let version = Version::of(&shared.switches().fault_agent_version);
    let asked = Asked::read(route.kind, route.operation, body, version).map_err(Refusal::bad)?;
    if !shared.fault_injection {
        let arn = format!("arn:aws:ecs:{}:{}:{}", shared.region, shared.account, route.arn_tail);
        return Err(Refusal::bad(format!("enableFaultInjection is not enabled for task: {arn}")));
    }
    Ok(asked)
}

async fn act(shared: &Shared, route: &Route<'_>, asked: &Asked) -> Result<Outcome, Hangup> {
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
        return Ok(Err(Refusal::internal()));
    }
    if route.operation == Operation::Start && trouble(|switches| &mut switches.fault_half_done_next) {
        shared.faults(|all| all.task(route.task).leave_half_done(route.kind));
        return Ok(Err(Refusal::internal()));
    }
    if trouble(|switches| &mut switches.fault_timeout_next) {
        // As in the agent, what was begun stays: a start that timed out may have done its work.
        let _ = shared.faults(|all| all.task(route.task).apply(route.operation, asked));
        tokio::time::sleep(TIMED_OUT).await;
        return Err(Hangup);
    }
    Ok(shared.faults(|all| all.task(route.task).apply(route.operation, asked)))
}
