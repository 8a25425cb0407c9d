//! A network fault by this process itself: starts the effect, looks names up again while it lives, undoes it, and
//! reports what was counted.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;
use outcome::{Achieved, Figures, Touched, figures};

use super::NetworkFault;
use crate::amount::short;
use crate::fault::{
    ActiveFault, Deadline, FaultReport, FaultSummary, Started, Undone, off_thread, start_off_thread,
};
use crate::net::connections;
use crate::net::target::look_up_again;
use crate::net::{Addresses, Counters, Environment, NetError, NetworkEffect, NetworkPlan, Work};
use crate::task::Task;
use crate::task::denied::DeniedTargets;
use faults::network_source::{Protocol, Source};

/// Names are looked up again this often. The C library does not tell how long an answer is good for; AWS's
/// load balancers and regional endpoints say 60 s and less.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(15);

/// Why a fault may have touched nothing.
const UNTOUCHED: &str = "no packet matched: there was no such traffic on these interfaces, or it takes another way (a \
                         proxy of the task, the loopback interface, another interface, the other IP version)";
/// Why packets that matched may not have been delayed or lost.
const UNSHAPED: &str = "packets that matched did not come to the fault's queue: a later rule or a newer fault sent them \
                        elsewhere (a proxy of the task), gave them another priority or dropped them";
/// What a kernel without the expression `queue` makes of a black hole.
const TOLD: &str = "this kernel has no nft_queue, so a program that sends a datagram is told that it was dropped (EPERM), as \
                    under a firewall";
/// An end that is so late comes after the kernel's.
const OVERDUE: Duration = Duration::from_secs(2);
/// Packets that may be on their way from the rule to the queue while both are counted.
const ON_THEIR_WAY: u64 = 8;

/// Where the fault takes place, as far as the task is known.
pub(crate) fn environment(task: &Task) -> Environment {
    Environment {
        state_dir: task.state_dir().to_owned(),
        exempt: task.lifelines.clone(),
        control_hosts: task.ecs_agent.control_hosts.clone(),
        denied: task.denied.clone(),
    }
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
            plan: fault.plan(duration),
            figures: fault.figures(),
            duration,
        }
    }
}

struct ActiveByNetlink {
    asked: Asked,
    since: Instant,
    /// When it was to end, as heartbeats have moved that.
    ends: Rc<Cell<Instant>>,
    effect: NetworkEffect,
    denied: DeniedTargets,
}

/// Starts the fault.
pub(super) async fn start<F: NetworkFault>(fault: &F, duration: Duration, task: &Task) -> Started {
    let asked = Asked::of(fault, duration);
    let effect = begin(&asked.plan, environment(task)).await?;
    let since = Instant::now();
    let (ends, denied) = (Rc::new(Cell::new(since + duration)), task.denied.clone());
    Ok(Box::new(ActiveByNetlink { asked, since, ends, effect, denied }))
}

impl ActiveFault for ActiveByNetlink {
    fn started(&self) -> String {
        let (asked, effect) = (&self.asked, &self.effect);
        let text = format!("{}: {} on {}", asked.name, asked.summary, effect.interfaces().join(", "));
        match effect.unreached() {
            Some(unreached) => format!("{text}; not reached: {unreached}"),
            None => text,
        }
    }

    fn completed(&mut self) -> LocalBoxFuture<'_, ()> {
        Box::pin(follow_names(&mut self.effect, &self.asked.plan.sources, &self.denied))
    }

    fn deadline(&self) -> Option<Deadline> {
        deadline(&self.effect, &self.ends)
    }

    fn finish(self: Box<Self>) -> LocalBoxFuture<'static, FaultReport> {
        let ActiveByNetlink { mut asked, since, ends, mut effect, .. } = *self;
        asked.notes.extend(ended_by_kernel(ends.get() - since, since.elapsed()));
        // At once, and here. What has been delayed already goes its way, which takes as long as the delay; and while
        // another fault is being installed, queueing disciplines wait for that.
        effect.release();
        off_thread(move || undo(&asked, effect))
    }
}

/// What moves the end at which the kernel ends the effect, and `ends` with it.
pub(crate) fn deadline(effect: &NetworkEffect, ends: &Rc<Cell<Instant>>) -> Option<Deadline> {
    let (deadline, ends) = (effect.deadline()?, Rc::clone(ends));
    Some(Box::new(move |lasts| match deadline.set(lasts) {
        Ok(()) => ends.set(Instant::now() + lasts),
        Err(error) => {
            tracing::warn!(%error, "cannot move the end of the fault; the kernel ends it when it was to end before");
        }
    }))
}

/// What is to be said where the kernel ended a fault that lived longer than it should.
pub(crate) fn ended_by_kernel(duration: Duration, lived: Duration) -> Option<String> {
    (lived > duration + OVERDUE).then(|| {
        let seconds = short(duration.as_secs_f64());
        format!("the kernel ended the fault after {seconds} s, because this process stood still")
    })
}

/// Undoes the effect and reports.
fn undo(asked: &Asked, effect: NetworkEffect) -> FaultReport {
    let (interfaces, limit) = (effect.interfaces().join(", "), effect.queue_limit());
    let tells = effect.tells_senders() && matches!(asked.plan.port, Some((Protocol::Udp, _)));
    let (unreached, is_target) = (effect.unreached().map(str::to_owned), effect.target_test());
    let done = match effect.leaves_roots() {
        true => "rules and queues removed; an inert root queueing discipline stays until the sidecar ends",
        false => "rules removed, queueing disciplines as before",
    };
    let (counters, undone) = effect.undo();
    let explain = || connections::explain(is_target);
    let counted = Counted { asked, interfaces, limit, unreached, tells, counters };
    FaultReport {
        summary: Some(counted.summary(explain)),
        undone: match undone {
            Ok(()) => Undone::Done(done),
            Err(_) => Undone::Failed,
        },
        failure: undone.err().map(|error| error.to_string()),
    }
}

/// Looks names up on a thread that may wait for DNS, and only then goes to the kernel: a start that is given up while
/// DNS hangs never gets there.
async fn begin(plan: &NetworkPlan, environment: Environment) -> Result<NetworkEffect, NetError> {
    let addresses = look_up(plan, &environment).await?;
    let plan = plan.clone();
    start_off_thread(move || NetworkEffect::install(&plan, addresses, &environment)).await
}

/// Looks the plan's names up on a thread that may wait for DNS.
pub(crate) async fn look_up(plan: &NetworkPlan, environment: &Environment) -> Result<Addresses, NetError> {
    let (plan, environment) = (plan.clone(), environment.clone());
    match tokio::task::spawn_blocking(move || Addresses::look_up(&plan, &environment)).await {
        Ok(addresses) => addresses,
        Err(broken) => std::panic::resume_unwind(broken.into_panic()),
    }
}

/// Adds what the names among the sources come to stand for, for as long as the fault lives.
pub(crate) async fn follow_names(effect: &mut NetworkEffect, sources: &[Source], denied: &DeniedTargets) {
    let names: Vec<Source> =
        sources.iter().filter(|source| matches!(source, Source::Name(_))).cloned().collect();
    if names.is_empty() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(LOOK_UP_AGAIN).await;
        let (again, denied) = (names.clone(), denied.clone());
        let found: Vec<IpAddr> =
            tokio::task::spawn_blocking(move || look_up_again(&again, &denied)).await.unwrap_or_default();
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
    unreached: Option<String>,
    /// Whether whoever sends a packet that is lost gets an error.
    tells: bool,
    counters: Counters,
}

impl Counted<'_> {
    /// `explain` tells of the connections to the targets; asked only where something was not touched.
    fn summary(&self, explain: impl FnOnce() -> String) -> FaultSummary {
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
        let touched = self.touched();
        let mut summary = FaultSummary { text, asked, achieved, matched, touched, ..FaultSummary::default() };
        // What was not touched matters most, and the last notes are left out first.
        if let Some(unreached) = &self.unreached {
            summary.note(format!("not reached: {unreached}"));
        }
        match touched {
            Some(Touched::Nothing) if matched == Some(0) => {
                summary.note(format!("{UNTOUCHED}; {}", explain()))
            }
            Some(Touched::Nothing | Touched::Part) => summary.note(format!("{UNSHAPED}; {}", explain())),
            Some(Touched::All) | None => {}
        }
        if self.tells {
            summary.note(TOLD);
        }
        for note in &self.asked.notes {
            summary.note(note);
        }
        summary
    }

    fn touched(&self) -> Option<Touched> {
        let matched = self.counters.matched?;
        Some(match self.unshaped() {
            _ if matched == 0 => Touched::Nothing,
            0 => Touched::All,
            unshaped if unshaped == matched => Touched::Nothing,
            _ => Touched::Part,
        })
    }

    /// How many of the packets that matched did not come to a queue of the fault, at least: one that is counted once
    /// by the rule may be many to the queue.
    fn unshaped(&self) -> u64 {
        match (self.counters.matched, self.counters.shaped) {
            (Some(matched), Some(0)) => matched,
            // The queue's numbers have 32 bits.
            (Some(matched), Some(shaped)) if matched <= u32::MAX.into() => {
                Some(matched.saturating_sub(shaped)).filter(|few| *few > ON_THEIR_WAY).unwrap_or(0)
            }
            _ => 0,
        }
    }

    fn figures(&self) -> Figures {
        let mut figures = self.lost();
        if let unshaped @ 1.. = self.unshaped() {
            figures.insert("unshaped_packets".to_owned(), unshaped.into());
        }
        figures
    }

    fn lost(&self) -> Figures {
        let lost = match (self.asked.plan.work, self.counters.dropped) {
            (_, Some(dropped)) => Some(dropped + self.counters.cut),
            // What rules drop is counted there.
            (Work::Lose { .. } | Work::Reset(_) | Work::Discard, None) if self.limit.is_none() => {
                self.counters.matched
            }
            (_, None) => None,
        };
        lost.map(|lost| figures([("lost_packets", lost.into())])).unwrap_or_default()
    }

    fn achieved(&self) -> String {
        let achieved = self.achieved_while_it_lived();
        match (self.asked.plan.work, self.counters.cut) {
            (Work::Delay { .. } | Work::Impair(_), cut @ 1..) => {
                format!("{achieved}; {cut} packets that still waited at the end were lost")
            }
            _ => achieved,
        }
    }

    fn achieved_while_it_lived(&self) -> String {
        let Some(matched) = self.counters.matched else { return "the counters could not be read".into() };
        if matched == 0 {
            return "the fault touched no packet".into();
        }
        let done = match self.asked.plan.work {
            Work::Delay { .. } => "delayed",
            Work::Impair(_) => "brought to the queue that impairs them",
            Work::ToPort(_) => "redirected",
            Work::Lose { .. } | Work::Reset(_) | Work::Discard => "brought to the queue that loses them",
        };
        let packets = match self.unshaped() {
            0 => format!("{matched} packets matched"),
            unshaped if unshaped == matched => {
                return format!(
                    "{matched} packets matched, none of them was {done}: the fault touched no packet"
                );
            }
            unshaped => format!("{matched} packets matched, at least {unshaped} of them not {done}"),
        };
        let share = |dropped: u64| 100.0 * dropped as f64 / matched as f64;
        match (self.asked.plan.work, self.counters.dropped) {
            (Work::Delay { .. }, Some(0)) if self.unshaped() == 0 => {
                format!("{packets}, all of them delayed")
            }
            (Work::Delay { .. }, Some(0)) => packets,
            (Work::Delay { .. }, Some(dropped)) => format!(
                "{packets}; {dropped} of them dropped, because the queue of {} packets was full",
                self.limit.unwrap_or_default()
            ),
            (Work::Impair(_), Some(0)) => format!("{packets}, none of them dropped"),
            (Work::Impair(_), Some(dropped)) => format!(
                "{packets}, {dropped} of them lost ({:.1} %), which includes what found the queue of {} packets full",
                share(dropped),
                self.limit.unwrap_or_default()
            ),
            (Work::Lose { .. }, Some(dropped)) => {
                format!("{packets}, {dropped} of them lost ({:.1} %)", share(dropped))
            }
            (Work::Reset(_), _) => format!("{matched} packets answered with a reset"),
            // What comes in is counted where it is dropped.
            (Work::Lose { .. } | Work::Discard, _) if self.limit.is_none() => {
                format!("{matched} packets lost")
            }
            _ => {
                format!("{packets}; what became of them cannot be told: another program took the queue away")
            }
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

    fn told(fault: &impl NetworkFault, counters: Counters) -> FaultSummary {
        told_with(fault, counters.shaped.map(|_| 1_000), counters)
    }

    /// The same where the queue's limit does not follow from what was counted.
    fn told_with(fault: &impl NetworkFault, limit: Option<u32>, counters: Counters) -> FaultSummary {
        let asked = Asked { name: "network-x", ..Asked::of(fault, Duration::from_secs(60)) };
        let effect = Counted {
            asked: &asked,
            interfaces: "eth0".into(),
            limit,
            unreached: None,
            tells: false,
            counters,
        };
        effect.summary(|| "no connection".into())
    }

    fn summary(fault: &impl NetworkFault, counters: Counters) -> String {
        told(fault, counters).text
    }

    /// Of a fault with a queue.
    fn shaped(matched: u64, shaped: u64, dropped: u64) -> Counters {
        Counters { matched: Some(matched), shaped: Some(shaped), dropped: Some(dropped), cut: 0 }
    }

    fn scope(sources: &str, direction: &str, flows: u64) -> Scope {
        Scope::new(sources, direction, "DEFAULT", flows).unwrap()
    }

    #[test]
    fn a_latency_says_what_was_asked_and_what_was_counted() {
        let scope = scope("10.0.0.0/8,db.example.com", "egress", 30);
        let latency = NetworkLatency::new(200, 10, scope).unwrap();
        let counters = shaped(12, 12, 0);
        assert_eq!(
            summary(&latency, counters),
            "network-x: asked 200 ms ± 10 ms to 10.0.0.0/8, db.example.com, for 30 % of the flows on eth0 \
             for 60 s\nachieved: 12 packets matched, all of them delayed\n\
             note: jitter reorders packets, which makes TCP slower than the delay alone\n"
        );
        let full = shaped(12, 30, 2);
        assert!(summary(&latency, full).contains("2 of them dropped, because the queue of 1000 packets"));
    }

    #[test]
    fn what_the_kernel_ended_is_said() {
        let seconds = Duration::from_secs;
        assert_eq!(ended_by_kernel(seconds(20), seconds(21)), None);
        let said = ended_by_kernel(seconds(20), seconds(47)).unwrap();
        assert!(said.starts_with("the kernel ended the fault after 20 s"), "{said}");
    }

    #[test]
    fn packets_that_are_cut_off_at_the_end_are_lost() {
        let latency = NetworkLatency::new(9_000, 0, scope("ALL", "egress", 100)).unwrap();
        let told = told(&latency, Counters { cut: 3, ..shaped(12, 12, 0) });
        assert!(
            told.text.contains("12 packets matched, all of them delayed; 3 packets that still waited"),
            "{}",
            told.text
        );
        assert_eq!(told.achieved.figures["lost_packets"], 3);
    }

    #[test]
    fn a_fault_that_touched_nothing_says_so() {
        let latency = NetworkLatency::new(200, 0, scope("127.255.0.2", "egress", 100)).unwrap();
        let told = told(&latency, shaped(0, 0, 0));
        assert_eq!(told.touched, Some(Touched::Nothing));
        let text = told.text;
        assert!(text.contains("asked 200 ms to 127.255.0.2 on eth0"), "{text}");
        assert!(text.contains("achieved: the fault touched no packet\nnote: no packet matched: "), "{text}");
        assert!(!text.contains("delayed") && !text.contains("jitter"), "{text}");
        assert!(text.contains("the other IP version); no connection\n"), "{text}");
    }

    #[test]
    fn what_matched_and_was_not_shaped_is_counted_apart() {
        let latency = NetworkLatency::new(200, 0, scope("10.0.0.1", "egress", 100)).unwrap();
        for (counters, touched, unshaped, words) in [
            (shaped(100, 100, 0), Touched::All, None, "all of them delayed"),
            // Large sends are many packets to the queue; a few may be on their way.
            (shaped(100, 4_000, 0), Touched::All, None, "all of them delayed"),
            (shaped(100, 95, 0), Touched::All, None, "all of them delayed"),
            (shaped(100, 60, 0), Touched::Part, Some(40), "matched, at least 40 of them not delayed\nnote: "),
            (
                shaped(3, 0, 0),
                Touched::Nothing,
                Some(3),
                "none of them was delayed: the fault touched no packet",
            ),
        ] {
            let told = told(&latency, counters);
            assert_eq!(told.touched, Some(touched), "{counters:?}");
            let figure = told.achieved.figures.get("unshaped_packets").and_then(serde_json::Value::as_u64);
            assert_eq!(figure, unshaped, "{counters:?}");
            assert!(told.text.contains(words), "{}", told.text);
            assert_eq!(told.text.contains(UNSHAPED), unshaped.is_some(), "{}", told.text);
        }
    }

    #[test]
    fn a_queue_that_another_program_took_away_is_said() {
        let latency = NetworkLatency::new(200, 0, scope("10.0.0.1", "egress", 100)).unwrap();
        let counters = Counters { matched: Some(5), ..Counters::default() };
        let text = told_with(&latency, Some(1_000), counters).text;
        assert!(text.contains("5 packets matched; what became of them cannot be told"), "{text}");
    }

    #[test]
    fn what_the_kernel_makes_of_a_jitter_is_told() {
        let of = |jitter| {
            let latency = NetworkLatency::new(3_000, jitter, scope("ALL", "egress", 100)).unwrap();
            summary(&latency, shaped(1, 1, 0))
        };
        assert!(of(10).contains("note: jitter reorders packets") && !of(2_147).contains("the kernel limits"));
        assert!(of(2_148).contains("note: the kernel limits the jitter to 2147 ms"), "{}", of(2_148));
    }

    #[test]
    fn losses_are_counted_where_they_happen() {
        let loss = NetworkPacketLoss::new(7, scope("ALL", "egress", 100)).unwrap();
        let counters = shaped(1_000, 1_000, 71);
        assert!(summary(&loss, counters).contains("71 of them lost (7.1 %)"));
        let hole = NetworkBlackholePort::new(443, "tcp", "ingress").unwrap();
        let counters = Counters { matched: Some(9), ..Counters::default() };
        let text = summary(&hole, counters);
        assert!(text.contains("come in for tcp port 443 on") && text.contains("9 packets lost"), "{text}");
    }
}
