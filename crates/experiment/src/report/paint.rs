//! Colours by their meaning: each is a variable of the style sheet, which gives it a value in light and in dark.

use std::borrow::Cow;

/// What a colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Ink,
    Muted,
    /// Words in a bar of the timeline.
    OnBar,
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
    /// The span of the action with this number; they come round after [`WINDOWS`].
    Window(usize),
    /// Tasks that run.
    Running,
    /// What may not be exceeded.
    Limit,
    /// Those of a kind that have no line of their own, together.
    Others,
    /// One of several lines of a kind; they come round after [`LINES`].
    Line(usize),
}

/// How many spans of actions have a colour of their own.
pub(super) const WINDOWS: usize = 6;

/// How many lines have a colour of their own.
pub(super) const LINES: usize = 8;

impl Paint {
    /// The CSS variable without its dashes, and the value of `data-series` on what is drawn with it.
    pub(super) fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Paint::Ink => "ink",
            Paint::Muted => "muted",
            Paint::OnBar => "on-bar",
            Paint::Answered => "answered",
            Paint::Failed => "failed",
            Paint::P50 => "p50",
            Paint::P95 => "p95",
            Paint::P99 => "p99",
            Paint::Experiment => "experiment",
            Paint::Action => "action",
            Paint::Command => "command",
            Paint::Task => "task",
            Paint::Stopping => "stopping",
            Paint::AlarmOk => "alarm-ok",
            Paint::Alarm => "alarm",
            Paint::AlarmUnknown => "alarm-unknown",
            Paint::Running => "running",
            Paint::Limit => "limit",
            Paint::Others => "others",
            Paint::Window(number) => {
                return Cow::Owned(format!("window-{}", number.saturating_sub(1) % WINDOWS + 1));
            }
            Paint::Line(line) => return Cow::Owned(format!("line-{}", line % LINES + 1)),
        })
    }

    /// For the attribute `style` of an element that has this colour.
    pub(super) fn style(self) -> String {
        format!("--paint:var(--{})", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_round() {
        assert_eq!((Paint::Line(0).name(), Paint::Line(LINES).name()), ("line-1".into(), "line-1".into()));
        assert_eq!(
            (Paint::Window(1).name(), Paint::Window(WINDOWS + 1).name()),
            ("window-1".into(), "window-1".into())
        );
        assert_eq!(Paint::P95.style(), "--paint:var(--p95)");
    }

    #[test]
    fn every_paint_has_a_value_in_light_and_in_dark() {
        let style = include_str!("style.css");
        let named = [
            Paint::Ink,
            Paint::Muted,
            Paint::OnBar,
            Paint::Answered,
            Paint::Failed,
            Paint::P50,
            Paint::P95,
            Paint::P99,
            Paint::Experiment,
            Paint::Action,
            Paint::Command,
            Paint::Task,
            Paint::Stopping,
            Paint::AlarmOk,
            Paint::Alarm,
            Paint::AlarmUnknown,
            Paint::Running,
            Paint::Limit,
            Paint::Others,
        ];
        let names = named
            .into_iter()
            .chain((0..LINES).map(Paint::Line))
            .chain((1..=WINDOWS).map(Paint::Window))
            .map(Paint::name);
        for name in names.chain(["grid".into()]) {
            let definition = format!("--{name}:");
            assert_eq!(style.matches(&definition).count(), 2, "{definition}");
        }
    }
}
