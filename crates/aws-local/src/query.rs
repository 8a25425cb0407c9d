//! The Query protocol: a form of flat names in (`Dimensions.member.1.Name=…`), XML out.
//!
//! A form has only texts, so what a member is (a number, a time, a list) comes from a table of the service,
//! by names: see [`Kinds`].

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Number, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::error::ApiError;

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// A whole number.
    Whole,
    /// A number with a fraction.
    Decimal,
    Flag,
    /// Seconds since 1970 in a value, ISO 8601 in a form and in XML.
    Time,
    List,
    /// From any names to values; every other object is a structure.
    Map,
}

/// What the member `name` of the structure or list `parent` is. `parent` is empty at the top; the items of a
/// list are asked for by the list's name.
pub(super) type Kinds = fn(parent: &str, name: &str) -> Kind;

/// The deepest member of any request is six names down.
const DEEPEST: usize = 16;

/// The members of a request, without `Action` and `Version`.
///
/// # Errors
/// `MalformedInput`: names that contradict each other, a number or a time that is none.
pub(super) fn decode(
    parameters: &BTreeMap<String, String>,
    kinds: Kinds,
) -> Result<Map<String, Value>, ApiError> {
    let mut root = BTreeMap::new();
    for (key, text) in parameters.iter().filter(|(key, _)| !matches!(key.as_str(), "Action" | "Version")) {
        let path: Vec<&str> = key.split('.').collect();
        if path.len() > DEEPEST || !plant(&mut root, &path, text) {
            return Err(malformed(format!("the parameter {key} contradicts another, or is too deep")));
        }
    }
    structure(root, "", kinds)
}

#[derive(Debug)]
enum Node<'a> {
    Leaf(&'a str),
    Branch(BTreeMap<&'a str, Node<'a>>),
}

fn plant<'a>(tree: &mut BTreeMap<&'a str, Node<'a>>, path: &[&'a str], text: &'a str) -> bool {
    match path {
        [] => false,
        [name] => tree.insert(name, Node::Leaf(text)).is_none(),
        [name, rest @ ..] => match tree.entry(name).or_insert_with(|| Node::Branch(BTreeMap::new())) {
            Node::Leaf(_) => false,
            Node::Branch(inner) => plant(inner, rest, text),
        },
    }
}

fn structure(
    tree: BTreeMap<&str, Node<'_>>,
    name: &str,
    kinds: Kinds,
) -> Result<Map<String, Value>, ApiError> {
    let member = |(key, node)| Ok((str::to_owned(key), value(node, name, key, kinds)?));
    tree.into_iter().map(member).collect()
}

fn value(node: Node<'_>, parent: &str, name: &str, kinds: Kinds) -> Result<Value, ApiError> {
    match node {
        Node::Leaf(text) => scalar(text, name, kinds(parent, name)),
        Node::Branch(mut tree) => match tree.remove("member") {
            Some(Node::Branch(items)) if tree.is_empty() => list(items, parent, name, kinds),
            Some(_) => Err(malformed(format!("{name}.member must be followed by a number"))),
            None => structure(tree, name, kinds).map(Value::Object),
        },
    }
}

fn list(items: BTreeMap<&str, Node<'_>>, parent: &str, name: &str, kinds: Kinds) -> Result<Value, ApiError> {
    let mut numbered = BTreeMap::new();
    for (index, node) in items {
        let number: u32 =
            index.parse().map_err(|_| malformed(format!("{name}.member.{index}: {index} is no number")))?;
        let item = match node {
            Node::Branch(tree) => structure(tree, name, kinds).map(Value::Object)?,
            Node::Leaf(text) => scalar(text, name, kinds(parent, name))?,
        };
        numbered.insert(number, item);
    }
    Ok(numbered.into_values().collect())
}

fn scalar(text: &str, name: &str, kind: Kind) -> Result<Value, ApiError> {
    let wrong = || malformed(format!("the value {text:?} of {name} is not of its type"));
    match kind {
        Kind::List if text.is_empty() => Ok(Value::Array(Vec::new())),
        Kind::Text | Kind::List | Kind::Map => Ok(Value::from(text)),
        Kind::Whole => text.parse::<i64>().map(Value::from).map_err(|_| wrong()),
        Kind::Decimal => number(text.parse().map_err(|_| wrong())?).ok_or_else(wrong),
        Kind::Flag => text.to_ascii_lowercase().parse::<bool>().map(Value::from).map_err(|_| wrong()),
        Kind::Time => seconds(text).and_then(number).ok_or_else(wrong),
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
pub(super) fn answer(
    action: &str,
    namespace: &str,
    outcome: &Result<Value, ApiError>,
    kinds: Kinds,
) -> (u16, String) {
    let request = Uuid::new_v4();
    let mut xml = String::new();
    let status = match outcome {
        Ok(output) => {
            // Writing to a String cannot fail, here and below.
            let _ = write!(xml, "<{action}Response xmlns=\"{namespace}\">");
            if let Value::Object(members) = output {
                let _ = write!(xml, "<{action}Result>");
                write_members(&mut xml, members, "", kinds);
                let _ = write!(xml, "</{action}Result>");
            }
            let _ = write!(
                xml,
                "<ResponseMetadata><RequestId>{request}</RequestId></ResponseMetadata></{action}Response>"
            );
            200
        }
        Err(error) => {
            let side = if error.status < 500 { "Sender" } else { "Receiver" };
            let (code, message) = (error.code, escaped(&error.message));
            let _ = write!(
                xml,
                "<ErrorResponse xmlns=\"{namespace}\"><Error><Type>{side}</Type><Code>{code}</Code>\
                 <Message>{message}</Message></Error><RequestId>{request}</RequestId></ErrorResponse>"
            );
            error.status
        }
    };
    (status, xml)
}

fn write_members(xml: &mut String, members: &Map<String, Value>, parent: &str, kinds: Kinds) {
    for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        let _ = write!(xml, "<{name}>");
        write_value(xml, value, parent, name, kinds);
        let _ = write!(xml, "</{name}>");
    }
}

fn write_value(xml: &mut String, value: &Value, parent: &str, name: &str, kinds: Kinds) {
    let kind = kinds(parent, name);
    match value {
        Value::Null => {}
        Value::Array(items) => {
            for item in items {
                xml.push_str("<member>");
                write_value(xml, item, parent, name, kinds);
                xml.push_str("</member>");
            }
        }
        Value::Object(entries) if kind == Kind::Map => {
            for (key, value) in entries {
                let _ = write!(xml, "<entry><key>{}</key><value>", escaped(key));
                write_value(xml, value, name, key, kinds);
                xml.push_str("</value></entry>");
            }
        }
        Value::Object(members) => write_members(xml, members, name, kinds),
        Value::Number(seconds) if kind == Kind::Time => {
            xml.push_str(&date(seconds.as_f64().unwrap_or_default()));
        }
        Value::String(text) => xml.push_str(&escaped(text)),
        scalar => {
            let _ = write!(xml, "{scalar}");
        }
    }
}

fn date(seconds: f64) -> String {
    let since = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
    super::wire::date_text(std::time::SystemTime::UNIX_EPOCH + since)
}

/// A text as XML has it. What XML cannot hold at all, a control character, becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // A bare one would be read back as a line feed.
            '\r' => out.push_str("&#13;"),
            '\n' | '\t' => out.push(letter),
            control if control.is_control() || matches!(control, '\u{fffe}' | '\u{ffff}') => {
                out.push('\u{fffd}');
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kinds(parent: &str, name: &str) -> Kind {
        match name {
            "Value" if parent == "Dimensions" => Kind::Text,
            "Value" | "Values" => Kind::Decimal,
            "Period" => Kind::Whole,
            "Enabled" => Kind::Flag,
            "At" | "Times" => Kind::Time,
            "Dimensions" => Kind::List,
            "Extended" => Kind::Map,
            _ => Kind::Text,
        }
    }

    fn form(pairs: &[(&str, &str)]) -> Result<Map<String, Value>, ApiError> {
        let pairs = pairs.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned()));
        decode(&pairs.collect(), kinds)
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
        let (status, xml) = answer("Do", "urn:x", &Ok(output), kinds);
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
        let (_, nothing) = answer("Do", "urn:x", &Ok(Value::Null), kinds);
        assert!(!nothing.contains("DoResult"), "{nothing}");
    }

    #[test]
    fn an_error_is_xml_with_its_status() {
        let error = ApiError { status: 404, code: "NoSuchEntity", message: "no <role>".into() };
        let (status, xml) = answer("Do", "urn:x", &Err(error), kinds);
        assert_eq!(status, 404);
        assert!(xml.contains("<Type>Sender</Type><Code>NoSuchEntity</Code>"), "{xml}");
        assert!(xml.contains("no &lt;role&gt;"), "{xml}");
    }
}
