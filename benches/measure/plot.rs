//! The plot: how many times better ours is than the best peer, one bar for each comparison.

use std::path::Path;

use plotters::prelude::*;

use crate::figures::Row;
use crate::table::number;

const WIDTH: u32 = 1100;
const ROW: u32 = 20;
const HEAD: u32 = 70;
/// Where the bars begin and end, in pixels.
const BARS: (i32, i32) = (520, 960);
const GOOD: RGBColor = RGBColor(46, 125, 50);
const BAD: RGBColor = RGBColor(198, 40, 40);
/// How strong a bar is whose peer was not measured here.
const QUOTED: f64 = 0.45;

/// Draws all rows that have a peer with figures into an SVG file.
pub(crate) fn draw(path: &Path, rows: &[Row], machine: &str) {
    let compared: Vec<(&Row, f64, &str)> =
        rows.iter().filter_map(|row| row.ratio().map(|(ratio, peer)| (row, ratio, peer))).collect();
    let height = HEAD + ROW * u32::try_from(compared.len()).unwrap() + 20;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE).unwrap();
    let text = |words: String, at: (i32, i32), size: i32| {
        area.draw(&Text::new(words, at, ("sans-serif", size).into_font())).unwrap();
    };
    text(
        "taskfault: how many times better than the best peer (medians; log scale; pale: the peer's figure is quoted)"
            .into(),
        (10, 8),
        18,
    );
    text(machine.to_owned(), (10, 32), 12);
    // Whole decades, "as good" among them.
    let logs = || compared.iter().map(|(_, ratio, _)| ratio.log10());
    let (low, high) = (logs().fold(0.0, f64::min).floor(), logs().fold(1.0, f64::max).ceil());
    let place = |ratio: f64| {
        let share = (ratio.log10() - low) / (high - low);
        BARS.0 + whole(share * f64::from(BARS.1 - BARS.0))
    };
    for decade in whole(low)..=whole(high) {
        let x = place(10_f64.powi(decade));
        let line = [(x, HEAD.cast_signed() - 6), (x, height.cast_signed() - 14)];
        let colour = if decade == 0 { BLACK.mix(1.0) } else { BLACK.mix(0.15) };
        area.draw(&PathElement::new(line, colour)).unwrap();
        text(format!("{}×", 10_f64.powi(decade)), (x - 8, HEAD.cast_signed() - 20), 11);
    }
    for (index, (row, ratio, peer)) in compared.iter().enumerate() {
        let top = (HEAD + ROW * u32::try_from(index).unwrap()).cast_signed();
        let (one, end) = (place(1.0), place(*ratio));
        let quoted = row.entries.iter().any(|entry| entry.quoted && entry.who == *peer);
        let strength = if quoted { QUOTED } else { 1.0 };
        let colour = if *ratio >= 1.0 { GOOD } else { BAD }.mix(strength);
        let bar = [(one.min(end), top + 3), (one.max(end).max(one + 1), top + 15)];
        area.draw(&Rectangle::new(bar, colour.filled())).unwrap();
        text(format!("{}: {} ({})", row.part, row.case, row.unit), (10, top + 3), 12);
        text(format!("{}× {peer}", number(*ratio)), (BARS.1 + 8, top + 3), 11);
    }
    area.present().unwrap();
}

/// A number of pixels or decades.
fn whole(number: f64) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "a picture has some thousand pixels at most")]
    let whole = number as i32;
    whole
}
