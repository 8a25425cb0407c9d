//! Reads the members of a request. What breaks the service's model is an `InvalidParameterException` that names
//! the member, as this service says it.

use serde_json::{Map, Value, json};

pub(super) use super::refusal::{client, invalid};
use super::state::DEFAULT_CLUSTER;
use crate::error::ApiError;
use crate::members::Members;
use crate::model::Operation;
use crate::model::check::{Rule, Violation};
use crate::ssm::page::page;
use crate::tags::Tags;

/// The answer of an operation.
pub(super) type Answer = Result<Value, ApiError>;

/// One request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    body: &'a Map<String, Value>,
}

/// Refuses a request that breaks the model.
///
/// # Errors
/// `InvalidParameterException`, about the first thing that is wrong.
pub(super) fn check(operation: Operation, body: &Map<String, Value>) -> Result<(), ApiError> {
    // An empty text counts as absent, also where the model has an enum.
    let blank = |broken: &Violation| matches!(broken.rule, Rule::OneOf(_)) && broken.value.is_empty();
    let first = operation.violations(body).into_iter().find(|broken| !blank(broken));
    first.map_or(Ok(()), |broken| Err(invalid(format_violation(&broken))))
}

fn format_violation(broken: &Violation) -> String {
    let Violation { place, value, rule } = broken;
    match rule {
        Rule::Required => format!("{} can not be blank.", broken.member()),
        Rule::Type { wanted, .. } => format!("{place} is not a {}.", wanted.to_lowercase()),
        Rule::OneOf(words) => format!("{place} {value} is not one of {}.", words.join(", ")),
        rule => format!("{place} {value}: {rule}."),
    }
}

impl<'a> Request<'a> {
    /// A request that has passed [`check`].
    pub(super) fn new(body: &'a Map<String, Value>) -> Request<'a> {
        Request { body }
    }

    /// All members as they were sent.
    pub(super) fn body(&self) -> &'a Map<String, Value> {
        self.body
    }

    /// Members by their types.
    pub(super) fn members(&self) -> Members<'a> {
        Members::new(self.body)
    }

    /// A member that is there; null counts as absent.
    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        self.members().value(name)
    }

    /// Whether the caller sent the member.
    pub(super) fn has(&self, name: &str) -> bool {
        self.members().has(name)
    }

    /// A string; an empty one counts as absent.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.members().text(name).filter(|text| !text.is_empty())
    }

    /// A string that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&'a str, ApiError> {
        self.text(name).ok_or_else(|| invalid(format!("{name} can not be blank.")))
    }

    /// A list of strings, empty if it is not there.
    pub(super) fn texts(&self, name: &str) -> Vec<&'a str> {
        self.members().texts(name)
    }

    /// A whole number in a range, both ends included. The model has none of this service's ranges.
    pub(super) fn number(&self, name: &str, min: i64, max: i64) -> Result<Option<u32>, ApiError> {
        let Some(number) = self.members().number(name) else { return Ok(None) };
        let number = u32::try_from(number).ok().filter(|_| (min..=max).contains(&number));
        number.map(Some).ok_or_else(|| invalid(format!("{name} must be a number from {min} to {max}.")))
    }

    /// A boolean, false if it is not there.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.members().flag(name).unwrap_or(false)
    }

    /// The cluster's name, of a name or an ARN.
    pub(super) fn cluster(&self) -> String {
        last_segment(self.text("cluster").unwrap_or(DEFAULT_CLUSTER)).to_owned()
    }

    /// `tags`. The model lets a tag be without its key, the service does not.
    pub(super) fn tags(&self) -> Result<Tags, ApiError> {
        let pair = |tag: Members<'_>| {
            let key = tag.text("key").ok_or_else(|| invalid("A tag needs a key."))?;
            if key.to_ascii_lowercase().starts_with("aws:") {
                return Err(invalid(format!("{key}: keys that begin with aws: are for AWS alone.")));
            }
            Ok((key.to_owned(), tag.text("value").unwrap_or_default().to_owned()))
        };
        let tags: Tags = self.members().each("tags").map(pair).collect::<Result<_, ApiError>>()?;
        check_count(&tags)?;
        Ok(tags)
    }

    /// Of these members, those that were sent.
    pub(super) fn kept(&self, names: &[&str]) -> Map<String, Value> {
        let sent = names.iter().filter_map(|name| Some((*name, self.value(name)?)));
        sent.map(|(name, value)| (name.to_owned(), value.clone())).collect()
    }

    /// Whether `include` has a word.
    pub(super) fn includes(&self, word: &str) -> bool {
        self.texts("include").contains(&word)
    }

    /// A page of ARNs as an answer.
    pub(super) fn page(&self, name: &str, arns: Vec<String>, most: i64) -> Answer {
        let size = self.number("maxResults", 1, most)?.unwrap_or(100);
        let token = self.text("nextToken");
        let (shown, next) = page(arns, String::clone, usize::try_from(size).unwrap_or(100), token)
            .map_err(|_| invalid("Invalid token for the listing; start again without nextToken."))?;
        let mut answer = json!({ name: shown });
        if let Some(token) = next {
            answer["nextToken"] = json!(token);
        }
        Ok(answer)
    }
}

/// A resource has at most fifty tags, those of AWS not counted.
pub(super) fn check_count(tags: &Tags) -> Result<(), ApiError> {
    match tags.keys().filter(|key| !key.starts_with("aws:")).count() > 50 {
        true => Err(invalid("A resource can have at most 50 tags.")),
        false => Ok(()),
    }
}

/// The name at the end of an ARN, or the name itself.
pub(super) fn last_segment(name_or_arn: &str) -> &str {
    name_or_arn.rsplit('/').next().unwrap_or(name_or_arn)
}

/// Tags as this API lists them.
pub(super) fn tag_list(tags: &Tags) -> Value {
    tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}

/// What DescribeX says about a name that it does not know.
pub(super) fn missing(arn: String) -> Value {
    json!({ "arn": arn, "reason": "MISSING" })
}
