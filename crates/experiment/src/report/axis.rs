//! What the pictures have in common: the axis of time, shaded windows, lettering.

use std::error::Error;

use plotters::chart::ChartContext;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::element::{PathElement, Rectangle};
use plotters::prelude::{Cartesian2d, Color, DrawingArea, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontDesc, FontFamily, FontStyle, TextStyle};

use super::chart::{Format, Span, Window};
use super::markup::clock;
use super::paint::Paint;

/// What plotters may say. It draws into a text in memory, which gives it no cause.
pub(super) type Drawn<T> = Result<T, Box<dyn Error>>;
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type Plane<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// The height of one row of window numbers.
pub(super) const BADGE_ROW: i32 = 17;

/// Shades the windows and writes their numbers above them.
pub(super) fn shade(
    plane: &mut Plane,
    area: &Area,
    windows: &[Window],
    rows: &[usize],
    span: Span,
) -> Drawn<()> {
    let (bottom, top) = (plane.y_range().start, plane.y_range().end);
    for (window, row) in windows.iter().zip(rows) {
        let (from, to) = (span.place(window.from), span.place(window.to));
        // A kill takes no time, but must be seen.
        let to = to.max(from + span.length() / 250.0).min(span.length());
        let corners = [(from, top), (to, bottom)];
        plane.draw_series([Rectangle::new(corners, Paint::Window.marker().mix(0.22).filled())])?;
        // Windows that touch are told apart by their first moments.
        let edge = PathElement::new(vec![(from, top), (from, bottom)], Paint::Window.marker().mix(0.7));
        plane.draw_series([edge])?;
        let (x, y) = plane.backend_coord(&(from, top));
        let above = 3 + BADGE_ROW * i32::try_from(*row)?;
        Lettering::BADGE.write(area, &window.number.to_string(), (x, y - above))?;
    }
    Ok(())
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
pub(super) fn time(plane: &mut Plane, area: &Area, span: Span, format: Format) -> Drawn<()> {
    const STEPS: [f64; 12] =
        [5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0];
    let most = f64::from(format.width()) / 64.0;
    let fits = |step: &f64| span.length() / step <= most;
    let step = STEPS.into_iter().find(fits).unwrap_or(span.length() / 6.0);
    let (bottom, top) = (plane.y_range().start, plane.y_range().end);
    let mut at = 0.0;
    while at <= span.length() {
        let line = vec![(at, bottom), (at, top)];
        plane.draw_series([PathElement::new(line, Paint::Grid.marker().stroke_width(1))])?;
        let (x, y) = plane.backend_coord(&(at, bottom));
        let (words, half) = (clock(at), width_of(&clock(at)) / 2);
        // At the edges of the picture it moves inside.
        let x = x.clamp(half, i32::try_from(format.width())? - half);
        Lettering::TIME.write(area, &words, (x, y + 7))?;
        at += step;
    }
    Ok(())
}

/// How a text stands.
#[derive(Clone, Copy)]
pub(super) struct Lettering {
    pub bold: bool,
    pub paint: Paint,
    pub h: HPos,
    pub v: VPos,
}

impl Lettering {
    pub(super) const VALUE: Lettering =
        Lettering { bold: false, paint: Paint::Muted, h: HPos::Right, v: VPos::Center };
    const TIME: Lettering = Lettering { bold: false, paint: Paint::Muted, h: HPos::Center, v: VPos::Top };
    const BADGE: Lettering = Lettering { bold: true, paint: Paint::Ink, h: HPos::Left, v: VPos::Bottom };
    /// The name of a row.
    pub(super) const NAME: Lettering =
        Lettering { bold: false, paint: Paint::Ink, h: HPos::Left, v: VPos::Center };

    /// Writes a text at a place in pixels.
    pub(super) fn write(self, area: &Area, text: &str, at: (i32, i32)) -> Drawn<()> {
        let style = if self.bold { FontStyle::Bold } else { FontStyle::Normal };
        // The backend divides by 1.24.
        let font = FontDesc::new(FontFamily::SansSerif, f64::from(PIXELS) * 1.24, style);
        let color = self.paint.marker().to_backend_color();
        area.draw_text(text, &TextStyle { font, color, pos: Pos::new(self.h, self.v) }, at)?;
        Ok(())
    }
}

/// The size of all lettering, in units of the picture. Both formats are shown at about their own size.
const PIXELS: u32 = 12;

/// About how wide a text is, in units of the picture: browsers choose the font.
pub(super) fn width_of(text: &str) -> i32 {
    i32::try_from(text.chars().count()).unwrap_or(i32::MAX / 8) * 13 / 2
}
