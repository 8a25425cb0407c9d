//! The document store: which documents there are, how a name, an ARN and a version lead to one, and what a
//! document's text means. Knows no operation of the API.

use std::time::SystemTime;

use hash::sha256_hex;

use super::Context;
use crate::ssm::state::{Document, DocumentVersion, SsmState};

pub(crate) mod content;
mod hash;
pub mod parameters;
mod pattern;
pub(crate) mod runbook;

mod stand_ins;

/// `Owner` of the documents that every account has.
pub const AMAZON: &str = "Amazon";

/// The documents every account has: stand-ins of our own for the names that FIS sends and for
/// AWS-RunShellScript.
pub fn built_in(now: SystemTime) -> Vec<Document> {
    stand_ins::all()
        .into_iter()
        .map(|(name, content)| Document {
            name: name.to_owned(),
            owner: AMAZON.to_owned(),
            document_type: "Command".to_owned(),
            versions: vec![DocumentVersion {
                number: 1,
                name: None,
                text: format!("{content:#}"),
                format: "JSON".to_owned(),
                created: now,
            }],
            default_version: 1,
            tags: crate::tags::Tags::new(),
            created: now,
        })
        .collect()
}

/// The document that a caller means by a plain name or by an ARN of this region
/// (`arn:aws:ssm:<region>:<account, or empty for Amazon's own>:document/<name>`).
pub fn find<'s>(state: &'s SsmState, name_or_arn: &str, context: &Context) -> Option<&'s Document> {
    if !name_or_arn.starts_with("arn:") {
        return state.documents.get(name_or_arn);
    }
    let mut parts = name_or_arn.splitn(6, ':');
    let (_, partition, service) = (parts.next(), parts.next()?, parts.next()?);
    let (region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
    let document = state.documents.get(resource.strip_prefix("document/")?)?;
    let owner = if document.owner == AMAZON { "" } else { context.account.as_str() };
    let ours = partition.starts_with("aws") && service == "ssm" && region == context.region;
    (ours && (account == owner || account == context.account)).then_some(document)
}

impl Document {
    /// The version a caller asks for: `$DEFAULT` (also when nothing is asked), `$LATEST` or a number.
    pub fn version(&self, asked: Option<&str>) -> Option<&DocumentVersion> {
        let number = match asked {
            None | Some("" | "$DEFAULT") => self.default_version,
            Some("$LATEST") => return self.versions.last(),
            Some(number) => number.parse().ok()?,
        };
        self.versions.iter().find(|version| version.number == number)
    }
}

impl Document {
    /// The version with this `VersionName`.
    pub fn version_named(&self, name: &str) -> Option<&DocumentVersion> {
        self.versions.iter().find(|version| version.name.as_deref() == Some(name))
    }
}

impl DocumentVersion {
    /// SHA-256 of the text, in hex.
    pub fn hash(&self) -> String {
        sha256_hex(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn context() -> Context {
        Context {
            now: SystemTime::UNIX_EPOCH,
            region: "eu-west-1".into(),
            account: "000000000000".into(),
            speed: 1.0,
        }
    }

    fn state() -> SsmState {
        let documents = built_in(SystemTime::UNIX_EPOCH);
        SsmState {
            documents: documents.into_iter().map(|document| (document.name.clone(), document)).collect(),
            ..SsmState::default()
        }
    }

    #[test]
    fn every_built_in_document_is_valid() {
        let documents = built_in(SystemTime::UNIX_EPOCH);
        assert_eq!(documents.len(), 14);
        for document in documents {
            let text = &document.versions[0].text;
            let content: Value = content::parse(text, "JSON").unwrap();
            assert_eq!(content::check(&content), Ok(()), "{}", document.name);
        }
    }

    #[test]
    fn names_and_arns_of_this_region_lead_to_a_document() {
        let state = state();
        let found = |name: &str| find(&state, name, &context()).is_some();
        assert!(found("AWSFIS-Run-CPU-Stress"));
        assert!(found("arn:aws:ssm:eu-west-1::document/AWSFIS-Run-CPU-Stress"));
        for unknown in [
            "awsfis-run-cpu-stress",
            "arn:aws:ssm:us-east-1::document/AWSFIS-Run-CPU-Stress",
            "arn:aws:ssm:eu-west-1:111111111111:document/AWSFIS-Run-CPU-Stress",
            "arn:aws:ssm:eu-west-1::AWSFIS-Run-CPU-Stress",
            "arn:aws:s3:eu-west-1::document/AWSFIS-Run-CPU-Stress",
            "arn:aws:ssm",
        ] {
            assert!(!found(unknown), "{unknown}");
        }
    }

    #[test]
    fn versions_are_found_by_name_and_number() {
        let state = state();
        let document = find(&state, "AWS-RunShellScript", &context()).unwrap();
        for asked in [None, Some("$DEFAULT"), Some("$LATEST"), Some("1")] {
            assert_eq!(document.version(asked).map(|version| version.number), Some(1), "{asked:?}");
        }
        assert!(document.version(Some("2")).is_none());
    }
}
