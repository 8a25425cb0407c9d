//! The interfaces that a network fault is for. Pure.

use std::fmt;
use std::str::FromStr;

use crate::ParameterError;

/// `IFNAMSIZ` less the zero byte.
const LONGEST_INTERFACE: usize = 15;

/// Which interfaces a fault is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interfaces {
    /// Those of the default routes, of IPv4 and of IPv6.
    Default,
    /// All but loopback, `docker*` and `br*`, as FIS means it.
    All,
    /// These, by name; at least one.
    Named(Vec<String>),
}

impl FromStr for Interfaces {
    type Err = ParameterError;

    fn from_str(list: &str) -> Result<Self, ParameterError> {
        match list {
            "DEFAULT" => return Ok(Interfaces::Default),
            "ALL" => return Ok(Interfaces::All),
            _ => {}
        }
        let names: Vec<String> = list.split(',').map(str::to_owned).collect();
        let good = |name: &String| {
            (1..=LONGEST_INTERFACE).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@".contains(&b))
        };
        match names.iter().find(|name| !good(name)) {
            Some(name) => Err(ParameterError::not_one_of(
                "interface",
                name,
                "DEFAULT, ALL, or names of at most 15 letters, digits, - _ and .",
            )),
            None => Ok(Interfaces::Named(names)),
        }
    }
}

impl fmt::Display for Interfaces {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Interfaces::Default => formatter.write_str("DEFAULT"),
            Interfaces::All => formatter.write_str("ALL"),
            Interfaces::Named(names) => formatter.write_str(&names.join(",")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_names_of_the_kernel() {
        assert_eq!("DEFAULT".parse(), Ok(Interfaces::Default));
        assert_eq!("ALL".parse(), Ok(Interfaces::All));
        assert_eq!("eth0,eth1".parse(), Ok(Interfaces::Named(vec!["eth0".into(), "eth1".into()])));
        for list in ["", "eth0,", "a/b", "eth0 eth1", "sixteen-letters-"] {
            assert!(list.parse::<Interfaces>().is_err(), "{list}");
        }
    }
}
