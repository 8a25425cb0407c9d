//! `network-reset`: TCP connections with chosen peers are reset.

use std::fmt;
use std::str::FromStr;

use crate::duration::DURATION;
use crate::network_source::{
    CHOSEN_INTERFACE, EXCLUDE_PORTS, EXCLUDE_SOURCES, FLOWS_PERCENT, INTERFACE, OUR_SOURCES,
    OUR_TRAFFIC_TYPE, PORTS, SOURCES, Scope, TRAFFIC_TYPE,
};
use crate::parameter::{InDocument, Parameter, Preset, Values};
use crate::spec::{Document, Lives, Spec};
use crate::{Arguments, Fault, ParameterError, Parameters, names};

/// Neither FIS nor its documents have it.
pub static SPEC: Spec = Spec {
    name: "network-reset",
    summary: "reset TCP connections to chosen targets",
    action: None,
    lives: Lives::Asked,
    strength: None,
    parameters: &[
        DURATION,
        CONNECTIONS,
        SOURCES,
        EXCLUDE_SOURCES,
        PORTS,
        EXCLUDE_PORTS,
        FLOWS_PERCENT,
        TRAFFIC_TYPE,
        INTERFACE,
    ],
    documents: &[Document {
        name: "Taskfault-Run-Network-Reset",
        parameters: &[
            DURATION,
            CONNECTIONS,
            OUR_SOURCES,
            EXCLUDE_SOURCES,
            PORTS,
            EXCLUDE_PORTS,
            FLOWS_PERCENT,
            OUR_TRAFFIC_TYPE,
            CHOSEN_INTERFACE,
        ],
        heartbeats: false,
        settles: &[],
        read: Fault::read::<NetworkReset>,
    }],
    read: Fault::read::<NetworkReset>,
};

const CONNECTIONS: Parameter = Parameter {
    option: "connections",
    fis: None,
    document: Some(InDocument::new("Connections", "^(all|established|new)$")),
    default: Preset::Value("all"),
    values: Values::OneOf(Connections::NAMES),
    description: "new ones are refused (ECONNREFUSED), established ones are reset (ECONNRESET) with their next packet",
};

/// Which connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// Both.
    All,
    /// Those that are open, or came to be so in spite of the fault.
    Established,
    /// Those that are being opened.
    New,
}

impl Connections {
    /// How they are written.
    pub const NAMES: &[&str] = &["all", "established", "new"];

    const ALL: [Connections; 3] = [Connections::All, Connections::Established, Connections::New];
}

impl FromStr for Connections {
    type Err = ParameterError;

    fn from_str(word: &str) -> Result<Self, ParameterError> {
        let refused = || ParameterError::not_one_of("connections", word, Connections::NAMES.join(", "));
        names::find(word, Connections::NAMES, &Connections::ALL).ok_or_else(refused)
    }
}

impl fmt::Display for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(names::of(self, Connections::NAMES, &Connections::ALL))
    }
}

/// Parameters of a reset, all accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkReset {
    /// Which of them.
    pub connections: Connections,
    /// Whose.
    pub scope: Scope,
}

impl Parameters for NetworkReset {
    fn read(arguments: &Arguments) -> Result<Self, ParameterError> {
        Ok(NetworkReset {
            connections: arguments.text(&CONNECTIONS).parse()?,
            scope: Scope::read(arguments)?,
        })
    }

    fn text(&self, option: &str) -> Option<String> {
        match option {
            "connections" => Some(self.connections.to_string()),
            option => self.scope.text(option),
        }
    }
}
