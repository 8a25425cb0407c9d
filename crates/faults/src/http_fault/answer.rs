//! What an answer in the server's place consists of. Pure.

use std::fmt;
use std::str::FromStr;

use super::requests::is_token;
use crate::parameter::{InDocument, Parameter, Preset, Values};
use crate::{ParameterError, Range};

/// The longest body, in bytes.
const MOST_BODY: usize = 65_536;
/// All headers together, in bytes.
const MOST_HEADERS: usize = 8_192;
/// Between one header and the next: `;` and `,` stand within headers.
const BETWEEN: char = '|';
/// Headers that the answer has of its own.
const OWN: [&str; 4] = ["content-length", "transfer-encoding", "connection", "trailer"];

pub(super) const STATUS: Parameter = Parameter {
    option: "status",
    fis: None,
    document: Some(InDocument::new("Status", "^[2-5][0-9]{2}$")),
    default: Preset::Value("503"),
    values: Values::Number(Range { low: 200, high: 599, unit: "" }),
    description: "with the action status: the code of the answer",
};

pub(super) const BODY: Parameter = Parameter {
    option: "body",
    fis: None,
    document: Some(InDocument::new("Body", "^[\\s\\S]*$")),
    default: Preset::Value(""),
    values: Values::Text {
        accepts: "a text of at most 65536 bytes",
        example: "{\"message\":\"injected\"}",
        hyphen: true,
    },
    description: "with the action status: the body of the answer",
};

pub(super) const ANSWER_HEADERS: Parameter = Parameter {
    option: "answer-headers",
    fis: None,
    document: Some(InDocument::new("AnswerHeaders", "^([!#$%&'*+.^_`|~0-9a-zA-Z-]+: [ -~]*)?$")),
    default: Preset::Value(""),
    values: Values::Text {
        accepts: "headers with | between them",
        example: "Content-Type: application/json|Retry-After: 5",
        hyphen: false,
    },
    description: "with the action status: headers of the answer; Content-Length is added",
};

/// The body of an answer, at most 65,536 bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Body(String);

impl Body {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl FromStr for Body {
    type Err = ParameterError;

    fn from_str(text: &str) -> Result<Self, ParameterError> {
        if text.len() > MOST_BODY {
            let length = format!("{} bytes", text.len());
            return Err(ParameterError::not_one_of(BODY.option, &length, "at most 65536 bytes"));
        }
        Ok(Body(text.to_owned()))
    }
}

impl fmt::Display for Body {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Headers of an answer, beside those that frame it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// Their names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl FromStr for Headers {
    type Err = ParameterError;

    fn from_str(list: &str) -> Result<Self, ParameterError> {
        let header = |word: &str| {
            let (name, value) = word.split_once(": ")?;
            let is_own = OWN.iter().any(|own| own.eq_ignore_ascii_case(name));
            (is_token(name) && !is_own && is_value(value)).then(|| (name.to_owned(), value.to_owned()))
        };
        let headers: Option<Vec<_>> = match list {
            "" => Some(Vec::new()),
            list => list.split(BETWEEN).map(header).collect(),
        };
        let short = |_: &Vec<_>| list.len() <= MOST_HEADERS;
        headers.filter(short).map(Headers).ok_or_else(|| {
            let accepted = "headers as \"Name: value\" with | between them, 8192 bytes at most, and none of \
                            Content-Length, Transfer-Encoding, Connection and Trailer";
            ParameterError::not_one_of(ANSWER_HEADERS.option, list, accepted)
        })
    }
}

impl fmt::Display for Headers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (name, value)) in self.iter().enumerate() {
            let between = if number == 0 { "" } else { "|" };
            write!(formatter, "{between}{name}: {value}")?;
        }
        Ok(())
    }
}

/// Visible ASCII and blanks within (RFC 9110, 5.5); it may be empty.
fn is_value(value: &str) -> bool {
    value.bytes().all(|byte| matches!(byte, b' '..=b'~')) && value.trim() == value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_told_as_they_were_given() {
        let list = "Content-Type: text/html; charset=utf-8|Retry-After: 5|X-Empty: ";
        let headers: Headers = list.parse().unwrap();
        assert_eq!(
            headers.iter().collect::<Vec<_>>(),
            [("Content-Type", "text/html; charset=utf-8"), ("Retry-After", "5"), ("X-Empty", "")]
        );
        assert_eq!(headers.to_string(), list);
        assert_eq!("".parse(), Ok(Headers::default()));
    }

    #[test]
    fn what_would_break_the_framing_is_refused() {
        for list in [
            "a",
            "a: b|",
            "a b: c",
            ": c",
            "a: b\n",
            "Transfer-encoding: chunked",
            "connection: close",
            "a: é",
        ] {
            assert!(list.parse::<Headers>().is_err(), "{list}");
        }
    }
}
