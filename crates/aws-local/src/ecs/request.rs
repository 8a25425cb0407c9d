//! Reads the members of a request. What breaks the model is an `InvalidParameterException` that names the
//! member, as this service says it.

use serde_json::{Map, Value, json};

use super::DEFAULT_CLUSTER;
use crate::error::ApiError;
use crate::ssm::page::page;
use crate::store::Tags;

/// The answer of an operation.
pub(super) type Answer = Result<Value, ApiError>;

/// One request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    body: &'a Map<String, Value>,
}

/// `InvalidParameterException`.
pub(super) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterException", message)
}

/// `ClientException`.
pub(super) fn client(message: impl Into<String>) -> ApiError {
    ApiError::new("ClientException", message)
}

impl<'a> Request<'a> {
    pub(super) fn new(body: &'a Map<String, Value>) -> Request<'a> {
        Request { body }
    }

    /// All members as they were sent.
    pub(super) fn body(&self) -> &'a Map<String, Value> {
        self.body
    }

    /// A member that is there; null counts as absent.
    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        self.body.get(name).filter(|value| !value.is_null())
    }

    /// A string; an empty one counts as absent.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, ApiError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(invalid(format!("{name} is not a string."))),
        }
    }

    /// A string that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&'a str, ApiError> {
        self.text(name)?.ok_or_else(|| invalid(format!("{name} can not be blank.")))
    }

    /// A list of strings, empty if it is not there.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<&'a str>, ApiError> {
        let wrong = || invalid(format!("{name} is not a list of strings."));
        let Some(value) = self.value(name) else { return Ok(Vec::new()) };
        value.as_array().ok_or_else(wrong)?.iter().map(|item| item.as_str().ok_or_else(wrong)).collect()
    }

    /// A whole number in a range, both ends included.
    pub(super) fn number(&self, name: &str, min: i64, max: i64) -> Result<Option<u32>, ApiError> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let number = value.as_i64().filter(|number| (min..=max).contains(number));
        let number = number.and_then(|number| u32::try_from(number).ok());
        number.map(Some).ok_or_else(|| invalid(format!("{name} must be a number from {min} to {max}.")))
    }

    /// A boolean, false if it is not there.
    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.value(name) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| invalid(format!("{name} is not true or false."))),
        }
    }

    /// One of some words.
    pub(super) fn one_of(&self, name: &str, words: &[&str]) -> Result<Option<&'a str>, ApiError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match words.contains(&text) {
            true => Ok(Some(text)),
            false => Err(invalid(format!("{name} {text} is not one of {}.", words.join(", ")))),
        }
    }

    /// The cluster's name, of a name or an ARN.
    pub(super) fn cluster(&self) -> Result<String, ApiError> {
        Ok(last_segment(self.text("cluster")?.unwrap_or(DEFAULT_CLUSTER)).to_owned())
    }

    /// `tags`: at most fifty, with keys of at most 128 characters and values of at most 256.
    pub(super) fn tags(&self) -> Result<Tags, ApiError> {
        let Some(value) = self.value("tags") else { return Ok(Tags::new()) };
        let wrong = || {
            invalid(
                "tags must be at most 50 pairs of a key of 1 to 128 characters and a value of at most 256.",
            )
        };
        let items = value.as_array().filter(|items| items.len() <= 50).ok_or_else(wrong)?;
        let mut tags = Tags::new();
        for item in items {
            let key = item["key"].as_str().filter(|key| (1..=128).contains(&key.chars().count()));
            let value = item["value"].as_str().unwrap_or_default();
            if value.chars().count() > 256 {
                return Err(wrong());
            }
            tags.insert(key.ok_or_else(wrong)?.to_owned(), value.to_owned());
        }
        Ok(tags)
    }

    /// Whether `include` has a word.
    pub(super) fn includes(&self, word: &str) -> Result<bool, ApiError> {
        Ok(self.texts("include")?.contains(&word))
    }

    /// A page of ARNs as an answer.
    pub(super) fn page(&self, name: &str, arns: Vec<String>, most: i64) -> Answer {
        let size = self.number("maxResults", 1, most)?.unwrap_or(100);
        let token = self.text("nextToken")?;
        let (shown, next) = page(arns, String::clone, usize::try_from(size).unwrap_or(100), token)
            .map_err(|_| invalid("Invalid token for the listing; start again without nextToken."))?;
        let mut answer = json!({ name: shown });
        if let Some(token) = next {
            answer["nextToken"] = json!(token);
        }
        Ok(answer)
    }
}

/// The name at the end of an ARN, or the name itself.
pub(super) fn last_segment(name_or_arn: &str) -> &str {
    name_or_arn.rsplit('/').next().unwrap_or(name_or_arn)
}

/// Whether a text is a name as clusters, services, families and containers have it: letters, digits, `-` and
/// `_`, 255 at most.
pub(super) fn is_name(text: &str) -> bool {
    crate::metadata::is_name(text)
}

/// Tags as this API lists them.
pub(super) fn tag_list(tags: &Tags) -> Value {
    tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}

/// What DescribeX says about a name that it does not know.
pub(super) fn missing(arn: String) -> Value {
    json!({ "arn": arn, "reason": "MISSING" })
}
