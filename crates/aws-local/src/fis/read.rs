//! Reads what CreateExperimentTemplate and UpdateExperimentTemplate send. Only the model's rules: what it means
//! is checked in `check`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::definition::{Action, Filter, StopCondition, Target};
use crate::ssm::members::{Members, Pattern, Text};
use crate::store::Tags;

static NOT_BLANK: Pattern = Pattern::new(r"[\S]+");
static ANYTHING: Pattern = Pattern::new(r"[\s\S]+");
static PARAMETER_VALUE: Pattern = Pattern::new(r"^[\p{L}\p{Z}\p{N}_.:/=+\-@]+$");

/// Names of targets, actions, slots and parameters.
pub(super) const NAME: Text = Text::length(0, 64).and(&NOT_BLANK);
/// The id of a template or an experiment.
pub(super) const ID: Text = Text::length(0, 64).and(&NOT_BLANK);
/// Descriptions.
pub(super) const DESCRIPTION: Text = Text::length(0, 512).and(&ANYTHING);
/// ARNs of roles, resources and log groups.
pub(super) const ARN: Text = Text::length(20, 2048).and(&NOT_BLANK);
/// A client token.
pub(super) const TOKEN: Text = Text::length(1, 1024).and(&NOT_BLANK);
const TYPE: Text = Text::length(0, 128).and(&NOT_BLANK);
const TAG_KEY: Text = Text::length(0, 128).and(&ANYTHING);
const TAG_VALUE: Text = Text::length(0, 256);
/// The most tags of a resource.
pub(super) const MOST_TAGS: usize = 50;

/// The members of a template that were sent; None is a member that was not.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) description: Option<String>,
    pub(super) targets: Option<BTreeMap<String, Target>>,
    pub(super) actions: Option<BTreeMap<String, Action>>,
    pub(super) stop_conditions: Option<Vec<StopCondition>>,
    pub(super) role_arn: Option<String>,
    pub(super) log_configuration: Option<Value>,
    pub(super) account_targeting: Option<String>,
    pub(super) empty_targets: Option<String>,
    pub(super) report_configuration: Option<Value>,
}

/// Reads a template; `create` makes the members required that a new one needs.
pub(super) fn template(members: &mut Members<'_>, body: &Map<String, Value>, create: bool) -> Sent {
    if create {
        for required in ["description", "stopConditions", "actions", "roleArn"] {
            members.require(required);
        }
    }
    let description = members.text("description", DESCRIPTION).map(str::to_owned);
    let stop_conditions = members.has("stopConditions").then(|| {
        members.each("stopConditions", 0, usize::MAX, |condition| StopCondition {
            source: condition.required_text("source", Text::length(0, 64).and(&NOT_BLANK)).to_owned(),
            value: condition.text("value", Text::length(20, 2048).and(&ANYTHING)).map(str::to_owned),
        })
    });
    let targets = members.has("targets").then(|| members.each_by_name("targets", NAME, target));
    let actions =
        members.has("actions").then(|| members.each_by_name("actions", NAME, |inner| action(inner, create)));
    let role_arn = members.text("roleArn", ARN).map(str::to_owned);
    let logged = members.nested("logConfiguration", |log| log_configuration(log, create));
    let options = members.nested("experimentOptions", |options| {
        let targeting = Text::one_of(&["single-account", "multi-account"]);
        let accounts = create.then(|| options.text("accountTargeting", targeting)).flatten();
        let empty = options.text("emptyTargetResolutionMode", Text::one_of(&["fail", "skip"]));
        (accounts.map(str::to_owned), empty.map(str::to_owned))
    });
    let (account_targeting, empty_targets) = options.unwrap_or_default();
    let reported = members.nested("experimentReportConfiguration", report_configuration);
    Sent {
        description,
        targets,
        actions,
        stop_conditions,
        role_arn,
        log_configuration: logged.and_then(|()| body.get("logConfiguration").cloned()),
        account_targeting,
        empty_targets,
        report_configuration: reported.and_then(|()| body.get("experimentReportConfiguration").cloned()),
    }
}

fn target(members: &mut Members<'_>) -> Target {
    Target {
        resource_type: members.required_text("resourceType", TYPE).to_owned(),
        resource_arns: owned(members.texts("resourceArns", 0, 5, ARN)),
        resource_tags: members.texts_by_name("resourceTags", MOST_TAGS, TAG_KEY, TAG_VALUE),
        filters: members.each("filters", 0, usize::MAX, |filter| {
            filter.require("values");
            Filter {
                path: filter.required_text("path", Text::length(0, 256).and(&NOT_BLANK)).to_owned(),
                values: owned(filter.texts("values", 0, usize::MAX, Text::length(0, 128).and(&NOT_BLANK))),
            }
        }),
        selection_mode: members
            .required_text("selectionMode", Text::length(0, 64).and(&NOT_BLANK))
            .to_owned(),
        parameters: members.texts_by_name(
            "parameters",
            usize::MAX,
            NAME,
            Text::length(1, 1024).and(&PARAMETER_VALUE),
        ),
    }
}

/// An update takes an action without its id by the model; what it would be then is not said, so it is refused
/// later, as an action that is not there.
fn action(members: &mut Members<'_>, create: bool) -> Action {
    if create {
        members.require("actionId");
    }
    Action {
        action_id: members.text("actionId", TYPE).unwrap_or_default().to_owned(),
        description: members.text("description", DESCRIPTION).map(str::to_owned),
        parameters: members.texts_by_name(
            "parameters",
            usize::MAX,
            NAME,
            Text::length(0, 1024).and(&NOT_BLANK),
        ),
        targets: members.texts_by_name("targets", usize::MAX, NAME, NAME),
        start_after: owned(members.texts("startAfter", 0, usize::MAX, NAME)),
    }
}

fn log_configuration(members: &mut Members<'_>, create: bool) {
    if create {
        members.require("logSchemaVersion");
    }
    members.number("logSchemaVersion", 1, 2);
    members.nested("cloudWatchLogsConfiguration", |logs| {
        logs.required_text("logGroupArn", ARN);
    });
    members.nested("s3Configuration", |bucket| {
        bucket.required_text("bucketName", Text::length(3, 63).and(&NOT_BLANK));
        bucket.text("prefix", Text::length(1, 700));
    });
}

fn report_configuration(members: &mut Members<'_>) {
    members.nested("outputs", |outputs| {
        outputs.nested("s3Configuration", |bucket| {
            bucket.text("bucketName", Text::length(3, 63).and(&NOT_BLANK));
            bucket.text("prefix", Text::length(0, 256).and(&NOT_BLANK));
        });
    });
    members.nested("dataSources", |sources| {
        sources.each("cloudWatchDashboards", 0, usize::MAX, |dashboard| {
            dashboard.text("dashboardIdentifier", Text::length(0, 512).and(&NOT_BLANK));
        });
    });
    for duration in ["preExperimentDuration", "postExperimentDuration"] {
        members.text(duration, Text::length(0, 32).and(&NOT_BLANK));
    }
}

/// Reads the member `tags`.
pub(super) fn tags(members: &mut Members<'_>) -> Tags {
    let tags = members.texts_by_name("tags", MOST_TAGS, TAG_KEY, TAG_VALUE);
    for key in tags.keys().filter(|key| key.to_ascii_lowercase().starts_with("aws:")) {
        members.breaks("tags", key, "Map keys must not start with aws:, which is reserved");
    }
    tags
}

fn owned(texts: Vec<&str>) -> Vec<String> {
    texts.into_iter().map(str::to_owned).collect()
}
