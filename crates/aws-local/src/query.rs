//! The Query protocol: a form of flat names in (`Dimensions.member.1.Name=…`), XML out.
//!
//! A form has only texts, so what a member is (a number, a time, a list) comes from the operation's model.

use std::collections::BTreeMap;
use std::io;

use quick_xml::events::Event;
use serde_json::{Map, Number, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::error::ApiError;
use super::model::{Node, Operation, Shape};
use super::xml::{self, Xml, element, nested};

/// The deepest member of any request is six names down.
const DEEPEST: usize = 16;

/// The members of a request, without `Action` and `Version`. What the model does not have is left out.
///
/// # Errors
/// `MalformedInput`: names that contradict each other, a number or a time that is none.
pub(super) fn decode(
    parameters: &BTreeMap<String, String>,
    operation: Operation,
) -> Result<Map<String, Value>, ApiError> {
    let mut root = BTreeMap::new();
    for (key, text) in parameters.iter().filter(|(key, _)| !matches!(key.as_str(), "Action" | "Version")) {
        let path: Vec<&str> = key.split('.').collect();
        if path.len() > DEEPEST || !plant(&mut root, &path, text) {
            return Err(malformed(format!("the parameter {key} contradicts another, or is too deep")));
        }
    }
    operation.input().map_or_else(|| Ok(Map::new()), |input| structure(root, input))
}

/// The form as a tree: each dot of a name is a branch.
#[derive(Debug)]
enum Tree<'a> {
    Leaf(&'a str),
    Branch(BTreeMap<&'a str, Tree<'a>>),
}

fn plant<'a>(tree: &mut BTreeMap<&'a str, Tree<'a>>, path: &[&'a str], text: &'a str) -> bool {
    match path {
        [] => false,
        [name] => tree.insert(name, Tree::Leaf(text)).is_none(),
        [name, rest @ ..] => match tree.entry(name).or_insert_with(|| Tree::Branch(BTreeMap::new())) {
            Tree::Leaf(_) => false,
            Tree::Branch(inner) => plant(inner, rest, text),
        },
    }
}

fn structure(tree: BTreeMap<&str, Tree<'_>>, node: Node) -> Result<Map<String, Value>, ApiError> {
    let known = tree.into_iter().filter_map(|(name, tree)| Some((name, tree, node.member(name)?)));
    known.map(|(name, tree, node)| Ok((name.to_owned(), value(tree, name, node)?))).collect()
}

fn value(tree: Tree<'_>, name: &str, node: Node) -> Result<Value, ApiError> {
    match (tree, node.shape) {
        (Tree::Branch(tree), Shape::Structure(_)) => structure(tree, node).map(Value::Object),
        (Tree::Branch(mut tree), Shape::List(_)) => match tree.remove("member") {
            Some(Tree::Branch(items)) if tree.is_empty() => list(items, name, node),
            _ => Err(malformed(format!("{name}.member must be followed by a number"))),
        },
        (Tree::Branch(_), _) => Err(malformed(format!("{name} has no parts"))),
        // The empty list, as some clients send it.
        (Tree::Leaf(""), Shape::List(_)) => Ok(Value::Array(Vec::new())),
        (Tree::Leaf(text), shape) => scalar(text, name, shape),
    }
}

fn list(items: BTreeMap<&str, Tree<'_>>, name: &str, node: Node) -> Result<Value, ApiError> {
    let mut numbered = BTreeMap::new();
    for (index, tree) in items {
        let number: u32 =
            index.parse().map_err(|_| malformed(format!("{name}.member.{index}: {index} is no number")))?;
        if let Some(item) = node.item() {
            numbered.insert(number, value(tree, name, item)?);
        }
    }
    Ok(numbered.into_values().collect())
}

fn scalar(text: &str, name: &str, shape: &Shape) -> Result<Value, ApiError> {
    let wrong = || malformed(format!("the value {text:?} of {name} is not of its type"));
    match shape {
        Shape::String(_) | Shape::Document => Ok(Value::from(text)),
        Shape::Integer(_) | Shape::Long(_) => text.parse::<i64>().map(Value::from).map_err(|_| wrong()),
        Shape::Float | Shape::Double => number(text.parse().map_err(|_| wrong())?).ok_or_else(wrong),
        Shape::Boolean => text.to_ascii_lowercase().parse::<bool>().map(Value::from).map_err(|_| wrong()),
        Shape::Timestamp => seconds(text).and_then(number).ok_or_else(wrong),
        Shape::Structure(_) | Shape::List(_) | Shape::Map(_) => Err(wrong()),
    }
}

fn number(number: f64) -> Option<Value> {
    Number::from_f64(number).map(Value::Number)
}

fn seconds(text: &str) -> Option<f64> {
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Some(time.unix_timestamp_nanos() as f64 / 1e9)
}

fn malformed(message: String) -> ApiError {
    ApiError::new("MalformedInput", message)
}

/// The status and the XML of an answer. Null is the output of an operation that has none.
pub(super) fn answer(operation: Operation, outcome: &Result<Value, ApiError>) -> (u16, String) {
    let request = Uuid::new_v4().to_string();
    let namespace = Some(operation.namespace());
    match outcome {
        Ok(output) => {
            let members = output.as_object().zip(operation.result());
            let document = xml::document(&format!("{}Response", operation.name), namespace, |xml| {
                if let Some((members, result)) = members {
                    nested(xml, result, |xml| write_members(xml, members, operation.output()))?;
                }
                nested(xml, "ResponseMetadata", |xml| element(xml, "RequestId", &request))
            });
            (200, document)
        }
        Err(error) => {
            let side = if error.status < 500 { "Sender" } else { "Receiver" };
            let document = xml::document("ErrorResponse", namespace, |xml| {
                write_error(xml, side, error.code, &error.message)?;
                element(xml, "RequestId", &request)
            });
            (error.status, document)
        }
    }
}

/// The error document for an action that no service here has.
pub(super) fn unknown_action(action: &str) -> String {
    let message = format!("There is no action {action} here");
    xml::document("ErrorResponse", None, |xml| write_error(xml, "Sender", "InvalidAction", &message))
}

fn write_error(xml: &mut Xml, side: &str, code: &str, message: &str) -> io::Result<()> {
    nested(xml, "Error", |xml| {
        element(xml, "Type", side)?;
        element(xml, "Code", code)?;
        element(xml, "Message", message)
    })
}

fn write_members(xml: &mut Xml, members: &Map<String, Value>, node: Option<Node>) -> io::Result<()> {
    let mut there = members.iter().filter(|(_, value)| !value.is_null());
    there.try_for_each(|(name, value)| {
        let node = node.and_then(|node| node.member(name));
        nested(xml, name, |xml| write_value(xml, value, node))
    })
}

fn write_value(xml: &mut Xml, value: &Value, node: Option<Node>) -> io::Result<()> {
    let item = || node.and_then(Node::item);
    let text = match (value, node.map(|node| node.shape)) {
        (Value::Array(items), _) => {
            let mut items = items.iter();
            return items.try_for_each(|it| nested(xml, "member", |xml| write_value(xml, it, item())));
        }
        (Value::Object(entries), Some(Shape::Map(_))) => {
            return entries.iter().try_for_each(|(key, value)| {
                nested(xml, "entry", |xml| {
                    element(xml, "key", key)?;
                    nested(xml, "value", |xml| write_value(xml, value, item()))
                })
            });
        }
        (Value::Object(members), _) => return write_members(xml, members, node),
        (Value::Null, _) => return Ok(()),
        (Value::Number(seconds), Some(Shape::Timestamp)) => date(seconds.as_f64().unwrap_or_default()),
        (Value::String(text), _) => text.clone(),
        (scalar, _) => scalar.to_string(),
    };
    xml.write_event(Event::Text(xml::text(&text)))
}

fn date(seconds: f64) -> String {
    let since = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
    super::wire::date_text(std::time::SystemTime::UNIX_EPOCH + since)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::model::Model;
    use super::*;

    static MODEL: Model = Model::new(
        r#"{
        "version": "2026-01-01", "namespace": "urn:x", "errors": {},
        "operations": {
            "Put": { "input": "Input" },
            "Do": { "output": "Output", "result": "DoResult" }
        },
        "shapes": {
            "Input": { "type": "structure", "members": {
                "Data": "Data", "Dimensions": "Dimensions", "Period": "Whole", "Enabled": "Flag", "At": "Time",
                "Name": "Text", "A": "Times", "Value": "Number"
            } },
            "Data": { "type": "list", "member": "Datum" },
            "Datum": { "type": "structure", "members": {
                "Dimensions": "Dimensions", "Value": "Number", "Values": "Numbers"
            } },
            "Dimensions": { "type": "list", "member": "Dimension" },
            "Dimension": { "type": "structure", "members": { "Value": "Text" } },
            "Output": { "type": "structure", "members": {
                "List": "Names", "Times": "Times", "None": "Text", "Extended": "Extended", "Value": "Number"
            } },
            "Names": { "type": "list", "member": "Named" },
            "Named": { "type": "structure", "members": { "Name": "Text" } },
            "Extended": { "type": "map", "key": "Text", "value": "Number" },
            "Numbers": { "type": "list", "member": "Number" },
            "Times": { "type": "list", "member": "Time" },
            "Text": { "type": "string" },
            "Number": { "type": "double" },
            "Whole": { "type": "integer" },
            "Flag": { "type": "boolean" },
            "Time": { "type": "timestamp" }
        } }"#,
    );

    fn form(pairs: &[(&str, &str)]) -> Result<Map<String, Value>, ApiError> {
        let pairs = pairs.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned()));
        decode(&pairs.collect(), MODEL.operation("Put").unwrap())
    }

    fn answered(outcome: Result<Value, ApiError>) -> (u16, String) {
        answer(MODEL.operation("Do").unwrap(), &outcome)
    }

    #[test]
    fn a_form_becomes_members_of_their_types() {
        let members = form(&[
            ("Action", "Put"),
            ("Version", "1"),
            ("Data.member.1.Dimensions.member.1.Value", "5"),
            ("Data.member.1.Value", "5"),
            ("Data.member.1.Values.member.2", "2"),
            ("Data.member.1.Values.member.10", "10"),
            ("Data.member.1.Values.member.1", "1.5"),
            ("Period", "60"),
            ("Enabled", "true"),
            ("At", "1970-01-01T00:01:00.5Z"),
            ("Dimensions", ""),
            ("Name", ""),
            ("Unknown.Member", "x"),
        ]);
        assert_eq!(
            Value::from(members.unwrap()),
            json!({
                "Data": [{ "Dimensions": [{ "Value": "5" }], "Value": 5.0, "Values": [1.5, 2.0, 10.0] }],
                "Period": 60, "Enabled": true, "At": 60.5, "Dimensions": [], "Name": "",
            })
        );
    }

    #[test]
    fn nonsense_is_refused() {
        let deep = vec!["a"; 100_000].join(".");
        for pairs in [
            &[("Period", "soon")][..],
            &[("Value", "NaN")],
            &[("At", "yesterday")],
            &[("A", "1"), ("A.B", "2")],
            &[("A.member.x", "1")],
            &[("A.member", "1")],
            &[(&deep, "1")],
        ] {
            assert_eq!(form(pairs).unwrap_err().code, "MalformedInput", "{pairs:.100?}");
        }
    }

    #[test]
    fn an_answer_is_xml() {
        let output = json!({
            "List": [{ "Name": "a & <b>\u{1}" }], "Times": [60.5], "None": null,
            "Extended": { "p90": 1.5 }, "Value": 1.0,
        });
        let (status, xml) = answered(Ok(output));
        assert_eq!(status, 200);
        let document = roxmltree::Document::parse(&xml).unwrap();
        let find = |name: &str| document.descendants().find(|node| node.has_tag_name(("urn:x", name)));
        assert_eq!(find("Name").unwrap().text(), Some("a & <b>\u{fffd}"));
        assert!(xml.contains("<Times><member>1970-01-01T00:01:00.500Z</member></Times>"), "{xml}");
        assert!(
            xml.contains("<Extended><entry><key>p90</key><value>1.5</value></entry></Extended>"),
            "{xml}"
        );
        assert!(find("None").is_none() && find("RequestId").is_some());
        let (_, nothing) = answered(Ok(Value::Null));
        assert!(!nothing.contains("DoResult"), "{nothing}");
    }

    #[test]
    fn an_unknown_action_is_named_and_does_no_harm() {
        let document = unknown_action("<b>");
        assert!(document.contains("<Message>There is no action &lt;b&gt; here</Message>"), "{document}");
    }

    #[test]
    fn an_error_is_xml_with_its_status() {
        let error = ApiError { status: 404, code: "NoSuchEntity", message: "no <role>".into() };
        let (status, xml) = answered(Err(error));
        assert_eq!(status, 404);
        assert!(xml.contains("<Type>Sender</Type><Code>NoSuchEntity</Code>"), "{xml}");
        assert!(xml.contains("no &lt;role&gt;"), "{xml}");
    }
}
