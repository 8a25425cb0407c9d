//! The service's rest-json protocol: from method, path, query and body to an operation and its members, and back.

use serde_json::{Map, Value, json};

use super::call::Call;
use super::services::Services;
use super::state::FisState;
use super::{accounts, actions, experiments, lever, restart, tags, templates};
use crate::Context;
use crate::error::ApiError;
use crate::model::{FIS, Operation, Place, Shape};
use crate::wire::{self, Answer};

type Alone = fn(&Call, &mut FisState, &Context) -> Result<Value, ApiError>;
type Reaching = fn(&Call, &mut FisState, &dyn Services, &Context) -> Result<Value, ApiError>;

/// What performs an operation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Perform {
    /// Knows the service's own state only.
    Alone(Alone),
    /// Asks other services.
    Reaching(Reaching),
}

impl Perform {
    pub(super) fn perform(
        self,
        call: &Call,
        state: &mut FisState,
        services: &dyn Services,
        context: &Context,
    ) -> Result<Value, ApiError> {
        restart::end_what_was_running(state, context);
        match self {
            Perform::Alone(perform) => perform(call, state, context),
            Perform::Reaching(perform) => perform(call, state, services, context),
        }
    }
}

/// A request by its method and its path.
#[derive(Debug)]
pub(crate) struct Request {
    operation: Operation,
    /// The variable parts of the path.
    labels: Vec<(&'static str, String)>,
    perform: Perform,
}

impl Request {
    /// None if the path is none of the service's.
    pub(crate) fn of(method: &str, path: &str) -> Option<Request> {
        let (operation, labels) = route(method, path)?;
        Some(Request { perform: perform(operation.name)?, operation, labels })
    }

    /// The name of the operation.
    pub(crate) fn name(&self) -> &'static str {
        self.operation.name
    }

    /// Reads the members, which stand in path, query and body, and holds them against the model.
    ///
    /// # Errors
    /// `ValidationException`, or `SerializationException` for a member of a wrong type.
    pub(crate) fn read(&self, query: &str, body: Map<String, Value>) -> Result<Call, ApiError> {
        Call::new(self.operation, members(self.operation, &self.labels, query, body))
    }

    /// Performs the operation.
    ///
    /// # Errors
    /// Those of the operation.
    pub(crate) fn perform(
        &self,
        call: &Call,
        state: &mut FisState,
        services: &dyn Services,
        context: &Context,
    ) -> Result<Value, ApiError> {
        self.perform.perform(call, state, services, context)
    }
}

/// Performs an operation by its name, with its members in one object; None if it is not one.
pub(crate) fn call(
    operation: &str,
    body: &Map<String, Value>,
    state: &mut FisState,
    services: &dyn Services,
    context: &Context,
) -> Option<Result<Value, ApiError>> {
    let (known, perform) = (FIS.operation(operation)?, perform(operation)?);
    let call = Call::new(known, body.clone());
    Some(call.and_then(|call| perform.perform(&call, state, services, context)))
}

/// An outcome as the protocol has it.
pub(crate) fn answer(outcome: &Result<Value, ApiError>) -> Answer {
    match outcome {
        Ok(value) => wire::plain_json(200, value),
        Err(error) => refusal(error),
    }
}

fn refusal(error: &ApiError) -> Answer {
    // Messages have 1,024 characters at most.
    let message: String = error.message.chars().take(1024).collect();
    let body = json!({ FIS.message_member(error.code): message });
    let mut answer = wire::plain_json(error.status, &body);
    answer.headers_mut().insert("x-amzn-errortype", http::HeaderValue::from_static(error.code));
    answer
}

/// The operation of a method and a path, and the variable parts of the path, decoded, by the names of their
/// members.
fn route(method: &str, path: &str) -> Option<(Operation, Vec<(&'static str, String)>)> {
    let (operation, labels) = FIS.routed(method, path)?;
    Some((operation, labels.into_iter().map(|(name, part)| (name, decoded(part))).collect()))
}

/// What performs the operation with this name.
pub(super) fn perform(operation: &str) -> Option<Perform> {
    if operation == "StartExperiment" {
        return Some(Perform::Reaching(experiments::start));
    }
    let alone: Alone = match operation {
        "CreateExperimentTemplate" => templates::create,
        "CreateTargetAccountConfiguration" => accounts::create,
        "DeleteExperimentTemplate" => templates::delete,
        "DeleteTargetAccountConfiguration" => accounts::delete,
        "GetAction" => actions::get,
        "GetExperiment" => experiments::get,
        "GetExperimentTargetAccountConfiguration" => accounts::get_of_experiment,
        "GetExperimentTemplate" => templates::get,
        "GetSafetyLever" => lever::get,
        "GetTargetAccountConfiguration" => accounts::get,
        "GetTargetResourceType" => actions::get_type,
        "ListActions" => actions::list,
        "ListExperimentResolvedTargets" => experiments::resolved_targets,
        "ListExperimentTargetAccountConfigurations" => accounts::list_of_experiment,
        "ListExperimentTemplates" => templates::list,
        "ListExperiments" => experiments::list,
        "ListTagsForResource" => tags::list,
        "ListTargetAccountConfigurations" => accounts::list,
        "ListTargetResourceTypes" => actions::list_types,
        "StopExperiment" => experiments::stop,
        "TagResource" => tags::add,
        "UntagResource" => tags::remove,
        "UpdateExperimentTemplate" => templates::update,
        "UpdateSafetyLeverState" => lever::update,
        "UpdateTargetAccountConfiguration" => accounts::update,
        _ => return None,
    };
    Some(Perform::Alone(alone))
}

fn decoded(text: &str) -> String {
    String::from_utf8_lossy(&wire::percent_decoded(text)).into_owned()
}

/// The members of a request: from path and query those that the model puts there, from the body all others.
fn members(
    operation: Operation,
    labels: &[(&'static str, String)],
    query: &str,
    mut members: Map<String, Value>,
) -> Map<String, Value> {
    let pairs: Vec<(String, String)> = wire::form(query.as_bytes()).collect();
    for (name, place, there) in operation.elsewhere() {
        members.remove(name);
        let sent: Vec<&str> = match place {
            Place::Uri => labels.iter().filter(|(label, _)| *label == there).map(|(_, it)| &**it).collect(),
            Place::QueryString => pairs.iter().filter(|(key, _)| key == there).map(|(_, it)| &**it).collect(),
        };
        let shape = operation.input().and_then(|input| input.member(name)).map(|node| node.shape);
        if let Some(value) = value(shape, &sent) {
            members.insert(name.to_owned(), value);
        }
    }
    members
}

/// A member of path or query. What is not of its type stays a text, which the model refuses.
fn value(shape: Option<&Shape>, sent: &[&str]) -> Option<Value> {
    let last = *sent.last()?;
    Some(match shape {
        Some(Shape::List(_)) => json!(sent),
        Some(Shape::Integer(_) | Shape::Long(_)) => {
            last.parse::<i64>().map_or_else(|_| json!(last), |number| json!(number))
        }
        _ => json!(last),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_its_path() {
        let of = |method: &str, path: &str| {
            let (operation, labels) = route(method, path)?;
            let ids: Vec<String> = labels.into_iter().map(|(_, part)| part).collect();
            Some((operation.name, ids.join(" ")))
        };
        let is = |name, ids: &str| Some((name, ids.to_owned()));
        assert_eq!(of("POST", "/experimentTemplates"), is("CreateExperimentTemplate", ""));
        assert_eq!(of("PATCH", "/experimentTemplates/EXT1"), is("UpdateExperimentTemplate", "EXT1"));
        assert_eq!(of("DELETE", "/experiments/EXP1"), is("StopExperiment", "EXP1"));
        assert_eq!(
            of("PATCH", "/experimentTemplates/EXT1/targetAccountConfigurations/111122223333"),
            is("UpdateTargetAccountConfiguration", "EXT1 111122223333")
        );
        assert_eq!(of("GET", "/actions/aws%3Aecs%3Astop-task"), is("GetAction", "aws:ecs:stop-task"));
        assert_eq!(of("PATCH", "/safetyLevers/default/state"), is("UpdateSafetyLeverState", "default"));
        let arn = "arn:aws:fis:eu-west-1:000000000000:experiment/EXP1";
        for path in [format!("/tags/{arn}"), format!("/tags/{}", arn.replace(':', "%3A").replace('/', "%2F"))]
        {
            assert_eq!(of("GET", &path), is("ListTagsForResource", arn));
        }
        for (method, path) in [("POST", "/"), ("PUT", "/experiments"), ("GET", "/tags"), ("GET", "/v4/a/b/c")]
        {
            assert_eq!(of(method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn a_query_has_numbers_and_lists() {
        let sent = |operation: &str, query: &str| {
            let operation = FIS.operation(operation).unwrap();
            Value::Object(members(operation, &[], query, Map::new()))
        };
        assert_eq!(
            sent("ListActions", "maxResults=5&nextToken=a%2Bb&other=1"),
            json!({ "maxResults": 5, "nextToken": "a+b" })
        );
        assert_eq!(sent("ListActions", "maxResults=x")["maxResults"], "x");
        let keys = sent("UntagResource", "tagKeys=one&tagKeys=two+words");
        assert_eq!(keys["tagKeys"], json!(["one", "two words"]));
        assert_eq!(sent("UntagResource", "tagKeys=one")["tagKeys"], json!(["one"]));
    }

    #[test]
    fn every_operation_of_the_table_is_performed() {
        for name in FIS.operations() {
            assert!(perform(name).is_some(), "{name}");
        }
    }

    #[test]
    fn members_of_the_path_are_not_taken_from_the_body() {
        let stop = FIS.operation("StopExperiment").unwrap();
        let body = json!({ "id": "EXP2" }).as_object().unwrap().clone();
        let sent = members(stop, &[("id", "EXP1".to_owned())], "", body);
        assert_eq!(Call::new(stop, sent).unwrap().id(), "EXP1");
        // The same part of a path, where its member has a longer name.
        let targets = FIS.operation("ListExperimentResolvedTargets").unwrap();
        let sent = members(targets, &[("id", "EXP1".to_owned())], "", Map::new());
        assert_eq!(Call::new(targets, sent).unwrap().id(), "EXP1");
        assert_eq!(Call::new(stop, Map::new()).unwrap_err().code, "ValidationException");
    }
}
