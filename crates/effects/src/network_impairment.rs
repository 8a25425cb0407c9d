//! `network-impairment`: packets suffer what a bad line does to them, in one netem.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use outcome::{Figures, figures};

use crate::fault::{Perform, Preflight, Started};
use crate::net::{NetworkPlan, Work};
use crate::network_fault::{self, NetworkFault, Shapes, figures_of, plan_of, summary_of};
use crate::network_latency::MOST_JITTER;
use crate::task::Task;
use faults::network_impairment::{Chance, Distribution, Impairment, NetworkImpairment, SPEC};
use faults::network_source::Scope;

impl Perform for NetworkImpairment {
    fn preflight(task: &Task) -> Preflight {
        network_fault::preflight_here::<NetworkImpairment>(task)
    }

    fn start<'a>(&'a self, duration: Duration, task: &'a Task) -> LocalBoxFuture<'a, Started> {
        match self.impairment.check() {
            Ok(()) => Box::pin(network_fault::start_here(self, duration, task)),
            Err(reason) => Box::pin(std::future::ready(Err(reason.to_owned().into()))),
        }
    }
}

impl NetworkFault for NetworkImpairment {
    const NAME: &'static str = SPEC.name;
    const SHAPES: Shapes = Shapes::Both;

    fn summary(&self) -> String {
        summary_of(&parts(&self.impairment).join(", "), &self.scope)
    }

    fn figures(&self) -> Figures {
        figures_of(asked(&self.impairment), &self.scope)
    }

    fn notes(&self) -> Vec<String> {
        let impairment = &self.impairment;
        let mut notes = Vec::new();
        if self.profile != "none" {
            notes.push(format!("values that were not given are those of the profile {}", self.profile));
        }
        if !impairment.jitter.is_zero() && impairment.rate_kilobits == 0 {
            notes.push("jitter reorders packets, which makes TCP slower than the delay alone".into());
        }
        if impairment.jitter > MOST_JITTER {
            notes.push(format!("the kernel limits the jitter to {} ms", MOST_JITTER.as_millis()));
        }
        if !impairment.corrupt.share.is_nothing() {
            notes.push("what is corrupt is dropped by whoever checks its sum: TCP and UDP do".into());
        }
        notes
    }

    fn plan(&self, lasts: Duration) -> NetworkPlan {
        plan_of("impairment", Work::Impair(self.impairment), &self.scope, lasts)
    }

    fn scope(&self) -> Option<&Scope> {
        Some(&self.scope)
    }

    fn scope_mut(&mut self) -> Option<&mut Scope> {
        Some(&mut self.scope)
    }
}

/// What is asked for, each part in a few words.
fn parts(impairment: &Impairment) -> Vec<String> {
    let mut parts = Vec::new();
    let (delay, jitter) = (impairment.delay.as_millis(), impairment.jitter.as_millis());
    if delay + jitter > 0 {
        let spread = match impairment.distribution {
            Distribution::Uniform => String::new(),
            other => format!(" ({other})"),
        };
        let jitter = if jitter > 0 { format!(" ± {jitter} ms{spread}") } else { String::new() };
        parts.push(format!("{delay} ms{jitter}"));
    }
    let bursts = impairment.bursts;
    match bursts.happen() {
        true => parts.push(format!(
            "bursts of losses (begun by {} %, ended by {} %, {} % lost in them, {} % outside)",
            bursts.begins,
            bursts.ends,
            bursts.lost(),
            impairment.loss.share
        )),
        false => parts.extend(share(impairment.loss, "lost")),
    }
    parts.extend(share(impairment.duplicate, "twice"));
    parts.extend(share(impairment.reorder, "reordered"));
    parts.extend(share(impairment.corrupt, "corrupt"));
    if impairment.rate_kilobits > 0 {
        parts.push(format!("{} kbit/s", impairment.rate_kilobits));
    }
    parts
}

fn share(chance: Chance, what: &str) -> Option<String> {
    (!chance.share.is_nothing()).then(|| format!("{} % of the packets {what}", chance.share))
}

/// The same as data: what is not asked for is left out.
fn asked(impairment: &Impairment) -> Figures {
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX) as f64;
    let bursts = impairment.bursts;
    let all = [
        ("delay_ms", milliseconds(impairment.delay)),
        ("jitter_ms", milliseconds(impairment.jitter)),
        ("loss_percent", impairment.loss.share.percent()),
        ("burst_begins_percent", bursts.begins.percent()),
        ("burst_ends_percent", bursts.ends.percent()),
        ("duplicate_percent", impairment.duplicate.share.percent()),
        ("reorder_percent", impairment.reorder.share.percent()),
        ("corrupt_percent", impairment.corrupt.share.percent()),
        ("rate_kilobits", impairment.rate_kilobits as f64),
    ];
    let mut asked = figures([]);
    asked.extend(
        all.into_iter()
            .filter(|(_, value)| *value > 0.0)
            .map(|(name, value)| (name.to_owned(), value.into())),
    );
    asked
}

#[cfg(test)]
mod tests {
    use super::*;
    use faults::{Arguments, Parameters};

    fn fault(given: &[(&str, &str)]) -> NetworkImpairment {
        let mut arguments = Arguments::default();
        for (option, value) in given {
            let parameter = SPEC.parameters.iter().find(|it| it.option == *option).unwrap();
            arguments.give(parameter, parameter.option, *value);
        }
        NetworkImpairment::read(&arguments).unwrap()
    }

    #[test]
    fn what_is_asked_is_said_in_one_line() {
        let wifi = fault(&[("profile", "lossy-wifi"), ("sources", "10.0.0.1")]);
        assert_eq!(
            wifi.summary(),
            "40 ms ± 20 ms (pareto), bursts of losses (begun by 1 %, ended by 25 %, 70 % lost in them, 0.2 % outside), \
             30000 kbit/s to 10.0.0.1"
        );
        let few = fault(&[("duplicate-percent", "0.5"), ("corrupt-percent", "1")]);
        assert_eq!(few.summary(), "0.5 % of the packets twice, 1 % of the packets corrupt to ALL");
        assert_eq!(few.figures()["duplicate_percent"], 0.5);
        assert!(!few.figures().contains_key("delay_ms"));
    }
}
