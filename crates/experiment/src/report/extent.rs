//! How far a picture reaches: its width, its time, and the windows of time that are shaded in it.

/// A picture's width in its own units, and what fits into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A screen or a page of paper.
    Wide,
    /// A column of a page that is shown while it goes on.
    Medium,
    /// A phone.
    Narrow,
}

impl Format {
    pub(super) fn width(self) -> i32 {
        match self {
            Format::Wide => 960,
            Format::Medium => 600,
            Format::Narrow => 380,
        }
    }

    /// Those of the report, with the class that shows each on its screen.
    pub(super) const ALL: [(Format, &str); 2] = [(Format::Wide, "wide"), (Format::Narrow, "narrow")];
    /// Those of a page of columns, with the same classes.
    pub(super) const LIVE: [(Format, &str); 2] = [(Format::Medium, "wide"), (Format::Narrow, "narrow")];
}

/// The time that a picture shows, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Span {
    pub from: f64,
    pub to: f64,
    /// What its clock times count from: the beginning of the record.
    pub zero: f64,
}

impl Span {
    /// Seconds since the beginning, kept inside the picture.
    pub(super) fn place(self, at: f64) -> f64 {
        (at - self.from).clamp(0.0, self.length())
    }

    /// Seconds; at least one, so that an empty record has an axis.
    pub(super) fn length(self) -> f64 {
        (self.to - self.from).max(1.0)
    }
}

/// A moment that is marked in a picture.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mark {
    pub at: f64,
    /// What happened.
    pub words: String,
}

/// The time of an action, to be shaded.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Window {
    /// Stands above it, and in the legend.
    pub number: usize,
    pub from: f64,
    pub to: f64,
}
