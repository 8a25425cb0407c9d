//! What an experiment template says, as data. Experiments keep a copy, so a later change of the template does
//! not touch them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::tags::Tags;

/// An experiment template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Template {
    /// `EXT` and 15 letters and digits.
    pub id: String,
    pub definition: Definition,
    pub tags: Tags,
    pub created: SystemTime,
    pub updated: SystemTime,
    /// Target account configurations by account id.
    pub accounts: Accounts,
}

/// Target account configurations by account id.
pub(crate) type Accounts = BTreeMap<String, Account>;

/// A target account configuration: kept and told; tasks of other accounts are not here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub role_arn: String,
    pub description: Option<String>,
}

/// What a template and the experiments made from it have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Definition {
    pub description: String,
    /// By name.
    pub targets: BTreeMap<String, Target>,
    /// By name.
    pub actions: BTreeMap<String, Action>,
    pub stop_conditions: Vec<StopCondition>,
    pub role_arn: String,
    /// As sent, checked.
    pub log_configuration: Option<Value>,
    pub account_targeting: AccountTargeting,
    pub empty_targets: EmptyTargets,
    /// As sent, checked.
    pub report_configuration: Option<Value>,
}

/// One target: which resources, and how many of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Target {
    pub resource_type: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_arns: Vec<String>,
    /// All must be there, with exactly these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resource_tags: Tags,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
    /// `ALL`, `COUNT(n)` or `PERCENT(n)`.
    pub selection_mode: String,
    /// `cluster` and `service` of an `aws:ecs:task`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
}

/// A condition on the description of a resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Filter {
    /// Pascal-case members with dots between them.
    pub path: String,
    /// One of them must be found.
    pub values: Vec<String>,
}

/// One action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Action {
    pub action_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Slot to target name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub start_after: Vec<String>,
    /// The members that were sent and are empty: the API gives them back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sent_empty: Vec<String>,
}

/// When to stop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StopCondition {
    /// [`NO_CONDITION`] or [`ALARM`].
    pub source: String,
    /// The ARN of an alarm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// The source of a stop condition that never stops anything.
pub(crate) const NO_CONDITION: &str = "none";
/// The source of a stop condition that is a CloudWatch alarm.
pub(crate) const ALARM: &str = "aws:cloudwatch:alarm";

/// `accountTargeting`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AccountTargeting {
    #[default]
    SingleAccount,
    MultiAccount,
}

/// `emptyTargetResolutionMode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EmptyTargets {
    /// The experiment fails.
    #[default]
    Fail,
    /// The actions on that target are skipped.
    Skip,
}

/// A place in S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bucket<'a> {
    pub name: &'a str,
    pub prefix: Option<&'a str>,
}

impl Definition {
    /// The bucket that records go to.
    pub(crate) fn log_bucket(&self) -> Option<Bucket<'_>> {
        let to = &self.log_configuration.as_ref()?["s3Configuration"];
        Some(Bucket { name: to["bucketName"].as_str()?, prefix: to["prefix"].as_str() })
    }

    /// The ARNs of the alarms that stop the experiment.
    pub(crate) fn alarms(&self) -> impl Iterator<Item = &str> {
        self.stop_conditions.iter().filter_map(|condition| condition.value.as_deref())
    }

    /// The log group that records go to, as the template names it.
    pub(crate) fn log_group(&self) -> Option<&str> {
        self.log_configuration.as_ref()?["cloudWatchLogsConfiguration"]["logGroupArn"].as_str()
    }
}
