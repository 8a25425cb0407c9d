//! What a part hands over: rows of figures, ours beside a peer's, as lines of JSON.

use std::io::Write;

use serde::{Deserialize, Serialize};

/// Which figures are the better ones.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Better {
    Less,
    More,
    /// The nearer to this, the better.
    Near(f64),
}

/// Which figure of many an aim is about.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Statistic {
    /// With [`Better::Near`] this and the next are how far it is from what was asked.
    Median,
    P99,
    /// The farthest from what was asked ([`Better::Near`]), else the worst of all.
    Worst,
}

/// What design and issue want of our figure. Reported, never enforced.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Aim {
    pub of: Statistic,
    /// At most this; at least this where more is better.
    pub limit: f64,
}

/// The figures of one program.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub who: String,
    /// In the order in which they were measured.
    pub values: Vec<f64>,
    /// Instead of figures, or beside them: "still there after 1 s". Where figures are quoted, from where.
    pub said: String,
    /// Not measured here.
    pub quoted: bool,
}

/// One thing that was measured: ours first, then the peers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub part: String,
    pub case: String,
    pub unit: String,
    pub better: Better,
    pub entries: Vec<Entry>,
    pub aim: Option<Aim>,
    pub note: String,
}

/// The name of our entries.
pub(crate) const OURS: &str = "taskfault";

/// How the words about an effect begin that did not end.
pub(crate) const STILL_THERE: &str = "still there";
/// How the words begin about what did not come.
pub(crate) const NEVER: &str = "never";

impl Row {
    pub(crate) fn new(part: &str, case: impl Into<String>, unit: &str, better: Better) -> Row {
        Row {
            part: part.to_owned(),
            case: case.into(),
            unit: unit.to_owned(),
            better,
            entries: Vec::new(),
            aim: None,
            note: String::new(),
        }
    }

    pub(crate) fn ours(self, values: Vec<f64>) -> Row {
        self.peer(OURS, values)
    }

    pub(crate) fn peer(mut self, who: &str, values: Vec<f64>) -> Row {
        // Six digits say more than any of these measurements knows.
        let values = values.into_iter().map(rounded).collect();
        self.entries.push(Entry { who: who.to_owned(), values, said: String::new(), quoted: false });
        self
    }

    /// An entry in words.
    pub(crate) fn said(mut self, who: &str, said: impl Into<String>) -> Row {
        let entry = Entry { who: who.to_owned(), values: Vec::new(), said: said.into(), quoted: false };
        self.entries.push(entry);
        self
    }

    /// Words beside the figures of the last entry.
    pub(crate) fn words(mut self, words: impl Into<String>) -> Row {
        if let Some(entry) = self.entries.last_mut() {
            entry.said = words.into();
        }
        self
    }

    /// A figure that was measured elsewhere, with its source.
    pub(crate) fn quoted(mut self, who: &str, value: f64, source: &str) -> Row {
        let entry = Entry { who: who.to_owned(), values: vec![value], said: source.to_owned(), quoted: true };
        self.entries.push(entry);
        self
    }

    pub(crate) fn aim(mut self, of: Statistic, limit: f64) -> Row {
        self.aim = Some(Aim { of, limit });
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Row {
        self.note = note.into();
        self
    }

    /// Hands it over to the program that called this part.
    pub(crate) fn emit(self) {
        let mut out = std::io::stdout().lock();
        let line = serde_json::to_string(&self).unwrap();
        writeln!(out, "{line}").unwrap();
        out.flush().unwrap();
    }

    /// Whether our figure is what is wanted; None where nothing is wanted, or nothing was measured.
    pub(crate) fn met(&self) -> Option<bool> {
        let aim = self.aim?;
        let ours = self.entries.iter().find(|entry| entry.who == OURS)?;
        // What did not come to its end has no figure; it is a miss all the same.
        if [STILL_THERE, NEVER].iter().any(|words| ours.said.starts_with(words)) {
            return Some(false);
        }
        let value = ours.statistic(aim.of, self.better)?;
        Some(if self.better == Better::More { value >= aim.limit } else { value <= aim.limit })
    }

    /// How many times better ours is than the peer with the best figure: their medians, or their farthest
    /// from what was asked.
    pub(crate) fn ratio(&self) -> Option<(f64, &str)> {
        let of = if matches!(self.better, Better::Near(_)) { Statistic::Worst } else { Statistic::Median };
        let ours = self.entries.iter().find(|entry| entry.who == OURS)?.statistic(of, self.better)?;
        let peers = self.entries.iter().filter(|entry| entry.who != OURS);
        let ratios = peers.filter_map(|peer| {
            let theirs = peer.statistic(of, self.better)?;
            let ratio = if self.better == Better::More { ours / theirs } else { theirs / ours };
            (ratio.is_finite() && ratio > 0.0).then_some((ratio, peer.who.as_str()))
        });
        ratios.min_by(|a, b| a.0.total_cmp(&b.0))
    }
}

impl Entry {
    pub(crate) fn median(&self) -> Option<f64> {
        let sorted = self.sorted();
        let last = sorted.len().checked_sub(1)?;
        Some((sorted[last / 2] + sorted[last.div_ceil(2)]) / 2.0)
    }

    /// The value that 99 % of them do not exceed.
    pub(crate) fn p99(&self) -> Option<f64> {
        let sorted = self.sorted();
        let rank = (sorted.len() * 99).div_ceil(100);
        sorted.get(rank.checked_sub(1)?).copied()
    }

    pub(crate) fn extremes(&self) -> Option<(f64, f64)> {
        let sorted = self.sorted();
        Some((*sorted.first()?, *sorted.last()?))
    }

    pub(crate) fn statistic(&self, of: Statistic, better: Better) -> Option<f64> {
        let (low, high) = self.extremes()?;
        match (of, better) {
            (Statistic::Median, Better::Near(asked)) => self.median().map(|median| (median - asked).abs()),
            (Statistic::P99, Better::Near(asked)) => self.p99().map(|p99| (p99 - asked).abs()),
            (Statistic::Median, _) => self.median(),
            (Statistic::P99, _) => self.p99(),
            (Statistic::Worst, Better::Less) => Some(high),
            (Statistic::Worst, Better::More) => Some(low),
            (Statistic::Worst, Better::Near(asked)) => Some((low - asked).abs().max((high - asked).abs())),
        }
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}
