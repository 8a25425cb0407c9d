//! Tests of what doctor finds and how it tells it.

use super::network::without_parts;
use super::*;
use effects::net::NetError;
use std::io::{BufRead, Write as _};
use std::net::TcpListener;

/// A metadata endpoint that answers one request with `status` and gives its request line.
fn endpoint(status: &'static str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}/v4/c/s/t", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = String::new();
        let mut lines = std::io::BufReader::new(stream.try_clone().unwrap());
        lines.read_line(&mut request).unwrap();
        let mut rest = String::new();
        while lines.read_line(&mut rest).unwrap() > 2 {
            rest.clear();
        }
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}").unwrap();
        request
    });
    (uri, served)
}

#[test]
fn metadata_that_answers_is_good() {
    let (uri, served) = endpoint("200 OK");
    assert_eq!(metadata(Some(&uri)).verdict, Verdict::Good);
    assert_eq!(served.join().unwrap(), "GET /v4/c/s/t/task HTTP/1.1\r\n");
}

#[test]
fn metadata_that_refuses_or_is_not_there_is_said() {
    let (uri, served) = endpoint("404 Not Found");
    let finding = metadata(Some(&uri));
    served.join().unwrap();
    assert_eq!(finding.verdict, Verdict::Warning);
    assert!(finding.words.contains("404 Not Found"), "{}", finding.words);
    for (uri, why) in [("ftp://x", "not an http:// address"), ("no blanks allowed", "not an address")] {
        assert!(metadata(Some(uri)).words.contains(why), "{uri}: {}", metadata(Some(uri)).words);
    }
    assert!(metadata(None).words.contains("is not set"));
}

#[test]
fn the_state_folder_is_tried_and_left_empty() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(state_dir(folder.path()).verdict, Verdict::Good);
    assert_eq!(state_dir(&folder.path().join("not/there/yet")).verdict, Verdict::Good);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert_eq!(state_dir(Path::new("/proc")).verdict, Verdict::Warning);
}

#[test]
fn one_bad_finding_takes_the_fault_with_it() {
    let bad = Finding { name: "threads", verdict: Verdict::Bad, words: "none".into() };
    let text = describe(&[bad], false, &Way::Netlink);
    assert!(text.contains("!! cpu-stress"), "{text}");
}

#[test]
fn a_kernel_that_lacks_a_part_is_said_beside_each_network_fault() {
    let text = describe(&without_parts(&NetError::NotPermitted), true, &Way::Netlink);
    for fault in ["network-latency        ", "network-packet-loss    ", "network-blackhole-port "] {
        assert!(
            text.contains(&format!("-- {fault} will not work: this process has no CAP_NET_ADMIN")),
            "{text}"
        );
    }
    assert!(text.contains("ok cpu-stress              will work here"), "{text}");
}

#[test]
fn what_a_fault_needs_stands_beside_its_name() {
    let full = Finding::new("disk-fill", false, "will not work here: it is full");
    let text = describe(std::slice::from_ref(&full), true, &Way::Netlink);
    assert!(text.contains("-- disk-fill               will not work here: it is full"), "{text}");
    assert!(text.contains("ok io-stress               will work here"), "{text}");
    assert_eq!(text.matches("it is full").count(), 1, "{text}");
    let limits = CpuLimits::read(&Task::default());
    let works = |name: &str| {
        let told = json(std::slice::from_ref(&full), &limits, true, &Way::Netlink);
        let of = |fault: &&serde_json::Value| fault["name"] == name;
        told["faults"].as_array().unwrap().iter().find(of).unwrap()["works"].clone()
    };
    assert_eq!((works("disk-fill"), works("io-stress")), (false.into(), true.into()));
}

#[test]
fn the_way_of_network_faults_is_said() {
    let text = |way: Way| describe(&[], true, &way);
    let agent = text(Way::Endpoints("http://169.254.170.2/api/x".into()));
    assert!(agent.contains("ok network-latency         will work through the ECS agent"), "{agent}");
    let none = text(Way::Neither("set enableFaultInjection".into()));
    assert!(none.contains("-- network-packet-loss     will not work: set enableFaultInjection"), "{none}");
    assert!(none.contains("ok cpu-stress              will work here"), "{none}");
}

#[test]
fn a_worker_thread_starts_here() {
    assert_eq!(threads().verdict, Verdict::Good);
}
