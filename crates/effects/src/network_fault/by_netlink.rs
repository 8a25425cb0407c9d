//! A network fault by this process itself: starts the effect, looks names up again while it lives, undoes it, and
//! reports what was counted.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use outcome::{Achieved, Figures, figures};

use super::NetworkFault;
use crate::amount::short;
use crate::fault::{ActiveFault, FaultReport, FaultSummary, Started, Undone};
use crate::net::target::look_up_again;
use crate::net::{Counters, Environment, NetError, NetworkEffect, NetworkPlan, Work};
use crate::task::Task;
use faults::network_source::Source;

/// Names are looked up again this often. The C library does not tell how long an answer is good for; AWS's
/// load balancers and regional endpoints say 60 s and less.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(15);

/// Why a fault may have touched nothing.
const UNTOUCHED: &str = "no packet matched: there was no such traffic on these interfaces, or it takes another way (a \
                         proxy of the task, the loopback interface, another interface, the other IP version)";

/// Where the fault takes place, as far as the task is known.
fn environment(task: &Task) -> Environment {
    Environment { state_dir: task.state_dir().to_owned(), exempt: task.lifelines.clone() }
}

/// What was asked for, as the effect takes it and as text.
struct Asked {
    name: &'static str,
    summary: String,
    notes: Vec<String>,
    plan: NetworkPlan,
    figures: Figures,
    duration: Duration,
}

impl Asked {
    fn of<F: NetworkFault>(fault: &F, duration: Duration) -> Asked {
        Asked {
            name: F::NAME,
            summary: fault.summary(),
            notes: fault.notes(),
            plan: fault.plan(),
            figures: fault.figures(),
            duration,
        }
    }
}

struct ActiveByNetlink {
    asked: Asked,
    effect: NetworkEffect,
}

/// Starts the fault.
pub(super) async fn start<F: NetworkFault>(fault: &F, duration: Duration, task: &Task) -> Started {
    let asked = Asked::of(fault, duration);
    let effect = begin(&asked.plan, environment(task)).await?;
    Ok(Box::new(ActiveByNetlink { asked, effect }))
}

impl ActiveFault for ActiveByNetlink {
    fn started(&self) -> String {
        format!("{}: {} on {}", self.asked.name, self.asked.summary, self.effect.interfaces().join(", "))
    }

    fn completed(&mut self) -> LocalBoxFuture<'_, ()> {
        Box::pin(follow_names(&mut self.effect, &self.asked.plan.sources))
    }

    fn finish(self: Box<Self>) -> LocalBoxFuture<'static, FaultReport> {
        let ActiveByNetlink { asked, effect } = *self;
        let (interfaces, limit) = (effect.interfaces().join(", "), effect.queue_limit());
        let (counters, undone) = effect.undo();
        let effect = Counted { asked: &asked, interfaces, limit, counters };
        let report = FaultReport {
            summary: Some(effect.summary()),
            undone: match undone {
                Ok(()) => Undone::Done("rules removed, queueing disciplines as before"),
                Err(_) => Undone::Failed,
            },
            failure: undone.err().map(|error| error.to_string()),
        };
        Box::pin(std::future::ready(report))
    }
}

/// Starts the effect on a thread that may wait for DNS.
async fn begin(plan: &NetworkPlan, environment: Environment) -> Result<NetworkEffect, NetError> {
    let plan = plan.clone();
    let starting = tokio::task::spawn_blocking(move || NetworkEffect::start(&plan, &environment));
    match starting.await {
        Ok(outcome) => outcome,
        Err(broken) => std::panic::resume_unwind(broken.into_panic()),
    }
}

/// Adds what the names among the sources come to stand for, for as long as the fault lives.
async fn follow_names(effect: &mut NetworkEffect, sources: &[Source]) {
    let names: Vec<Source> =
        sources.iter().filter(|source| matches!(source, Source::Name(_))).cloned().collect();
    if names.is_empty() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(LOOK_UP_AGAIN).await;
        let again = names.clone();
        let found: Vec<IpAddr> =
            tokio::task::spawn_blocking(move || look_up_again(&again)).await.unwrap_or_default();
        match effect.extend(&found) {
            Ok(0) => {}
            Ok(added) => tracing::info!(added, "names stand for more addresses now"),
            Err(error) => tracing::warn!(%error, "cannot add addresses to the fault"),
        }
    }
}

/// All that the report is made of.
struct Counted<'a> {
    asked: &'a Asked,
    interfaces: String,
    limit: Option<u32>,
    counters: Counters,
}

impl Counted<'_> {
    fn summary(&self) -> FaultSummary {
        let Asked { name, summary, duration, figures, .. } = self.asked;
        let seconds = duration.as_secs_f64();
        let asked = outcome::Asked {
            text: format!("{summary} on {} for {} s", self.interfaces, short(seconds)),
            seconds,
            figures: figures.clone(),
        };
        let achieved = Achieved { text: self.achieved(), figures: self.figures(), ..Achieved::default() };
        let text = format!("{name}: asked {}\nachieved: {}\n", asked.text, achieved.text);
        let matched = self.counters.matched;
        let mut summary = FaultSummary { text, asked, achieved, matched, ..FaultSummary::default() };
        for note in &self.asked.notes {
            summary.note(note);
        }
        if matched == Some(0) {
            summary.note(UNTOUCHED);
        }
        summary
    }

    fn figures(&self) -> Figures {
        let lost = match (self.asked.plan.work, self.counters.dropped) {
            (_, Some(dropped)) => Some(dropped),
            // What comes in is counted where it is dropped.
            (Work::Lose { .. }, None) => self.counters.matched,
            (Work::Delay { .. }, None) => None,
        };
        lost.map(|lost| figures([("lost_packets", lost.into())])).unwrap_or_default()
    }

    fn achieved(&self) -> String {
        let Some(matched) = self.counters.matched else { return "the counters could not be read".into() };
        if matched == 0 {
            return "the fault touched no packet".into();
        }
        let packets = format!("{matched} packets matched");
        let share = |dropped: u64| 100.0 * dropped as f64 / matched as f64;
        match (self.asked.plan.work, self.counters.dropped) {
            (Work::Delay { .. }, Some(0)) => format!("{packets}, all of them delayed"),
            (Work::Delay { .. }, Some(dropped)) => format!(
                "{packets}; {dropped} of them dropped, because the queue of {} packets was full",
                self.limit.unwrap_or_default()
            ),
            (Work::Lose { .. }, Some(dropped)) => {
                format!("{packets}, {dropped} of them lost ({:.1} %)", share(dropped))
            }
            // What comes in is counted where it is dropped.
            (Work::Lose { .. }, None) => format!("{matched} packets lost"),
            (Work::Delay { .. }, None) => packets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use faults::network_blackhole_port::NetworkBlackholePort;
    use faults::network_latency::NetworkLatency;
    use faults::network_packet_loss::NetworkPacketLoss;
    use faults::network_source::Scope;

    fn summary(fault: &impl NetworkFault, counters: Counters) -> String {
        let asked = Asked { name: "network-x", ..Asked::of(fault, Duration::from_secs(60)) };
        Counted { asked: &asked, interfaces: "eth0".into(), limit: Some(1_000), counters }.summary().text
    }

    fn scope(sources: &str, direction: &str, flows: u64) -> Scope {
        Scope::new(sources, direction, "DEFAULT", flows).unwrap()
    }

    #[test]
    fn a_latency_says_what_was_asked_and_what_was_counted() {
        let scope = scope("10.0.0.0/8,db.example.com", "egress", 30);
        let latency = NetworkLatency::new(200, 10, scope).unwrap();
        let counters = Counters { matched: Some(12), dropped: Some(0) };
        assert_eq!(
            summary(&latency, counters),
            "network-x: asked 200 ms ± 10 ms to 10.0.0.0/8, db.example.com, for 30 % of the flows on eth0 \
             for 60 s\nachieved: 12 packets matched, all of them delayed\n\
             note: jitter reorders packets, which makes TCP slower than the delay alone\n"
        );
        let full = Counters { matched: Some(12), dropped: Some(2) };
        assert!(summary(&latency, full).contains("2 of them dropped, because the queue of 1000 packets"));
    }

    #[test]
    fn a_fault_that_touched_nothing_says_so() {
        let latency = NetworkLatency::new(200, 0, scope("127.255.0.2", "egress", 100)).unwrap();
        let text = summary(&latency, Counters { matched: Some(0), dropped: Some(0) });
        assert!(text.contains("asked 200 ms to 127.255.0.2 on eth0"), "{text}");
        assert!(text.contains("achieved: the fault touched no packet\nnote: no packet matched: "), "{text}");
        assert!(!text.contains("delayed") && !text.contains("jitter"), "{text}");
    }

    #[test]
    fn what_the_kernel_makes_of_a_jitter_is_told() {
        let of = |jitter| {
            let latency = NetworkLatency::new(3_000, jitter, scope("ALL", "egress", 100)).unwrap();
            summary(&latency, Counters { matched: Some(1), dropped: Some(0) })
        };
        assert!(of(10).contains("note: jitter reorders packets") && !of(2_147).contains("the kernel limits"));
        assert!(of(2_148).contains("note: the kernel limits the jitter to 2147 ms"), "{}", of(2_148));
    }

    #[test]
    fn losses_are_counted_where_they_happen() {
        let loss = NetworkPacketLoss::new(7, scope("ALL", "egress", 100)).unwrap();
        let counters = Counters { matched: Some(1_000), dropped: Some(71) };
        assert!(summary(&loss, counters).contains("71 of them lost (7.1 %)"));
        let hole = NetworkBlackholePort::new(443, "tcp", "ingress").unwrap();
        let counters = Counters { matched: Some(9), dropped: None };
        let text = summary(&hole, counters);
        assert!(text.contains("come in for tcp port 443 on") && text.contains("9 packets lost"), "{text}");
    }
}
