//! What a fault did, as data: one line of JSON at the end of its output, behind the lines for people.
//!
//! Whoever performs a fault writes it, the report of an experiment reads it. An output without such a line (of
//! another agent, of a script) tells nothing of a fault, and nothing is guessed.
//!
//! ```json
//! {"taskfault":1,"fault":"cpu-stress",
//!  "asked":{"text":"80 % of 1 CPU for 4 s (1 thread, 80.0 % of a core each)","seconds":4.0,"percent":80,"threads":1},
//!  "achieved":{"text":"mean 79.9 %, 1 s windows 79.8 to 80.0 %","per_second":[79.8,80.0,80.0,79.8],
//!              "seconds_each":1,"mean_percent":79.9},
//!  "ending":"completed","lived_seconds":4.0,"undone":true}
//! ```

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the line. A member may be added under the same number; none is taken away.
pub const FORMAT: u32 = 1;

/// Most bytes of a fault's whole output, so that it fits the 2,500 characters that ListCommandInvocations gives.
pub const MOST_BYTES: usize = 2_200;

/// Most bytes of one text in the line; a longer one is cut.
const MOST_TEXT: usize = 400;
/// The same where there is no room.
const MOST_TEXT_AT_LAST: usize = 80;

/// Figures of one kind of fault, by name: a number with its unit in the name (`mean_percent`, `written_bytes`), or a
/// word.
pub type Figures = serde_json::Map<String, Value>;

/// What a fault did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// [`FORMAT`]. The member's name tells the line from other JSON.
    #[serde(rename = "taskfault")]
    pub format: u32,
    /// As FIS has it: `cpu-stress`.
    pub fault: String,
    /// What it should have been.
    pub asked: Asked,
    /// What it was.
    pub achieved: Achieved,
    /// What the fault took effect on, where that is counted: packets that its rules matched, or processes that its
    /// signal was sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matched: Option<u64>,
    /// Whether it took effect at all, where that is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub touched: Option<Touched>,
    /// Whether it had its whole duration.
    pub ending: Ending,
    /// How long it was active.
    pub lived_seconds: f64,
    /// Whether nothing of it is left. None where there is nothing to undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone: Option<bool>,
    /// What else is worth knowing, in words. The last ones are left out where there is no room.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// In words.
    pub text: String,
    /// How long the fault was to be active.
    pub seconds: f64,
    /// The parameters of the fault as numbers; members of the same JSON object as the rest.
    #[serde(flatten)]
    pub figures: Figures,
}

/// What was achieved, as it was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Achieved {
    /// In words.
    pub text: String,
    /// The fault's main figure second by second; empty where it has none. A long fault has the mean of
    /// [`Achieved::seconds_each`] seconds in each of at most about sixty values, so that the line stays short.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per_second: Vec<f64>,
    /// The seconds that one of these values stands for; the last may stand for fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_each: Option<u64>,
    /// What was measured, by name; members of the same JSON object as the rest.
    #[serde(flatten)]
    pub figures: Figures,
}

/// Of what a fault was for, how much it took effect on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Touched {
    /// Nothing: no packet matched, or none that matched was delayed or lost. A note has the likely reason.
    Nothing,
    /// A part of what matched; a note says why not all of it.
    Part,
    /// All that matched.
    All,
}

/// How a fault ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// It lived for its whole duration, or was done before.
    #[default]
    Completed,
    /// It was cancelled and is undone.
    Cancelled,
    /// It could not be started, did not live as it should, or could not be undone; the error output says which.
    Failed,
}

impl Ending {
    /// As the line has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Ending::Completed => "completed",
            Ending::Cancelled => "cancelled",
            Ending::Failed => "failed",
        }
    }
}

/// `value` with so many decimals at most: what a figure in the line is worth.
pub fn rounded(value: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    (value * scale).round() / scale
}

/// Figures by their names.
pub fn figures<const N: usize>(all: [(&str, Value); N]) -> Figures {
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

impl Outcome {
    /// The last line of `output` that is one.
    pub fn read(output: &str) -> Option<Outcome> {
        let objects = output.lines().rev().filter(|line| line.starts_with('{'));
        objects.filter_map(|line| serde_json::from_str::<Outcome>(line).ok()).find(|it| it.format == FORMAT)
    }

    /// The line, with its end, in at most `room` bytes: texts are cut to 400 bytes, then notes are left out from the
    /// last on, then seconds are put together, then texts are cut to 80 bytes. What is left is the smallest line there
    /// is, whatever the room.
    pub fn line(&self, room: usize) -> String {
        let mut outcome = self.clone();
        for text in
            [&mut outcome.asked.text, &mut outcome.achieved.text].into_iter().chain(&mut outcome.notes)
        {
            shorten(text, MOST_TEXT);
        }
        loop {
            // Numbers and texts only, so there is always a line.
            let line = serde_json::to_string(&outcome).unwrap_or_default() + "\n";
            if line.len() <= room || !outcome.leave_out() {
                return line;
            }
        }
    }

    /// Leaves out the least important part; whether there was one.
    fn leave_out(&mut self) -> bool {
        if self.notes.pop().is_some() {
            return true;
        }
        let values = &mut self.achieved.per_second;
        if values.is_empty() {
            let texts = [&mut self.asked.text, &mut self.achieved.text];
            return texts.map(|text| shorten(text, MOST_TEXT_AT_LAST)).contains(&true);
        }
        if values.len() == 1 {
            values.clear();
            self.achieved.seconds_each = None;
            return true;
        }
        let mean = |pair: &[f64]| rounded(pair.iter().sum::<f64>() / pair.len() as f64, 1);
        *values = values.chunks(2).map(mean).collect();
        self.achieved.seconds_each = self.achieved.seconds_each.map(|seconds| 2 * seconds);
        true
    }

    /// How it ended, in one line: `cancelled after 10.0 s of 12 s; undone`.
    pub fn end(&self) -> String {
        let undone = match self.undone {
            Some(true) => "; undone",
            Some(false) => "; not undone",
            None => "",
        };
        let (ending, lived) = (self.ending.as_str(), self.lived_seconds);
        format!("{ending} after {lived:.1} s of {} s{undone}", self.asked.seconds)
    }
}

/// Cuts a text that is longer than `most` bytes, at a character, to that many at most; whether it was.
fn shorten(text: &mut String, most: usize) -> bool {
    let too_long = text.len() > most;
    if too_long {
        text.truncate(text.floor_char_boundary(most - '…'.len_utf8()));
        text.push('…');
    }
    too_long
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        Outcome {
            format: FORMAT,
            fault: "cpu-stress".into(),
            asked: Asked {
                text: "80 % of 1 CPU for 4 s".into(),
                seconds: 4.0,
                figures: figures([("percent", 80.into())]),
            },
            achieved: Achieved {
                text: "mean 79.9 %".into(),
                per_second: vec![79.8, 80.0, 80.0, 79.6],
                seconds_each: Some(1),
                figures: figures([("mean_percent", 79.9.into())]),
            },
            matched: None,
            touched: None,
            ending: Ending::Completed,
            lived_seconds: 4.0,
            undone: Some(true),
            notes: vec!["one".into(), "two".into()],
        }
    }

    #[test]
    fn the_line_reads_like_this() {
        assert_eq!(
            outcome().line(MOST_BYTES),
            "{\"taskfault\":1,\"fault\":\"cpu-stress\",\"asked\":{\"text\":\"80 % of 1 CPU for 4 s\",\
             \"seconds\":4.0,\"percent\":80},\"achieved\":{\"text\":\"mean 79.9 %\",\
             \"per_second\":[79.8,80.0,80.0,79.6],\"seconds_each\":1,\"mean_percent\":79.9},\
             \"ending\":\"completed\",\"lived_seconds\":4.0,\"undone\":true,\"notes\":[\"one\",\"two\"]}\n"
        );
    }

    #[test]
    fn that_a_fault_touched_nothing_is_a_member_of_its_own() {
        let nothing = Outcome { matched: Some(0), touched: Some(Touched::Nothing), ..outcome() };
        let line = nothing.line(MOST_BYTES);
        assert!(line.contains("\"matched\":0,\"touched\":\"nothing\",\"ending\":\"completed\""), "{line}");
        assert_eq!(Outcome::read(&line), Some(nothing));
    }

    #[test]
    fn what_was_written_is_read_wherever_it_stands() {
        let line = outcome().line(MOST_BYTES);
        for output in
            [line.clone(), format!("{{\"a\":1}}\nfor people\n{line}"), format!("{line}\nremark of the step")]
        {
            assert_eq!(Outcome::read(&output), Some(outcome()), "{output}");
        }
        let later = line.replacen("{\"taskfault\":1,", "{\"taskfault\":1,\"new\":[1],", 1);
        assert_eq!(Outcome::read(&later), Some(outcome()), "a member of a later version");
    }

    #[test]
    fn nothing_is_guessed() {
        let other = outcome().line(MOST_BYTES).replacen("\"taskfault\":1", "\"taskfault\":2", 1);
        for output in
            ["", "cpu-stress: asked 80 %\nachieved: mean 79.9 %\n", "{}", "{\"taskfault\":1}", &other]
        {
            assert_eq!(Outcome::read(output), None, "{output}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_loses_notes_then_seconds() {
        let (whole, room) = (outcome(), outcome().line(MOST_BYTES).len());
        let read = |room| Outcome::read(&whole.line(room)).unwrap();
        assert_eq!(read(room).notes.len(), 2);
        assert_eq!(
            (read(room - 1).notes, read(room - 1).achieved.per_second.len()),
            (vec!["one".to_owned()], 4)
        );
        let without = Outcome { notes: Vec::new(), ..whole.clone() }.line(MOST_BYTES).len();
        let halved = read(without - 1).achieved;
        assert_eq!((halved.per_second, halved.seconds_each), (vec![79.9, 79.8], Some(2)));
        assert_eq!(read(0).achieved.per_second, Vec::<f64>::new());
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let mut long = outcome();
        long.asked.text = "ä".repeat(300);
        let text = Outcome::read(&long.line(MOST_BYTES)).unwrap().asked.text;
        assert_eq!(text, "ä".repeat(198) + "…");
        assert_eq!(Outcome::read(&long.line(0)).unwrap().asked.text, "ä".repeat(38) + "…");
    }

    #[test]
    fn the_end_is_said_in_one_line() {
        assert_eq!(outcome().end(), "completed after 4.0 s of 4 s; undone");
        let kill = Outcome { undone: None, ending: Ending::Failed, ..outcome() };
        assert_eq!(kill.end(), "failed after 4.0 s of 4 s");
    }
}
