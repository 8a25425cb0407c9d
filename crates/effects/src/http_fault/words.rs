//! What was asked and what was achieved, in words.

use std::fmt::Write;

use super::Counted;
use crate::network_fault::list;
use faults::http_fault::{Action, HttpFault, Protocol};
use faults::network_source::Direction;

/// What is counted.
pub(super) fn unit(fault: &HttpFault) -> &'static str {
    match fault.protocol {
        Protocol::Http => "request",
        Protocol::Tls => "connection of TLS",
    }
}

/// As [`unit`], in the plural.
pub(super) fn units(fault: &HttpFault) -> &'static str {
    match fault.protocol {
        Protocol::Http => "requests",
        Protocol::Tls => "connections of TLS",
    }
}

/// `status 503 for 30 % of the requests to ALL port 80 with path /orders/*`.
pub(super) fn asked(fault: &HttpFault) -> String {
    let requests = &fault.requests;
    let mut text = action(fault);
    if !fault.delay.is_zero() && fault.action != Action::Delay {
        let _ = write!(text, " after {} ms", fault.delay.as_millis());
    }
    text.push_str(" for ");
    match requests.percent {
        100 => text.push_str("all "),
        percent => {
            let _ = write!(text, "{percent} % of the ");
        }
    }
    let way = match fault.direction {
        Direction::Egress => format!("to {} port {}", list(&fault.sources), fault.port),
        Direction::Ingress => format!("from {} to port {} here", list(&fault.sources), fault.port),
    };
    let _ = write!(text, "{} {way}", units(fault));
    let mut with = Vec::new();
    if !requests.host.is_all() {
        with.push(format!("host {}", requests.host));
    }
    if !requests.path.is_all() {
        with.push(format!("path {}", requests.path));
    }
    if !requests.methods.is_all() {
        with.push(format!("method {}", requests.methods));
    }
    if let Some(header) = &requests.header {
        with.push(format!("header {header}"));
    }
    if !with.is_empty() {
        let _ = write!(text, " with {}", with.join(", "));
    }
    text
}

fn action(fault: &HttpFault) -> String {
    match fault.action {
        Action::Status => format!("status {}", fault.status),
        Action::Delay => format!("a delay of {} ms", fault.delay.as_millis()),
        Action::Abort => "a reset".to_owned(),
        Action::Cut => "half of the body".to_owned(),
        Action::Rate => format!("a body at {} bytes/s", fault.rate),
        Action::NoAnswer => "no answer".to_owned(),
    }
}

/// `50 requests on 3 connections, 40 matched, 11 of them hit (27.5 %)`.
pub(super) fn achieved(fault: &HttpFault, counted: &Counted) -> String {
    let Counted { requests, connections, matched, hit, .. } = counted;
    let seen = match fault.protocol {
        Protocol::Http => format!("{requests} requests on {connections} connections"),
        Protocol::Tls => format!("{requests} connections of TLS"),
    };
    match matched {
        0 => format!("{seen}, none matched"),
        matched => format!("{seen}, {matched} matched, {hit} of them hit ({:.1} %)", counted.hit_percent()),
    }
}
