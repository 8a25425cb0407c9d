//! What will not work in tasks of a definition: doctor for what is not running yet. Changes nothing.

use std::path::Path;

use serde_norway::{Mapping, Value};

use super::change::is_for_fargate;
use super::example::{NAME, ROLE_VARIABLE, STATE_FOLDER, STATE_VARIABLE};
use super::members::{list, object, objects, text, texts, value};

/// Something to say about a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    text: String,
    warning: bool,
}

impl Finding {
    /// What and why.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether faults work all the same.
    pub(super) fn is_warning(&self) -> bool {
        self.warning
    }
}

fn broken(text: impl Into<String>) -> Finding {
    Finding { text: text.into(), warning: false }
}

fn warning(text: impl Into<String>) -> Finding {
    Finding { text: text.into(), warning: true }
}

/// What will not work, beside what no sidecar can change ([`super::change::refusal`]).
pub(super) fn findings(definition: &Mapping) -> Vec<Finding> {
    let sidecar = objects(definition, "containerDefinitions").find(|it| text(it, "name") == Some(NAME));
    let Some(sidecar) = sidecar else {
        return vec![broken(format!("there is no container {NAME}: `task-definition add` puts it in"))];
    };
    let mut found = of_the_task(definition, has_net_admin(sidecar));
    found.extend(of_the_sidecar(sidecar));
    if text(definition, "networkMode") == Some("host") && !allows_host(sidecar) {
        found.push(broken(
            "networkMode is host: network faults would hit the whole instance, so the sidecar refuses them \
             without TASKFAULT_ALLOW_HOST_NETWORK=true",
        ));
    }
    found
}

fn of_the_task(definition: &Mapping, net_admin: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    if text(definition, "pidMode").is_none() {
        found.push(broken(
            "there is no pidMode task: kill-process sees none of the application's processes, and FIS asks for it \
             for network actions too",
        ));
    }
    let endpoints = value(definition, "enableFaultInjection").and_then(Value::as_bool) == Some(true);
    match (endpoints, net_admin) {
        (true, _) => {}
        (false, true) => found.push(warning(
            "enableFaultInjection is not true: network actions with useEcsFaultInjectionEndpoints need it where \
             the sidecar is the stock agent",
        )),
        (false, false) => {
            found.push(broken("network faults need NET_ADMIN for the sidecar, or enableFaultInjection true"));
        }
    }
    if text(definition, "taskRoleArn").is_none() {
        found.push(broken(
            "there is no taskRoleArn: the sidecar has no right to register the task (deploy/iam has the policy)",
        ));
    }
    if text(definition, "cpu").is_none() && !is_for_fargate(definition) {
        found.push(warning("the task has no cpu: cpu-stress takes its share of the whole instance"));
    }
    for container in objects(definition, "containerDefinitions") {
        let image = text(container, "image").unwrap_or_default();
        if text(container, "name") != Some(NAME) && image.contains("amazon-ssm-agent") {
            let name = text(container, "name").unwrap_or_default();
            found.push(broken(format!(
                "container {name} ({image}) registers the task too: FIS would find two instances; take it out"
            )));
        }
    }
    found
}

fn of_the_sidecar(sidecar: &Mapping) -> Vec<Finding> {
    let mut found = Vec::new();
    let flag = |name: &str| value(sidecar, name).and_then(Value::as_bool);
    match variable(sidecar, ROLE_VARIABLE) {
        None => {
            found.push(broken(format!("the sidecar has no {ROLE_VARIABLE}: it registers with that role")))
        }
        Some(role) if role.contains([':', '/']) => {
            found.push(broken(format!(
                "{ROLE_VARIABLE} is {role}: the role's name is wanted, no ARN and no path"
            )));
        }
        Some(_) => {}
    }
    if value(sidecar, "memory").is_some() {
        found.push(warning(
            "the sidecar has a memory limit of its own: memory-stress takes its share of that, not of the task's",
        ));
    }
    if flag("readonlyRootFilesystem") == Some(true) && !has_place_for_state(sidecar) {
        found.push(broken(format!(
            "the sidecar's root is read-only and it mounts no volume at {}: it has no place for its state",
            state_folder(sidecar)
        )));
    }
    if flag("privileged") == Some(true) {
        found.push(warning("the sidecar is privileged: it needs no more than NET_ADMIN"));
    }
    if flag("essential") == Some(false) {
        found.push(warning("the sidecar is not essential: if it ends, tasks go on that no fault can reach"));
    }
    let health = object(sidecar, "healthCheck").and_then(|check| texts(check, "command").next());
    if health == Some("CMD-SHELL") {
        found.push(broken(
            "the sidecar's health check wants a shell, which its image has not: begin it with CMD",
        ));
    }
    let log = object(sidecar, "logConfiguration").and_then(|log| object(log, "options"));
    if log.is_some_and(|options| text(options, "mode") != Some("non-blocking")) {
        found.push(warning("the sidecar's log may block: give its options mode non-blocking"));
    }
    found
}

fn variable<'a>(container: &'a Mapping, name: &str) -> Option<&'a str> {
    let mut all = objects(container, "environment");
    all.find(|it| text(it, "name") == Some(name)).and_then(|it| text(it, "value"))
}

/// Where the sidecar keeps its state.
fn state_folder(sidecar: &Mapping) -> &str {
    variable(sidecar, STATE_VARIABLE).unwrap_or(STATE_FOLDER)
}

/// Whether a volume that can be written is mounted at the state folder or above it.
fn has_place_for_state(sidecar: &Mapping) -> bool {
    let folder = Path::new(state_folder(sidecar));
    objects(sidecar, "mountPoints").any(|point| {
        text(point, "containerPath").is_some_and(|path| folder.starts_with(path))
            && value(point, "readOnly").and_then(Value::as_bool) != Some(true)
    })
}

fn allows_host(sidecar: &Mapping) -> bool {
    variable(sidecar, "TASKFAULT_ALLOW_HOST_NETWORK") == Some("true")
}

fn has_net_admin(sidecar: &Mapping) -> bool {
    let capabilities = object(sidecar, "linuxParameters").and_then(|linux| object(linux, "capabilities"));
    let added = capabilities.and_then(|capabilities| list(capabilities, "add"));
    added.is_some_and(|all| all.iter().any(|it| matches!(it.as_str(), Some("NET_ADMIN" | "ALL"))))
}
