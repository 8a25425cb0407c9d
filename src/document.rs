//! Jobs to plans: what a Run Command document, with its parameters, asks for.
//!
//! Pure. A document with a name that taskfault knows is never interpreted: its name and its parameters are
//! enough ([`awsfis`]). Any other document becomes the steps that the stock agent would run: [`schema`] reads
//! its shape, [`parameters`] merges and checks the values and puts them in, [`precondition`] and [`steps`]
//! decide what each step will do. Nothing here knows how a job arrives or how a step is run.

pub mod awsfis;
pub mod parameters;
pub mod pattern;
pub mod precondition;
pub mod schema;
pub mod steps;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use faults::Fault;

/// What the service sent, after the channel has taken it apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// From the job id, not from the payload.
    pub command_id: String,
    /// A plain name or an ARN.
    pub document_name: String,
    /// The document as a JSON object.
    pub document: Value,
    /// Only what the caller supplied; the document's defaults are not in it.
    pub parameters: Map<String, Value>,
}

/// The steps of one document, ready to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// In the order in which they run.
    pub steps: Vec<Step>,
}

impl Plan {
    /// The fault that taskfault performs itself, where the document is one of those.
    pub fn fault_name(&self) -> Option<&'static str> {
        self.steps.iter().find_map(|step| match &step.work {
            Work::Fault { fault, .. } | Work::Leased { fault, .. } => Some(fault.name()),
            _ => None,
        })
    }

    /// The first call of a FIS action that lives on heartbeats, where this is one.
    pub fn first_call(&self) -> Option<&awsfis::ActionState> {
        self.steps.iter().find_map(|step| match &step.work {
            Work::Leased { call, .. } => Some(call),
            _ => None,
        })
    }

    /// Whether it is a heartbeat: over in no time, and of no use if it has to wait.
    pub fn is_heartbeat(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.work, Work::Heartbeat(_)))
    }
}

/// One step, with everything about it decided that can be decided before it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The key of the step in a reply: the step's name (schema 2.x) or the plugin's (1.2).
    pub name: String,
    /// The action, `aws:runShellScript` for instance.
    pub action: String,
    /// What running it means.
    pub work: Work,
    /// What its failure does to the steps after it.
    pub on_failure: OnFailure,
    /// The steps after it are skipped when it succeeds.
    pub exit_on_success: bool,
    /// Runs even when an earlier step asked to exit. Only ever set on the last step.
    pub finally: bool,
}

/// What running the step means.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// Shell scripts, as `aws:runShellScript` runs them: one, but for a document of schema 1.x whose plugin
    /// has a list of properties. They run one after another and their outputs are merged.
    Scripts(Vec<Script>),
    /// A fault that taskfault performs itself, for a time.
    Fault {
        /// With all its parameters.
        fault: Fault,
        /// It is undone after it.
        duration: Duration,
    },
    /// The same, but it ends when FIS sends no heartbeats any more. This is the first call.
    Leased {
        /// With all its parameters.
        fault: Fault,
        /// It is undone after it, whatever heartbeats come.
        duration: Duration,
        /// The action, and the time of its first call.
        call: awsfis::ActionState,
    },
    /// A further call of FIS: extends the life of the fault that its first call started.
    Heartbeat(awsfis::ActionState),
    /// Nothing to do, and this is the step's standard output (the dependency step of an AWSFIS document).
    Note(String),
    /// The step is skipped, and this is why.
    Skip(String),
    /// The step cannot be run at all (an unknown plugin, a precondition that makes no sense): it fails, and
    /// this stands where its output would. The stock agent's text where it has one.
    Refuse(String),
    /// The step was understood but its inputs are wrong or the fault is not there yet: it fails without
    /// anything having been started, and this is its standard error.
    Fail(String),
}

/// The inputs of `aws:runShellScript`.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// The text of the script file.
    pub text: String,
    /// After it the script is killed and the step is `TimedOut`; 5 s to 48 h.
    pub timeout: Duration,
    /// As the document has it; a relative one is ignored when the script is run.
    pub working_directory: Option<String>,
    /// Variables of the step, in addition to what every script inherits.
    pub environment: BTreeMap<String, String>,
    /// Sub-directory of the orchestration folder: the step name, or for schema 1.2 plugin and property id.
    pub directory: String,
}

/// What a failed step does to the steps after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// They run.
    Continue,
    /// They are skipped.
    Exit,
    /// They are skipped and the failed step counts as a success, code 168.
    SuccessAndExit,
}

/// Why a request cannot be turned into a plan at all: nothing runs and the whole command is `Failed`
/// (acknowledgement code 51408 on the control channel). The texts are the stock agent's where it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// `docparser.go`, validateSchema.
    #[error(
        "Document with schema version {0} is not supported by this version of ssm agent, please update to latest version"
    )]
    Schema(String),
    /// `docparser.go`: no steps.
    #[error("Unsupported schema format")]
    NoSteps,
    /// The document is not shaped as a document.
    #[error("document {document}: {reason}; check it against the Systems Manager document schema")]
    Shape {
        /// The name of the document.
        document: String,
        /// The member that is wrong, and how.
        reason: String,
    },
    /// `parameterstore.go`, ValidateSSMParameters: every parameter that is wrong, a line each.
    #[error("all errors during param validation errors: {}", .0.join("\n"))]
    Parameters(Vec<String>),
    /// A `{{ssm:…}}` reference, which the stock agent would look up.
    #[error(
        "{place} refers to the Parameter Store ({reference}), which taskfault does not read; send the value itself"
    )]
    ParameterStore {
        /// The parameter or step that has it.
        place: String,
        /// The beginning of the reference, `{{ssm:name}}`.
        reference: String,
    },
    /// See [`parameters::EXPANDED_BYTES`].
    #[error(
        "the document with its parameters put in is over {} bytes; use a value less often, or a shorter one",
        parameters::EXPANDED_BYTES
    )]
    TooLarge,
    /// Only for documents known by name: the stock agent ignores parameters that are not declared.
    #[error("document {document} has no parameter {name:?}; it has {known}")]
    UnknownParameter {
        /// The name of the document.
        document: String,
        /// The parameter that was supplied, its first 200 characters.
        name: String,
        /// All that the document has, with commas between.
        known: String,
    },
}

/// Decides everything about `request` that can be decided before anything runs.
///
/// # Errors
/// [`ParseError`]: nothing may run, and the command is answered with `Failed`.
pub fn plan(request: &Request) -> Result<Plan, ParseError> {
    if let Some(name) = awsfis::known_name(&request.document_name)
        && let Some(document) = awsfis::find(name, &request.parameters)
    {
        return awsfis::plan(document, name, &request.parameters);
    }
    let document = schema::read(&request.document_name, &request.document)?;
    let values = parameters::Values::merge(&document.parameters, &request.parameters)?;
    steps::plan(&document, &values)
}

/// Reads bytes as a job's content, and plans what it asks for. A known name never becomes a script.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    use ssm_wire::job::SendCommand;
    let Ok(send) = serde_json::from_slice::<SendCommand>(bytes) else { return };
    let request = Request {
        command_id: "c".to_owned(),
        document_name: send.document_name,
        document: send.document_content,
        parameters: send.parameters.unwrap_or_default(),
    };
    let known = awsfis::known_name(&request.document_name).is_some();
    if let Ok(plan) = plan(&request) {
        let scripts = plan.steps.iter().any(|step| matches!(step.work, Work::Scripts(_)));
        assert!(!(known && scripts && plan.fault_name().is_some()), "a known name never becomes a script");
        let _ = (plan.first_call(), plan.is_heartbeat());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Any JSON of a few levels, with the words that documents are made of among its texts and keys.
    fn any_json() -> impl Strategy<Value = Value> {
        let word = prop_oneof![
            Just("schemaVersion".to_owned()),
            Just("2.2".to_owned()),
            Just("1.2".to_owned()),
            Just("mainSteps".to_owned()),
            Just("runtimeConfig".to_owned()),
            Just("properties".to_owned()),
            Just("parameters".to_owned()),
            Just("inputs".to_owned()),
            Just("runCommand".to_owned()),
            Just("precondition".to_owned()),
            Just("StringEquals".to_owned()),
            Just("platformType".to_owned()),
            Just("allowedPattern".to_owned()),
            Just("aws:runShellScript".to_owned()),
            Just("{{ a }} {{".to_owned()),
            Just("a".to_owned()),
            ".{0,12}",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            word.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 60, 6, move |inner| {
            let entries = proptest::collection::vec((word.clone(), inner.clone()), 0..6);
            prop_oneof![
                proptest::collection::vec(inner, 0..6).prop_map(Value::from),
                entries.prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    fn request(name: &str, document: Value, parameters: Value) -> Request {
        let parameters = parameters.as_object().cloned().unwrap_or_default();
        Request { command_id: "c".to_owned(), document_name: name.to_owned(), document, parameters }
    }

    proptest! {
        #[test]
        fn planning_never_panics(document in any_json(), parameters in any_json(), member in any_json()) {
            for (key, version) in [("mainSteps", "2.2"), ("mainSteps", "2.0"), ("runtimeConfig", "1.2")] {
                // Nearly a document, so that the deeper layers are reached too.
                let mut near = document.as_object().cloned().unwrap_or_default();
                near.insert("schemaVersion".to_owned(), json!(version));
                near.insert(key.to_owned(), member.clone());
                let step = json!([{"name": "a", "action": "aws:runShellScript", "inputs": member.clone(),
                                   "precondition": {"StringEquals": ["{{ a }}", "b"]}}]);
                let _ = plan(&request("doc", Value::Object(near.clone()), parameters.clone()));
                near.insert("mainSteps".to_owned(), step);
                let _ = plan(&request("doc", Value::Object(near), parameters.clone()));
            }
            let _ = plan(&request("doc", document.clone(), parameters.clone()));
            let _ = plan(&request("AWSFIS-Run-CPU-Stress", document, parameters));
        }

        /// Whatever the text of the document and its parameters, a known name never becomes a script.
        #[test]
        fn a_known_name_never_becomes_a_script(document in any_json(), value in ".*", key in "CPU|LoadPercent") {
            let parameters = json!({"DurationSeconds": "5", key: value});
            if let Ok(plan) = plan(&request("AWSFIS-Run-CPU-Stress", document, parameters)) {
                prop_assert!(plan.steps.iter().all(|step| !matches!(step.work, Work::Scripts(_))));
            }
        }
    }
}
