//! What the services' API models say of requests, answers and errors: names, types, limits, paths.
//!
//! The tables are botocore's, cut down by `scripts/aws-models` to the operations that are here; a test in
//! `tests/static` holds them against the botocore that is installed. [`check`] holds a request against them, the
//! codecs ask them what a member is. Knows no operation.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use matchit::Router;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::ApiError;

pub(crate) mod check;
mod pattern;

use pattern::Pattern;
pub(crate) use pattern::translated as java_pattern;

pub(crate) static CLOUDWATCH: Model = Model::new(include_str!("model/cloudwatch.json"));
pub(crate) static ECS: Model = Model::new(include_str!("model/ecs.json"));
pub(crate) static FIS: Model = Model::new(include_str!("model/fis.json"));
pub(crate) static IAM: Model = Model::new(include_str!("model/iam.json"));
pub(crate) static LOGS: Model = Model::new(include_str!("model/logs.json"));
pub(crate) static SSM: Model = Model::new(include_str!("model/ssm.json"));
pub(crate) static TAGGING: Model = Model::new(include_str!("model/resourcegroupstaggingapi.json"));
pub(crate) static STS: Model = Model::new(include_str!("model/sts.json"));

/// The model of one service. Its table is read when it is first asked.
#[derive(Debug)]
pub(crate) struct Model {
    json: &'static str,
    table: OnceLock<Table>,
    routes: OnceLock<BTreeMap<&'static str, Router<Operation>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// The version of the API, a date.
    #[serde(rename = "version")]
    _version: String,
    /// What `X-Amz-Target` begins with, without the dot.
    #[serde(default)]
    target: String,
    /// The namespace of XML answers.
    #[serde(default)]
    namespace: String,
    operations: BTreeMap<String, OperationEntry>,
    errors: BTreeMap<String, ErrorEntry>,
    shapes: BTreeMap<String, Shape>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OperationEntry {
    /// Of a REST service: its HTTP method, and its path as in `/experiments/{id}`.
    #[serde(default)]
    method: String,
    #[serde(default)]
    path: String,
    input: Option<String>,
    output: Option<String>,
    /// The element around the members of an XML answer.
    result: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorEntry {
    /// Its name in the Query protocol, where that is another.
    code: Option<String>,
    /// HTTP status, where it is not 400.
    status: Option<u16>,
    members: Vec<String>,
}

/// A type of the model, with its limits. Both ends of a range are included.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Shape {
    Structure(Structure),
    List(List),
    Map(Entries),
    String(Text),
    Integer(Range),
    Long(Range),
    Float,
    Double,
    Boolean,
    /// Seconds since 1970 in a value and in JSON, ISO 8601 in a form and in XML, tagged in CBOR.
    Timestamp,
    /// Anything that JSON can say.
    Document,
}

/// Members with names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Structure {
    #[serde(default)]
    required: Vec<String>,
    members: BTreeMap<String, Member>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Member {
    /// In the body, by its own name.
    Body(String),
    /// Elsewhere in the request.
    Elsewhere {
        shape: String,
        #[serde(rename = "in")]
        place: Place,
        /// What it is called there.
        name: String,
    },
}

impl Member {
    fn shape(&self) -> &str {
        let (Member::Body(shape) | Member::Elsewhere { shape, .. }) = self;
        shape
    }
}

/// Where in a request a member stands that is not in its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    /// A variable part of the path.
    Uri,
    QueryString,
}

/// Items of one type; `min` and `max` count them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    member: String,
    #[serde(default)]
    min: usize,
    max: Option<usize>,
}

/// Values of one type by names; `min` and `max` count them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entries {
    key: String,
    value: String,
    #[serde(default)]
    min: usize,
    max: Option<usize>,
}

/// `min` and `max` count characters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Text {
    #[serde(default)]
    min: usize,
    max: Option<usize>,
    pattern: Option<Pattern>,
    #[serde(default, rename = "enum")]
    one_of: Vec<String>,
}

/// A range of whole numbers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Range {
    min: Option<i64>,
    max: Option<i64>,
}

/// One operation of a service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    table: &'static Table,
    /// As the API calls it: `SendCommand`.
    pub(crate) name: &'static str,
    entry: &'static OperationEntry,
}

/// A shape within its table: what a member of a request or an answer is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    table: &'static Table,
    pub(crate) shape: &'static Shape,
}

impl Model {
    /// The model of a table as `scripts/aws-models` writes it.
    pub(crate) const fn new(json: &'static str) -> Model {
        Model { json, table: OnceLock::new(), routes: OnceLock::new() }
    }

    fn table(&'static self) -> &'static Table {
        let read = || serde_json::from_str(self.json).expect("the tables are part of the program and tested");
        self.table.get_or_init(read)
    }

    /// The operation with this name, if it is one that is here.
    pub(crate) fn operation(&'static self, name: &str) -> Option<Operation> {
        let table = self.table();
        let (name, entry) = table.operations.get_key_value(name)?;
        Some(Operation { table, name, entry })
    }

    /// The names of all operations.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn operations(&'static self) -> impl Iterator<Item = &'static str> {
        self.table().operations.keys().map(String::as_str)
    }

    /// What `X-Amz-Target` begins with, and what the service is called in paths of the CBOR protocol.
    pub(crate) fn target(&'static self) -> &'static str {
        &self.table().target
    }

    /// The name of the operation in a value of `X-Amz-Target` that is this service's.
    pub(crate) fn targeted<'t>(&'static self, target: &'t str) -> Option<&'t str> {
        target.strip_prefix(self.target())?.strip_prefix('.')
    }

    /// The operation of a REST service that a method and a path mean, with the variable parts by the names of
    /// their members.
    pub(crate) fn routed<'p>(
        &'static self,
        method: &str,
        path: &'p str,
    ) -> Option<(Operation, Vec<(&'static str, &'p str)>)> {
        let found = self.routes().get(method)?.at(path).ok()?;
        Some((*found.value, found.params.iter().collect()))
    }

    /// The paths of a REST service, by method.
    fn routes(&'static self) -> &'static BTreeMap<&'static str, Router<Operation>> {
        self.routes.get_or_init(|| {
            let table = self.table();
            let mut routes = BTreeMap::<_, Router<_>>::new();
            for (name, entry) in table.operations.iter().filter(|(_, entry)| !entry.path.is_empty()) {
                // Some clients leave the slash of an ARN as it is.
                let path = entry.path.replace("{resourceArn}", "{*resourceArn}");
                let of_method = routes.entry(entry.method.as_str()).or_default();
                let added = of_method.insert(path, Operation { table, name, entry });
                added.expect("the tables are part of the program and tested");
            }
            routes
        })
    }

    /// An error of the model, by its name or by its code in the Query protocol, with its HTTP status.
    pub(crate) fn refuse(&'static self, code: &'static str, message: impl Into<String>) -> ApiError {
        let status = self.error(code).and_then(|entry| entry.status).unwrap_or(400);
        ApiError { status, code, message: message.into() }
    }

    /// The code of an error in the Query protocol, where the model has another for it than its name.
    pub(crate) fn query_code(&'static self, code: &str) -> Option<&'static str> {
        self.table().errors.get(code)?.code.as_deref()
    }

    /// What the text of an error is called. An error that the model does not know, because every service has
    /// it, or that has no member for its text, says it in `message`.
    pub(crate) fn message_member(&'static self, code: &str) -> &'static str {
        let entry = self.error(code);
        let member =
            entry.and_then(|entry| entry.members.iter().find(|it| it.eq_ignore_ascii_case("message")));
        member.map_or("message", String::as_str)
    }

    fn error(&'static self, code: &str) -> Option<&'static ErrorEntry> {
        let errors = &self.table().errors;
        errors.get(code).or_else(|| errors.values().find(|entry| entry.code.as_deref() == Some(code)))
    }
}

impl Operation {
    /// The structure that it takes; None if it takes none.
    pub(crate) fn input(self) -> Option<Node> {
        self.entry.input.as_deref().map(|name| self.table.node(name))
    }

    /// The structure that it answers; None if it answers none, or if the table has no answers of this service.
    pub(crate) fn output(self) -> Option<Node> {
        self.entry.output.as_deref().map(|name| self.table.node(name))
    }

    /// The namespace of XML answers.
    pub(crate) fn namespace(self) -> &'static str {
        &self.table.namespace
    }

    /// The element around the members of an XML answer.
    pub(crate) fn result(self) -> Option<&'static str> {
        self.entry.result.as_deref()
    }

    /// The members that do not stand in the body: their name, where they stand, what they are called there.
    pub(crate) fn elsewhere(self) -> impl Iterator<Item = (&'static str, Place, &'static str)> {
        let members = self.input().and_then(|input| match input.shape {
            Shape::Structure(structure) => Some(&structure.members),
            _ => None,
        });
        members.into_iter().flatten().filter_map(|(name, member)| match member {
            Member::Body(_) => None,
            Member::Elsewhere { place, name: there, .. } => Some((name.as_str(), *place, there.as_str())),
        })
    }

    /// What a request breaks, in the order of the members' names.
    pub(crate) fn violations(self, request: &Map<String, Value>) -> Vec<check::Violation> {
        self.input().map(|input| check::violations(input, request)).unwrap_or_default()
    }
}

impl Table {
    fn node(&'static self, name: &str) -> Node {
        // The script writes every shape that another names, and a test reads all tables.
        Node { table: self, shape: self.shapes.get(name).unwrap_or(&Shape::Document) }
    }
}

impl Node {
    /// What the member of a structure is; None for any other type and for a name that it does not have.
    pub(crate) fn member(self, name: &str) -> Option<Node> {
        let Shape::Structure(structure) = self.shape else { return None };
        Some(self.table.node(structure.members.get(name)?.shape()))
    }

    /// What the items of a list or the values of a map are.
    pub(crate) fn item(self) -> Option<Node> {
        match self.shape {
            Shape::List(list) => Some(self.table.node(&list.member)),
            Shape::Map(entries) => Some(self.table.node(&entries.value)),
            _ => None,
        }
    }

    fn key(self) -> Option<Node> {
        match self.shape {
            Shape::Map(entries) => Some(self.table.node(&entries.key)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&Model; 8] = [&CLOUDWATCH, &ECS, &FIS, &IAM, &LOGS, &SSM, &STS, &TAGGING];

    #[test]
    fn every_table_is_read_and_whole() {
        for model in ALL {
            let table = model.table();
            assert!(!table.operations.is_empty());
            for name in table.shapes.values().flat_map(parts) {
                assert!(table.shapes.contains_key(name), "{name}");
            }
            for entry in table.operations.values() {
                for name in entry.input.iter().chain(&entry.output) {
                    assert!(matches!(table.shapes[name], Shape::Structure(_)), "{name}");
                }
            }
        }
    }

    fn parts(shape: &Shape) -> Vec<&str> {
        match shape {
            Shape::Structure(structure) => structure.members.values().map(Member::shape).collect(),
            Shape::List(list) => vec![&list.member],
            Shape::Map(entries) => vec![&entries.key, &entries.value],
            _ => Vec::new(),
        }
    }

    #[test]
    fn every_pattern_is_one_that_can_be_matched() {
        let shapes = ALL.iter().flat_map(|model| model.table().shapes.values());
        let patterns = shapes.filter_map(|shape| match shape {
            Shape::String(text) => text.pattern.as_ref(),
            _ => None,
        });
        pattern::assert_all_work(patterns);
    }

    #[test]
    fn paths_lead_to_operations() {
        let routed = |method: &str, path: &'static str| {
            FIS.routed(method, path).map(|(operation, labels)| (operation.name, labels))
        };
        assert_eq!(routed("POST", "/experiments"), Some(("StartExperiment", vec![])));
        assert_eq!(routed("DELETE", "/experiments/E"), Some(("StopExperiment", vec![("id", "E")])));
        let account = "/experimentTemplates/E/targetAccountConfigurations/1";
        let labels = vec![("id", "E"), ("accountId", "1")];
        assert_eq!(routed("PATCH", account), Some(("UpdateTargetAccountConfiguration", labels)));
        assert_eq!(routed("PUT", "/experiments"), None);
        assert_eq!(routed("GET", ""), None);
    }

    #[test]
    fn members_stand_where_the_model_says() {
        let untag: Vec<_> = FIS.operation("UntagResource").unwrap().elsewhere().collect();
        let tag_keys = ("tagKeys", Place::QueryString, "tagKeys");
        assert_eq!(untag, [("resourceArn", Place::Uri, "resourceArn"), tag_keys]);
        assert_eq!(SSM.operation("SendCommand").unwrap().elsewhere().count(), 0);
    }

    #[test]
    fn errors_have_the_names_statuses_and_members_of_the_model() {
        assert_eq!(SSM.message_member("InvalidDocument"), "Message");
        assert_eq!(SSM.message_member("InvalidInstanceInformationFilterValue"), "message");
        // One without members, and one that every service has.
        assert_eq!(SSM.message_member("InvalidCommandId"), "message");
        assert_eq!(SSM.message_member("ThrottlingException"), "message");
        assert_eq!(CLOUDWATCH.query_code("InvalidParameterValueException"), Some("InvalidParameterValue"));
        assert_eq!(CLOUDWATCH.query_code("ResourceNotFound"), None);
        for (model, code, status) in [
            (&FIS, "ServiceQuotaExceededException", 402),
            (&FIS, "ConflictException", 409),
            (&FIS, "ValidationException", 400),
            (&SSM, "InternalServerError", 500),
            (&IAM, "NoSuchEntity", 404),
            (&CLOUDWATCH, "ResourceNotFoundException", 404),
        ] {
            assert_eq!(model.refuse(code, "").status, status, "{code}");
        }
    }

    #[test]
    fn a_target_names_its_service() {
        assert_eq!(SSM.targeted("AmazonSSM.SendCommand"), Some("SendCommand"));
        assert_eq!(ECS.targeted("AmazonSSM.SendCommand"), None);
        assert_eq!(IAM.operation("SendCommand").map(|operation| operation.name), None);
    }
}
