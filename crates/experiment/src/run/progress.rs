//! What has changed in an experiment since the last poll, as lines.

use std::collections::BTreeMap;

use serde_json::Value;

/// The last known states of an experiment and its actions.
#[derive(Debug, Default)]
pub struct Progress {
    experiment: String,
    actions: BTreeMap<String, String>,
}

impl Progress {
    /// Takes an answer of GetExperiment; a line for every state that has changed.
    pub fn update(&mut self, experiment: &Value) -> Vec<String> {
        let mut lines = Vec::new();
        let status = text(&experiment["state"]["status"]);
        let is_final = is_final(status);
        let changed = self.experiment != status;
        status.clone_into(&mut self.experiment);
        let own = format_state("experiment", status, &experiment["state"]);
        if changed && !is_final {
            lines.push(own.clone());
        }
        for (name, action) in experiment["actions"].as_object().into_iter().flatten() {
            let status = text(&action["state"]["status"]);
            let known = self.actions.entry(name.clone()).or_default();
            if known != status {
                status.clone_into(known);
                // That it waits for its turn is not shown.
                if status != "pending" {
                    lines.push(format_state(&format!("action {name}"), status, &action["state"]));
                }
            }
        }
        // The end of the whole comes after the ends of its parts.
        if changed && is_final {
            lines.push(own);
        }
        lines
    }
}

/// The actions that run in an answer of GetExperiment, as words: `Stress for 12 s`.
pub fn running(experiment: &Value, now: f64) -> Vec<String> {
    let actions = experiment["actions"].as_object().into_iter().flatten();
    let runs =
        actions.filter(|(_, action)| matches!(text(&action["state"]["status"]), "running" | "stopping"));
    let words = runs.map(|(name, action)| match action["startTime"].as_f64() {
        Some(began) => format!("{name} for {:.0} s", (now - began).max(0.0)),
        None => name.clone(),
    });
    words.collect()
}

fn format_state(what: &str, status: &str, state: &Value) -> String {
    match text(&state["reason"]) {
        "" => format!("{what}: {status}"),
        reason => format!("{what}: {status} ({})", reason.trim_end_matches('.')),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// No other status follows it.
pub fn is_final(status: &str) -> bool {
    matches!(status, "completed" | "stopped" | "failed" | "cancelled")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_runs_is_told_with_its_time() {
        let experiment = json!({ "actions": {
            "Kill": { "state": { "status": "pending" } },
            "Stress": { "state": { "status": "running" }, "startTime": 100.0 },
            "Wait": { "state": { "status": "stopping" } },
        } });
        assert_eq!(running(&experiment, 112.4), ["Stress for 12 s", "Wait"]);
    }

    #[test]
    fn only_changes_are_shown_and_the_end_comes_last() {
        let poll = |status: &str, action: &str| {
            json!({
                "state": { "status": status, "reason": format!("It is {status}.") },
                "actions": { "Stress": { "state": { "status": action } } },
            })
        };
        let mut progress = Progress::default();
        assert_eq!(
            progress.update(&poll("initiating", "pending")),
            ["experiment: initiating (It is initiating)"]
        );
        assert_eq!(
            progress.update(&poll("running", "running")),
            ["experiment: running (It is running)", "action Stress: running"]
        );
        assert!(progress.update(&poll("running", "running")).is_empty());
        assert_eq!(
            progress.update(&poll("completed", "completed")),
            ["action Stress: completed", "experiment: completed (It is completed)"]
        );
    }
}
