//! CreateDocument, UpdateDocument, UpdateDocumentDefaultVersion and DeleteDocument.

use serde_json::{Map, Value, json};

use super::documents::{description, missing, no_version};
use super::{Answer, without_nulls};
use crate::Context;
use crate::documents::AMAZON;
use crate::documents::content::{self, ContentError};
use crate::documents::runbook;
use crate::error::ApiError;
use crate::members::Members;
use crate::model::check::Violation;
use crate::ssm::state::{Document, DocumentVersion, SsmState};

/// The most documents of an account, and the most versions of a document (Systems Manager quotas).
const MOST_DOCUMENTS: usize = 500;
const MOST_VERSIONS: usize = 1_000;

/// Beginnings that names of an account's own documents must not have (CreateDocument, Name).
const RESERVED: [&str; 3] = ["aws", "amazon", "amzn"];

/// CreateDocument. Documents of the types Command and Automation are kept here.
pub(super) fn create(body: &Map<String, Value>, state: &mut SsmState, context: &Context) -> Answer {
    let members = Members::new(body);
    let (text, name) = (members.required("Content"), members.required("Name"));
    let kind = members.text("DocumentType").unwrap_or("Command");
    let format = format(members)?;
    let tags = members.tags()?;
    left_out(members)?;
    if !["Command", "Automation"].contains(&kind) {
        let message =
            format!("This local service keeps documents of type Command and Automation, not {kind}.");
        return Err(ApiError::validation(message));
    }
    if let Some(prefix) = RESERVED.iter().find(|prefix| name.to_ascii_lowercase().starts_with(*prefix)) {
        return Err(ApiError::validation(format!(
            "Document name {name}: names that begin with {prefix} are reserved."
        )));
    }
    checked(text, format, kind)?;
    if state.documents.contains_key(name) {
        return Err(ApiError::new("DocumentAlreadyExists", format!("Document {name} already exists.")));
    }
    if state.documents.values().filter(|document| document.owner != AMAZON).count() >= MOST_DOCUMENTS {
        let message = format!("The account has {MOST_DOCUMENTS} documents already: delete some.");
        return Err(ApiError::new("DocumentLimitExceeded", message));
    }
    let document = Document {
        name: name.to_owned(),
        owner: context.account.clone(),
        document_type: kind.to_owned(),
        versions: vec![version(1, (text, format), members, context)],
        default_version: 1,
        tags,
        created: context.now,
    };
    let response = json!({ "DocumentDescription": description(&document, &document.versions[0]) });
    state.documents.insert(name.to_owned(), document);
    Ok(response)
}

/// UpdateDocument: adds a version; only the latest one can be updated.
pub(super) fn update(body: &Map<String, Value>, state: &mut SsmState, context: &Context) -> Answer {
    let members = Members::new(body);
    let (text, name) = (members.required("Content"), members.required("Name"));
    let asked = members.text("DocumentVersion").unwrap_or("$LATEST");
    let format = format(members)?;
    left_out(members)?;
    let document = own(state, name)?;
    let latest = document.version(Some("$LATEST")).ok_or_else(|| no_version(name, asked))?.clone();
    if asked != "$LATEST" && asked != latest.number.to_string() {
        let message =
            format!("Only the latest version of document {name}, {}, can be updated.", latest.number);
        return Err(ApiError::new("InvalidDocumentVersion", message));
    }
    let content = checked(text, format, &document.document_type)?;
    // "With version 1.2, any update required that you save it with a different name" (Schemas, features).
    let old = content::parse(&latest.text, &latest.format).unwrap_or_default();
    if [&content, &old].iter().any(|content| content::schema_version(content) == "1.2") {
        let message = format!(
            "Document {name}: documents of schema 1.2 cannot be updated; create one under another name."
        );
        return Err(ApiError::new("InvalidDocumentSchemaVersion", message));
    }
    if document.versions.iter().any(|version| version.text == text) {
        let message = format!("Document {name} has a version with this content already.");
        return Err(ApiError::new("DuplicateDocumentContent", message));
    }
    if document.versions.len() >= MOST_VERSIONS {
        let message = format!("Document {name} has {MOST_VERSIONS} versions already: delete some.");
        return Err(ApiError::new("DocumentVersionLimitExceeded", message));
    }
    if let Some(name) = members.text("VersionName").filter(|name| document.version_named(name).is_some()) {
        let message = format!("Document {} has a version named {name} already.", document.name);
        return Err(ApiError::new("DuplicateDocumentVersionName", message));
    }
    let added = version(latest.number + 1, (text, format), members, context);
    document.versions.push(added.clone());
    Ok(json!({ "DocumentDescription": description(document, &added) }))
}

/// UpdateDocumentDefaultVersion.
pub(super) fn set_default(body: &Map<String, Value>, state: &mut SsmState) -> Answer {
    let members = Members::new(body);
    let (name, asked) = (members.required("Name"), members.required("DocumentVersion"));
    let document = own(state, name)?;
    let version = document.version(Some(asked)).ok_or_else(|| no_version(name, asked))?;
    let (number, version_name) = (version.number, version.name.clone());
    document.default_version = number;
    Ok(json!({
        "Description": without_nulls(json!({
            "Name": name, "DefaultVersion": number.to_string(), "DefaultVersionName": version_name,
        })),
    }))
}

/// DeleteDocument: all of it, or one version that is not the default.
pub(super) fn delete(body: &Map<String, Value>, state: &mut SsmState) -> Answer {
    let members = Members::new(body);
    let name = members.required("Name");
    let asked = members.text("DocumentVersion");
    let named = members.text("VersionName");
    let document = own(state, name)?;
    let (number, asked) = match (named, asked) {
        (Some(named), _) => (document.version_named(named), named),
        (None, Some(asked)) => (document.version(Some(asked)), asked),
        (None, None) => {
            state.documents.remove(name);
            return Ok(json!({}));
        }
    };
    let number = number.map(|version| version.number);
    let refusal = match number {
        None => Some(format!("Document {name} has no version {asked}.")),
        Some(number) if number == document.default_version => {
            Some(format!("Version {number} is the default of document {name}: choose another default first."))
        }
        Some(_) => None,
    };
    match refusal {
        Some(message) => Err(ApiError::new("InvalidDocumentOperation", message)),
        None => {
            document.versions.retain(|version| Some(version.number) != number);
            Ok(json!({}))
        }
    }
}

/// A document that the account may change.
fn own<'s>(state: &'s mut SsmState, name: &str) -> Result<&'s mut Document, ApiError> {
    let document = state.documents.get_mut(name).ok_or_else(|| missing(name))?;
    if document.owner == AMAZON {
        let message = format!("Document {name} belongs to Amazon and cannot be changed.");
        return Err(ApiError::new("InvalidDocument", message));
    }
    Ok(document)
}

fn format(members: Members<'_>) -> Result<&str, ApiError> {
    // The model has TEXT, for documents of other types.
    let rule = "Member must be JSON or YAML for a document of type Command";
    match members.text("DocumentFormat").unwrap_or("JSON") {
        text @ "TEXT" => Err(Violation::other("DocumentFormat", text, rule).into()),
        format => Ok(format),
    }
}

/// Members that the service would keep and this one does not.
fn left_out(members: Members<'_>) -> Result<(), ApiError> {
    match ["Attachments", "Requires"].into_iter().find(|name| members.has(name)) {
        Some(name) => {
            Err(ApiError::validation(format!("This local service does not keep {name}: leave it out.")))
        }
        None => Ok(()),
    }
}

fn checked(text: &str, format: &str, kind: &str) -> Result<Value, ApiError> {
    let content = content::parse(text, format).and_then(|content| {
        match kind {
            "Automation" => runbook::read(&content).map(drop)?,
            _ => content::check(&content)?,
        }
        Ok(content)
    });
    content.map_err(|error| {
        let code = match error {
            ContentError::TooLarge { .. } => "MaxDocumentSizeExceeded",
            ContentError::Schema { .. } => "InvalidDocumentSchemaVersion",
            ContentError::Unreadable { .. } | ContentError::Rule(_) => "InvalidDocumentContent",
        };
        ApiError::new(code, error.to_string())
    })
}

fn version(
    number: u32,
    (text, format): (&str, &str),
    members: Members<'_>,
    context: &Context,
) -> DocumentVersion {
    DocumentVersion {
        number,
        name: members.text("VersionName").map(str::to_owned),
        text: text.to_owned(),
        format: format.to_owned(),
        created: context.now,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use serde_json::{Value, json};

    const YAML: &str = "schemaVersion: '2.2'\ndescription: says hello\nparameters:\n  Name:\n    type: String\n    default: you\nmainSteps:\n- name: hello\n  action: aws:runShellScript\n  inputs:\n    runCommand:\n    - echo hello {{ Name }}\n";

    fn made(fixture: &mut Fixture) -> Value {
        fixture.ok("CreateDocument", json!({ "Name": "hello", "Content": YAML, "DocumentFormat": "YAML" }))
    }

    fn other(line: &str) -> String {
        YAML.replace("echo hello", line)
    }

    #[test]
    fn a_yaml_document_is_created_and_sent_as_json() {
        let mut fixture = Fixture::new();
        let description = made(&mut fixture)["DocumentDescription"].clone();
        assert_eq!(description["Owner"], "000000000000");
        assert_eq!(description["DocumentFormat"], "YAML");
        assert_eq!(description["Description"], "says hello");
        assert_eq!(description["Status"], "Active");
        let id = fixture.instance(&[]);
        fixture.ok("SendCommand", json!({ "InstanceIds": [id], "DocumentName": "hello" }));
        assert_eq!(fixture.state.commands[0].document["mainSteps"][0]["name"], "hello");
        let text = fixture.ok("GetDocument", json!({ "Name": "hello", "DocumentFormat": "YAML" }));
        assert_eq!(text["Content"], YAML);
    }

    #[test]
    fn versions_are_added_chosen_and_deleted() {
        let mut fixture = Fixture::new();
        made(&mut fixture);
        let update = |line: &str, version: &str| json!({ "Name": "hello", "Content": other(line), "DocumentFormat": "YAML", "DocumentVersion": version });
        let second = fixture.ok("UpdateDocument", update("echo again", "$LATEST"));
        assert_eq!(second["DocumentDescription"]["LatestVersion"], "2");
        assert_eq!(second["DocumentDescription"]["DefaultVersion"], "1");
        assert_eq!(fixture.refused("UpdateDocument", update("echo again", "2")), "DuplicateDocumentContent");
        assert_eq!(fixture.refused("UpdateDocument", update("echo third", "1")), "InvalidDocumentVersion");
        let chosen = json!({ "Name": "hello", "DocumentVersion": "2" });
        assert_eq!(
            fixture
                .refused("UpdateDocumentDefaultVersion", json!({ "Name": "hello", "DocumentVersion": "3" })),
            "InvalidDocumentVersion"
        );
        fixture.ok("UpdateDocumentDefaultVersion", chosen.clone());
        assert_eq!(fixture.ok("GetDocument", json!({ "Name": "hello" }))["DocumentVersion"], "2");
        assert_eq!(fixture.refused("DeleteDocument", chosen), "InvalidDocumentOperation");
        fixture.ok("DeleteDocument", json!({ "Name": "hello", "DocumentVersion": "1" }));
        assert_eq!(fixture.state.documents["hello"].versions.len(), 1);
        // Numbers are never used twice.
        let third = fixture.ok("UpdateDocument", update("echo third", "$LATEST"));
        assert_eq!(third["DocumentDescription"]["LatestVersion"], "3");
        fixture.ok("DeleteDocument", json!({ "Name": "hello" }));
        assert_eq!(fixture.refused("DeleteDocument", json!({ "Name": "hello" })), "InvalidDocument");
    }

    #[test]
    fn versions_have_names_of_their_own() {
        let mut fixture = Fixture::new();
        let version = |line: &str, name: &str| json!({ "Name": "hello", "Content": other(line), "DocumentFormat": "YAML", "VersionName": name, "DocumentVersion": "$LATEST" });
        let mut first = version("echo one", "one");
        first.as_object_mut().unwrap().remove("DocumentVersion");
        assert_eq!(fixture.ok("CreateDocument", first)["DocumentDescription"]["VersionName"], "one");
        assert_eq!(
            fixture.refused("UpdateDocument", version("echo two", "one")),
            "DuplicateDocumentVersionName"
        );
        fixture.ok("UpdateDocument", version("echo two", "two"));
        let named = |name: &str| json!({ "Name": "hello", "VersionName": name });
        let found = fixture.ok("GetDocument", named("two"));
        assert_eq!((&found["DocumentVersion"], &found["VersionName"]), (&json!("2"), &json!("two")));
        assert_eq!(fixture.ok("DescribeDocument", named("one"))["Document"]["DocumentVersion"], "1");
        assert_eq!(fixture.refused("GetDocument", named("three")), "InvalidDocumentVersion");
        let default =
            fixture.ok("UpdateDocumentDefaultVersion", json!({ "Name": "hello", "DocumentVersion": "2" }));
        assert_eq!(
            default["Description"],
            json!({ "Name": "hello", "DefaultVersion": "2", "DefaultVersionName": "two" })
        );
        assert_eq!(fixture.refused("DeleteDocument", named("two")), "InvalidDocumentOperation");
        fixture.ok("DeleteDocument", named("one"));
        assert_eq!(fixture.state.documents["hello"].versions.len(), 1);
    }

    #[test]
    fn bad_documents_are_refused() {
        let mut fixture = Fixture::new();
        let with = |content: &str| json!({ "Name": "hello", "Content": content });
        let big = format!("{{\"a\":\"{}\"}}", "x".repeat(70_000));
        for (body, code) in [
            (with(""), "ValidationException"),
            (with("{}"), "InvalidDocumentSchemaVersion"),
            (with("not json"), "InvalidDocumentContent"),
            (with(&big), "MaxDocumentSizeExceeded"),
            (with(r#"{"schemaVersion":"0.3","mainSteps":[]}"#), "InvalidDocumentSchemaVersion"),
            (
                json!({ "Name": "hello", "Content": r#"{"schemaVersion":"0.3","mainSteps":[]}"#, "DocumentType": "Automation" }),
                "InvalidDocumentContent",
            ),
            (with(r#"{"schemaVersion":"2.2","mainSteps":[]}"#), "InvalidDocumentContent"),
            (json!({ "Name": "AWS-Mine", "Content": YAML, "DocumentFormat": "YAML" }), "ValidationException"),
            (json!({ "Name": "a b", "Content": YAML, "DocumentFormat": "YAML" }), "ValidationException"),
            (json!({ "Name": "hello", "Content": YAML, "DocumentFormat": "TEXT" }), "ValidationException"),
            (
                json!({ "Name": "hello", "Content": YAML, "DocumentFormat": "YAML", "DocumentType": "Automation" }),
                "InvalidDocumentContent",
            ),
            (
                json!({ "Name": "hello", "Content": YAML, "DocumentFormat": "YAML", "DocumentType": "Package" }),
                "ValidationException",
            ),
        ] {
            assert_eq!(fixture.refused("CreateDocument", body), code);
        }
        assert!(!fixture.state.documents.contains_key("hello"));
        made(&mut fixture);
        let again = json!({ "Name": "hello", "Content": YAML, "DocumentFormat": "YAML" });
        assert_eq!(fixture.refused("CreateDocument", again), "DocumentAlreadyExists");
    }

    #[test]
    fn the_built_in_documents_cannot_be_changed() {
        let mut fixture = Fixture::new();
        let name = "AWSFIS-Run-CPU-Stress";
        assert_eq!(fixture.refused("DeleteDocument", json!({ "Name": name })), "InvalidDocument");
        assert_eq!(
            fixture.refused("UpdateDocument", json!({ "Name": name, "Content": "{}" })),
            "InvalidDocument"
        );
        assert!(fixture.state.documents.contains_key(name));
    }

    #[test]
    fn schema_1_2_cannot_be_updated() {
        let mut fixture = Fixture::new();
        let content = |line: &str| {
            json!({
            "schemaVersion": "1.2",
            "runtimeConfig": { "aws:runShellScript": { "properties": [{ "id": "0", "runCommand": [line] }] } },
        }).to_string()
        };
        fixture.ok("CreateDocument", json!({ "Name": "old", "Content": content("true") }));
        let update = json!({ "Name": "old", "Content": content("false") });
        assert_eq!(fixture.refused("UpdateDocument", update), "InvalidDocumentSchemaVersion");
    }
}
