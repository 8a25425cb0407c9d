//! What an experiment would come to if it were started now. Nothing is started, sent or written.

use super::definition::{EmptyTargets, Target};
use super::select::Mode;
use super::services::Services;
use super::state::FisState;
use super::{advice, arn, catalog, engine, experiments, targets, templates};
use crate::Context;
use crate::error::ApiError;

/// What would become of an experiment, in plain words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outlook {
    /// Why it would not start, or fail. Empty if nothing of that kind is known.
    pub obstacles: Vec<String>,
    /// What each target would choose, and what else is worth knowing.
    pub notes: Vec<String>,
}

/// The outlook of a template.
///
/// # Errors
/// There is no such template.
pub(crate) fn of(
    template: &str,
    state: &FisState,
    services: &dyn Services,
    context: &Context,
) -> Result<Outlook, ApiError> {
    let template = templates::find(state, template)?;
    let definition = &template.definition;
    let mut outlook =
        Outlook { obstacles: Vec::new(), notes: advice::of_template(definition, context.speed) };
    if let Err(error) = experiments::may_start(state, template, services, context) {
        outlook.obstacles.push(error.message);
    }
    outlook.obstacles.extend(engine::role_obstacle(state, services, &definition.role_arn));
    for (name, target) in &definition.targets {
        let resources = services.resources(&target.resource_type, context);
        let found = match targets::found(target, &resources) {
            Ok(found) => found,
            Err(reason) => {
                outlook.obstacles.push(format!("target {name}: {reason}"));
                continue;
            }
        };
        let count = Mode::parse(&target.selection_mode).unwrap_or(Mode::All).of(found.len());
        let selection = selection(name, target, count, found.len());
        match (count, definition.empty_targets == EmptyTargets::Fail) {
            (0, true) => {
                outlook.obstacles.push(format!("{selection}, and an empty target fails the experiment"))
            }
            (0, false) => outlook.notes.push(format!("{selection}: its actions are skipped")),
            _ => outlook.notes.push(selection),
        }
        let uses = |it: &&super::definition::Action| it.targets.values().any(|used| used == name);
        let needs_sidecar = definition
            .actions
            .values()
            .filter(uses)
            .any(|action| action.action_id.starts_with("aws:ecs:task-"));
        if let Some(quota) = state.quota().filter(|quota| count > *quota) {
            outlook
                .obstacles
                .push(format!("target {name}: {count} targets are more than the quota of {quota}"));
        }
        let online = |arn: &String| services.instance_of(arn, context.now).is_some_and(|it| it.online);
        let without: Vec<&str> =
            found.iter().filter(|arn| !online(arn)).map(|arn| arn::last_name(arn)).collect();
        if needs_sidecar && count > 0 && !without.is_empty() {
            let all = if without.len() == found.len() { "" } else { " if it is chosen" };
            outlook.obstacles.push(format!(
                "target {name}: no sidecar is Online in task {}, so an action would fail there{all}",
                without.join(", ")
            ));
        }
    }
    Ok(outlook)
}

fn selection(name: &str, target: &Target, count: usize, found: usize) -> String {
    let kind = catalog::counted(&target.resource_type);
    format!("target {name}: {} of {found} {kind} that fit is {count}", target.selection_mode)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fis::fixture::Fixture;

    fn outlook(fixture: &mut Fixture, changes: Value) -> Outlook {
        let template = fixture.template(changes);
        let context = fixture.context.clone();
        fixture.state.outlook(&template, &context).unwrap()
    }

    fn targets(mode: &str, cluster: &str) -> Value {
        json!({ "tasks": {
            "resourceType": "aws:ecs:task", "selectionMode": mode, "parameters": { "cluster": cluster },
        } })
    }

    #[test]
    fn a_template_in_order_says_what_it_would_choose_and_starts_nothing() {
        let mut fixture = Fixture::new(3);
        let outlook = outlook(&mut fixture, json!({ "targets": targets("PERCENT(66)", "demo") }));
        assert_eq!(outlook.obstacles, [""; 0]);
        assert!(
            outlook.notes.iter().any(|it| it.contains("PERCENT(66) of 3 task(s) that fit is 1")),
            "{outlook:?}"
        );
        assert!(fixture.state.fis.experiments.is_empty() && fixture.state.ssm.commands.is_empty());
    }

    #[test]
    fn what_would_fail_is_said_before_it_does() {
        let mut fixture = Fixture::new(6);
        let missing = "arn:aws:cloudwatch:eu-west-1:000000000000:alarm:gone";
        let condition = json!([{ "source": "aws:cloudwatch:alarm", "value": missing }]);
        for (changes, words) in [
            (json!({ "targets": targets("ALL", "elsewhere") }), "an empty target fails"),
            (json!({ "targets": targets("ALL", "demo") }), "more than the quota of 5"),
            (
                json!({ "targets": targets("COUNT(1)", "demo"), "stopConditions": condition }),
                "there is no alarm",
            ),
        ] {
            let outlook = outlook(&mut fixture, changes);
            assert!(outlook.obstacles.iter().any(|it| it.contains(words)), "{words}: {outlook:?}");
        }
        fixture.state.ssm.instances.values_mut().next().unwrap().last_ping = None;
        let silent = outlook(&mut fixture, json!({ "targets": targets("COUNT(1)", "demo") }));
        assert!(silent.obstacles[0].contains("no sidecar is Online in task 1"), "{silent:?}");
        let context = fixture.context.clone();
        assert_eq!(fixture.state.outlook("EXTnone", &context).unwrap_err().code, "ResourceNotFoundException");
    }
}
