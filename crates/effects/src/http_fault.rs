//! `http-fault`: rules send new connections to a proxy in this process, which carries them on and fails the requests that
//! are meant.
//!
//! The rules are those of every network effect: owned by this process and ended by the kernel. The sockets of the proxy
//! are closed with a reset however this process ends, so nobody waits for one that is gone.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;
use outcome::{Achieved, Asked, Figures, Touched, figures, rounded};
use proxy::hit::{Counts, Hits};
use proxy::server::{MOST_CONNECTIONS, Proxy};

use crate::amount::short;
use crate::fault::{
    ActiveFault, Deadline, FaultReport, FaultSummary, Perform, Preflight, StartError, Started, Undone,
    off_thread, start_off_thread,
};
use crate::net::{
    self, Addresses, Environment, NetError, NetworkEffect, NetworkPlan, Work, connections, lifeline,
};
use crate::network_fault::by_netlink;
use crate::task::Task;
use crate::task::capabilities::Capabilities;
use crate::task::denied::{Denied, DeniedTargets};
use crate::task::ecs_agent::{Way, choose};
use faults::http_fault::{HeaderMatch, HttpFault, Protocol, SPEC};
use faults::network_source::{self, Direction};

mod listeners;
mod words;

/// Why nothing may have been hit.
const OPEN_ALREADY: &str = "connections that are open when the fault starts are not redirected: requests on those are \
                            not seen";
/// The sockets of the proxy, and of the control channel, are known by their group.
const UNMARKED: &str = "this process cannot mark its own sockets, so its own connections would be redirected as well: \
                        leave the container's capability SETGID in place";

impl Perform for HttpFault {
    fn preflight(task: &Task) -> Preflight {
        let probed = || -> Result<String, StartError> {
            check(task)?;
            net::probe_to_port()?;
            Ok("new connections are redirected to a proxy in this process".to_owned())
        };
        Preflight::of(probed())
    }

    fn start<'a>(&'a self, duration: Duration, task: &'a Task) -> LocalBoxFuture<'a, Started> {
        Box::pin(start(self, duration, task))
    }
}

/// Whether rules of ours may be made here, and would spare us.
fn check(task: &Task) -> Result<(), StartError> {
    match choose(&Capabilities::read(), &task.ecs_agent) {
        Way::Netlink => {}
        // The agent has no such fault.
        Way::Endpoints(_) => return Err(NetError::NotPermitted.into()),
        Way::Neither(reason) => return Err(reason.into()),
    }
    if lifeline::is_marked() { Ok(()) } else { Err(UNMARKED.into()) }
}

/// Whether the hosts that it is for are none that is denied, whatever addresses its packets go to.
fn check_hosts(fault: &HttpFault, denied: &DeniedTargets) -> Result<(), Denied> {
    denied.check_host(&fault.requests.host)?;
    match fault.requests.header.as_ref().and_then(HeaderMatch::host) {
        Some(host) => denied.check_host(&host),
        None => Ok(()),
    }
}

/// The plan of the rules, which send connections to this port of ours.
fn plan(fault: &HttpFault, port: u16, lasts: Duration) -> NetworkPlan {
    NetworkPlan {
        name: "http",
        work: Work::ToPort(port),
        direction: fault.direction,
        interfaces: None,
        sources: fault.sources.clone(),
        port: Some((network_source::Protocol::Tcp, fault.port)),
        selection: network_source::Selection::default(),
        flows_percent: 100,
        lasts,
    }
}

async fn start(fault: &HttpFault, duration: Duration, task: &Task) -> Started {
    check_hosts(fault, &task.denied)?;
    check(task)?;
    let environment = by_netlink::environment(task);
    // The port is not known yet, and no address depends on it.
    let addresses = by_netlink::look_up(&plan(fault, 0, duration), &environment).await?;
    let asked = fault.clone();
    let begun = start_off_thread(move || begin(&asked, duration, addresses, &environment)).await?;
    let since = Instant::now();
    Ok(Box::new(ActiveHttpFault {
        asked: fault.clone(),
        duration,
        since,
        ends: Rc::new(Cell::new(since + duration)),
        begun,
        denied: task.denied.clone(),
    }))
}

/// What is alive of the fault. The rules go first.
struct Begun {
    effect: NetworkEffect,
    proxy: Proxy,
    /// Connections that were open before, and are not redirected.
    open_before: usize,
}

fn begin(
    fault: &HttpFault,
    duration: Duration,
    addresses: Addresses,
    environment: &Environment,
) -> Result<Begun, StartError> {
    let broken = |error| StartError::from(format!("the proxy of the fault cannot listen: {error}"));
    let (listeners, port) = listeners::open(fault.direction).map_err(broken)?;
    let hits = Hits::new(fault.clone());
    let proxy = Proxy::start(listeners, hits, listeners::original_destination).map_err(broken)?;
    let effect = NetworkEffect::install(&plan(fault, port, duration), addresses, environment)?;
    let open_before = open_connections(fault, &effect);
    Ok(Begun { effect, proxy, open_before })
}

/// How many connections are open that would be redirected if they began now.
fn open_connections(fault: &HttpFault, effect: &NetworkEffect) -> usize {
    let is_target = effect.target_test();
    let is_meant = |one: &&connections::Connection| {
        let server = match fault.direction {
            Direction::Egress => one.peer,
            Direction::Ingress => one.local,
        };
        server.port() == fault.port && is_target(one.peer.ip())
    };
    connections::established().iter().filter(is_meant).count()
}

struct ActiveHttpFault {
    asked: HttpFault,
    duration: Duration,
    since: Instant,
    /// When it was to end, as heartbeats have moved that.
    ends: Rc<Cell<Instant>>,
    begun: Begun,
    denied: DeniedTargets,
}

impl ActiveFault for ActiveHttpFault {
    fn started(&self) -> String {
        let text = format!("{}: {}", SPEC.name, words::asked(&self.asked));
        match self.begun.open_before {
            0 => text,
            open => format!("{text}; {open} connections that are open already are not redirected"),
        }
    }

    fn completed(&mut self) -> LocalBoxFuture<'_, ()> {
        Box::pin(by_netlink::follow_names(&mut self.begun.effect, &self.asked.sources, &self.denied))
    }

    fn deadline(&self) -> Option<Deadline> {
        by_netlink::deadline(&self.begun.effect, &self.ends)
    }

    fn finish(mut self: Box<Self>) -> LocalBoxFuture<'static, FaultReport> {
        // At once, and here: from now on connections go their own way.
        self.begun.effect.release();
        let ActiveHttpFault { asked, duration, since, ends, begun, .. } = *self;
        let late = by_netlink::ended_by_kernel(ends.get() - since, since.elapsed());
        off_thread(move || undo(&asked, duration, begun, late))
    }
}

/// Undoes the fault and reports.
fn undo(asked: &HttpFault, duration: Duration, begun: Begun, late: Option<String>) -> FaultReport {
    let Begun { effect, mut proxy, open_before } = begun;
    let (_, undone) = effect.undo();
    proxy.stop();
    let mut summary = summary(asked, duration, &Counted::read(proxy.counts()), open_before);
    if let Some(late) = late {
        summary.note(late);
    }
    FaultReport {
        summary: Some(summary),
        undone: match undone {
            Ok(()) => Undone::Done("rules removed, connections that the fault carried are reset"),
            Err(_) => Undone::Failed,
        },
        failure: undone.err().map(|error| error.to_string()),
    }
}

/// What has been counted, at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counted {
    connections: u64,
    refused: u64,
    unreached: u64,
    passed: u64,
    requests: u64,
    matched: u64,
    hit: u64,
    bodiless: u64,
}

impl Counted {
    fn read(counts: &Counts) -> Counted {
        let read = |count: &AtomicU64| count.load(Relaxed);
        Counted {
            connections: read(&counts.connections),
            refused: read(&counts.refused),
            unreached: read(&counts.unreached),
            passed: read(&counts.passed),
            requests: read(&counts.requests),
            matched: read(&counts.matched),
            hit: read(&counts.hit),
            bodiless: read(&counts.bodiless),
        }
    }

    /// Of those that matched, in percent.
    fn hit_percent(&self) -> f64 {
        if self.matched == 0 { 0.0 } else { rounded(100.0 * self.hit as f64 / self.matched as f64, 1) }
    }

    fn figures(&self) -> Figures {
        figures([
            ("requests", self.requests.into()),
            ("matched_requests", self.matched.into()),
            ("hit_requests", self.hit.into()),
            ("hit_percent", self.hit_percent().into()),
            ("connections", self.connections.into()),
        ])
    }
}

fn summary(fault: &HttpFault, duration: Duration, counted: &Counted, open_before: usize) -> FaultSummary {
    let seconds = duration.as_secs_f64();
    let asked = Asked {
        text: format!("{} for {} s", words::asked(fault), short(seconds)),
        seconds,
        figures: figures([
            ("action", fault.action.to_string().into()),
            ("protocol", fault.protocol.to_string().into()),
            ("port", fault.port.into()),
            ("direction", fault.direction.to_string().into()),
            ("percent", fault.requests.percent.into()),
            ("sources", fault.sources.len().into()),
        ]),
    };
    let achieved =
        Achieved { text: words::achieved(fault, counted), figures: counted.figures(), ..Achieved::default() };
    let text = format!("{}: asked {}\nachieved: {}\n", SPEC.name, asked.text, achieved.text);
    let touched = if counted.hit == 0 { Touched::Nothing } else { Touched::All };
    let (matched, touched) = (Some(counted.matched), Some(touched));
    let mut summary = FaultSummary { text, asked, achieved, matched, touched, ..FaultSummary::default() };
    for note in notes(fault, counted, open_before) {
        summary.note(note);
    }
    summary
}

fn notes(fault: &HttpFault, counted: &Counted, open_before: usize) -> Vec<String> {
    let mut notes = Vec::new();
    let units = words::units(fault);
    match counted {
        Counted { matched: 1.., .. } => {}
        Counted { connections: 0, refused: 0, unreached: 0, .. } => notes.push(format!(
            "no new connection was made to port {}, so no {} was seen; {OPEN_ALREADY}",
            fault.port,
            words::unit(fault)
        )),
        Counted { requests: 0, .. } => notes.push(format!("no {} was understood", words::unit(fault))),
        Counted { requests, .. } => notes
            .push(format!("{requests} {units} came, and none matched: check host, path, method and header")),
    }
    if open_before > 0 {
        notes.push(format!("{open_before} connections to it were open before; {OPEN_ALREADY}"));
    }
    if counted.passed > 0 {
        let why = match fault.protocol {
            Protocol::Http => {
                "they are no HTTP/1.1 (TLS, HTTP/2, another protocol), or the length of a body is in doubt"
            }
            Protocol::Tls => "they are no TLS",
        };
        notes.push(format!("{} connections passed untouched: {why}", counted.passed));
    }
    if counted.unreached > 0 {
        let unreached = counted.unreached;
        notes.push(format!("{unreached} connections were reset because their server could not be reached"));
    }
    if counted.refused > 0 {
        let refused = counted.refused;
        notes
            .push(format!("{refused} connections were reset because {MOST_CONNECTIONS} are carried at once"));
    }
    if counted.bodiless > 0 {
        notes.push(format!("{} answers had no body, and came as they were", counted.bodiless));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use faults::{Arguments, Fault};

    fn fault(options: &[(&'static str, &str)]) -> HttpFault {
        let mut arguments = Arguments::default();
        for (option, value) in options {
            let parameter = SPEC.parameters.iter().find(|parameter| parameter.option == *option).unwrap();
            arguments.give(parameter, option, *value);
        }
        match (SPEC.read)(&arguments).unwrap() {
            Fault::HttpFault(fault) => fault,
            other => panic!("{other:?}"),
        }
    }

    fn text(options: &[(&'static str, &str)], counted: Counted, open_before: usize) -> String {
        summary(&fault(options), Duration::from_secs(60), &counted, open_before).text
    }

    #[test]
    fn asked_and_achieved_stand_side_by_side() {
        let counted = Counted { connections: 3, requests: 50, matched: 40, hit: 11, ..Counted::default() };
        let options = [("action", "status"), ("requests-percent", "30"), ("path", "/orders/*")];
        assert_eq!(
            text(&options, counted, 0),
            "http-fault: asked status 503 for 30 % of the requests to ALL port 80 with path /orders/* for 60 s\n\
             achieved: 50 requests on 3 connections, 40 matched, 11 of them hit (27.5 %)\n"
        );
    }

    #[test]
    fn why_nothing_was_hit_is_said() {
        let nothing = text(&[("action", "abort")], Counted::default(), 2);
        assert!(nothing.contains("no new connection was made to port 80"), "{nothing}");
        assert!(nothing.contains("2 connections to it were open before"), "{nothing}");
        let seen = Counted { connections: 1, requests: 7, ..Counted::default() };
        let seen = text(&[("action", "abort")], seen, 0);
        assert!(seen.contains("7 requests came, and none matched"), "{seen}");
        let other = Counted { connections: 1, passed: 1, ..Counted::default() };
        let other = text(&[("action", "abort")], other, 0);
        assert!(other.contains("1 connections passed untouched: they are no HTTP/1.1"), "{other}");
    }

    #[tokio::test]
    async fn a_host_that_is_denied_is_refused_whatever_its_address() {
        let task = Task { denied: DeniedTargets::parse("db.internal").unwrap(), ..Task::default() };
        for option in [("host", "db.*"), ("match-header", "Host: db.internal:8080")] {
            let fault = fault(&[("action", "abort"), ("sources", "192.0.2.1"), option]);
            let refused = start(&fault, Duration::from_secs(60), &task).await.err().unwrap().to_string();
            assert!(refused.contains("has db.internal in it, which TASKFAULT_DENY_TARGETS"), "{refused}");
        }
        let other = fault(&[("action", "abort"), ("host", "web.internal")]);
        assert_eq!(check_hosts(&other, &task.denied), Ok(()));
    }
}
