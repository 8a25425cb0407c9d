//! Which requests are hit, and how many were. Knows requests, and nothing of connections.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::head::Request;
use faults::http_fault::{Action, HttpFault};

/// What has been counted so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections that were carried.
    pub connections: AtomicU64,
    /// Connections that were reset because there were too many at once.
    pub refused: AtomicU64,
    /// Connections whose server could not be reached; they were reset.
    pub unreached: AtomicU64,
    /// Connections that were passed untouched from some point on, because they were not what was looked for.
    pub passed: AtomicU64,
    /// Requests, matching or not; with TLS connections.
    pub requests: AtomicU64,
    /// Those that match.
    pub matched: AtomicU64,
    /// Those that were hit.
    pub hit: AtomicU64,
    /// Of these, answers that had no body to be cut or slowed down.
    pub bodiless: AtomicU64,
}

impl Counts {
    pub(crate) fn add(count: &AtomicU64) {
        count.fetch_add(1, Relaxed);
    }
}

/// Decides, for all connections of one fault.
#[derive(Debug)]
pub struct Hits {
    /// What was asked for.
    pub fault: HttpFault,
    /// What has come of it.
    pub counts: Counts,
}

impl Hits {
    /// That of a fault which has seen nothing yet.
    pub fn new(fault: HttpFault) -> Hits {
        Hits { fault, counts: Counts::default() }
    }

    /// What becomes of a request; None: nothing.
    pub fn request(&self, request: &Request<'_>) -> Option<Action> {
        let wanted = &self.fault.requests;
        let has_header = wanted.header.as_ref().is_none_or(|header| {
            let values = request.values(&header.name);
            values.flat_map(std::str::from_utf8).any(|value| header.value.matches(value.trim()))
        });
        let matches = has_header
            && wanted.methods.has(request.method)
            && wanted.path.matches(request.path())
            && wanted.host.matches_any_case(request.host().trim_end_matches('.'));
        self.hit(matches)
    }

    /// What becomes of a connection of TLS that asks for this name.
    pub fn connection(&self, name: &str) -> Option<Action> {
        self.hit(self.fault.requests.host.matches_any_case(name.trim_end_matches('.')))
    }

    fn hit(&self, matches: bool) -> Option<Action> {
        Counts::add(&self.counts.requests);
        if !matches {
            return None;
        }
        Counts::add(&self.counts.matched);
        if fastrand::u8(0..100) >= self.fault.requests.percent {
            return None;
        }
        Counts::add(&self.counts.hit);
        Some(self.fault.action)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use faults::{Arguments, Fault};

    use super::*;
    use crate::head::{self, Read};

    /// The fault with these options.
    pub(crate) fn fault(options: &[(&'static str, &str)]) -> HttpFault {
        let mut arguments = Arguments::default();
        let spec = &faults::http_fault::SPEC;
        for (option, value) in options {
            let parameter = spec.parameters.iter().find(|parameter| parameter.option == *option).unwrap();
            arguments.give(parameter, option, *value);
        }
        match (spec.read)(&arguments).unwrap() {
            Fault::HttpFault(fault) => fault,
            other => panic!("{other:?}"),
        }
    }

    fn is_hit(options: &[(&'static str, &str)], head: &str) -> bool {
        let options = [&[("action", "abort")][..], options].concat();
        match head::request(head.as_bytes()) {
            Read::Head(request, _) => Hits::new(fault(&options)).request(&request).is_some(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn all_that_is_asked_for_has_to_match() {
        let head = "POST /orders/7?x=1 HTTP/1.1\r\nHost: API.example.com:8080\r\nX-Tenant: acme\r\nX-Tenant: b\r\n\r\n";
        for (option, value, hit) in [
            ("host", "api.example.com", true),
            ("host", "*.example.org", false),
            ("path", "/orders/*", true),
            ("path", "/orders", false),
            ("method", "GET,POST", true),
            ("method", "GET", false),
            ("match-header", "x-tenant: b", true),
            ("match-header", "X-Tenant: ac*", true),
            ("match-header", "X-Tenant: c", false),
            ("match-header", "X-Other: *", false),
        ] {
            assert_eq!(is_hit(&[(option, value)], head), hit, "{option} {value}");
        }
        assert!(!is_hit(&[("host", "api.example.com"), ("method", "GET")], head));
    }

    #[test]
    fn about_as_many_are_hit_as_were_asked_for() {
        let hits = Hits::new(fault(&[("action", "abort"), ("requests-percent", "30")]));
        for _ in 0..10_000 {
            let _ = hits.connection("a.example");
        }
        let count = hits.counts.hit.load(Relaxed);
        // Six times the standard deviation, 46.
        assert!((2_724..=3_276).contains(&count), "{count}");
        assert_eq!(hits.counts.matched.load(Relaxed), 10_000);
    }
}
