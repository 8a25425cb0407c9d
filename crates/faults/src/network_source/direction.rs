//! Which way packets go, and by which protocol. Pure.

use std::fmt;
use std::str::FromStr;

use crate::ParameterError;

/// Which packets: those that leave the task, or those that come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Packets that leave the task.
    Egress,
    /// Packets that come in.
    Ingress,
}

impl Direction {
    /// How they are written.
    pub const NAMES: &[&str] = &["egress", "ingress"];
}

impl FromStr for Direction {
    type Err = ParameterError;

    fn from_str(word: &str) -> Result<Self, ParameterError> {
        match word {
            "egress" => Ok(Direction::Egress),
            "ingress" => Ok(Direction::Ingress),
            _ => Err(ParameterError::not_one_of("traffic type", word, Self::NAMES.join(" or "))),
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Direction::Egress => "egress",
            Direction::Ingress => "ingress",
        })
    }
}

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Protocol 6.
    Tcp,
    /// Protocol 17.
    Udp,
}

impl Protocol {
    /// How they are written.
    pub const NAMES: &[&str] = &["tcp", "udp"];

    /// Its number in an IP header.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        }
    }
}

impl FromStr for Protocol {
    type Err = ParameterError;

    fn from_str(word: &str) -> Result<Self, ParameterError> {
        match word {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            _ => Err(ParameterError::not_one_of("protocol", word, Self::NAMES.join(" or "))),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}
