//! A chart over the time of the record: grid, shaded windows, lines and areas. Drawn by plotters.

use plotters::element::{PathElement, Polygon};
use plotters::prelude::{ChartBuilder, Color, IntoDrawingArea, SVGBackend};

use super::axis::{self, Area, BADGE_ROW, Drawn, Lettering, Plane};
use super::paint::{Paint, painted};

/// A picture's width in its own units, and what fits into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A screen or a page of paper.
    Wide,
    /// A phone.
    Narrow,
}

impl Format {
    pub(super) fn width(self) -> u32 {
        match self {
            Format::Wide => 960,
            Format::Narrow => 380,
        }
    }

    /// Both, with the class that shows each on its screen.
    pub(super) const ALL: [(Format, &str); 2] = [(Format::Wide, "wide"), (Format::Narrow, "narrow")];
}

/// The time that a picture shows, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Span {
    pub from: f64,
    pub to: f64,
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

/// The time of an action, to be shaded.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Window {
    /// Stands above it, and in the legend.
    pub number: usize,
    pub from: f64,
    pub to: f64,
}

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
                let decades = least.log10().floor() as i32..=most.log10().ceil() as i32;
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
    /// The width of the stroke.
    Line(u32),
    /// Steps filled down to the lower edge of each.
    Steps,
}

/// One thing that is drawn over time. `points` are (moment, lower edge, value); a pause longer than a few
/// seconds breaks a line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    pub paint: Paint,
    pub shape: Shape,
    pub points: Vec<(f64, f64, f64)>,
    /// How long one point lasts, in seconds.
    pub width: f64,
}

/// A picture to draw.
pub(super) struct Chart<'a> {
    pub span: Span,
    pub windows: &'a [Window],
    pub scale: Scale,
    pub label: fn(f64) -> String,
    pub series: &'a [Series],
}

impl Chart<'_> {
    /// The SVG element, with CSS variables for colours.
    pub(super) fn draw(&self, format: Format) -> Drawn<String> {
        let mut svg = String::new();
        {
            let height = if format == Format::Wide { 280 } else { 240 };
            let area = SVGBackend::with_string(&mut svg, (format.width(), height)).into_drawing_area();
            let rows = axis::badge_rows(self.windows, self.span, format);
            let top = BADGE_ROW * i32::try_from(rows.iter().max().map_or(0, |row| row + 1))? + 6;
            let (low, high) = self.scale.range();
            let mut plane = ChartBuilder::on(&area)
                .margin_right(16)
                .margin_top(top)
                .x_label_area_size(26)
                .y_label_area_size(54)
                .build_cartesian_2d(0.0..self.span.length(), low..high)?;
            axis::shade(&mut plane, &area, self.windows, &rows, self.span)?;
            axis::time(&mut plane, &area, self.span, format)?;
            self.value_axis(&mut plane, &area)?;
            for series in self.series {
                self.draw_series(&mut plane, series)?;
            }
            area.present()?;
        }
        Ok(painted(&svg))
    }

    fn value_axis(&self, plane: &mut Plane, area: &Area) -> Drawn<()> {
        for tick in self.scale.ticks() {
            let at = self.scale.place(tick);
            let line = vec![(0.0, at), (self.span.length(), at)];
            plane.draw_series([PathElement::new(line, Paint::Grid.marker().stroke_width(1))])?;
            let (x, y) = plane.backend_coord(&(0.0, at));
            Lettering::VALUE.write(area, &(self.label)(tick), (x - 7, y))?;
        }
        Ok(())
    }

    fn draw_series(&self, plane: &mut Plane, series: &Series) -> Drawn<()> {
        for run in runs(&series.points, series.width) {
            let colour = series.paint.marker();
            let place = |at: f64, value: f64| (self.span.place(at), self.scale.place(value));
            match series.shape {
                Shape::Line(width) => {
                    let middle = series.width / 2.0;
                    let points: Vec<_> =
                        run.iter().map(|(at, _, value)| place(at + middle, *value)).collect();
                    plane.draw_series([PathElement::new(points, colour.stroke_width(width))])?;
                }
                Shape::Steps => {
                    let upper = run
                        .iter()
                        .flat_map(|(at, _, value)| [place(*at, *value), place(at + series.width, *value)]);
                    let lower = run
                        .iter()
                        .rev()
                        .flat_map(|(at, low, _)| [place(at + series.width, *low), place(*at, *low)]);
                    let outline: Vec<_> = upper.chain(lower).collect();
                    plane.draw_series([Polygon::new(outline, colour.filled())])?;
                }
            }
        }
        Ok(())
    }
}

/// Parts of a series without a pause between them.
fn runs(points: &[(f64, f64, f64)], width: f64) -> impl Iterator<Item = &[(f64, f64, f64)]> {
    points.chunk_by(move |one, next| next.0 - one.0 < 3.0 * width)
}
