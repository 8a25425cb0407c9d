//! A small API of our own beside the AWS ones, under `/_taskfault/`, for tests:
//!
//! | request | does |
//! |---|---|
//! | `GET /_taskfault/health` | says that the server is up, and counts |
//! | `GET /_taskfault/switches` | the switches as they are |
//! | `POST /_taskfault/switches` | sets the switches that the JSON body names; the others stay |
//! | `GET /_taskfault/faults` | what runs at the fault endpoints, by task |
//! | `GET /_taskfault/record` | what happened so far ([`super::record::Record`]) |
//! | `POST /_taskfault/drop-sockets` | cuts every control channel now, without a goodbye |
//! | `POST /_taskfault/send` | puts `{"instance_id", "hex" \| "text"}` on that control channel as it is |

use http::request::Parts;
use serde_json::{Value, json};

use super::gateway::links::Order;
use super::guard;
use super::shared::Shared;
use super::wire::{self, Answer};

/// Answers one call of the test API; `path` is what follows `/_taskfault/`. What changes something must come as
/// JSON.
pub(super) fn answer(shared: &Shared, parts: &Parts, path: &str, body: &[u8]) -> Answer {
    let method = &parts.method;
    if method != http::Method::GET && !guard::is_json(&parts.headers) {
        let error =
            format!("{method} /_taskfault/{path} takes JSON: add the header Content-Type: application/json");
        return wire::plain_json(415, &json!({ "error": error }));
    }
    let outcome = match (method.as_str(), path) {
        ("GET", "health") => Ok(health(shared)),
        ("GET", "switches") => Ok(json!(shared.switches())),
        ("GET", "faults") => Ok(shared.faults(|faults| faults.running())),
        ("GET", "record") => Ok(json!(shared.record())),
        ("POST", "switches") => set(shared, body),
        ("POST", "drop-sockets") => Ok(json!({ "dropped": shared.links.drop_all() })),
        ("POST", "send") => send(shared, body),
        _ => {
            return wire::plain_json(
                404,
                &json!({ "error": format!("there is no {method} /_taskfault/{path}") }),
            );
        }
    };
    match outcome {
        Ok(value) => wire::plain_json(200, &value),
        Err(error) => wire::plain_json(400, &json!({ "error": error })),
    }
}

fn health(shared: &Shared) -> Value {
    let (mut instances, mut commands) = (0, 0);
    shared.regions(|regions| {
        regions.each(|_, world| {
            instances += world.ssm.instances.len();
            commands += world.ssm.commands.len();
        });
    });
    json!({
        "status": "ok", "region": shared.region, "instances": instances, "commands": commands,
        "channels": shared.links.count(),
    })
}

fn set(shared: &Shared, body: &[u8]) -> Result<Value, String> {
    let changes: Value = serde_json::from_slice(body).map_err(|error| format!("not JSON: {error}"))?;
    let switches = shared.switches().with(&changes)?;
    shared.regions(|regions| {
        regions.each(|_, world| {
            world.fis.targets_per_action = Some(switches.fis_targets_per_action);
            world.fis.any_role = switches.fis_any_role;
        });
    });
    shared.set_switches(switches.clone());
    Ok(json!(switches))
}

fn send(shared: &Shared, body: &[u8]) -> Result<Value, String> {
    let body: Value = serde_json::from_slice(body).map_err(|error| format!("not JSON: {error}"))?;
    let instance = body["instance_id"].as_str().ok_or("instance_id is missing")?;
    let order = match (body["hex"].as_str(), body["text"].as_str()) {
        (Some(digits), None) => Order::Binary(hex::decode(digits).map_err(|_| "hex is not hex digits")?),
        (None, Some(text)) => Order::Text(text.to_owned()),
        _ => return Err("give either hex or text".to_owned()),
    };
    match shared.links.order(instance, order) {
        true => Ok(json!({})),
        false => Err(format!("{instance} has no open control channel")),
    }
}
