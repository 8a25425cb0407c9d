//! Bodies of the fault endpoints, checked as the agent checks them
//! (`ecs-agent/tmds/handlers/fault/v1/types/types.go`). Pure.

use std::net::IpAddr;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value, json};

/// The three faults of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    BlackholePort,
    Latency,
    PacketLoss,
}

impl Kind {
    pub(super) fn of(name: &str) -> Option<Kind> {
        [Kind::BlackholePort, Kind::Latency, Kind::PacketLoss].into_iter().find(|kind| kind.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::BlackholePort => "network-blackhole-port",
            Kind::Latency => "network-latency",
            Kind::PacketLoss => "network-packet-loss",
        }
    }
}

/// What can be asked of each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Operation {
    Start,
    Stop,
    Status,
}

impl Operation {
    pub(super) fn of(name: &str) -> Option<Operation> {
        [Operation::Start, Operation::Stop, Operation::Status].into_iter().find(|one| one.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Operation::Start => "start",
            Operation::Stop => "stop",
            Operation::Status => "status",
        }
    }
}

/// A black hole is known by these three.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hole {
    pub traffic_type: String,
    pub protocol: String,
    pub port: u16,
}

/// A request that has passed all checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// A black hole: start, stop and status all need to know which. With the body, for those who look.
    Hole(Hole, Value),
    /// The start of a latency or a packet loss, with its body.
    Shaping(Kind, Value),
    /// Stop or status of a latency or a packet loss: the body counts for nothing.
    Any(Kind),
}

impl Asked {
    /// # Errors
    /// The text that this version of the agent has for what is missing or wrong.
    pub(super) fn read(
        kind: Kind,
        operation: Operation,
        body: &[u8],
        version: Version,
    ) -> Result<Asked, String> {
        let read = || Body::read(body, version.takes_v6(kind));
        match (kind, operation) {
            (Kind::BlackholePort, _) => hole(&read()?),
            (kind, Operation::Start) => shaping(kind, &read()?, version),
            (kind, _) => Ok(Asked::Any(kind)),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Asked::Hole(..) => Kind::BlackholePort,
            Asked::Shaping(kind, _) | Asked::Any(kind) => *kind,
        }
    }
}

/// A version of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version([u32; 3]);

impl Version {
    /// Of `1.99.1`; what is no number counts as 0.
    pub(super) fn of(text: &str) -> Version {
        let mut numbers = text.split('.').map(|number| number.parse().unwrap_or(0));
        Version([(); 3].map(|()| numbers.next().unwrap_or(0)))
    }

    fn takes_v6(self, kind: Kind) -> bool {
        match kind {
            Kind::BlackholePort => self >= Version([1, 94, 0]),
            Kind::Latency | Kind::PacketLoss => self >= Version([1, 95, 0]),
        }
    }

    fn knows_flows_percent(self) -> bool {
        self >= Version([1, 100, 0])
    }
}

/// The object of a body, as Go reads it: names in any case of letters, the last of several counts, null is nothing,
/// and what follows the object is not looked at.
struct Body {
    members: Map<String, Value>,
    takes_v6: bool,
}

impl Body {
    fn read(body: &[u8], takes_v6: bool) -> Result<Body, String> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err("required request body is missing".to_owned());
        }
        let mut values = serde_json::Deserializer::from_slice(body).into_iter::<Option<Members>>();
        match values.next().transpose() {
            Ok(members) => Ok(Body { members: members.flatten().unwrap_or_default().0, takes_v6 }),
            Err(error) => Err(format!("cannot decode the request body: {error}")),
        }
    }

    fn get(&self, member: &str) -> Option<&Value> {
        self.members.get(member).filter(|value| !value.is_null())
    }

    fn number(&self, member: &str, most: u64) -> Result<Option<u64>, String> {
        let Some(value) = self.get(member) else { return Ok(None) };
        let number = value.as_u64().filter(|number| *number <= most);
        number.map(Some).ok_or_else(|| format!("cannot decode the request body: {member} cannot be {value}"))
    }

    fn required(&self, member: &str, most: u64) -> Result<u64, String> {
        self.number(member, most)?.ok_or_else(|| missing(member))
    }

    /// A text that must be there.
    fn text(&self, member: &str) -> Result<&str, String> {
        match self.get(member) {
            None => Err(missing(member)),
            Some(Value::String(word)) if word.is_empty() => Err(missing(member)),
            Some(Value::String(word)) => Ok(word),
            Some(value) => Err(format!("cannot decode the request body: {member} cannot be {value}")),
        }
    }

    /// A share of the flows, in percent. It is signed, so that it is checked rather than not decoded, and that error
    /// has a small letter.
    fn flows(&self) -> Result<u64, String> {
        let Some(value) = self.get("FlowsPercent") else { return Ok(100) };
        let Some(number) = value.as_i64() else {
            return Err(format!("cannot decode the request body: FlowsPercent cannot be {value}"));
        };
        let share = u64::try_from(number).ok().filter(|share| (1..=100).contains(share));
        share.ok_or_else(|| invalid(&number.to_string(), "flowsPercent"))
    }

    /// A list of addresses and CIDRs.
    fn addresses(&self, member: &str) -> Result<Vec<&str>, String> {
        let undecodable =
            |value: &Value| format!("cannot decode the request body: {member} cannot be {value}");
        let list = match self.get(member) {
            None => return Ok(Vec::new()),
            Some(value) => value.as_array().ok_or_else(|| undecodable(value))?,
        };
        let words: Result<Vec<&str>, String> =
            list.iter().map(|one| one.as_str().ok_or_else(|| undecodable(one))).collect();
        let words = words?;
        let is_taken = |word: &str| is_address(word) && (self.takes_v6 || !word.contains(':'));
        match words.iter().find(|word| !is_taken(word)) {
            Some(word) => Err(invalid(word, member)),
            None => Ok(words),
        }
    }

    fn value(&self) -> Value {
        Value::Object(self.members.clone())
    }
}

/// The members of a body by their proper names.
#[derive(Debug, Default)]
struct Members(Map<String, Value>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Members, A::Error> {
                let mut members = Map::new();
                while let Some((name, value)) = entries.next_entry::<String, Value>()? {
                    let proper = MEMBERS.into_iter().find(|known| known.eq_ignore_ascii_case(&name));
                    members.insert(proper.map_or(name, str::to_owned), value);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// What the bodies of all faults have.
const MEMBERS: [&str; 9] = [
    "DelayMilliseconds",
    "FlowsPercent",
    "JitterMilliseconds",
    "LossPercent",
    "Port",
    "Protocol",
    "Sources",
    "SourcesToFilter",
    "TrafficType",
];

/// A word that must be one of two.
fn one_of(member: &str, word: &str, accepted: [&str; 2]) -> Result<String, String> {
    if accepted.contains(&word) { Ok(word.to_owned()) } else { Err(invalid(word, member)) }
}

fn missing(member: &str) -> String {
    format!("required parameter {member} is missing")
}

fn invalid(value: &str, member: &str) -> String {
    format!("invalid value {value} for parameter {member}")
}

/// An address or a CIDR, IPv4 or IPv6; no name.
fn is_address(word: &str) -> bool {
    match word.split_once('/') {
        None => word.parse::<IpAddr>().is_ok(),
        Some((address, prefix)) => {
            let longest = match address.parse::<IpAddr>() {
                Ok(IpAddr::V4(_)) => 32,
                Ok(IpAddr::V6(_)) => 128,
                Err(_) => return false,
            };
            prefix.bytes().all(|byte| byte.is_ascii_digit())
                && prefix.parse::<u8>().is_ok_and(|bits| bits <= longest)
        }
    }
}

fn hole(body: &Body) -> Result<Asked, String> {
    let port = body.required("Port", u64::from(u16::MAX))?;
    // What is missing is found before what is wrong.
    let (protocol, traffic_type) = (body.text("Protocol")?, body.text("TrafficType")?);
    let protocol = one_of("Protocol", protocol, ["tcp", "udp"])?;
    let traffic_type = one_of("TrafficType", traffic_type, ["ingress", "egress"])?;
    body.addresses("SourcesToFilter")?;
    let port = u16::try_from(port).map_err(|_| invalid(&port.to_string(), "Port"))?;
    Ok(Asked::Hole(Hole { traffic_type, protocol, port }, body.value()))
}

const BOTH_ZERO: &str = "required either DelayMilliseconds or JitterMilliseconds to be non-zero";

fn shaping(kind: Kind, body: &Body, version: Version) -> Result<Asked, String> {
    if kind == Kind::Latency {
        let delay = body.required("DelayMilliseconds", u64::MAX)?;
        let jitter = body.required("JitterMilliseconds", u64::MAX)?;
        if (delay, jitter) == (0, 0) {
            return Err(BOTH_ZERO.to_owned());
        }
    } else {
        percent("LossPercent", body.required("LossPercent", u64::MAX)?)?;
    }
    if body.addresses("Sources")?.is_empty() {
        return Err(missing("Sources"));
    }
    body.addresses("SourcesToFilter")?;
    let flows = match version.knows_flows_percent() {
        true => body.flows()?,
        false => 100,
    };
    let mut value = body.value();
    value["FlowsPercent"] = json!(flows);
    Ok(Asked::Shaping(kind, value))
}

fn percent(member: &str, value: u64) -> Result<(), String> {
    if (1..=100).contains(&value) { Ok(()) } else { Err(invalid(&value.to_string(), member)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Version = Version([1, 105, 1]);

    fn refused(kind: Kind, operation: Operation, body: &str) -> String {
        Asked::read(kind, operation, body.as_bytes(), NEW).unwrap_err()
    }

    #[test]
    fn a_black_hole_needs_its_three_parameters_always() {
        use Kind::BlackholePort;
        let good = r#"{"Port":443,"Protocol":"tcp","TrafficType":"egress","SourcesToFilter":["10.0.0.1","fd00::/64"]}"#;
        for operation in [Operation::Start, Operation::Stop, Operation::Status] {
            assert!(Asked::read(BlackholePort, operation, good.as_bytes(), NEW).is_ok());
            assert_eq!(refused(BlackholePort, operation, ""), "required request body is missing");
            for (body, words) in [
                ("{}", "required parameter Port is missing"),
                (r#"{"Port":null}"#, "required parameter Port is missing"),
                (r#"{"Port":1}"#, "required parameter Protocol is missing"),
                (r#"{"Port":1,"Protocol":""}"#, "required parameter Protocol is missing"),
                ("null", "required parameter Port is missing"),
                (r#"{"Port":1,"Protocol":"icmp"}"#, "required parameter TrafficType is missing"),
                (
                    r#"{"Port":1,"Protocol":"icmp","TrafficType":"egress"}"#,
                    "invalid value icmp for parameter Protocol",
                ),
                (r#"{"Port":1,"Protocol":"udp"}"#, "required parameter TrafficType is missing"),
                (
                    r#"{"Port":1,"Protocol":"udp","TrafficType":"both"}"#,
                    "invalid value both for parameter TrafficType",
                ),
                (
                    r#"{"Port":1,"Protocol":"udp","TrafficType":"egress","SourcesToFilter":["localhost"]}"#,
                    "invalid value localhost for parameter SourcesToFilter",
                ),
            ] {
                assert_eq!(refused(BlackholePort, operation, body), words);
            }
            for body in [r#"{"Port":65536}"#, r#"{"Port":-1}"#, r#"{"Port":"1"}"#, "[]", "{", "1"] {
                assert!(refused(BlackholePort, operation, body).starts_with("cannot decode"), "{body}");
            }
        }
    }

    #[test]
    fn the_start_of_a_latency_is_checked_and_its_end_is_not() {
        for (body, words) in [
            ("{}", "required parameter DelayMilliseconds is missing"),
            (r#"{"DelayMilliseconds":0}"#, "required parameter JitterMilliseconds is missing"),
            (
                r#"{"DelayMilliseconds":0,"JitterMilliseconds":0,"Sources":["10.0.0.1"]}"#,
                "required either DelayMilliseconds or JitterMilliseconds to be non-zero",
            ),
            (r#"{"DelayMilliseconds":1,"JitterMilliseconds":0}"#, "required parameter Sources is missing"),
            (
                r#"{"DelayMilliseconds":1,"JitterMilliseconds":0,"Sources":["ALL"]}"#,
                "invalid value ALL for parameter Sources",
            ),
            (
                r#"{"DelayMilliseconds":1,"JitterMilliseconds":0,"Sources":["0.0.0.0/0"],"FlowsPercent":0}"#,
                "invalid value 0 for parameter flowsPercent",
            ),
            (
                r#"{"DelayMilliseconds":1,"JitterMilliseconds":0,"Sources":["0.0.0.0/0"],"flowspercent":-5}"#,
                "invalid value -5 for parameter flowsPercent",
            ),
        ] {
            assert_eq!(refused(Kind::Latency, Operation::Start, body), words);
        }
        let good = br#"{"DelayMilliseconds":0,"JitterMilliseconds":5,"Sources":["0.0.0.0/0","::/0"]}"#;
        let Ok(Asked::Shaping(_, value)) = Asked::read(Kind::Latency, Operation::Start, good, NEW) else {
            panic!()
        };
        assert_eq!(value["FlowsPercent"], 100, "the default");
        for operation in [Operation::Stop, Operation::Status] {
            for body in ["", "{", "{}"] {
                assert_eq!(
                    Asked::read(Kind::Latency, operation, body.as_bytes(), NEW),
                    Ok(Asked::Any(Kind::Latency))
                );
            }
        }
    }

    #[test]
    fn names_are_read_as_go_reads_them_and_what_follows_is_not() {
        let read = |body: &str| Asked::read(Kind::BlackholePort, Operation::Start, body.as_bytes(), NEW);
        for body in [
            r#"{"port":443,"PROTOCOL":"tcp","trafficType":"egress"}"#,
            r#"{"Port":1,"Protocol":"tcp","TrafficType":"egress","port":443} trailing"#,
            "{\"Port\":443,\"Protocol\":\"tcp\",\"TrafficType\":\"egress\"}{}\n",
        ] {
            let Ok(Asked::Hole(hole, _)) = read(body) else { panic!("{body}") };
            assert_eq!(hole.port, 443, "{body}");
        }
        assert!(read("1 {}").is_err() && read("[] {}").is_err());
    }

    #[test]
    fn a_loss_is_a_share_of_the_packets() {
        for (percent, good) in [(0, false), (1, true), (100, true), (101, false)] {
            let body = json!({"LossPercent": percent, "Sources": ["10.0.0.0/8"]}).to_string();
            let read = Asked::read(Kind::PacketLoss, Operation::Start, body.as_bytes(), NEW);
            assert_eq!(read.is_ok(), good, "{percent}");
        }
    }

    #[test]
    fn older_agents_know_less() {
        let hole =
            br#"{"Port":443,"Protocol":"tcp","TrafficType":"egress","SourcesToFilter":["fd00:ec2::23"]}"#;
        let latency = br#"{"DelayMilliseconds":1,"JitterMilliseconds":0,"Sources":["10.0.0.0/8"],
                           "SourcesToFilter":["fd00:ec2::23"],"FlowsPercent":30}"#;
        let text = Err("invalid value fd00:ec2::23 for parameter SourcesToFilter".to_owned());
        let read =
            |kind, body: &[u8], version| Asked::read(kind, Operation::Start, body, Version::of(version));
        assert_eq!(read(Kind::BlackholePort, hole, "1.93.1"), text);
        assert!(read(Kind::BlackholePort, hole, "1.94.0").is_ok());
        assert_eq!(read(Kind::Latency, latency, "1.94.0"), text);
        for (version, percent) in [("1.99.1", 100), ("1.100.0", 30)] {
            let Ok(Asked::Shaping(_, value)) = read(Kind::Latency, latency, version) else {
                panic!("{version}")
            };
            assert_eq!(value["FlowsPercent"], percent, "{version}");
        }
    }

    #[test]
    fn only_addresses_are_sources() {
        for (word, good) in [
            ("10.0.0.1", true),
            ("10.0.0.0/8", true),
            ("fd00::1", true),
            ("::/0", true),
            ("10.0.0.0/33", false),
            ("10.0.0.0/", false),
            ("10.0.0.0/+8", false),
            ("10.0.0", false),
            ("db.example.com", false),
            ("", false),
        ] {
            assert_eq!(is_address(word), good, "{word}");
        }
    }
}
