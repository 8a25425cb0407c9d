//! What an action of a template becomes: a document and its parameters. Pure.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use regex::Regex;
use serde_json::Value;

use super::catalog::{self, Does};
use super::definition::Action;
use crate::wire::epoch_ms;

/// How often a fault that goes through the ECS agent's endpoints is told that it may go on.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(20);

/// A document to send, and its parameters.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Order {
    /// Name or ARN.
    pub(super) name: String,
    pub(super) version: Option<String>,
    pub(super) parameters: BTreeMap<String, Vec<String>>,
    /// Whether it lives on heartbeats.
    pub(super) beats: bool,
}

/// The duration in a template; None for an action without one.
pub(super) fn asked_duration(action: &Action) -> Option<Duration> {
    durations::parse(action.parameters.get("duration")?).ok()
}

/// How long the runbook of an action may take. Runbooks keep their own pace, so this is never shortened.
pub(super) fn longest(action: &Action) -> Option<Duration> {
    durations::parse(action.parameters.get("maxDuration")?).ok()
}

/// A duration as it is run: so many times shorter, 1 s at least.
pub(super) fn scaled(asked: Duration, speed: f64) -> Duration {
    if speed <= 1.0 { asked } else { asked.div_f64(speed).max(Duration::from_secs(1)) }
}

/// Whether the fault goes through the ECS agent's fault endpoints.
pub(super) fn uses_endpoints(action: &Action) -> bool {
    action
        .parameters
        .get("useEcsFaultInjectionEndpoints")
        .is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// The document of an action and its parameters; None if the action sends none.
pub(super) fn order(action: &Action, speed: f64) -> Option<Order> {
    let kind = catalog::action(&action.action_id)?;
    let (name, endpoints, egress) = match kind.does {
        Does::Document { name, endpoints, egress } => (name, endpoints, egress),
        Does::Command => return Some(of_user(action)),
        _ => return None,
    };
    let through_agent = endpoints.filter(|_| uses_endpoints(action));
    let mut parameters = BTreeMap::new();
    for parameter in kind.parameters.iter().filter(|parameter| !parameter.document.is_empty()) {
        let said = action.parameters.get(parameter.name).map(String::as_str);
        let value = match parameter.name {
            "duration" => asked_duration(action).map(|asked| seconds(scaled(asked, speed))),
            // Templates write flags in any case of letters, documents take them in this one.
            _ => said.or(parameter.default).map(|text| match parameter.accepts {
                catalog::Accepts::Flag if text.eq_ignore_ascii_case("true") => "True".to_owned(),
                catalog::Accepts::Flag => "False".to_owned(),
                _ => text.to_owned(),
            }),
        };
        if let Some(value) = value {
            parameters.insert(parameter.document.to_owned(), vec![value]);
        }
    }
    if egress && through_agent.is_none() {
        // These documents also know ingress, and take it where nothing is said.
        parameters.insert("TrafficType".to_owned(), vec!["egress".to_owned()]);
    }
    let name = through_agent.unwrap_or(name).to_owned();
    Some(Order { name, version: None, parameters, beats: through_agent.is_some() })
}

/// The document that an action names, with its parameters as they are.
pub(super) fn of_user(action: &Action) -> Order {
    let said = |name: &str| action.parameters.get(name);
    Order {
        name: said("documentArn").cloned().unwrap_or_default(),
        version: said("documentVersion").cloned(),
        parameters: said("documentParameters").and_then(|text| parameters(text)).unwrap_or_default(),
        beats: false,
    }
}

/// The parameters of a document as an action has them: a JSON object of texts and lists of texts. None for any other
/// text.
pub(super) fn parameters(text: &str) -> Option<BTreeMap<String, Vec<String>>> {
    let Value::Object(members) = serde_json::from_str(text).ok()? else { return None };
    let values = |value: &Value| match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    members.iter().map(|(name, value)| Some((name.clone(), values(value)?))).collect()
}

/// The parts of a list with commas.
pub(super) fn listed(text: &str) -> Vec<&str> {
    text.split(',').map(str::trim).collect()
}

/// Whole seconds, rounded up, as a parameter.
fn seconds(duration: Duration) -> String {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0)).to_string()
}

impl Order {
    /// The parameters as SendCommand takes them, with the state that heartbeats carry.
    pub(super) fn sent(&self, id: &str, count: u32, now: SystemTime) -> BTreeMap<String, Vec<String>> {
        let mut lists = self.parameters.clone();
        if self.beats {
            // The document's pattern wants these keys in this order, and no blanks.
            let state = format!(r#"{{"id":"{id}","callTime":{},"callCount":{count}}}"#, epoch_ms(now) / 1000);
            lists.insert("FISActionState".to_owned(), vec![state]);
        }
        lists
    }
}

impl Order {
    /// Puts the address ranges of Availability Zones in the place of their names and ids, as the service does. Returns
    /// what was replaced by what; the first zone that `subnet` does not know is the error.
    pub(super) fn resolve_zones(
        &mut self,
        action: &Action,
        subnet: impl Fn(&str) -> Option<String>,
    ) -> Result<Vec<(String, String)>, String> {
        static ZONE: OnceLock<Regex> = OnceLock::new();
        let zone = ZONE.get_or_init(|| {
            Regex::new(r"^([a-z]{2}(-[a-z]+)+-[0-9]+[a-z]|[a-z]{2,5}[0-9]-az[0-9]+)$").expect("a constant")
        });
        // A document of the user's own may have a parameter of that name.
        let Some(said) = action.parameters.get("sources") else { return Ok(Vec::new()) };
        let mut replaced = Vec::new();
        let mut resolved = Vec::new();
        for source in said.split(',') {
            if zone.is_match(source) {
                let range = subnet(source).ok_or_else(|| source.to_owned())?;
                replaced.push((source.to_owned(), range.clone()));
                resolved.push(range);
            } else {
                resolved.push(source.to_owned());
            }
        }
        self.parameters.insert("Sources".to_owned(), vec![resolved.join(",")]);
        Ok(replaced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::{built_in, content, parameters};

    fn action(id: &str, parameters: &[(&str, &str)]) -> Action {
        Action {
            action_id: id.to_owned(),
            description: None,
            parameters: parameters.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            targets: BTreeMap::new(),
            start_after: Vec::new(),
            sent_empty: Vec::new(),
        }
    }

    fn pairs(order: &Order) -> Vec<(&str, &str)> {
        order.parameters.iter().map(|(name, values)| (name.as_str(), values[0].as_str())).collect()
    }

    #[test]
    fn actions_become_documents_with_every_parameter() {
        let cpu = order(&action("aws:ecs:task-cpu-stress", &[("duration", "PT5M"), ("percent", "60")]), 1.0);
        let cpu = cpu.unwrap();
        assert_eq!(cpu.name, "AWSFIS-Run-CPU-Stress");
        assert_eq!(
            pairs(&cpu),
            [
                ("CPU", "0"),
                ("DurationSeconds", "300"),
                ("InstallDependencies", "True"),
                ("LoadPercent", "60")
            ]
        );
        for (said, sent) in [("true", "True"), ("false", "False"), ("TRUE", "True"), ("False", "False")] {
            let stress = [("duration", "PT5M"), ("installDependencies", said)];
            let stress = order(&action("aws:ecs:task-cpu-stress", &stress), 1.0).unwrap();
            assert_eq!(stress.parameters["InstallDependencies"], [sent]);
        }
        let kill = order(&action("aws:ecs:task-kill-process", &[("processName", "python")]), 1.0).unwrap();
        assert_eq!(
            pairs(&kill),
            [("InstallDependencies", "True"), ("ProcessName", "python"), ("Signal", "SIGTERM")]
        );
        let latency = action("aws:ecs:task-network-latency", &[("duration", "PT1M")]);
        let latency = order(&latency, 1.0).unwrap();
        assert_eq!(latency.name, "AWSFIS-Run-Network-Latency-Sources");
        assert_eq!(latency.parameters["TrafficType"], ["egress"]);
        assert_eq!(latency.parameters["Sources"], ["ALL"]);
        assert!(order(&action("aws:fis:wait", &[("duration", "PT1M")]), 1.0).is_none());
        assert!(order(&action("aws:ecs:stop-task", &[]), 1.0).is_none());
    }

    #[test]
    fn every_order_is_one_that_its_document_takes() {
        let more = [
            ("duration", "PT1M"),
            ("processName", "python"),
            ("port", "443"),
            ("trafficType", "egress"),
            ("useEcsFaultInjectionEndpoints", "TRUE"),
        ];
        for kind in catalog::ACTIONS {
            for most in [more.len() - 1, more.len()] {
                let known = more[..most].iter().filter(|(name, _)| kind.parameter(name).is_some()).copied();
                let action = action(kind.id, &known.collect::<Vec<_>>());
                let Some(order) = order(&action, 1.0).filter(|order| !order.name.is_empty()) else {
                    continue;
                };
                let document = built_in(SystemTime::UNIX_EPOCH);
                let document = document.iter().find(|document| document.name == order.name).unwrap();
                let content = content::parse(&document.versions[0].text, "JSON").unwrap();
                let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_400_000);
                let sent = order.sent("a-1", 1, now);
                assert_eq!(parameters::check(&content, &sent), Ok(()), "{} {}", kind.id, order.name);
            }
        }
    }

    #[test]
    fn short_experiments_are_so_many_times_shorter_and_never_nothing() {
        let minutes = Duration::from_secs(300);
        assert_eq!(scaled(minutes, 1.0), minutes);
        assert_eq!(scaled(minutes, 30.0), Duration::from_secs(10));
        assert_eq!(scaled(minutes, 1000.0), Duration::from_secs(1));
        let stress = action("aws:ecs:task-cpu-stress", &[("duration", "PT1M")]);
        assert_eq!(order(&stress, 40.0).unwrap().parameters["DurationSeconds"], ["2"]);
    }

    #[test]
    fn zones_are_found_among_sources() {
        let resolved = |text: &str, known: bool| {
            let latency = action("aws:ecs:task-network-latency", &[("duration", "PT1M"), ("sources", text)]);
            let mut order = order(&latency, 1.0).unwrap();
            let replaced = order.resolve_zones(&latency, |_| known.then(|| "10.1.0.0/16".to_owned()))?;
            Ok::<_, String>((order.parameters["Sources"].concat(), replaced.len()))
        };
        for (sources, expected) in [
            ("us-east-1a", "10.1.0.0/16"),
            ("10.0.0.1,use1-az1,S3", "10.0.0.1,10.1.0.0/16,S3"),
            ("us-gov-west-1b", "10.1.0.0/16"),
            ("apne2-az3", "10.1.0.0/16"),
        ] {
            assert_eq!(resolved(sources, true), Ok((expected.to_owned(), 1)));
            assert!(resolved(sources, false).is_err(), "{sources}");
        }
        for none in ["ALL", "S3,DYNAMODB", "10.0.0.0/8", "example.com", "db-1"] {
            assert_eq!(resolved(none, true), Ok((none.to_owned(), 0)));
        }
    }
}
