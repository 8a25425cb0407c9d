//! The safety lever: engaged, it stops what runs and lets nothing start.

use serde_json::{Value, json};

use super::call::Call;
use super::safety::SafetyLever;
use super::state::FisState;
use super::{arn, conflict, not_found};
use crate::Context;
use crate::error::ApiError;

/// The id of the only lever of an account and region.
const ID: &str = "default";

/// GetSafetyLever.
pub(super) fn get(call: &Call, state: &mut FisState, context: &Context) -> Result<Value, ApiError> {
    known(call, context)?;
    Ok(shown(state, context))
}

/// UpdateSafetyLeverState.
pub(super) fn update(call: &Call, state: &mut FisState, context: &Context) -> Result<Value, ApiError> {
    let members = call.members();
    let sent = members
        .nested("state")
        .map(|state| (state.required("status") == "engaged", state.required("reason").to_owned()));
    known(call, context)?;
    if status(state) == "engaging" {
        return Err(conflict(
            "The safety lever is being engaged: running experiments are still being stopped. Try again."
                .to_owned(),
        ));
    }
    if let Some((engaged, reason)) = sent {
        state.lever = SafetyLever { engaged, reason };
    }
    Ok(shown(state, context))
}

/// The lever goes by its id; its ARN is taken too, as some clients send it.
fn known(call: &Call, context: &Context) -> Result<(), ApiError> {
    if call.id() == ID || call.id() == arn::of("safety-lever", ID, context) {
        return Ok(());
    }
    Err(not_found(format!("There is no safety lever {}; the only one is called {ID}.", call.id())))
}

/// It is engaged once nothing runs any more.
fn status(state: &FisState) -> &'static str {
    let running = state.experiments.iter().any(|experiment| !experiment.status.is_final());
    match (state.lever.engaged, running) {
        (false, _) => "disengaged",
        (true, true) => "engaging",
        (true, false) => "engaged",
    }
}

fn shown(state: &FisState, context: &Context) -> Value {
    let reason = &state.lever.reason;
    json!({ "safetyLever": {
        "id": ID,
        "arn": arn::of("safety-lever", ID, context),
        "state": { "status": status(state), "reason": reason },
    } })
}
