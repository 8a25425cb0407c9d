//! `http-fault`: requests over HTTP/1.1, or connections of TLS, go wrong. Matching and answers are in the folder.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::duration::DURATION;
use crate::network_source::{Direction, OUR_SOURCES, OUR_TRAFFIC_TYPE, Source, parse_sources};
use crate::parameter::{InDocument, Parameter, Preset, Values};
use crate::pattern::DIGITS;
use crate::spec::{Document, Lives, Spec, Strength};
use crate::{Arguments, Fault, ParameterError, Parameters, Range, names};

mod answer;
mod requests;

pub use answer::{Body, Headers};
pub use requests::{HeaderMatch, Methods, Requests};

use answer::{ANSWER_HEADERS, BODY, STATUS};
use requests::{HOST, MATCH_HEADER, METHOD, PATH, PERCENT};

/// FIS has none; its document is ours.
pub static SPEC: Spec = Spec {
    name: "http-fault",
    summary: "fail requests over HTTP/1.1, or connections of TLS, of the task or to it",
    action: None,
    lives: Lives::Asked,
    strength: Some(Strength { percents: &[&PERCENT], instead: None }),
    parameters: PARAMETERS,
    documents: &[Document {
        name: "Taskfault-Run-Http-Fault",
        parameters: PARAMETERS,
        heartbeats: false,
        settles: &[],
        read: Fault::read::<HttpFault>,
    }],
    read: Fault::read::<HttpFault>,
};

const PARAMETERS: &[Parameter] = &[
    DURATION,
    ACTION,
    PROTOCOL,
    PORT,
    TRAFFIC_TYPE,
    TARGETS,
    HOST,
    PATH,
    METHOD,
    MATCH_HEADER,
    PERCENT,
    DELAY,
    STATUS,
    BODY,
    ANSWER_HEADERS,
    RATE,
];

const ACTION: Parameter = Parameter {
    option: "action",
    fis: None,
    document: Some(InDocument::new("Action", "^(status|delay|abort|cut|rate|no-answer)$")),
    default: Preset::Required,
    values: Values::OneOf(Action::NAMES),
    description: "what becomes of a request that is hit",
};

const PROTOCOL: Parameter = Parameter {
    option: "protocol",
    fis: None,
    document: Some(InDocument::new("Protocol", "^(http|tls)$")),
    default: Preset::Value("http"),
    values: Values::OneOf(Protocol::NAMES),
    description: "tls: connections, known by the name that the client asks for; delay, abort and no-answer alone",
};

const PORT: Parameter = Parameter {
    option: "port",
    fis: None,
    document: Some(InDocument::with_default("Port", "^[0-9]*$", Preset::Value(""))),
    default: Preset::Place("80, with tls 443"),
    values: Values::Number(Range { low: 1, high: 65_535, unit: "" }),
    description: "the port of the server: there (egress) or here (ingress)",
};

const TRAFFIC_TYPE: Parameter =
    Parameter { description: "egress: requests of the task; ingress: requests to it", ..OUR_TRAFFIC_TYPE };

const TARGETS: Parameter = Parameter { fis: None, ..OUR_SOURCES };

const DELAY: Parameter = Parameter {
    option: "delay-milliseconds",
    fis: None,
    document: Some(InDocument::new("DelayMilliseconds", DIGITS)),
    default: Preset::Value("0"),
    values: Values::Number(Range { low: 0, high: MOST_DELAY, unit: "milliseconds" }),
    description: "how long a request that is hit waits before anything else becomes of it",
};

const RATE: Parameter = Parameter {
    option: "rate",
    fis: None,
    document: Some(InDocument::new("Rate", DIGITS)),
    default: Preset::Value("1024"),
    values: Values::Number(Range { low: 1, high: 1 << 30, unit: "bytes per second" }),
    description: "with the action rate: how fast the body of the answer comes",
};

/// The longest delay, in milliseconds: that of network-latency.
const MOST_DELAY: u64 = 120_000;

/// What becomes of a request that is hit, after its delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is answered in the server's place, which never gets it.
    Status,
    /// It goes its way.
    Delay,
    /// Its connection is reset.
    Abort,
    /// Its answer ends in the middle of the body.
    Cut,
    /// The body of its answer comes slowly.
    Rate,
    /// It is taken and never answered.
    NoAnswer,
}

impl Action {
    /// How they are written.
    pub const NAMES: &[&str] = &["status", "delay", "abort", "cut", "rate", "no-answer"];

    const ALL: [Action; 6] =
        [Action::Status, Action::Delay, Action::Abort, Action::Cut, Action::Rate, Action::NoAnswer];

    /// Whether it needs nothing of what is encrypted.
    fn is_for_tls(self) -> bool {
        matches!(self, Action::Delay | Action::Abort | Action::NoAnswer)
    }
}

impl FromStr for Action {
    type Err = ParameterError;

    fn from_str(word: &str) -> Result<Self, ParameterError> {
        let unknown = || ParameterError::not_one_of(ACTION.option, word, Self::NAMES.join(" or "));
        names::find(word, Action::NAMES, &Action::ALL).ok_or_else(unknown)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(names::of(self, Action::NAMES, &Action::ALL))
    }
}

/// What is spoken at the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 and HTTP/1.1.
    Http,
    /// Anything within TLS.
    Tls,
}

impl Protocol {
    /// How they are written.
    pub const NAMES: &[&str] = &["http", "tls"];

    /// The port where it is spoken if no other is named.
    fn port(self) -> &'static str {
        match self {
            Protocol::Http => "80",
            Protocol::Tls => "443",
        }
    }
}

impl FromStr for Protocol {
    type Err = ParameterError;

    fn from_str(word: &str) -> Result<Self, ParameterError> {
        match word {
            "http" => Ok(Protocol::Http),
            "tls" => Ok(Protocol::Tls),
            _ => Err(ParameterError::not_one_of(PROTOCOL.option, word, Self::NAMES.join(" or "))),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Protocol::Http => "http",
            Protocol::Tls => "tls",
        })
    }
}

/// Parameters of an HTTP fault, all accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpFault {
    /// What becomes of requests that are hit.
    pub action: Action,
    /// What is spoken.
    pub protocol: Protocol,
    /// 1–65535; that of the server.
    pub port: u16,
    /// Egress: requests of the task; ingress: requests to it.
    pub direction: Direction,
    /// The other side; at least one.
    pub sources: Vec<Source>,
    /// Which requests, and what share of them. With TLS a connection counts as one, and its host is the name
    /// that the client asks for.
    pub requests: Requests,
    /// Before anything else becomes of it: 0 to 120 s.
    pub delay: Duration,
    /// 200–599, with the action status.
    pub status: u16,
    /// With the action status.
    pub body: Body,
    /// With the action status, beside those that frame it.
    pub headers: Headers,
    /// Bytes per second, 1 and more, with the action rate.
    pub rate: u64,
}

impl HttpFault {
    /// Refuses what TLS hides.
    fn check_tls(&self) -> Result<(), ParameterError> {
        let hidden = |parameter: &Parameter, value: String, accepted: &'static str| {
            Err(ParameterError::not_one_of(parameter.option, &value, accepted))
        };
        if !self.action.is_for_tls() {
            return hidden(
                &ACTION,
                self.action.to_string(),
                "delay, abort or no-answer with protocol tls: what TLS carries is encrypted, so nobody but the server \
                 can answer, and no answer can be told from another",
            );
        }
        let unseen = "left out with protocol tls: requests within TLS are encrypted, and all that can be seen is the \
                      name of the host (host)";
        let Requests { path, methods, header, .. } = &self.requests;
        if !path.is_all() {
            return hidden(&PATH, path.to_string(), unseen);
        }
        if !methods.is_all() {
            return hidden(&METHOD, methods.to_string(), unseen);
        }
        match header {
            Some(header) => hidden(&MATCH_HEADER, header.to_string(), unseen),
            None => Ok(()),
        }
    }
}

impl Parameters for HttpFault {
    fn read(arguments: &Arguments) -> Result<Self, ParameterError> {
        let (action, protocol): (Action, Protocol) =
            (arguments.text(&ACTION).parse()?, arguments.text(&PROTOCOL).parse()?);
        let delay = match action {
            Action::Delay => {
                arguments.number_in(&DELAY, Range { low: 1, high: MOST_DELAY, unit: "milliseconds" })?
            }
            _ => arguments.number(&DELAY)?,
        };
        let fault = HttpFault {
            action,
            protocol,
            // In a document an empty text is no port.
            port: arguments.or(&[(PORT, protocol.port())]).number(&PORT)?,
            direction: arguments.text(&TRAFFIC_TYPE).parse()?,
            sources: parse_sources(arguments.text(&TARGETS))?,
            requests: Requests::read(arguments)?,
            delay: Duration::from_millis(delay),
            status: arguments.number(&STATUS)?,
            body: arguments.text(&BODY).parse()?,
            headers: arguments.text(&ANSWER_HEADERS).parse()?,
            rate: arguments.number(&RATE)?,
        };
        if protocol == Protocol::Tls {
            fault.check_tls()?;
        }
        Ok(fault)
    }

    fn text(&self, option: &str) -> Option<String> {
        match option {
            "action" => Some(self.action.to_string()),
            "protocol" => Some(self.protocol.to_string()),
            "port" => Some(self.port.to_string()),
            "traffic-type" => Some(self.direction.to_string()),
            "sources" => Some(self.sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
            "delay-milliseconds" => Some(self.delay.as_millis().to_string()),
            "status" => Some(self.status.to_string()),
            "body" => Some(self.body.to_string()),
            "answer-headers" => Some(self.headers.to_string()),
            "rate" => Some(self.rate.to_string()),
            option => self.requests.text(option),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&'static str, &str)]) -> Result<HttpFault, String> {
        let mut arguments = Arguments::default();
        for (option, value) in values {
            let parameter = SPEC.parameters.iter().find(|parameter| parameter.option == *option).unwrap();
            arguments.give(parameter, option, *value);
        }
        HttpFault::read(&arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn the_port_is_that_of_the_protocol() {
        assert_eq!(read(&[("action", "abort")]).unwrap().port, 80);
        assert_eq!(read(&[("action", "abort"), ("protocol", "tls")]).unwrap().port, 443);
        assert_eq!(read(&[("action", "abort"), ("protocol", "tls"), ("port", "8443")]).unwrap().port, 8443);
        assert_eq!(read(&[("action", "abort"), ("port", "")]).unwrap().port, 80);
        assert_eq!(
            read(&[("action", "abort"), ("port", "0")]).unwrap_err(),
            "port is 0; accepted are 1 to 65535"
        );
    }

    #[test]
    fn what_tls_hides_is_refused_and_the_reason_said() {
        let refused = read(&[("action", "status"), ("protocol", "tls")]).unwrap_err();
        assert!(
            refused.starts_with("action is \"status\"; it must be delay, abort or no-answer"),
            "{refused}"
        );
        assert!(refused.contains("encrypted"), "{refused}");
        for (option, value) in [("path", "/x"), ("method", "GET"), ("match-header", "X-A: b")] {
            let refused = read(&[("action", "abort"), ("protocol", "tls"), (option, value)]).unwrap_err();
            assert!(refused.starts_with(option) && refused.contains("encrypted"), "{refused}");
        }
        assert!(read(&[("action", "abort"), ("protocol", "tls"), ("host", "*.example.com")]).is_ok());
    }

    #[test]
    fn a_delay_alone_has_to_be_one() {
        let refused = read(&[("action", "delay")]).unwrap_err();
        assert_eq!(refused, "delay-milliseconds is 0; accepted are 1 to 120000 milliseconds");
        assert!(read(&[("action", "delay"), ("delay-milliseconds", "1")]).is_ok());
    }

    #[test]
    fn out_of_range_is_refused() {
        for (option, value) in [
            ("status", "99"),
            ("status", "101"),
            ("status", "600"),
            ("requests-percent", "0"),
            ("requests-percent", "101"),
            ("rate", "0"),
            ("host", ""),
            ("path", "orders"),
            ("method", "get"),
            ("match-header", "no colon"),
            ("answer-headers", "Content-Length: 3"),
            ("answer-headers", "X: a\r\nY: b"),
        ] {
            let refused = read(&[("action", "status"), (option, value)]).unwrap_err();
            assert!(refused.starts_with(option), "{refused}");
        }
        let long = "x".repeat(10_000_000);
        let refused = read(&[("action", "status"), ("body", &long)]).unwrap_err();
        assert_eq!(refused, "body is \"10000000 bytes\"; it must be at most 65536 bytes");
    }
}
