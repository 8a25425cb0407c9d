//! The members of a request that its model has passed: see [`crate::model::check`].

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Map, Value};

use super::error::ApiError;
use super::model::check::{self, Violation};

/// The members of one structure of a request. A JSON null counts as absent, and so does a value of another type
/// than is asked for: the model has refused it before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Members<'a>(&'a Map<String, Value>);

impl<'a> Members<'a> {
    pub(crate) fn new(body: &'a Map<String, Value>) -> Members<'a> {
        Members(body)
    }

    /// A string.
    pub(crate) fn text(self, name: &str) -> Option<&'a str> {
        self.value(name)?.as_str()
    }

    /// A string that the model requires.
    pub(crate) fn required(self, name: &str) -> &'a str {
        self.text(name).unwrap_or_default()
    }

    /// A whole number.
    pub(crate) fn number(self, name: &str) -> Option<i64> {
        self.value(name)?.as_i64()
    }

    /// A whole number that counts things.
    pub(crate) fn count(self, name: &str) -> Option<usize> {
        usize::try_from(self.number(name)?).ok()
    }

    /// A number, whole or not.
    pub(crate) fn decimal(self, name: &str) -> Option<f64> {
        self.value(name)?.as_f64()
    }

    /// A list of numbers; empty if it is not there.
    pub(crate) fn decimals(self, name: &str) -> Vec<f64> {
        self.items(name).iter().filter_map(Value::as_f64).collect()
    }

    /// A boolean.
    pub(crate) fn flag(self, name: &str) -> Option<bool> {
        self.value(name)?.as_bool()
    }

    /// A timestamp.
    pub(crate) fn time(self, name: &str) -> Option<SystemTime> {
        check::time(self.value(name)?)
    }

    /// A list of strings; empty if it is not there.
    pub(crate) fn texts(self, name: &str) -> Vec<&'a str> {
        self.items(name).iter().filter_map(Value::as_str).collect()
    }

    /// A list of structures; empty if it is not there.
    pub(crate) fn each(self, name: &str) -> impl Iterator<Item = Members<'a>> + use<'a> {
        self.items(name).iter().filter_map(Value::as_object).map(Members)
    }

    /// A nested structure.
    pub(crate) fn nested(self, name: &str) -> Option<Members<'a>> {
        self.value(name)?.as_object().map(Members)
    }

    /// A map from names to structures; empty if it is not there.
    pub(crate) fn each_by_name(
        self,
        name: &str,
    ) -> impl Iterator<Item = (&'a String, Members<'a>)> + use<'a> {
        let entries = self.value(name).and_then(Value::as_object).into_iter().flatten();
        entries.filter_map(|(key, value)| Some((key, Members(value.as_object()?))))
    }

    /// A map from names to strings; empty if it is not there.
    pub(crate) fn texts_by_name(self, name: &str) -> BTreeMap<String, String> {
        let entries = self.value(name).and_then(Value::as_object).into_iter().flatten();
        entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    }

    /// A map from names to lists of strings; empty if it is not there.
    pub(crate) fn lists_by_name(self, name: &str) -> BTreeMap<String, Vec<String>> {
        let entries = self.value(name).and_then(Value::as_object).into_iter().flatten();
        let texts = |value: &Value| {
            value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        entries.map(|(key, value)| (key.clone(), texts(value))).collect()
    }

    /// The member `Tags`. A key that comes twice is refused, which no model says.
    ///
    /// # Errors
    /// `ValidationException`.
    pub(crate) fn tags(self) -> Result<BTreeMap<String, String>, ApiError> {
        let mut tags = BTreeMap::new();
        for tag in self.each("Tags") {
            let key = tag.required("Key");
            if tags.insert(key.to_owned(), tag.required("Value").to_owned()).is_some() {
                let rule = "Member must not contain the same key twice";
                return Err(Violation::other("Tags", key, rule).into());
            }
        }
        Ok(tags)
    }

    /// Whether the caller sent the member.
    pub(crate) fn has(self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// The member as it was sent.
    pub(crate) fn value(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn items(self, name: &str) -> &'a [Value] {
        self.value(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_are_read_by_their_types() {
        let body = json!({
            "Text": "t", "Number": 5, "Decimal": 1.5, "Flag": true, "At": 1.5, "Null": null,
            "Texts": ["a", "b"], "Decimals": [1, 2.5], "Each": [{ "Text": "x" }], "Nested": { "Text": "y" },
            "ByName": { "k": "v" }, "Lists": { "k": ["v"] }, "EachByName": { "k": { "Text": "z" } },
        });
        let members = Members::new(body.as_object().unwrap());
        assert_eq!((members.text("Text"), members.required("None")), (Some("t"), ""));
        assert_eq!((members.number("Number"), members.count("Number")), (Some(5), Some(5)));
        assert_eq!((members.decimal("Decimal"), members.flag("Flag")), (Some(1.5), Some(true)));
        assert_eq!(
            members.time("At").unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis(),
            1500
        );
        assert_eq!((members.texts("Texts"), members.decimals("Decimals")), (vec!["a", "b"], vec![1.0, 2.5]));
        assert_eq!(members.each("Each").map(|one| one.required("Text")).collect::<Vec<_>>(), ["x"]);
        assert_eq!(members.nested("Nested").unwrap().text("Text"), Some("y"));
        assert_eq!(members.texts_by_name("ByName"), [("k".to_owned(), "v".to_owned())].into());
        assert_eq!(members.lists_by_name("Lists"), [("k".to_owned(), vec!["v".to_owned()])].into());
        let named: Vec<_> =
            members.each_by_name("EachByName").map(|(key, one)| (key, one.text("Text"))).collect();
        assert_eq!(named, [(&"k".to_owned(), Some("z"))]);
        assert!(members.has("Text") && !members.has("Null") && members.texts("None").is_empty());
    }
}
