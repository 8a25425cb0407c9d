//! The service's rest-json protocol: from method and path to an operation, and back.

use http::request::Parts;
use serde_json::{Map, Value, json};

use super::{accounts, actions, experiments, lever, restart, tags, templates};
use crate::error::ApiError;
use crate::shared::Shared;
use crate::store::State;
use crate::wire::{self, Answer};
use crate::{Context, caller};

/// One call, taken apart.
#[derive(Debug)]
pub(super) struct Call {
    /// The variable parts of the path, decoded.
    ids: Vec<String>,
    /// The query as members; `maxResults` as a number.
    pub(super) query: Map<String, Value>,
    pub(super) body: Map<String, Value>,
}

impl Call {
    #[cfg(test)]
    pub(super) fn new(ids: &[&str], query: Map<String, Value>, body: Map<String, Value>) -> Call {
        Call { ids: ids.iter().map(|id| (*id).to_owned()).collect(), query, body }
    }

    /// The first variable part of the path.
    pub(super) fn id(&self) -> &str {
        self.ids.first().map_or("", String::as_str)
    }

    /// The second one.
    pub(super) fn second_id(&self) -> &str {
        self.ids.get(1).map_or("", String::as_str)
    }
}

type Operation = fn(&Call, &mut State, &Context) -> Result<Value, ApiError>;

/// Answers a request, if its path is one of the service's.
pub(super) fn answer(shared: &Shared, parts: &Parts, body: &[u8]) -> Option<Answer> {
    let (name, operation, ids) = route(parts.method.as_str(), parts.uri.path())?;
    let mut who = "?".to_owned();
    let outcome = (|| {
        who = caller::client(shared, parts, body)?;
        let call =
            Call { ids, query: query(parts.uri.query().unwrap_or_default()), body: wire::object(body)? };
        let context = shared.context();
        shared.change(|state| {
            restart::end_what_was_running(state, &context);
            operation(&call, state, &context)
        })
    })();
    match &outcome {
        Ok(_) => shared.log.line(&who, &format!("FIS.{name}"), "200"),
        Err(error) => shared.log.line(&who, &format!("FIS.{name}"), format!("{} {error}", error.status)),
    }
    shared.look(|state| state.fis.tell(&shared.log));
    Some(match outcome {
        Ok(value) => wire::plain_json(200, &value),
        Err(error) => refusal(&error),
    })
}

fn refusal(error: &ApiError) -> Answer {
    // Messages have 1,024 characters at most.
    let message: String = error.message.chars().take(1024).collect();
    let mut answer = wire::plain_json(error.status, &json!({ "message": message }));
    answer.headers_mut().insert("x-amzn-errortype", http::HeaderValue::from_static(error.code));
    answer
}

/// The operation of a method and a path, and the variable parts of the path.
fn route(method: &str, path: &str) -> Option<(&'static str, Operation, Vec<String>)> {
    let raw: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    if raw.first() == Some(&"tags") && raw.len() > 1 {
        // Some clients leave the slash of an ARN as it is.
        let (name, operation): (_, Operation) = match method {
            "GET" => ("ListTagsForResource", tags::list),
            "POST" => ("TagResource", tags::add),
            "DELETE" => ("UntagResource", tags::remove),
            _ => return None,
        };
        return Some((name, operation, vec![decoded(&raw[1..].join("/"))]));
    }
    let (name, operation): (_, Operation) = match (method, raw.as_slice()) {
        ("POST", ["experimentTemplates"]) => ("CreateExperimentTemplate", templates::create),
        ("GET", ["experimentTemplates"]) => ("ListExperimentTemplates", templates::list),
        ("GET", ["experimentTemplates", _]) => ("GetExperimentTemplate", templates::get),
        ("PATCH", ["experimentTemplates", _]) => ("UpdateExperimentTemplate", templates::update),
        ("DELETE", ["experimentTemplates", _]) => ("DeleteExperimentTemplate", templates::delete),
        ("GET", ["experimentTemplates", _, "targetAccountConfigurations"]) => {
            ("ListTargetAccountConfigurations", accounts::list)
        }
        ("POST", ["experimentTemplates", _, "targetAccountConfigurations", _]) => {
            ("CreateTargetAccountConfiguration", accounts::create)
        }
        ("GET", ["experimentTemplates", _, "targetAccountConfigurations", _]) => {
            ("GetTargetAccountConfiguration", accounts::get)
        }
        ("PATCH", ["experimentTemplates", _, "targetAccountConfigurations", _]) => {
            ("UpdateTargetAccountConfiguration", accounts::update)
        }
        ("DELETE", ["experimentTemplates", _, "targetAccountConfigurations", _]) => {
            ("DeleteTargetAccountConfiguration", accounts::delete)
        }
        ("POST", ["experiments"]) => ("StartExperiment", experiments::start),
        ("GET", ["experiments"]) => ("ListExperiments", experiments::list),
        ("GET", ["experiments", _]) => ("GetExperiment", experiments::get),
        ("DELETE", ["experiments", _]) => ("StopExperiment", experiments::stop),
        ("GET", ["experiments", _, "resolvedTargets"]) => {
            ("ListExperimentResolvedTargets", experiments::resolved_targets)
        }
        ("GET", ["experiments", _, "targetAccountConfigurations"]) => {
            ("ListExperimentTargetAccountConfigurations", accounts::list_of_experiment)
        }
        ("GET", ["experiments", _, "targetAccountConfigurations", _]) => {
            ("GetExperimentTargetAccountConfiguration", accounts::get_of_experiment)
        }
        ("GET", ["actions"]) => ("ListActions", actions::list),
        ("GET", ["actions", _]) => ("GetAction", actions::get),
        ("GET", ["targetResourceTypes"]) => ("ListTargetResourceTypes", actions::list_types),
        ("GET", ["targetResourceTypes", _]) => ("GetTargetResourceType", actions::get_type),
        ("GET", ["safetyLevers", _]) => ("GetSafetyLever", lever::get),
        ("PATCH", ["safetyLevers", _, "state"]) => ("UpdateSafetyLeverState", lever::update),
        _ => return None,
    };
    let ids = raw.iter().skip(1).step_by(2).map(|part| decoded(part)).collect();
    Some((name, operation, ids))
}

fn decoded(text: &str) -> String {
    String::from_utf8_lossy(&wire::percent_decoded(text)).into_owned()
}

/// The query's members. A key that comes more than once is a list, and `tagKeys` always is one.
fn query(text: &str) -> Map<String, Value> {
    let mut members = Map::new();
    for (key, value) in wire::pairs(text) {
        let (key, value) = (wire::form_decoded(key), wire::form_decoded(value));
        match key.as_str() {
            "tagKeys" => {
                let list = members.entry(key).or_insert_with(|| json!([]));
                list.as_array_mut().into_iter().for_each(|list| list.push(json!(value)));
            }
            "maxResults" => {
                members
                    .insert(key, value.parse::<i64>().map_or_else(|_| json!(value), |number| json!(number)));
            }
            _ => {
                members.insert(key, json!(value));
            }
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_its_path() {
        let of = |method: &str, path: &str| route(method, path).map(|(name, _, ids)| (name, ids.join(" ")));
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
        let members = query("maxResults=5&nextToken=a%2Bb&tagKeys=one&tagKeys=two+words");
        assert_eq!(
            Value::Object(members),
            json!({ "maxResults": 5, "nextToken": "a+b", "tagKeys": ["one", "two words"] })
        );
        assert_eq!(query("maxResults=x")["maxResults"], "x");
        assert_eq!(query("tagKeys=one")["tagKeys"], json!(["one"]));
    }
}
