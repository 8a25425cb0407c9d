//! Which requests a fault is for. Pure.

use std::fmt;
use std::str::FromStr;

use crate::glob::Glob;
use crate::parameter::{InDocument, Parameter, Preset, Values};
use crate::pattern;
use crate::{Arguments, ParameterError, Range};

/// As many methods as a list may have.
const MOST_METHODS: usize = 16;
/// No method of HTTP is longer.
const LONGEST_METHOD: usize = 20;

pub(super) const HOST: Parameter = Parameter {
    option: "host",
    fis: None,
    document: Some(InDocument::new("Host", "^[a-zA-Z0-9.*_:\\[\\]-]+$")),
    default: Preset::Value(Glob::ALL),
    values: Values::Text {
        accepts: "a name, with * for any characters",
        example: "*.example.com",
        hyphen: false,
    },
    description: "the host that is asked for, without its port: of the request, with tls of the ClientHello",
};

pub(super) const PATH: Parameter = Parameter {
    option: "path",
    fis: None,
    document: Some(InDocument::new("Path", "^[/*][!\"$->@-~]*$")),
    default: Preset::Value(Glob::ALL),
    values: Values::Text {
        accepts: "a path, with * for any characters",
        example: "/orders/*",
        hyphen: false,
    },
    description: "the path of the request, without its query",
};

pub(super) const METHOD: Parameter = Parameter {
    option: "method",
    fis: None,
    document: Some(InDocument::new("Method", "^(\\*|[A-Z-]{1,20}(,[A-Z-]{1,20})*)$")),
    default: Preset::Value(Glob::ALL),
    values: Values::Text { accepts: "methods with commas between, or *", example: "GET,HEAD", hyphen: false },
    description: "the methods of the requests",
};

pub(super) const MATCH_HEADER: Parameter = Parameter {
    option: "match-header",
    fis: None,
    document: Some(InDocument::new("MatchHeader", "^([!#$%&'*+.^_`|~0-9a-zA-Z-]+: [ -~]+)?$")),
    default: Preset::Value(""),
    values: Values::Text {
        accepts: "Name: value, with * for any characters; nothing for every request",
        example: "X-Tenant: a*",
        hyphen: false,
    },
    description: "a header that the request has",
};

pub(super) const PERCENT: Parameter = Parameter {
    option: "requests-percent",
    fis: None,
    document: Some(InDocument::new("RequestsPercent", pattern::PERCENT)),
    default: Preset::Value("100"),
    values: Values::Number(Range::PERCENT),
    description: "share of these requests, each by chance; with tls of the connections",
};

/// Which requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requests {
    /// The host that is asked for; large and small letters are alike.
    pub host: Glob,
    /// The path without its query.
    pub path: Glob,
    /// The methods.
    pub methods: Methods,
    /// A header that they have.
    pub header: Option<HeaderMatch>,
    /// Share of them, 1–100.
    pub percent: u8,
}

impl Requests {
    pub(super) fn read(arguments: &Arguments) -> Result<Requests, ParameterError> {
        Ok(Requests {
            host: host(arguments.text(&HOST))?,
            path: path(arguments.text(&PATH))?,
            methods: arguments.text(&METHOD).parse()?,
            header: match arguments.text(&MATCH_HEADER) {
                "" => None,
                text => Some(text.parse()?),
            },
            percent: arguments.number(&PERCENT)?,
        })
    }

    pub(super) fn text(&self, option: &str) -> Option<String> {
        match option {
            "host" => Some(self.host.to_string()),
            "path" => Some(self.path.to_string()),
            "method" => Some(self.methods.to_string()),
            "match-header" => Some(self.header.as_ref().map(ToString::to_string).unwrap_or_default()),
            "requests-percent" => Some(self.percent.to_string()),
            _ => None,
        }
    }
}

fn host(pattern: &str) -> Result<Glob, ParameterError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    Glob::parse(pattern, allowed).ok_or_else(|| {
        ParameterError::not_one_of(
            HOST.option,
            pattern,
            "a host name or an address, with * for any characters",
        )
    })
}

fn path(pattern: &str) -> Result<Glob, ParameterError> {
    // What stands behind these is no part of a path.
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"?#".contains(&byte);
    let begins = pattern.starts_with(['/', '*']);
    Glob::parse(pattern, allowed).filter(|_| begins).ok_or_else(|| {
        let accepted = "a path that begins with / or *, without a query, with * for any characters";
        ParameterError::not_one_of(PATH.option, pattern, accepted)
    })
}

/// Methods of HTTP; an empty list is all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Methods(Vec<String>);

impl Methods {
    /// Whether it has every method.
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it has this one.
    pub fn has(&self, method: &str) -> bool {
        self.is_all() || self.0.iter().any(|one| one == method)
    }
}

impl FromStr for Methods {
    type Err = ParameterError;

    fn from_str(list: &str) -> Result<Self, ParameterError> {
        let good = |method: &str| {
            (1..=LONGEST_METHOD).contains(&method.len())
                && method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-')
        };
        let methods: Vec<String> = list.split(',').map(str::to_owned).collect();
        match list {
            Glob::ALL => Ok(Methods(Vec::new())),
            _ if methods.len() <= MOST_METHODS && methods.iter().all(|method| good(method)) => {
                Ok(Methods(methods))
            }
            _ => {
                let accepted = "* or methods in capital letters, with commas between";
                Err(ParameterError::not_one_of(METHOD.option, list, accepted))
            }
        }
    }
}

impl fmt::Display for Methods {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_all() {
            true => formatter.write_str(Glob::ALL),
            false => formatter.write_str(&self.0.join(",")),
        }
    }
}

/// A header that a request has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderMatch {
    /// Large and small letters are alike.
    pub name: String,
    /// What its value is, without blanks around it.
    pub value: Glob,
}

impl HeaderMatch {
    /// The pattern for hosts that this is where it is for the header Host, without a port.
    pub fn host(&self) -> Option<Glob> {
        let value = self.value.to_string();
        let host = match value.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit() || byte == b'*') => host,
            _ => value.as_str(),
        };
        self.name.eq_ignore_ascii_case("host").then(|| Glob::parse(host, |_| true))?
    }
}

impl FromStr for HeaderMatch {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        let read = || {
            let (name, value) = text.split_once(": ")?;
            let value = Glob::parse(value, |byte| matches!(byte, b' '..=b'~'))?;
            is_token(name).then(|| HeaderMatch { name: name.to_owned(), value })
        };
        read().ok_or_else(|| {
            let accepted = "\"Name: value\", with * for any characters in the value";
            ParameterError::not_one_of(MATCH_HEADER.option, text, accepted)
        })
    }
}

impl fmt::Display for HeaderMatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.name, self.value)
    }
}

/// A token of HTTP (RFC 9110, 5.6.2), as names of headers are.
pub(super) fn is_token(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_host_is_a_pattern_for_hosts() {
        let host = |text: &str| text.parse::<HeaderMatch>().unwrap().host().map(|host| host.to_string());
        for (text, found) in [
            ("Host: db.internal", Some("db.internal")),
            ("hOST: db.*:8080", Some("db.*")),
            ("Host: *:*", Some("*")),
            ("Host: [fd00::7]", Some("[fd00::7]")),
            ("Host: [fd00::7]:80", Some("[fd00::7]")),
            ("X-Host: db.internal", None),
        ] {
            assert_eq!(host(text).as_deref(), found, "{text}");
        }
    }
}
