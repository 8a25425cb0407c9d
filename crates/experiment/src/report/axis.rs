//! What the pictures have in common: the plane, the axis of time, shaded windows, lettering. Elements of SVG with
//! classes; the style sheet says how they look.

use std::fmt::Write;
use std::ops::RangeInclusive;

use maud::{Markup, html};

use super::extent::{Format, Mark, Span, Window};
use super::markup::clock;
use super::paint::Paint;

/// The height of one row of window numbers.
const BADGE_ROW: i32 = 17;
/// The space to the right of the plane, and below it for clock times.
const RIGHT: i32 = 16;
pub(super) const BELOW: i32 = 26;

/// Where values become places in a picture. All places are in units of the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Plane {
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
    /// Seconds from the left to the right edge.
    seconds: f64,
    /// The values at the lower and at the upper edge.
    values: (f64, f64),
}

impl Plane {
    /// The part of a picture of this size that axes and margins leave.
    pub(super) fn new(size: (i32, i32), left: i32, top: i32, span: Span, values: (f64, f64)) -> Plane {
        Plane { left, right: size.0 - RIGHT, top, bottom: size.1 - BELOW, seconds: span.length(), values }
    }

    /// Where seconds since the beginning are.
    pub(super) fn x(&self, seconds: f64) -> i32 {
        place(seconds / self.seconds, self.left, self.right)
    }

    /// Where a value is.
    pub(super) fn y(&self, value: f64) -> i32 {
        let (low, high) = self.values;
        place((value - low) / (high - low), self.bottom, self.top)
    }

    pub(super) fn across(&self) -> RangeInclusive<i32> {
        self.left..=self.right
    }

    /// A grid line across the plane.
    pub(super) fn across_at(&self, y: i32) -> Markup {
        html! { line class="grid" x1=(self.left) y1=(y) x2=(self.right) y2=(y) {} }
    }
}

/// So much of the way between two places.
fn place(share: f64, from: i32, to: i32) -> i32 {
    whole(f64::from(from) + share.clamp(0.0, 1.0) * f64::from(to - from))
}

/// The nearest whole number; the nearest bound of `i32` for what is beyond it, 0 for what is no number.
#[expect(clippy::cast_possible_truncation, reason = "the number is whole and within the bounds of i32")]
pub(super) fn whole(number: f64) -> i32 {
    number.round().clamp(f64::from(i32::MIN), f64::from(i32::MAX)) as i32
}

/// Corners as SVG writes them.
pub(super) fn points(corners: impl Iterator<Item = (i32, i32)>) -> String {
    corners.fold(String::new(), |mut out, (x, y)| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{}{x},{y}", if out.is_empty() { "" } else { " " });
        out
    })
}

/// Shaded windows with their numbers above them.
pub(super) fn shade(plane: &Plane, windows: &[Window], rows: &[usize], span: Span) -> Markup {
    let least = span.length() / 250.0;
    html! {
        @for (window, row) in windows.iter().zip(rows) {
            @let from = plane.x(span.place(window.from));
            // A kill takes no time, but must be seen.
            @let to = plane.x(span.place(window.to).max(span.place(window.from) + least));
            rect class="shade" data-series="window" style=(Paint::Window(window.number).style()) x=(from) y=(plane.top) width=(to - from)
                height=(plane.bottom - plane.top) {}
            // Windows that touch are told apart by their first moments.
            line class="edge" data-series="window" style=(Paint::Window(window.number).style()) x1=(from) y1=(plane.top) x2=(from) y2=(plane.bottom) {}
            text class="number" x=(from) y=(plane.top - 4 - above(*row)) { (window.number) }
        }
    }
}

/// Lines at the moments that are marked, with what happened then.
pub(super) fn marked(plane: &Plane, marks: &[Mark], span: Span) -> Markup {
    html! {
        @for mark in marks.iter().filter(|mark| (span.from..=span.to).contains(&mark.at)) {
            @let x = plane.x(span.place(mark.at));
            line class="mark" x1=(x) y1=(plane.top) x2=(x) y2=(plane.bottom) { title { (mark.words) } }
        }
    }
}

/// How high so many rows of window numbers are.
pub(super) fn above(rows: usize) -> i32 {
    i32::try_from(rows).unwrap_or(0) * BADGE_ROW
}

/// The row above the plane for each window's number: a number never covers another.
pub(super) fn badge_rows(windows: &[Window], span: Span, format: Format) -> Vec<usize> {
    let seconds = 22.0 * span.length() / f64::from(format.width());
    let mut free_from: Vec<f64> = Vec::new();
    let mut rows = Vec::new();
    for window in windows {
        let at = span.place(window.from);
        let row = free_from.iter().position(|free| *free <= at).unwrap_or(free_from.len());
        free_from.resize(free_from.len().max(row + 1), 0.0);
        free_from[row] = at + seconds;
        rows.push(row);
    }
    rows
}

/// Grid lines and clock times below the plane.
pub(super) fn time(plane: &Plane, span: Span, format: Format) -> Markup {
    const STEPS: [f64; 12] =
        [5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0];
    let most = f64::from(format.width()) / 64.0;
    let fits = |step: &f64| span.length() / step <= most;
    let step = STEPS.into_iter().find(fits).unwrap_or(span.length() / 6.0);
    // At round times of the record, wherever the picture begins.
    let passed = span.from - span.zero;
    let first = (passed / step).ceil() * step - passed;
    let ticks = (0..).map(|tick| first + f64::from(tick) * step).take_while(|at| *at <= span.length());
    html! {
        @for at in ticks {
            @let (x, words) = (plane.x(at), clock(passed + at));
            @let half = width_of(&words) / 2;
            line class="grid" x1=(x) y1=(plane.top) x2=(x) y2=(plane.bottom) {}
            // At the edges of the picture it moves inside.
            text class="time" x=(x.clamp(half, format.width() - half)) y=(plane.bottom + 7) { (words) }
        }
    }
}

/// A text in a picture. `class` says which part of it is at the place.
pub(super) fn text(class: &str, paint: Paint, (x, y): (i32, i32), words: &str) -> Markup {
    html! { text class=(class) style=(paint.style()) x=(x) y=(y) { (words) } }
}

/// About how wide a text is, in units of the picture: browsers choose the font.
pub(super) fn width_of(text: &str) -> i32 {
    i32::try_from(text.chars().count()).unwrap_or(i32::MAX / 8) * 13 / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_places_and_stay_inside() {
        let span = Span { from: 100.0, to: 200.0, zero: 100.0 };
        let plane = Plane::new((116, 76), 0, 10, span, (0.0, 10.0));
        assert_eq!([0.0, 50.0, 100.0, 1e18].map(|at| plane.x(at)), [0, 50, 100, 100]);
        assert_eq!([0.0, 2.5, 10.0, -1.0].map(|value| plane.y(value)), [50, 40, 10, 50]);
        assert_eq!([-2.5, 2.4, 1e18, f64::NEG_INFINITY, f64::NAN].map(whole), [-3, 2, i32::MAX, i32::MIN, 0]);
        assert_eq!(points([(1, 2), (3, -4)].into_iter()), "1,2 3,-4");
    }
}
