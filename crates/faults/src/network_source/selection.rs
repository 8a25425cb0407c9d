//! Which packets of the chosen peers are meant, and which peers are not: protocol, ports, exceptions. Pure.

use std::fmt;
use std::str::FromStr;

use super::{Protocol, Source, parse_sources};
use crate::parameter::{InDocument, Parameter, Preset, Values};
use crate::{Arguments, ParameterError, plain_number};

/// In documents an empty text is no value.
const NOT_GIVEN: Preset = Preset::Value("");
const PORT_PATTERN: &str = "^[0-9a-z,:-]*$";
const PORT_VALUES: Values = Values::Text {
    accepts: "ports and ranges with commas",
    example: "443,8000-8100,local:80",
    hyphen: false,
};

pub(crate) const PORTS: Parameter = Parameter {
    option: "ports",
    fis: None,
    document: Some(InDocument::with_default("Ports", PORT_PATTERN, NOT_GIVEN)),
    default: Preset::Place("every port"),
    values: PORT_VALUES,
    description: "only these ports of the other side, or with local: of the task",
};

pub(crate) const EXCLUDE_PORTS: Parameter = Parameter {
    option: "exclude-ports",
    document: Some(InDocument::with_default("ExcludePorts", PORT_PATTERN, NOT_GIVEN)),
    default: Preset::Place("none"),
    description: "but not these",
    ..PORTS
};

pub(crate) const PROTOCOL: Parameter = Parameter {
    option: "protocol",
    fis: None,
    document: Some(InDocument::new("Protocol", "^(all|tcp|udp)$")),
    default: Preset::Value(EVERY_PROTOCOL),
    values: Values::OneOf(&[EVERY_PROTOCOL, "tcp", "udp"]),
    description: "only packets of this protocol",
};

const EVERY_PROTOCOL: &str = "all";

pub(crate) const EXCLUDE_SOURCES: Parameter = Parameter {
    option: "exclude-sources",
    fis: None,
    document: Some(InDocument::with_default("ExcludeSources", "^[a-zA-Z0-9./,:-]*$", NOT_GIVEN)),
    default: Preset::Place("none"),
    values: Values::Text {
        accepts: "a list as for sources",
        example: "10.0.0.1,db.example.com",
        hyphen: false,
    },
    description: "but not the traffic of these; names are looked up once, at the start",
};

/// Ports of both sides of a connection: ranges with both ends, in order, apart from each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ports {
    /// Of the other side.
    pub remote: Vec<(u16, u16)>,
    /// Of the task.
    pub local: Vec<(u16, u16)>,
}

/// Which packets of the chosen peers are meant; all of them by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only those of these ports, if there are some.
    pub ports: Ports,
    /// But not those of these.
    pub exclude_ports: Ports,
    /// Only those of this protocol.
    pub protocol: Option<Protocol>,
    /// Not those of these peers.
    pub exclude_sources: Vec<Source>,
}

impl Ports {
    /// What begins a port of the task.
    const LOCAL: &str = "local:";

    /// Whether no port is named.
    pub fn is_empty(&self) -> bool {
        self.remote.is_empty() && self.local.is_empty()
    }

    fn parse(name: &'static str, text: &str) -> Result<Ports, ParameterError> {
        let mut ports = Ports::default();
        for word in text.split(',').filter(|_| !text.is_empty()) {
            let (side, range) = match word.strip_prefix(Ports::LOCAL) {
                Some(range) => (&mut ports.local, range),
                None => (&mut ports.remote, word),
            };
            let accepted =
                "ports from 1 to 65535, or ranges as 8000-8100, with local: before those of the task";
            side.push(Ports::range(range).ok_or_else(|| ParameterError::not_one_of(name, word, accepted))?);
        }
        ports.remote = merged(ports.remote);
        ports.local = merged(ports.local);
        Ok(ports)
    }

    fn range(text: &str) -> Option<(u16, u16)> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port =
            |text| plain_number(text).and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
        Some((port(first)?, port(last)?)).filter(|(first, last)| first <= last)
    }
}

/// In order; those that touch as one.
fn merged(mut ranges: Vec<(u16, u16)>) -> Vec<(u16, u16)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |before: &str, (first, last): &(u16, u16)| match first == last {
            true => format!("{before}{first}"),
            false => format!("{before}{first}-{last}"),
        };
        let remote = self.remote.iter().map(|range| word("", range));
        let all: Vec<String> =
            remote.chain(self.local.iter().map(|range| word(Ports::LOCAL, range))).collect();
        f.write_str(&all.join(","))
    }
}

/// An error about sources under the name of those that are left out.
fn named(error: ParameterError) -> ParameterError {
    match error {
        ParameterError::NotOneOf { value, accepted, .. } => {
            ParameterError::NotOneOf { name: EXCLUDE_SOURCES.option, value, accepted }
        }
        other => other,
    }
}

impl Selection {
    /// Whether all packets of the chosen peers are meant.
    pub fn is_everything(&self) -> bool {
        *self == Selection::default()
    }

    pub(crate) fn read(arguments: &Arguments) -> Result<Selection, ParameterError> {
        let protocol = match arguments.text(&PROTOCOL) {
            EVERY_PROTOCOL => None,
            word => Some(Protocol::from_str(word)?),
        };
        let exclude_sources = match arguments.text(&EXCLUDE_SOURCES) {
            "" => Vec::new(),
            sources => parse_sources(sources).map_err(named)?,
        };
        if exclude_sources.contains(&Source::All) {
            return Err(ParameterError::not_one_of(
                EXCLUDE_SOURCES.option,
                "ALL",
                "fewer than all: nothing would be left",
            ));
        }
        Ok(Selection {
            ports: Ports::parse(PORTS.option, arguments.text(&PORTS))?,
            exclude_ports: Ports::parse(EXCLUDE_PORTS.option, arguments.text(&EXCLUDE_PORTS))?,
            protocol,
            exclude_sources,
        })
    }

    /// As [`crate::Parameters::text`].
    pub(crate) fn text(&self, option: &str) -> Option<String> {
        let ports = |ports: &Ports| (!ports.is_empty()).then(|| ports.to_string());
        match option {
            "ports" => ports(&self.ports),
            "exclude-ports" => ports(&self.exclude_ports),
            "protocol" => {
                Some(self.protocol.map_or_else(|| EVERY_PROTOCOL.to_owned(), |protocol| protocol.to_string()))
            }
            "exclude-sources" if self.exclude_sources.is_empty() => None,
            "exclude-sources" => {
                Some(self.exclude_sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_lists_of_ranges_for_each_side() {
        let ports = |text| {
            Ports::parse("ports", text).map(|ports| ports.to_string()).map_err(|error| error.to_string())
        };
        assert_eq!(ports("443,8000-8100,local:80"), Ok("443,8000-8100,local:80".into()));
        assert_eq!(ports("local:80,9,5-7,6-8,10"), Ok("5-10,local:80".into()));
        assert_eq!(ports(""), Ok(String::new()));
        assert_eq!(ports("1-65535"), Ok("1-65535".into()));
        for wrong in
            ["0", "65536", "8100-8000", "80,", ",80", "a", "local:", "remote:80", "1-2-3", "-80", "80 "]
        {
            let said = ports(wrong).unwrap_err();
            assert!(said.starts_with("ports is") && said.contains("1 to 65535"), "{wrong}: {said}");
        }
    }
}
