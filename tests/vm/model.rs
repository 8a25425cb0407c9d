//! What the kernel must have, given the faults that live: a model of its own, not the code under test.

use std::collections::BTreeSet;

/// The faults that live, in the order of their start.
#[derive(Debug, Default)]
pub(crate) struct Model {
    live: Vec<Fault>,
}

#[derive(Debug)]
struct Fault {
    number: u64,
    /// Its place among the effects, and its band if it is shaped.
    effect: i32,
    band: Option<u32>,
    words: &'static str,
}

impl Fault {
    fn word(&self, at: usize) -> &'static str {
        self.words.split(' ').nth(at).unwrap()
    }

    fn is_arriving(&self) -> bool {
        is_ingress(self.words) && self.word(0) == "delay"
    }

    /// The links on which it has a netem.
    fn shaped_links(&self) -> Vec<&'static str> {
        match (self.band, self.is_arriving(), self.word(0), self.word(3)) {
            (None, ..) => Vec::new(),
            (_, true, ..) => vec!["taskfault-in"],
            (_, _, _, "ALL") => vec!["eth0", "eth1"],
            (_, _, _, list) => list.split(',').collect(),
        }
    }

    /// `struct tc_netem_qopt` as far as it is known here: delay in ticks of 64 ns, and loss as a share of 2³².
    fn netem(&self) -> (u32, u32) {
        let value: u32 = self.word(1).parse().unwrap();
        let share = || u32::try_from((u64::from(value) * u64::from(u32::MAX) + 50) / 100).unwrap();
        match self.word(0) {
            "delay" => (value * 15_625, 0),
            _ => (0, share()),
        }
    }
}

fn is_ingress(words: &str) -> bool {
    words.contains(" ingress ")
}

impl Model {
    pub(crate) fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether no more can be shaped.
    pub(crate) fn has_no_band(&self) -> bool {
        self.live.iter().filter(|fault| fault.band.is_some()).count() == 13
    }

    pub(crate) fn add(&mut self, number: u64, words: &'static str) {
        let effect = self.live.iter().map(|fault| fault.effect).max().unwrap_or(0) + 1;
        let shaped = words.starts_with("delay") || (words.starts_with("loss") && !is_ingress(words));
        let is_free = |band: &u32| !self.live.iter().any(|fault| fault.band == Some(*band));
        let band = if shaped { (4..=16).find(is_free) } else { None };
        self.live.push(Fault { number, effect, band, words });
    }

    /// Ends one of those that live; gives its number.
    pub(crate) fn end(&mut self, at: usize) -> u64 {
        self.live.remove(at).number
    }

    /// Tables, chains, prio roots, netems and the ifb, in the words of [`Model::of_ours`].
    pub(crate) fn expected(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut say = |words: String| {
            all.insert(words);
        };
        if !self.is_empty() {
            say("table 1 taskfault".into());
        }
        for fault in &self.live {
            let name = format!("play_{}", fault.effect);
            if fault.is_arriving() {
                let table = format!("taskfault_{name}");
                say(format!("table 5 {table}"));
                say(format!("chain 5 {table} {name}_own 1 0"));
                say(format!("chain 5 {table} {name}_meant 0 0"));
                say(format!("chain 5 {table} {name} 0 {}", -fault.effect));
                say("link taskfault-in".into());
            } else {
                let hook = if is_ingress(fault.words) { 1 } else { 3 };
                say(format!("chain 1 taskfault {name}_meant 0 0"));
                say(format!("chain 1 taskfault {name} {hook} {}", fault.effect - 150));
            }
            let (delay, loss) = fault.netem();
            for link in fault.shaped_links() {
                let band = fault.band.unwrap();
                let (handle, parent) = (0x7f17_0000 + (band << 16), 0x7f17_0000 + band);
                say(format!("qdisc {link} prio 7f170000 ffffffff"));
                say(format!("qdisc {link} netem {handle:x} {parent:x} {delay} {loss}"));
            }
        }
        all
    }

    /// The same of what the kernel says it has; all else is compared as a whole when nothing lives.
    pub(crate) fn of_ours(state: &str) -> BTreeSet<String> {
        let ours = |entry: &str| {
            let words: Vec<&str> = entry.split(' ').collect();
            match words[..] {
                ["table" | "chain", ..] => Some(entry.to_owned()),
                ["link", "taskfault-in", ..] => Some("link taskfault-in".into()),
                ["qdisc", link, "prio", handle, parent, ..] => {
                    Some(format!("qdisc {link} prio {handle} {parent}"))
                }
                ["qdisc", link, "netem", handle, parent, options] => {
                    let number = |at: usize| {
                        let bytes: Vec<u8> = (0..4)
                            .map(|byte| {
                                let from = 2 * (at * 4 + byte);
                                u8::from_str_radix(&options[from..from + 2], 16).unwrap()
                            })
                            .collect();
                        u32::from_ne_bytes(bytes.try_into().unwrap())
                    };
                    Some(format!("qdisc {link} netem {handle} {parent} {} {}", number(0), number(2)))
                }
                _ => None,
            }
        };
        state.split("; ").filter_map(ours).collect()
    }
}
