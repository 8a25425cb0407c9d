//! Whether a step runs at all: its precondition, and whether its plugin is one that an agent has. Pure.
//!
//! Rules and texts of `runpluginutil.go` (getStepExecutionOperation, evaluatePreconditions), so that a
//! document that is skipped or refused there is skipped or refused here with the same text.

use super::ParseError;
use super::parameters::{Values, parameter_store_reference};
use super::schema::MainStep;

/// The plugin that taskfault performs.
pub const RUN_SHELL_SCRIPT: &str = "aws:runShellScript";

/// Plugins that the stock agent has on Linux.
const STOCK_ON_LINUX: [&str; 12] = [
    RUN_SHELL_SCRIPT,
    "aws:cloudWatch",
    "aws:configureDocker",
    "aws:configurePackage",
    "aws:domainJoin",
    "aws:downloadContent",
    "aws:refreshAssociation",
    "aws:runDockerAction",
    "aws:runDocument",
    "aws:runPowerShellScript",
    "aws:softwareInventory",
    "aws:updateSsmAgent",
];

/// Plugins that the stock agent knows by name but does not have on Linux.
const STOCK_ELSEWHERE: [&str; 4] =
    ["aws:applications", "aws:configureDaemon", "aws:psModule", "aws:updateAgent"];

/// What is to be done with a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is a shell step and nothing speaks against it.
    Run,
    /// Left out, which counts as a success; the reason.
    Skip(String),
    /// Failed without running; the reason.
    Refuse(String),
}

/// How far an agent knows a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plugin {
    Ours,
    /// The stock agent would run it, taskfault does not.
    Stock,
    Elsewhere,
    Unknown,
}

fn plugin(action: &str) -> Plugin {
    match action {
        RUN_SHELL_SCRIPT => Plugin::Ours,
        _ if STOCK_ON_LINUX.contains(&action) => Plugin::Stock,
        _ if STOCK_ELSEWHERE.contains(&action) => Plugin::Elsewhere,
        _ => Plugin::Unknown,
    }
}

/// The verdict on `step`, a step of schema 2.x; `enabled` says whether its schema has preconditions (2.2).
///
/// # Errors
/// [`ParseError::TooLarge`] if an operand becomes absurdly long.
pub fn judge(step: &MainStep, enabled: bool, values: &Values) -> Result<Verdict, ParseError> {
    let (known, name) = (plugin(&step.action), step.name.as_str());
    if !enabled {
        return Ok(judge_without(known, &step.action, name, !step.precondition.is_empty()));
    }
    if step.precondition.is_empty() {
        return Ok(match known {
            Plugin::Unknown => unknown(&step.action, name),
            Plugin::Elsewhere => unsupported(&step.action, name),
            Plugin::Ours | Plugin::Stock => perform(known, &step.action, name),
        });
    }
    let (allowed, findings) = evaluate(step, values)?;
    let findings = findings.join(", ");
    Ok(if allowed && known == Plugin::Unknown {
        unknown(&step.action, name)
    } else if matches!(known, Plugin::Unknown | Plugin::Elsewhere) {
        unsupported(&step.action, name)
    } else if !allowed {
        Verdict::Skip(format!(
            "Step execution skipped due to unsatisfied preconditions: '{findings}'. Step name: {name}"
        ))
    } else if !findings.is_empty() {
        Verdict::Refuse(format!(
            "Unrecognized precondition(s): '{findings}', please update agent to latest version. Step name: {name}"
        ))
    } else {
        perform(known, &step.action, name)
    })
}

/// The verdict where the schema has no preconditions: 1.x and 2.0.x.
pub fn judge_plugin(action: &str, name: &str) -> Verdict {
    judge_without(plugin(action), action, name, false)
}

fn judge_without(known: Plugin, action: &str, name: &str, has_precondition: bool) -> Verdict {
    match known {
        Plugin::Unknown => unknown(action, name),
        _ if has_precondition => Verdict::Refuse(format!(
            "Precondition is not supported for document schema version prior to 2.2. Step name: {name}"
        )),
        Plugin::Elsewhere => {
            Verdict::Refuse(format!("Plugin with name {action} not found. Step name: {name}"))
        }
        Plugin::Ours | Plugin::Stock => perform(known, action, name),
    }
}

fn unknown(action: &str, name: &str) -> Verdict {
    Verdict::Refuse(format!(
        "Plugin with name {action} is not supported by this version of ssm agent, please update to latest version. \
         Step name: {name}"
    ))
}

fn unsupported(action: &str, name: &str) -> Verdict {
    Verdict::Skip(format!("Step execution skipped due to unsupported plugin: {action}. Step name: {name}"))
}

/// The stock agent would run it. Updating would not help here, so the text is our own.
fn perform(known: Plugin, action: &str, name: &str) -> Verdict {
    match known {
        Plugin::Ours => Verdict::Run,
        _ => Verdict::Refuse(format!(
            "Plugin with name {action} is not supported by taskfault, which runs {RUN_SHELL_SCRIPT} and the AWSFIS \
             documents; send this document to a host with the stock agent. Step name: {name}"
        )),
    }
}

/// Whether the precondition allows the step, and what is wrong with it. A precondition that does not allow the
/// step skips it; one that allows it but has something wrong fails it.
fn evaluate(step: &MainStep, values: &Values) -> Result<(bool, Vec<String>), ParseError> {
    let (mut allowed, mut findings) = (true, Vec::new());
    for (operator, operands) in &step.precondition {
        match (operator.as_str(), operands.as_slice()) {
            ("StringEquals", [left, right]) => match string_equals(left, right, values)? {
                Equality::Holds => {}
                Equality::Differs(finding) => {
                    allowed = false;
                    findings.push(finding);
                }
                Equality::Unrecognized(finding) => findings.push(finding),
            },
            ("StringEquals", _) => {
                findings.push("\"StringEquals\": operator accepts exactly 2 arguments".to_owned());
            }
            _ => findings.push(format!("unrecognized operator: \"{operator}\"")),
        }
    }
    Ok((allowed, findings))
}

enum Equality {
    Holds,
    Differs(String),
    Unrecognized(String),
}

fn string_equals(left: &str, right: &str, values: &Values) -> Result<Equality, ParseError> {
    const PLATFORM: &str = "platformType";
    let complain = |reason: &str| Equality::Unrecognized(format!("\"StringEquals\": {reason}"));
    if left == right {
        return Ok(match left {
            PLATFORM => complain("[platformType platformType]"),
            _ => complain("operator's arguments can't be identical"),
        });
    }
    if let Some(reference) = parameter_store_reference(left).or_else(|| parameter_store_reference(right)) {
        return Ok(match reference.contains("ssm-secure:") {
            true => complain("operator's arguments can't contain secure SSM parameters"),
            false => complain("operator's arguments can't contain SSM parameters"),
        });
    }
    let (left_value, right_value) = (values.put_in_text(left)?, values.put_in_text(right)?);
    // The unresolved operands are shown, so that no value of a parameter gets into a report.
    let differs = || Equality::Differs(format!("\"StringEquals\": [{left}, {right}]"));
    if left == PLATFORM || right == PLATFORM {
        let (initial, resolved) = if left == PLATFORM { (right, right_value) } else { (left, left_value) };
        return Ok(if initial.to_lowercase() != resolved.to_lowercase() {
            complain("the second argument for the platformType variable can't contain document parameters")
        } else if initial.to_lowercase() == "linux" {
            Equality::Holds
        } else {
            differs()
        });
    }
    if left == left_value && right == right_value {
        return Ok(complain("at least one of operator's arguments must contain a valid document parameter"));
    }
    Ok(if left_value == right_value { Equality::Holds } else { differs() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    fn verdict(action: &str, precondition: &[(&str, &[&str])], enabled: bool) -> Verdict {
        let supplied = json!({"p": "value", "os": "Linux"});
        let values = Values::merge(&BTreeMap::new(), supplied.as_object().unwrap()).unwrap();
        let operands = |list: &[&str]| list.iter().map(|operand| (*operand).to_owned()).collect();
        let step = MainStep {
            action: action.to_owned(),
            name: "w".to_owned(),
            inputs: Value::Null,
            precondition: precondition.iter().map(|(op, list)| ((*op).to_owned(), operands(list))).collect(),
        };
        judge(&step, enabled, &values).unwrap()
    }

    fn equals(left: &str, right: &str) -> Verdict {
        verdict(RUN_SHELL_SCRIPT, &[("StringEquals", &[left, right])], true)
    }

    fn skip(reason: &str) -> Verdict {
        Verdict::Skip(format!("{reason}. Step name: w"))
    }

    fn unsatisfied(finding: &str) -> Verdict {
        skip(&format!("Step execution skipped due to unsatisfied preconditions: '{finding}'"))
    }

    fn unrecognized(finding: &str) -> Verdict {
        Verdict::Refuse(format!(
            "Unrecognized precondition(s): '{finding}', please update agent to latest version. Step name: w"
        ))
    }

    /// Protocol sheet §7.4.
    #[test]
    fn string_equals_holds_differs_or_makes_no_sense() {
        assert_eq!(equals("platformType", "Linux"), Verdict::Run);
        assert_eq!(equals("linux", "platformType"), Verdict::Run);
        assert_eq!(
            equals("platformType", "Windows"),
            unsatisfied("\"StringEquals\": [platformType, Windows]")
        );
        assert_eq!(equals("{{ p }}", "value"), Verdict::Run);
        assert_eq!(equals("{{ p }}", "VALUE"), unsatisfied("\"StringEquals\": [{{ p }}, VALUE]"));
        assert_eq!(equals("{{ p }}", "nope"), unsatisfied("\"StringEquals\": [{{ p }}, nope]"));
        for (left, right, finding) in [
            ("platformType", "platformType", "\"StringEquals\": [platformType platformType]"),
            ("a", "a", "\"StringEquals\": operator's arguments can't be identical"),
            (
                "a",
                "b",
                "\"StringEquals\": at least one of operator's arguments must contain a valid document parameter",
            ),
            (
                "platformType",
                "{{ os }}",
                "\"StringEquals\": the second argument for the platformType variable can't contain document parameters",
            ),
            ("{{ ssm:x }}", "a", "\"StringEquals\": operator's arguments can't contain SSM parameters"),
            (
                "a",
                "{{ ssm-secure:x }}",
                "\"StringEquals\": operator's arguments can't contain secure SSM parameters",
            ),
        ] {
            assert_eq!(equals(left, right), unrecognized(finding), "{left} {right}");
        }
    }

    #[test]
    fn operators_and_arity_are_strict_and_a_skip_wins_over_a_refusal() {
        let run = |precondition| verdict(RUN_SHELL_SCRIPT, precondition, true);
        assert_eq!(
            run(&[("StringLike", &["a", "b"])]),
            unrecognized("unrecognized operator: \"StringLike\"")
        );
        assert_eq!(
            run(&[("StringEquals", &["a"])]),
            unrecognized("\"StringEquals\": operator accepts exactly 2 arguments")
        );
        let both = run(&[("Foo", &[]), ("StringEquals", &["platformType", "Windows"])]);
        let findings = "unrecognized operator: \"Foo\", \"StringEquals\": [platformType, Windows]";
        assert_eq!(both, unsatisfied(findings));
    }

    #[test]
    fn plugins_are_run_skipped_or_refused() {
        let unknown = Verdict::Refuse(
            "Plugin with name aws:x is not supported by this version of ssm agent, please update to latest version. \
             Step name: w"
                .to_owned(),
        );
        let unsupported =
            |action: &str| skip(&format!("Step execution skipped due to unsupported plugin: {action}"));
        let linux: &[(&str, &[&str])] = &[("StringEquals", &["platformType", "Linux"])];
        let windows: &[(&str, &[&str])] = &[("StringEquals", &["platformType", "Windows"])];
        assert_eq!(verdict("aws:x", &[], true), unknown);
        assert_eq!(verdict("aws:x", &[], false), unknown);
        assert_eq!(verdict("aws:x", linux, true), unknown);
        assert_eq!(verdict("aws:x", windows, true), unsupported("aws:x"));
        assert_eq!(verdict("aws:psModule", &[], true), unsupported("aws:psModule"));
        assert_eq!(verdict("aws:psModule", linux, true), unsupported("aws:psModule"));
        assert!(
            matches!(verdict("aws:psModule", &[], false), Verdict::Refuse(text) if text.contains("not found"))
        );
        // The usual pair of steps, one for each platform: the other platform's is skipped, not failed.
        let other = verdict("aws:runPowerShellScript", windows, true);
        assert_eq!(other, unsatisfied("\"StringEquals\": [platformType, Windows]"));
        let ours = verdict("aws:configurePackage", &[], true);
        assert!(matches!(ours, Verdict::Refuse(text) if text.contains("not supported by taskfault")));
    }

    #[test]
    fn before_schema_2_2_a_precondition_fails_its_step() {
        let text = "Precondition is not supported for document schema version prior to 2.2. Step name: w";
        let linux: &[(&str, &[&str])] = &[("StringEquals", &["platformType", "Linux"])];
        assert_eq!(verdict(RUN_SHELL_SCRIPT, linux, false), Verdict::Refuse(text.to_owned()));
        assert_eq!(verdict(RUN_SHELL_SCRIPT, &[], false), Verdict::Run);
    }
}
