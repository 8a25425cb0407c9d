//! GetDocument, DescribeDocument, ListDocuments, ListDocumentVersions, and a document as the API shows it.

use serde_json::{Map, Value, json};

use super::page::paged;
use super::{Answer, epoch, listing, tag_list, without_nulls};
use crate::Context;
use crate::documents::{AMAZON, content, find};
use crate::error::ApiError;
use crate::members::Members;
use crate::ssm::state::{Document, DocumentVersion, SsmState};

/// GetDocument: the text as it was given, or in the other format if that is asked for. JSON is the default.
pub(super) fn get(body: &Map<String, Value>, state: &SsmState, context: &Context) -> Answer {
    let members = Members::new(body);
    let format = members.text("DocumentFormat").unwrap_or("JSON");
    let (document, version) = look_up(state, members, context)?;
    // TEXT is for documents that are neither; this store has none.
    let format = if format == "TEXT" { version.format.as_str() } else { format };
    let text = content::convert(&version.text, &version.format, format)
        .map_err(|error| ApiError::new("InvalidDocument", format!("{}: {error}", document.name)))?;
    Ok(without_nulls(json!({
        "Name": document.name,
        "VersionName": version.name,
        "CreatedDate": epoch(version.created),
        "DocumentVersion": version.number.to_string(),
        "Status": "Active",
        "Content": text,
        "DocumentType": document.document_type,
        "DocumentFormat": format,
    })))
}

/// DescribeDocument.
pub(super) fn describe(body: &Map<String, Value>, state: &SsmState, context: &Context) -> Answer {
    let members = Members::new(body);
    let (document, version) = look_up(state, members, context)?;
    Ok(json!({ "Document": description(document, version) }))
}

/// ListDocuments, with either form of its filters: each document with its default version.
pub(super) fn list(body: &Map<String, Value>, state: &SsmState) -> Answer {
    let members = Members::new(body);
    let old = members.each("DocumentFilterList");
    let old: Vec<_> = old.map(|filter| (filter.required("key"), vec![filter.required("value")])).collect();
    let new = members.each("Filters");
    let new: Vec<_> =
        new.map(|filter| (filter.text("Key").unwrap_or_default(), filter.texts("Values"))).collect();
    if !old.is_empty() && !new.is_empty() {
        return Err(ApiError::validation("Use Filters or DocumentFilterList, not both."));
    }
    let filters = if new.is_empty() { old } else { new };
    filters.iter().try_for_each(|(key, values)| check_filter(key, values))?;
    let wanted = |document: &&Document| filters.iter().all(|(key, values)| fits(document, key, values));
    let found: Vec<&Document> = state.documents.values().filter(wanted).collect();
    let (found, next) = paged(found, |document| document.name.clone(), members)?;
    Ok(listing("DocumentIdentifiers", found.into_iter().map(identifier).collect(), next))
}

/// ListDocumentVersions: of one document, newest first.
pub(super) fn versions(body: &Map<String, Value>, state: &SsmState, context: &Context) -> Answer {
    let members = Members::new(body);
    let name = members.required("Name");
    let document = find(state, name, context).ok_or_else(|| missing(name))?;
    let newest_first: Vec<&DocumentVersion> = document.versions.iter().rev().collect();
    let (found, next) = paged(newest_first, |version| version.number.to_string(), members)?;
    let shown = |version: &DocumentVersion| {
        without_nulls(json!({
            "Name": document.name,
            "DocumentVersion": version.number.to_string(),
            "VersionName": version.name,
            "CreatedDate": epoch(version.created),
            "IsDefaultVersion": version.number == document.default_version,
            "DocumentFormat": version.format,
            "Status": "Active",
        }))
    };
    Ok(listing("DocumentVersions", found.into_iter().map(shown).collect(), next))
}

/// `DocumentDescription`.
pub(super) fn description(document: &Document, version: &DocumentVersion) -> Value {
    let content = content::parse(&version.text, &version.format).unwrap_or_default();
    let declared = content["parameters"].as_object();
    let parameters: Vec<Value> = declared
        .into_iter()
        .flatten()
        .map(|(name, rules)| {
            without_nulls(json!({
                "Name": name,
                // The model knows two types: all but lists are said as String.
                "Type": if rules["type"] == "StringList" { "StringList" } else { "String" },
                "Description": rules["description"],
                "DefaultValue": rules.get("default").map(default_text),
            }))
        })
        .collect();
    without_nulls(json!({
        "Hash": version.hash(),
        "HashType": "Sha256",
        "Name": document.name,
        "VersionName": version.name,
        "Owner": document.owner,
        "CreatedDate": epoch(version.created),
        "Status": "Active",
        "DocumentVersion": version.number.to_string(),
        "Description": content["description"],
        "Parameters": parameters,
        "PlatformTypes": content::platforms(&content),
        "DocumentType": document.document_type,
        "SchemaVersion": content::schema_version(&content),
        "LatestVersion": document.versions.last().map(|latest| latest.number.to_string()),
        "DefaultVersion": document.default_version.to_string(),
        "DocumentFormat": version.format,
        "Tags": tag_list(&document.tags),
    }))
}

/// The document and the version that a caller means by the members `Name`, `DocumentVersion` and `VersionName`.
fn look_up<'s>(
    state: &'s SsmState,
    members: Members<'_>,
    context: &Context,
) -> Result<(&'s Document, &'s DocumentVersion), ApiError> {
    let name = members.required("Name");
    let document = find(state, name, context).ok_or_else(|| missing(name))?;
    let (version, asked) = match (members.text("VersionName"), members.text("DocumentVersion")) {
        (Some(named), _) => (document.version_named(named), Some(named)),
        (None, asked) => (document.version(asked), asked),
    };
    let version = version.ok_or_else(|| no_version(name, asked.unwrap_or_default()))?;
    Ok((document, version))
}

pub(super) fn missing(name: &str) -> ApiError {
    ApiError::new("InvalidDocument", format!("Document with name {name} does not exist."))
}

pub(super) fn no_version(name: &str, asked: &str) -> ApiError {
    ApiError::new("InvalidDocumentVersion", format!("Document {name} has no version {asked}."))
}

/// A default value as the API shows it: a text as it is, everything else as JSON.
fn default_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn check_filter(key: &str, values: &[&str]) -> Result<(), ApiError> {
    const KEYS: [&str; 6] = ["Name", "Owner", "PlatformTypes", "DocumentType", "TargetType", "SearchKeyword"];
    if !KEYS.contains(&key) && !key.starts_with("tag:") {
        let message = format!("Filter key {key} is not one of {} or tag:<key>.", KEYS.join(", "));
        return Err(ApiError::new("InvalidFilterKey", message));
    }
    if values.is_empty() {
        return Err(ApiError::validation(format!("Filter {key} needs at least one value.")));
    }
    let owners = ["Self", "Amazon", "Public", "Private", "ThirdParty", "All"];
    match values.iter().find(|value| key == "Owner" && !owners.contains(value)) {
        Some(value) => {
            Err(ApiError::validation(format!("Filter Owner: {value} is not one of {}.", owners.join(", "))))
        }
        None => Ok(()),
    }
}

fn fits(document: &Document, key: &str, values: &[&str]) -> bool {
    let lower = |text: &str| text.to_ascii_lowercase();
    match key {
        // The service finds documents whose name begins so.
        "Name" => values.iter().any(|value| document.name.starts_with(value)),
        "Owner" => values.iter().any(|value| match *value {
            "All" => true,
            "Self" => document.owner != AMAZON,
            "Amazon" | "Public" => document.owner == AMAZON,
            // Shared by others: there are no others here.
            _ => false,
        }),
        "PlatformTypes" => {
            let content = default_content(document);
            content::platforms(&content)
                .iter()
                .any(|known| values.iter().any(|v| v.eq_ignore_ascii_case(known)))
        }
        "DocumentType" => values.contains(&document.document_type.as_str()),
        "SearchKeyword" => values.iter().all(|value| lower(&document.name).contains(&lower(value))),
        "TargetType" => false,
        _ => key
            .strip_prefix("tag:")
            .and_then(|tag| document.tags.get(tag))
            .is_some_and(|value| values.contains(&value.as_str())),
    }
}

fn default_content(document: &Document) -> Value {
    let version = document.version(None);
    version.and_then(|version| content::parse(&version.text, &version.format).ok()).unwrap_or_default()
}

fn identifier(document: &Document) -> Value {
    let content = default_content(document);
    without_nulls(json!({
        "Name": document.name,
        "CreatedDate": epoch(document.created),
        "Owner": document.owner,
        "PlatformTypes": content::platforms(&content),
        "DocumentVersion": document.default_version.to_string(),
        "VersionName": document.version(None).and_then(|version| version.name.as_deref()),
        "DocumentType": document.document_type,
        "SchemaVersion": content::schema_version(&content),
        "DocumentFormat": document.version(None).map_or("JSON", |version| version.format.as_str()),
        "Tags": tag_list(&document.tags),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use serde_json::{Value, json};

    fn names(response: &Value) -> Vec<&str> {
        let list = response["DocumentIdentifiers"].as_array().unwrap();
        list.iter().map(|item| item["Name"].as_str().unwrap()).collect()
    }

    #[test]
    fn a_document_is_shown_in_both_formats() {
        let mut fixture = Fixture::new();
        let json_text = fixture.ok("GetDocument", json!({ "Name": "AWS-RunShellScript" }));
        assert_eq!(json_text["DocumentFormat"], "JSON");
        assert_eq!(json_text["DocumentVersion"], "1");
        let content: Value = serde_json::from_str(json_text["Content"].as_str().unwrap()).unwrap();
        assert_eq!(content["schemaVersion"], "1.2");
        let yaml =
            fixture.ok("GetDocument", json!({ "Name": "AWS-RunShellScript", "DocumentFormat": "YAML" }));
        assert!(yaml["Content"].as_str().unwrap().contains("schemaVersion: '1.2'"));
    }

    #[test]
    fn a_description_says_what_a_document_takes() {
        let mut fixture = Fixture::new();
        let name = "arn:aws:ssm:eu-west-1::document/AWSFIS-Run-CPU-Stress";
        let document = fixture.ok("DescribeDocument", json!({ "Name": name }))["Document"].clone();
        assert_eq!(document["Name"], "AWSFIS-Run-CPU-Stress");
        assert_eq!(document["Owner"], "Amazon");
        assert_eq!(document["PlatformTypes"], json!(["Linux"]));
        assert_eq!(document["SchemaVersion"], "2.2");
        assert_eq!(document["Hash"].as_str().unwrap().len(), 64);
        let cpu = json!({ "Name": "CPU", "Type": "String", "DefaultValue": "0" });
        assert!(document["Parameters"].as_array().unwrap().contains(&cpu));
        assert!(
            document["Parameters"]
                .as_array()
                .unwrap()
                .contains(&json!({ "Name": "DurationSeconds", "Type": "String" }))
        );
    }

    #[test]
    fn unknown_documents_and_versions_are_refused() {
        let mut fixture = Fixture::new();
        for operation in ["GetDocument", "DescribeDocument"] {
            for (body, code) in [
                (json!({ "Name": "No-Such" }), "InvalidDocument"),
                (json!({ "Name": "AWS-RunShellScript", "DocumentVersion": "2" }), "InvalidDocumentVersion"),
                (json!({ "Name": "AWS-RunShellScript", "VersionName": "v" }), "InvalidDocumentVersion"),
                (json!({ "Name": "a" }), "ValidationException"),
                (json!({}), "ValidationException"),
            ] {
                assert_eq!(fixture.refused(operation, body.clone()), code, "{body}");
            }
        }
    }

    #[test]
    fn lists_are_filtered_and_paged() {
        let mut fixture = Fixture::new();
        let mut found = |key: &str, value: &str| {
            let body = json!({ "Filters": [{ "Key": key, "Values": [value] }] });
            names(&fixture.ok("ListDocuments", body)).len()
        };
        assert_eq!(found("Name", "AWSFIS-Run-"), 13);
        assert_eq!(found("Owner", "Amazon"), 14);
        assert_eq!(found("Owner", "Self"), 0);
        assert_eq!(found("PlatformTypes", "Linux"), 14);
        assert_eq!(found("PlatformTypes", "MacOS"), 1);
        assert_eq!(found("DocumentType", "Automation"), 0);
        assert_eq!(found("SearchKeyword", "latency"), 3);
        assert_eq!(found("tag:A", "b"), 0);
        let old = json!({ "DocumentFilterList": [{ "key": "Name", "value": "AWS-" }] });
        assert_eq!(names(&fixture.ok("ListDocuments", old)), ["AWS-RunShellScript"]);
        let first = fixture.ok("ListDocuments", json!({ "MaxResults": 10 }));
        let rest = fixture.ok("ListDocuments", json!({ "NextToken": first["NextToken"] }));
        assert_eq!((names(&first).len(), names(&rest).len()), (10, 4));
    }

    #[test]
    fn versions_are_listed_newest_first() {
        let mut fixture = Fixture::new();
        let content = |line: &str| {
            json!({ "schemaVersion": "2.2", "mainSteps": [
                { "action": "aws:runShellScript", "name": "run", "inputs": { "runCommand": [line] } },
            ]})
            .to_string()
        };
        let made = json!({ "Name": "Mine", "Content": content("true"), "DocumentType": "Command" });
        fixture.ok("CreateDocument", made);
        let changed = json!({ "Name": "Mine", "Content": content("false"), "DocumentVersion": "$LATEST",
                              "VersionName": "second" });
        fixture.ok("UpdateDocument", changed);
        let first = fixture.ok("ListDocumentVersions", json!({ "Name": "Mine", "MaxResults": 1 }));
        let newest = &first["DocumentVersions"][0];
        assert_eq!((&newest["DocumentVersion"], &newest["VersionName"]), (&json!("2"), &json!("second")));
        assert_eq!(newest["IsDefaultVersion"], false);
        let rest = json!({ "Name": "Mine", "NextToken": first["NextToken"] });
        let rest = fixture.ok("ListDocumentVersions", rest);
        let oldest = &rest["DocumentVersions"][0];
        assert_eq!((&oldest["DocumentVersion"], &oldest["IsDefaultVersion"]), (&json!("1"), &json!(true)));
        assert_eq!(rest["DocumentVersions"].as_array().map(Vec::len), Some(1));
        let nobody = json!({ "Name": "No-Such" });
        assert_eq!(fixture.refused("ListDocumentVersions", nobody), "InvalidDocument");
    }

    #[test]
    fn bad_filters_are_refused() {
        let mut fixture = Fixture::new();
        for (body, code) in [
            (json!({ "Filters": [{ "Key": "Colour", "Values": ["x"] }] }), "InvalidFilterKey"),
            (json!({ "Filters": [{ "Key": "Owner", "Values": ["Me"] }] }), "ValidationException"),
            (json!({ "Filters": [{ "Key": "Name", "Values": [] }] }), "ValidationException"),
            (json!({ "DocumentFilterList": [{ "key": "Tag", "value": "x" }] }), "ValidationException"),
            (json!({ "MaxResults": 0 }), "ValidationException"),
        ] {
            assert_eq!(fixture.refused("ListDocuments", body.clone()), code, "{body}");
        }
    }
}
