//! Holds a network fault: starts the effect, looks names up again while it lives, undoes it, and says what
//! was counted.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use super::{FaultReport, Live, short};
use effects::net::target::look_up_again;
use effects::net::{Counters, Environment, NetError, NetworkEffect, NetworkPlan, Work};
use effects::task::Task;
use faults::network_blackhole_port::NetworkBlackholePort;
use faults::network_latency::NetworkLatency;
use faults::network_packet_loss::NetworkPacketLoss;
use faults::network_source::{Direction, Scope, Source};

/// Names are looked up again this often. The C library does not tell how long an answer is good for; AWS's
/// load balancers and regional endpoints say 60 s and less.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(15);

/// Where the fault takes place, as far as the task is known.
fn environment(task: &Task) -> Environment {
    let state_dir = task.state_dir.clone().unwrap_or_else(|| crate::config::DEFAULT_STATE_DIR.into());
    Environment { state_dir, exempt: task.lifelines.clone() }
}

/// A network fault as the effect wants it, and in words.
#[derive(Debug)]
pub(super) struct Asked {
    plan: NetworkPlan,
    words: String,
}

impl Asked {
    pub(super) fn latency(latency: &NetworkLatency) -> Asked {
        let (delay, jitter) = (latency.delay, latency.jitter);
        let words = format!("{} ms, give or take {} ms,", delay.as_millis(), jitter.as_millis());
        Asked::of("latency", Work::Delay { delay, jitter }, &latency.scope, words)
    }

    pub(super) fn packet_loss(loss: &NetworkPacketLoss) -> Asked {
        let words = format!("{} % of the packets lost", loss.percent);
        Asked::of("loss", Work::Lose { percent: loss.percent }, &loss.scope, words)
    }

    fn of(name: &'static str, work: Work, scope: &Scope, mut words: String) -> Asked {
        let way = match scope.direction {
            Direction::Egress => "to",
            Direction::Ingress => "from",
        };
        let _ = write!(words, " {way} {}", list(&scope.sources));
        if scope.flows_percent < 100 {
            let _ = write!(words, ", for {} % of the flows", scope.flows_percent);
        }
        let plan = NetworkPlan {
            name,
            work,
            direction: scope.direction,
            interfaces: Some(scope.interfaces.clone()),
            sources: scope.sources.clone(),
            port: None,
            flows_percent: scope.flows_percent,
        };
        Asked { plan, words }
    }

    pub(super) fn blackhole_port(hole: &NetworkBlackholePort) -> Asked {
        let where_to = match hole.direction {
            Direction::Egress => "that leave for",
            Direction::Ingress => "that come in for",
        };
        let words = format!("all packets lost {where_to} {} port {}", hole.protocol, hole.port);
        let plan = NetworkPlan {
            name: "blackhole",
            work: Work::Lose { percent: 100 },
            direction: hole.direction,
            // As a firewall rule would: between the containers of the task too, over loopback.
            interfaces: None,
            sources: vec![Source::All],
            port: Some((hole.protocol, hole.port)),
            flows_percent: 100,
        };
        Asked { plan, words }
    }
}

/// The sources in one line that stays short.
fn list(sources: &[Source]) -> String {
    const SHOWN: usize = 10;
    let mut words: Vec<String> = sources.iter().take(SHOWN).map(ToString::to_string).collect();
    if sources.len() > SHOWN {
        words.push(format!("and {} more", sources.len() - SHOWN));
    }
    words.join(", ")
}

struct LiveNetwork {
    name: &'static str,
    asked: Asked,
    duration: Duration,
    effect: NetworkEffect,
}

/// Starts the fault that `asked` describes.
pub(super) async fn start(
    name: &'static str,
    asked: Asked,
    duration: Duration,
    task: &Task,
) -> Result<Box<dyn Live>, String> {
    let effect = begin(&asked.plan, environment(task)).await.map_err(|error| error.to_string())?;
    Ok(Box::new(LiveNetwork { name, asked, duration, effect }))
}

impl Live for LiveNetwork {
    fn started(&self) -> String {
        format!("{}: {} on {}", self.name, self.asked.words, self.effect.interfaces().join(", "))
    }

    fn over(&mut self) -> LocalBoxFuture<'_, ()> {
        Box::pin(follow_names(&mut self.effect, &self.asked.plan.sources))
    }

    fn finish(self: Box<Self>) -> LocalBoxFuture<'static, FaultReport> {
        let LiveNetwork { name, asked, duration, effect } = *self;
        let (interfaces, limit) = (effect.interfaces().join(", "), effect.queue_limit());
        let (counters, undone) = effect.undo();
        let story = Story { name, asked: &asked, duration, interfaces, limit, counters };
        let report = FaultReport {
            text: story.tell(),
            undone: undone.is_ok().then(|| "rules removed, queueing disciplines as before".into()),
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
struct Story<'a> {
    name: &'a str,
    asked: &'a Asked,
    duration: Duration,
    interfaces: String,
    limit: Option<u32>,
    counters: Counters,
}

impl Story<'_> {
    fn tell(&self) -> String {
        let seconds = short(self.duration.as_secs_f64());
        let mut text =
            format!("{}: asked {} on {} for {seconds} s\n", self.name, self.asked.words, self.interfaces);
        let _ = writeln!(text, "achieved: {}", self.achieved());
        text
    }

    fn achieved(&self) -> String {
        let Some(matched) = self.counters.matched else { return "the counters could not be read".into() };
        let packets = format!("{matched} packets matched");
        let share = |dropped: u64| 100.0 * dropped as f64 / matched.max(1) as f64;
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

    fn story(asked: &Asked, counters: Counters) -> String {
        let (interfaces, limit, duration) = ("eth0".into(), Some(1_000), Duration::from_secs(60));
        Story { name: "network-x", asked, duration, interfaces, limit, counters }.tell()
    }

    fn scope(sources: &str, direction: &str, flows: u64) -> Scope {
        Scope::new(sources, direction, "DEFAULT", flows).unwrap()
    }

    #[test]
    fn a_latency_says_what_was_asked_and_what_was_counted() {
        let scope = scope("10.0.0.0/8,db.example.com", "egress", 30);
        let asked = Asked::latency(&NetworkLatency::new(200, 10, scope).unwrap());
        let counters = Counters { matched: Some(12), dropped: Some(0) };
        assert_eq!(
            story(&asked, counters),
            "network-x: asked 200 ms, give or take 10 ms, to 10.0.0.0/8, db.example.com, for 30 % of the flows on eth0 \
             for 60 s\nachieved: 12 packets matched, all of them delayed\n"
        );
        let full = Counters { matched: Some(12), dropped: Some(2) };
        assert!(story(&asked, full).contains("2 of them dropped, because the queue of 1000 packets"));
    }

    #[test]
    fn losses_are_counted_where_they_happen() {
        let asked = Asked::packet_loss(&NetworkPacketLoss::new(7, scope("ALL", "egress", 100)).unwrap());
        let counters = Counters { matched: Some(1_000), dropped: Some(71) };
        assert!(story(&asked, counters).contains("71 of them lost (7.1 %)"));
        let asked = Asked::blackhole_port(&NetworkBlackholePort::new(443, "tcp", "ingress").unwrap());
        let counters = Counters { matched: Some(9), dropped: None };
        let text = story(&asked, counters);
        assert!(text.contains("come in for tcp port 443 on") && text.contains("9 packets lost"), "{text}");
    }

    #[test]
    fn many_sources_stay_one_short_line() {
        let many = (0..200).map(|n| format!("10.0.0.{n}")).collect::<Vec<_>>().join(",");
        let asked = Asked::latency(&NetworkLatency::new(1, 0, scope(&many, "egress", 100)).unwrap());
        assert!(asked.words.len() < 250 && asked.words.ends_with("and 190 more"), "{}", asked.words);
    }
}
