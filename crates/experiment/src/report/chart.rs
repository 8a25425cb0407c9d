//! A chart over the time of the record: grid, shaded windows, lines and areas.

use maud::{Markup, html};

use super::axis::{self, Plane};
use super::extent::{Format, Mark, Span, Window};
use super::figure::Picture;
use super::markup::clock;
use super::paint::Paint;

/// How the vertical axis runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scale {
    /// From 0 to the value.
    Linear(f64),
    /// Between two values above 0.
    Logarithmic(f64, f64),
}

impl Scale {
    /// One that shows all of `values`: from 0, unless a few of them would press the others flat.
    pub(super) fn for_times(values: impl Iterator<Item = f64>) -> Scale {
        let mut all: Vec<f64> = values.filter(|value| *value > 0.0).collect();
        all.sort_by(f64::total_cmp);
        match (all.first(), all.get(all.len() / 2), all.last()) {
            (Some(least), Some(middle), Some(most)) if *most > 8.0 * middle => {
                Scale::Logarithmic(least * 0.8, most * 1.25)
            }
            (_, _, Some(most)) => Scale::Linear(most * 1.1),
            _ => Scale::Linear(1.0),
        }
    }

    fn range(self) -> (f64, f64) {
        match self {
            Scale::Linear(top) => (0.0, top),
            Scale::Logarithmic(least, most) => (least.log10(), most.log10()),
        }
    }

    fn place(self, value: f64) -> f64 {
        match self {
            Scale::Linear(top) => value.clamp(0.0, top),
            Scale::Logarithmic(least, most) => value.clamp(least, most).log10(),
        }
    }

    fn ticks(self) -> Vec<f64> {
        match self {
            Scale::Linear(top) => {
                let step = round_step(top, 4.0);
                (0..).map(|n| f64::from(n) * step).take_while(|tick| *tick <= top * 1.0001).collect()
            }
            Scale::Logarithmic(least, most) => {
                let decades = axis::whole(least.log10().floor())..=axis::whole(most.log10().ceil());
                let marks: &[f64] = if most / least > 100.0 { &[1.0, 3.0] } else { &[1.0, 2.0, 5.0] };
                let all = decades.flat_map(|decade| marks.iter().map(move |mark| mark * 10f64.powi(decade)));
                all.filter(|tick| (least..=most).contains(tick)).collect()
            }
        }
    }
}

/// A step of 1, 2 or 5 times a power of ten that divides `top` into about `parts`.
fn round_step(top: f64, parts: f64) -> f64 {
    let raw = top / parts;
    let power = 10f64.powf(raw.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= raw).unwrap_or(10.0);
    factor * power
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Line,
    /// Steps filled down to the lower edge of each; each says how high it is.
    Steps,
    /// The same; each says where it begins and where it ends.
    Band,
}

/// One thing that is drawn over time. `points` are (moment, lower edge, value); a pause longer than a few
/// seconds breaks a line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    pub name: String,
    pub paint: Paint,
    pub shape: Shape,
    pub points: Vec<(f64, f64, f64)>,
    /// How long one point lasts, in seconds.
    pub width: f64,
}

/// A line through points.
pub(super) fn line(paint: Paint, width: f64, points: impl Iterator<Item = (f64, f64, f64)>) -> Series {
    Series { name: paint.name().into_owned(), paint, shape: Shape::Line, points: points.collect(), width }
}

/// Steps, each from its lower edge to its value.
pub(super) fn steps(paint: Paint, width: f64, points: impl Iterator<Item = (f64, f64, f64)>) -> Series {
    Series { name: paint.name().into_owned(), paint, shape: Shape::Steps, points: points.collect(), width }
}

/// A value without a unit.
pub(super) fn plain(value: f64) -> String {
    format!("{value}")
}

/// A height with a meaning of its own.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Level {
    pub value: f64,
    pub name: String,
}

/// A picture to draw.
pub(super) struct Chart<'a> {
    pub span: Span,
    pub windows: &'a [Window],
    pub marks: &'a [Mark],
    pub scale: Scale,
    pub label: fn(f64) -> String,
    pub series: &'a [Series],
    pub levels: &'a [Level],
}

impl Chart<'_> {
    pub(super) fn draw(&self, format: Format) -> Picture {
        let size = (format.width(), if format == Format::Wide { 280 } else { 240 });
        let rows = axis::badge_rows(self.windows, self.span, format);
        let top = axis::above(rows.iter().max().map_or(0, |row| row + 1)) + 6;
        let plane = Plane::new(size, 54, top, self.span, self.scale.range());
        let content = html! {
            (axis::shade(&plane, self.windows, &rows, self.span))
            (axis::time(&plane, self.span, format))
            (axis::marked(&plane, self.marks, self.span))
            (self.value_axis(&plane))
            @for level in self.levels { (self.level(&plane, level)) }
            @for series in self.series { (self.drawn(&plane, series)) }
        };
        Picture { size, content, values: self.values(&plane) }
    }

    /// What all series say at each of their moments.
    fn values(&self, plane: &Plane) -> Vec<(i32, String)> {
        let mut moments: Vec<(f64, f64)> =
            self.series.iter().flat_map(|it| it.points.iter().map(|point| (point.0, it.width))).collect();
        moments.sort_by(|one, other| one.0.total_cmp(&other.0));
        // Those of one second are told together, whenever in it each was measured.
        moments.dedup_by(|next, one| next.0 - one.0 < one.1 / 2.0);
        let words = |(at, width): (f64, f64)| {
            let near = |point: &&(f64, f64, f64)| (point.0 - at).abs() < width / 2.0;
            let told = self.series.iter().filter_map(|series| {
                let (_, low, value) = series.points.iter().find(near)?;
                let value = match series.shape {
                    Shape::Line => (self.label)(*value),
                    Shape::Steps => (self.label)(value - low),
                    Shape::Band => format!("{} to {}", (self.label)(*low), (self.label)(*value)),
                };
                Some(format!("\n{}: {value}", series.name))
            });
            let middle = at + width / 2.0;
            let text = clock(at - self.span.zero) + &told.collect::<String>();
            (plane.x(self.span.place(middle)), text)
        };
        moments.into_iter().map(words).collect()
    }

    fn value_axis(&self, plane: &Plane) -> Markup {
        html! {
            @for tick in self.scale.ticks() {
                @let y = plane.y(self.scale.place(tick));
                (plane.across_at(y))
                (axis::text("before", Paint::Muted, (plane.x(0.0) - 7, y), &(self.label)(tick)))
            }
        }
    }

    fn level(&self, plane: &Plane, level: &Level) -> Markup {
        let (across, y) = (plane.across(), plane.y(self.scale.place(level.value)));
        html! {
            line class="line limit" data-series=(Paint::Limit.name()) style=(Paint::Limit.style())
                x1=(across.start()) x2=(across.end()) y1=(y) y2=(y) { title { (level.name) } }
        }
    }

    fn drawn(&self, plane: &Plane, series: &Series) -> Markup {
        let place = |at: f64, value: f64| (plane.x(self.span.place(at)), plane.y(self.scale.place(value)));
        let (width, name, style) = (series.width, series.paint.name(), series.paint.style());
        html! {
            @for run in runs(&series.points, width) {
                @match series.shape {
                    Shape::Line => {
                        @let line = run.iter().map(|(at, _, value)| place(at + width / 2.0, *value));
                        polyline class="line" data-series=(name) style=(style) points=(axis::points(line)) {}
                    }
                    Shape::Steps | Shape::Band => {
                        @let upper = run
                            .iter()
                            .flat_map(|(at, _, value)| [place(*at, *value), place(at + width, *value)]);
                        @let lower = run
                            .iter()
                            .rev()
                            .flat_map(|(at, low, _)| [place(at + width, *low), place(*at, *low)]);
                        polygon class="area" data-series=(name) style=(style)
                            points=(axis::points(upper.chain(lower))) {}
                    }
                }
            }
        }
    }
}

/// Parts of a series without a pause between them.
fn runs(points: &[(f64, f64, f64)], width: f64) -> impl Iterator<Item = &[(f64, f64, f64)]> {
    points.chunk_by(move |one, next| next.0 - one.0 < 3.0 * width)
}
