//! Colours by their meaning. plotters knows only fixed colours, so it draws with markers, and the finished SVG
//! has a CSS variable in the place of each; the style sheet gives it a value in light and in dark.

use plotters::style::RGBColor;

/// What a colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Ink,
    Muted,
    /// Words in a bar of the timeline.
    OnBar,
    Grid,
    /// The time of an action.
    Window,
    Answered,
    Failed,
    P50,
    P95,
    P99,
    Experiment,
    Action,
    Command,
    Task,
    /// A task on its way out.
    Stopping,
    AlarmOk,
    Alarm,
    AlarmUnknown,
    /// One of several lines of a kind; they come round after [`LINES`].
    Line(usize),
}

/// How many lines have a colour of their own.
pub(super) const LINES: usize = 8;

/// In the order of their marker colours.
const NAMES: [&str; 18] = [
    "ink",
    "muted",
    "on-bar",
    "grid",
    "window",
    "answered",
    "failed",
    "p50",
    "p95",
    "p99",
    "experiment",
    "action",
    "command",
    "task",
    "stopping",
    "alarm-ok",
    "alarm",
    "alarm-unknown",
];

impl Paint {
    fn number(self) -> usize {
        match self {
            Paint::Ink => 0,
            Paint::Muted => 1,
            Paint::OnBar => 2,
            Paint::Grid => 3,
            Paint::Window => 4,
            Paint::Answered => 5,
            Paint::Failed => 6,
            Paint::P50 => 7,
            Paint::P95 => 8,
            Paint::P99 => 9,
            Paint::Experiment => 10,
            Paint::Action => 11,
            Paint::Command => 12,
            Paint::Task => 13,
            Paint::Stopping => 14,
            Paint::AlarmOk => 15,
            Paint::Alarm => 16,
            Paint::AlarmUnknown => 17,
            Paint::Line(line) => NAMES.len() + line % LINES,
        }
    }

    /// The CSS variable without its dashes, and the value of `data-series` on what is drawn with it.
    pub(super) fn name(self) -> String {
        name(self.number())
    }

    /// The colour to draw with. Nothing else may draw with these: no picture of ours is nearly black.
    pub(super) fn marker(self) -> RGBColor {
        RGBColor(1, 2, u8::try_from(self.number()).unwrap_or(u8::MAX))
    }
}

fn name(number: usize) -> String {
    NAMES.get(number).map_or_else(|| format!("line-{}", number - NAMES.len() + 1), |name| (*name).to_owned())
}

/// An SVG of plotters with variables in the place of markers. What carries data also says which.
pub(super) fn painted(svg: &str) -> String {
    let mut out = svg.to_owned();
    for number in 0..NAMES.len() + LINES {
        let (marker, name) = (format!("#0102{number:02X}"), name(number));
        for attribute in ["fill", "stroke"] {
            let series = match name.as_str() {
                "ink" | "muted" | "on-bar" | "grid" => String::new(),
                name => format!(" data-series=\"{name}\""),
            };
            let variable = format!("{attribute}=\"var(--{name})\"{series}");
            out = out.replace(&format!("{attribute}=\"{marker}\""), &variable);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_become_variables() {
        let RGBColor(r, g, b) = Paint::P95.marker();
        let svg = format!("<polyline fill=\"none\" stroke=\"#{r:02X}{g:02X}{b:02X}\"/>");
        assert_eq!(painted(&svg), "<polyline fill=\"none\" stroke=\"var(--p95)\" data-series=\"p95\"/>");
        assert_eq!(Paint::AlarmUnknown.name(), "alarm-unknown");
        assert_eq!((Paint::Line(0).name(), Paint::Line(LINES).name()), ("line-1".into(), "line-1".into()));
    }

    #[test]
    fn every_paint_has_a_value_in_light_and_in_dark() {
        let style = include_str!("style.css");
        for number in 0..NAMES.len() + LINES {
            let definition = format!("--{}:", name(number));
            assert_eq!(style.matches(&definition).count(), 2, "{definition}");
        }
    }
}
