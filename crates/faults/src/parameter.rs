//! One parameter of a fault, under all of its names, and what it takes. Pure data.

use std::borrow::Cow;

use crate::Range;

/// One parameter of a fault.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// The option of `taskfault inject`, without the dashes. It is also the parameter's name in this program.
    pub option: &'static str,
    /// The parameter of the FIS action; None where the action has no such thing.
    pub fis: Option<&'static str>,
    /// The parameter of the documents; None where none has it.
    pub document: Option<InDocument>,
    /// What holds where it is not given.
    pub default: Preset,
    /// What it takes.
    pub values: Values,
    /// What it means, in a line without a capital or a full stop.
    pub description: &'static str,
}

/// A parameter as the documents have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InDocument {
    /// Its name there.
    pub name: &'static str,
    /// The document's `allowedPattern`.
    pub pattern: &'static str,
    /// What holds there where it is not given; None: the same as everywhere.
    pub default: Option<Preset>,
}

/// One parameter as documents have it; its values are texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What the document's `allowedPattern` takes. A value that breaks it is refused before anything runs.
    pub pattern: &'static str,
    /// None: the caller has to give it.
    pub default: Option<&'static str>,
}

impl InDocument {
    /// One with the default that it has everywhere.
    pub const fn new(name: &'static str, pattern: &'static str) -> InDocument {
        InDocument { name, pattern, default: None }
    }

    /// One with a default of its own.
    pub const fn with_default(name: &'static str, pattern: &'static str, default: Preset) -> InDocument {
        InDocument { name, pattern, default: Some(default) }
    }
}

/// What holds where a parameter is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// It must be given.
    Required,
    /// This value.
    Value(&'static str),
    /// The place where the fault is performed decides. For `taskfault inject` it is this.
    Place(&'static str),
}

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// A duration ([`crate::duration`]); in documents a number of whole seconds.
    Duration,
    /// A whole number in plain digits.
    Number(Range),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A text that the fault reads itself.
    Text {
        /// Which texts, in words.
        accepts: &'static str,
        /// One of them.
        example: &'static str,
        /// Whether one may begin with a hyphen, as options do.
        hyphen: bool,
    },
    /// A path of the file system.
    Path {
        /// Of what, in words.
        accepts: &'static str,
    },
    /// On or off.
    Switch {
        /// The variable of the environment that turns it on as well.
        variable: &'static str,
    },
}

impl Parameter {
    /// The parameter of its documents; None where they have no such thing.
    pub fn field(&self) -> Option<Field> {
        let InDocument { name, pattern, default } = self.document?;
        let default = match default.unwrap_or(self.default) {
            Preset::Value(value) => Some(value),
            Preset::Required | Preset::Place(_) => None,
        };
        Some(Field { name, pattern, default })
    }

    /// The value where none is given, in words; None if it must be given.
    pub fn default_words(&self) -> Option<&'static str> {
        match self.default {
            Preset::Required => None,
            Preset::Value(words) | Preset::Place(words) => Some(words),
        }
    }
}

impl Values {
    /// Which values, in words and without their unit: `0-100`, `tcp or udp`.
    pub fn range(&self) -> Cow<'static, str> {
        match self {
            Values::Duration => "PT1S-PT12H".into(),
            Values::Number(range) => format!("{}-{}", range.low, range.high).into(),
            Values::OneOf(words) => words.join(" or ").into(),
            Values::Text { accepts, .. } | Values::Path { accepts } => (*accepts).into(),
            Values::Switch { .. } => "a switch".into(),
        }
    }

    /// The unit, or how the values are written; nothing for plain words and plain numbers.
    pub fn unit(&self) -> &'static str {
        match self {
            Values::Duration => "ISO 8601, or 90s, 5m, 2h",
            Values::Number(range) => range.unit,
            _ => "",
        }
    }

    /// A value that is accepted.
    pub fn example(&self) -> Cow<'static, str> {
        match self {
            Values::Duration => "60s".into(),
            Values::Number(range) => range.high.to_string().into(),
            Values::OneOf(words) => words.first().copied().unwrap_or_default().into(),
            Values::Text { example, .. } => (*example).into(),
            Values::Path { .. } => "/tmp".into(),
            Values::Switch { .. } => "true".into(),
        }
    }
}
