//! Managed policies of the account, and their versions. AWS's own are known by their ARN alone.

use serde_json::{Map, Value, json};

use super::document::{self, Purpose};
use super::roles::percent_encoded;
use super::state::{Policy, PolicyVersion};
use super::{Answer, IamState, listing, not_found, paging, tag_list};
use crate::Context;
use crate::error::ApiError;
use crate::members::Members;
use crate::model::IAM;
use crate::random;
use crate::wire::epoch_seconds;

/// The longest managed policy, in characters that are not white space.
const LONGEST: usize = 6_144;
/// The most versions of a policy.
const MOST_VERSIONS: usize = 5;

/// CreatePolicy.
pub(super) fn create(body: &Map<String, Value>, state: &mut IamState, context: &Context) -> Answer {
    let members = Members::new(body);
    let (name, path) = (members.required("PolicyName"), members.text("Path").unwrap_or("/"));
    let document = checked(members)?;
    let tags = members.tags()?;
    // Names differ by more than their case.
    if state.policies.values().any(|taken| taken.name.eq_ignore_ascii_case(name)) {
        let message = format!("A policy called {name} already exists. Duplicate names are not allowed.");
        return Err(IAM.refuse("EntityAlreadyExists", message));
    }
    let policy = Policy {
        name: name.to_owned(),
        path: path.to_owned(),
        id: random::access_key_id().replacen("ASIA", "ANPA", 1),
        arn: format!("arn:aws:iam::{}:policy{path}{name}", context.account),
        description: members.text("Description").map(str::to_owned),
        created: context.now,
        updated: context.now,
        default: 1,
        latest: 1,
        versions: vec![PolicyVersion { number: 1, document, created: context.now }],
        tags,
    };
    let answer = json!({ "Policy": item(&policy, state) });
    state.policies.insert(policy.arn.clone(), policy);
    Ok(answer)
}

fn checked(members: Members<'_>) -> Result<String, ApiError> {
    let document = members.required("PolicyDocument");
    document::check(document, Purpose::Permissions)?;
    if document.chars().filter(|letter| !letter.is_whitespace()).count() > LONGEST {
        return Err(IAM.refuse("LimitExceeded", format!("Cannot exceed quota for PolicySize: {LONGEST}")));
    }
    Ok(document.to_owned())
}

/// GetPolicy.
pub(super) fn get(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let policy = find(state, Members::new(body))?;
    let mut shown = item(policy, state);
    shown["Description"] = json!(policy.description);
    shown["Tags"] = tag_list(&policy.tags);
    Ok(json!({ "Policy": shown }))
}

/// ListPolicies: those of the account. `Scope` AWS has none here.
pub(super) fn list(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let members = Members::new(body);
    let prefix = members.text("PathPrefix").unwrap_or("/");
    let attached = members.flag("OnlyAttached").unwrap_or_default();
    let nowhere = members.text("Scope") == Some("AWS")
        || members.text("PolicyUsageFilter") == Some("PermissionsBoundary");
    let wanted = |policy: &&Policy| {
        !nowhere && policy.path.starts_with(prefix) && (!attached || state.attachments(&policy.arn) > 0)
    };
    let found: Vec<&Policy> = state.policies.values().filter(wanted).collect();
    listing("Policies", found, |policy| policy.arn.clone(), |policy| item(policy, state), paging(members))
}

/// DeletePolicy: one that is attached nowhere and has no version but its default.
pub(super) fn delete(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let policy = find(state, Members::new(body))?;
    let arn = policy.arn.clone();
    if state.attachments(&arn) > 0 {
        return Err(IAM.refuse("DeleteConflict", "Cannot delete a policy attached to entities."));
    }
    if policy.versions.len() > 1 {
        let message = "This policy has more than one version. Before you delete a policy, you must delete the \
                       policy's versions. The default version is deleted with the policy.";
        return Err(IAM.refuse("DeleteConflict", message));
    }
    state.policies.remove(&arn);
    Ok(Value::Null)
}

/// CreatePolicyVersion.
pub(super) fn create_version(body: &Map<String, Value>, state: &mut IamState, context: &Context) -> Answer {
    let members = Members::new(body);
    let document = checked(members)?;
    let policy = find_mut(state, members)?;
    if policy.versions.len() >= MOST_VERSIONS {
        let message = format!(
            "A managed policy can have up to {MOST_VERSIONS} versions. Before you create a new version, you must \
             delete an existing version."
        );
        return Err(IAM.refuse("LimitExceeded", message));
    }
    policy.latest += 1;
    policy.updated = context.now;
    let version = PolicyVersion { number: policy.latest, document, created: context.now };
    policy.versions.push(version);
    if members.flag("SetAsDefault").unwrap_or_default() {
        policy.default = policy.latest;
    }
    let shown = policy.versions.last().map(|version| version_item(version, policy, false));
    Ok(json!({ "PolicyVersion": shown }))
}

/// GetPolicyVersion.
pub(super) fn get_version(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let members = Members::new(body);
    let policy = find(state, members)?;
    let version = version(policy, members)?;
    Ok(json!({ "PolicyVersion": version_item(version, policy, true) }))
}

/// ListPolicyVersions: the newest first.
pub(super) fn list_versions(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let members = Members::new(body);
    let policy = find(state, members)?;
    let versions: Vec<&PolicyVersion> = policy.versions.iter().rev().collect();
    let item = |version: &&PolicyVersion| version_item(version, policy, false);
    listing("Versions", versions, |version| version.number.to_string(), item, paging(members))
}

/// SetDefaultPolicyVersion.
pub(super) fn set_default(body: &Map<String, Value>, state: &mut IamState, context: &Context) -> Answer {
    let members = Members::new(body);
    let policy = find_mut(state, members)?;
    policy.default = version(policy, members)?.number;
    policy.updated = context.now;
    Ok(Value::Null)
}

/// DeletePolicyVersion: one that is not the default.
pub(super) fn delete_version(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let members = Members::new(body);
    let policy = find_mut(state, members)?;
    let number = version(policy, members)?.number;
    if number == policy.default {
        return Err(IAM.refuse("DeleteConflict", "Cannot delete the default version of a policy."));
    }
    policy.versions.retain(|version| version.number != number);
    Ok(Value::Null)
}

fn find<'s>(state: &'s IamState, members: Members<'_>) -> Result<&'s Policy, ApiError> {
    let arn = members.required("PolicyArn");
    state.policies.get(arn).ok_or_else(|| missing(arn))
}

fn find_mut<'s>(state: &'s mut IamState, members: Members<'_>) -> Result<&'s mut Policy, ApiError> {
    let arn = members.required("PolicyArn");
    state.policies.get_mut(arn).ok_or_else(|| missing(arn))
}

fn missing(arn: &str) -> ApiError {
    not_found(format!("Policy {arn} was not found."))
}

fn version<'p>(policy: &'p Policy, members: Members<'_>) -> Result<&'p PolicyVersion, ApiError> {
    let id = members.required("VersionId");
    let number = id.strip_prefix('v').and_then(|number| number.parse::<u32>().ok());
    policy.versions.iter().find(|version| Some(version.number) == number).ok_or_else(|| {
        not_found(format!("Policy {} version {id} does not exist or is not attachable.", policy.arn))
    })
}

fn item(policy: &Policy, state: &IamState) -> Value {
    json!({
        "PolicyName": policy.name,
        "PolicyId": policy.id,
        "Arn": policy.arn,
        "Path": policy.path,
        "DefaultVersionId": format!("v{}", policy.default),
        "AttachmentCount": state.attachments(&policy.arn),
        "PermissionsBoundaryUsageCount": 0,
        "IsAttachable": true,
        "CreateDate": epoch_seconds(policy.created),
        "UpdateDate": epoch_seconds(policy.updated),
    })
}

/// A version, with its document where one is asked for.
fn version_item(version: &PolicyVersion, policy: &Policy, whole: bool) -> Value {
    json!({
        "Document": whole.then(|| percent_encoded(&version.document)),
        "VersionId": format!("v{}", version.number),
        "IsDefaultVersion": version.number == policy.default,
        "CreateDate": epoch_seconds(version.created),
    })
}
