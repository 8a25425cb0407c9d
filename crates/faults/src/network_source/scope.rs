//! Whose traffic: what latency and packet loss have in common. Pure.

use super::{Direction, Interfaces, Selection, Source, parse_sources};
use crate::parameter::{InDocument, Parameter, Preset, Values};
use crate::pattern::PERCENT;
use crate::{Arguments, ParameterError, Range};

pub(crate) const SOURCES: Parameter = Parameter {
    option: "sources",
    fis: Some("sources"),
    // The pattern is that of the documents, and colons for IPv6.
    document: Some(InDocument::with_default("Sources", "^[a-zA-Z0-9./,:-]+$", Preset::Required)),
    default: Preset::Value("ALL"),
    values: Values::Text {
        accepts: "a list with commas",
        example: "10.0.0.0/8,db.example.com,S3",
        hyphen: false,
    },
    description: "the other side: IPv4, IPv6, CIDRs, host names, ALL, DYNAMODB, S3",
};

pub(crate) const FLOWS_PERCENT: Parameter = Parameter {
    option: "flows-percent",
    fis: Some("flowsPercent"),
    document: Some(InDocument::new("FlowsPercent", PERCENT)),
    default: Preset::Value("100"),
    values: Values::Number(Range::PERCENT),
    description: "share of the flows: all packets of a connection, or none",
};

pub(crate) const TRAFFIC_TYPE: Parameter = Parameter {
    option: "traffic-type",
    // The actions of latency and packet loss are for egress.
    fis: None,
    document: Some(InDocument::with_default("TrafficType", "^(egress|ingress)$", Preset::Value("ingress"))),
    default: Preset::Value("egress"),
    values: Values::OneOf(Direction::NAMES),
    description: "packets that leave the task, or that come in",
};

pub(crate) const INTERFACE: Parameter = Parameter {
    option: "interface",
    // Not a parameter of the actions.
    fis: None,
    document: None,
    default: Preset::Value("DEFAULT"),
    values: Values::Text { accepts: "DEFAULT, ALL, or names with commas", example: "eth0", hyphen: false },
    description: "DEFAULT is those of the default routes, ALL all but loopback and bridges",
};

/// In documents of ours the sources and the direction are those of the fault where they are not given.
pub(crate) const OUR_SOURCES: Parameter =
    Parameter { document: Some(InDocument::new("Sources", "^[a-zA-Z0-9./,:-]+$")), ..SOURCES };

/// As [`OUR_SOURCES`].
pub(crate) const OUR_TRAFFIC_TYPE: Parameter =
    Parameter { document: Some(InDocument::new("TrafficType", "^(egress|ingress)$")), ..TRAFFIC_TYPE };

/// The interfaces of the `-Sources` documents.
pub(crate) const CHOSEN_INTERFACE: Parameter = Parameter {
    document: Some(InDocument::new("Interface", "^(ALL|DEFAULT|[a-zA-Z0-9-]{1,15}(,[a-zA-Z0-9-]{1,15})*)$")),
    ..INTERFACE
};

/// The one interface of the documents that are for all its traffic.
pub(crate) const WHOLE_INTERFACE: Parameter = Parameter {
    document: Some(InDocument::with_default("Interface", "^[a-zA-Z0-9-]{1,15}$", Preset::Value("eth0"))),
    ..INTERFACE
};

/// Refuses the words that stand for several interfaces: in documents for one they are names like any other.
pub(crate) fn one_interface(arguments: &Arguments) -> Result<(), ParameterError> {
    match arguments.text(&INTERFACE) {
        word @ ("ALL" | "DEFAULT") => {
            Err(ParameterError::not_one_of("Interface", word, "the names of interfaces"))
        }
        _ => Ok(()),
    }
}

/// Whose traffic a fault is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The other side of the traffic; at least one.
    pub sources: Vec<Source>,
    /// Which way the packets go.
    pub direction: Direction,
    /// The interfaces that they go by.
    pub interfaces: Interfaces,
    /// Share of flows, 1–100.
    pub flows_percent: u8,
    /// Which of their packets.
    pub selection: Selection,
}

impl Scope {
    /// Checks the words; `flows_percent` is 1–100.
    ///
    /// # Errors
    /// [`ParameterError`] naming what is wrong.
    pub fn new(
        sources: &str,
        direction: &str,
        interfaces: &str,
        flows_percent: u64,
    ) -> Result<Scope, ParameterError> {
        let mut arguments = Arguments::default();
        arguments.give(&SOURCES, SOURCES.option, sources);
        arguments.give(&TRAFFIC_TYPE, TRAFFIC_TYPE.option, direction);
        arguments.give(&INTERFACE, INTERFACE.option, interfaces);
        arguments.give(&FLOWS_PERCENT, FLOWS_PERCENT.option, flows_percent.to_string());
        Scope::read(&arguments)
    }

    /// That of a fault with these parameters.
    pub(crate) fn read(arguments: &Arguments) -> Result<Scope, ParameterError> {
        Ok(Scope {
            sources: parse_sources(arguments.text(&SOURCES))?,
            direction: arguments.text(&TRAFFIC_TYPE).parse()?,
            interfaces: arguments.text(&INTERFACE).parse()?,
            flows_percent: arguments.number(&FLOWS_PERCENT)?,
            selection: Selection::read(arguments)?,
        })
    }

    /// As [`crate::Parameters::text`].
    pub(crate) fn text(&self, option: &str) -> Option<String> {
        match option {
            "sources" => Some(self.sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
            "interface" => Some(self.interfaces.to_string()),
            "traffic-type" => Some(self.direction.to_string()),
            "flows-percent" => Some(self.flows_percent.to_string()),
            option => self.selection.text(option),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_no_flows_is_refused() {
        let refused = Scope::new("ALL", "egress", "DEFAULT", 0).unwrap_err().to_string();
        assert_eq!(refused, "flows-percent is 0; accepted are 1 to 100 %");
        assert!(Scope::new("ALL", "Egress", "DEFAULT", 1).is_err());
    }
}
