//! Requests that fail, on the kernel of the instances: the redirection of both families, its end, `kill -9` of it. What
//! becomes of requests is looked at from outside in `tests/cli/test_http_fault.py`.

use crate::faults::ends_clean;
use crate::ground::{FAR, FAR_6, Ground, OTHER_PORT, PORT, until};

/// Name and test.
pub(crate) const TESTS: &[(&str, fn())] = &[
    ("requests_fail_and_others_pass", requests_fail_and_others_pass),
    ("requests_that_come_in_fail", requests_that_come_in_fail),
    ("kill_9_resets_requests", kill_9_resets_requests),
];

const HIT: &str = "GET /hit HTTP/1.1";
const PASSED: &str = "GET /passed HTTP/1.1";
const FAILED: &str = "HTTP/1.1 503 Service Unavailable";

/// The first line that the near side gets.
fn told(ground: &Ground, to: &str, text: &str) -> String {
    ground.near(&["/mnt/suite", "probe", "tell", to, text]).trim().to_owned()
}

fn requests_fail_and_others_pass() {
    let ground = Ground::new();
    let before = ground.state();
    let mut open = ground.start(&["/mnt/suite", "probe", "stream", &format!("{}:{PORT}", FAR[0])]);
    assert_eq!(open.line(), "ready");
    let fault = ground.inject(&format!(
        "http-fault --duration 60s --action status --path /hit --port {PORT} --sources {},{}",
        FAR[0], FAR_6[0]
    ));
    // The far side echoes.
    for (host, other) in
        [(FAR[0].to_owned(), FAR[1].to_owned()), (format!("[{}]", FAR_6[0]), format!("[{}]", FAR_6[1]))]
    {
        assert_eq!(told(&ground, &format!("{host}:{PORT}"), HIT), FAILED);
        assert_eq!(told(&ground, &format!("{host}:{PORT}"), PASSED), PASSED);
        assert_eq!(told(&ground, &format!("{host}:{OTHER_PORT}"), HIT), HIT);
        assert_eq!(told(&ground, &format!("{other}:{PORT}"), HIT), HIT);
    }
    assert!(!open.ask("x").starts_with("lost"), "a connection from before goes on");
    let said = ends_clean(&ground, fault, &before);
    assert!(said.contains("4 requests on 4 connections, 2 matched, 2 of them hit (100.0 %)"), "{said}");
    assert_eq!(told(&ground, &format!("{}:{PORT}", FAR[0]), HIT), HIT);
}

fn requests_that_come_in_fail() {
    let ground = Ground::new();
    let before = ground.state();
    let mut server = ground.start(&["/mnt/suite", "probe", "serve", "10.9.0.1:7002", "[fd09::1]:7002"]);
    assert_eq!(server.line(), "ready");
    let fault = ground
        .inject("http-fault --duration 60s --action status --path /hit --port 7002 --traffic-type ingress");
    for to in ["10.9.0.1:7002", "[fd09::1]:7002"] {
        let told = |text| ground.far(&["/mnt/suite", "probe", "tell", to, text]).trim().to_owned();
        assert_eq!((told(HIT), told(PASSED)), (FAILED.to_owned(), PASSED.to_owned()), "{to}");
    }
    ends_clean(&ground, fault, &before);
}

fn kill_9_resets_requests() {
    let ground = Ground::new();
    let before = ground.state();
    let fault = ground.inject(&format!("http-fault --duration 60s --action no-answer --port {PORT}"));
    let to = format!("{}:{PORT}", FAR[0]);
    let waiting = ground.start(&["/mnt/suite", "probe", "tell", &to, HIT]);
    until("it is carried", || ground.near(&["ss", "-Htn", "state", "established"]).lines().count() >= 3);
    fault.signal("KILL");
    let (_, said) = waiting.end();
    assert!(said.contains("lost Connection reset by peer"), "{said}");
    until("the table is gone", || ground.state() == before);
    assert_eq!(told(&ground, &to, HIT), HIT);
}
