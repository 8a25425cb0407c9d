//! Tests of what doctor finds and how it tells it.

use super::*;
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
    assert!(finding.text.contains("404 Not Found"), "{}", finding.text);
    for (uri, why) in [("ftp://x", "not an http:// address"), ("no blanks allowed", "not an address")] {
        assert!(metadata(Some(uri)).text.contains(why), "{uri}: {}", metadata(Some(uri)).text);
    }
    assert!(metadata(None).text.contains("is not set"));
}

#[test]
fn the_state_folder_is_tried_and_left_empty() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(state_dir(folder.path()).verdict, Verdict::Good);
    assert_eq!(state_dir(&folder.path().join("not/there/yet")).verdict, Verdict::Good);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert_eq!(state_dir(Path::new("/proc")).verdict, Verdict::Warning);
}

/// Findings on every fault of the catalogue, all good but those given.
fn all_but(others: &[Finding]) -> Vec<Finding> {
    let good = |name| Finding::of_fault(name, Preflight::works());
    let other = |name| others.iter().find(|finding| finding.name == name).cloned();
    faults::ALL.iter().map(|spec| other(spec.name).unwrap_or_else(|| good(spec.name))).collect()
}

/// The task of a doctor outside ECS.
fn here(folder: &Path) -> Task {
    task(&args(folder), None, None, &Network::default())
}

fn args(folder: &Path) -> DoctorArgs {
    DoctorArgs {
        needed: Vec::new(),
        state_dir: folder.to_owned(),
        metadata_uri: None,
        host_processes: false,
        host_network: None,
        agent_uri: None,
        json: false,
    }
}

#[test]
fn every_fault_says_whether_it_would_work() {
    let folder = tempfile::tempdir().unwrap();
    let found = faults(&here(folder.path()), true, &Policy::default());
    let names: Vec<_> = found.iter().map(|finding| finding.name).collect();
    assert_eq!(names, faults::ALL.iter().map(|spec| spec.name).collect::<Vec<_>>());
    assert!(found.iter().all(|finding| finding.text.contains(" work")), "{found:?}");
    assert!(found[0].text.starts_with("will work here: "), "{found:?}");
}

#[test]
fn a_fault_that_the_policy_forbids_is_said_with_the_variable() {
    let folder = tempfile::tempdir().unwrap();
    let policy = Policy::read([("TASKFAULT_ALLOW", "disk-fill")]).unwrap();
    let found = faults(&here(folder.path()), true, &policy);
    let stress = found.iter().find(|finding| finding.name == "cpu-stress").unwrap();
    assert_eq!(stress.verdict, Verdict::Warning);
    assert!(stress.text.starts_with("will be refused: TASKFAULT_ALLOW=disk-fill"), "{}", stress.text);
    assert!(found.iter().any(|finding| finding.name == "disk-fill" && finding.verdict == Verdict::Good));
}

#[test]
fn one_bad_finding_takes_the_fault_with_it() {
    let bad = Finding { name: "threads", verdict: Verdict::Bad, text: "none".into() };
    let folder = tempfile::tempdir().unwrap();
    let text = describe(&[bad], &faults(&here(folder.path()), false, &Policy::default()));
    assert!(text.contains("!! cpu-stress"), "{text}");
}

#[test]
fn a_kernel_that_lacks_a_part_is_said_beside_each_network_fault() {
    let names = ["network-latency", "network-packet-loss", "network-blackhole-port"];
    let text = "will not work: this process has no CAP_NET_ADMIN";
    let text = describe(&[], &all_but(&names.map(|name| Finding::new(name, false, text))));
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
    let all = all_but(&[Finding::new("disk-fill", false, "will not work here: it is full")]);
    let text = describe(&[], &all);
    assert!(text.contains("-- disk-fill               will not work here: it is full"), "{text}");
    assert!(text.contains("ok io-stress               will work here"), "{text}");
    assert_eq!(text.matches("it is full").count(), 1, "{text}");
    let limits = CpuLimits::read(&Task::default());
    let works = |name: &str| {
        let told = json(&[], &Machine::read(), &limits, &all);
        let of = |fault: &&serde_json::Value| fault["name"] == name;
        told["faults"].as_array().unwrap().iter().find(of).unwrap()["works"].clone()
    };
    assert_eq!((works("disk-fill"), works("io-stress")), (false.into(), true.into()));
}

#[test]
fn a_worker_thread_starts_here() {
    assert_eq!(threads().verdict, Verdict::Good);
}

/// What is not redirected ends where it was meant to; a real redirection is a matter of the virtual machine's tests.
#[test]
fn a_connection_without_a_proxy_is_no_finding() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_eq!(proxy(vec![listener.local_addr().unwrap()]), None);
    let gone = listener.local_addr().unwrap();
    drop(listener);
    assert_eq!(proxy(vec![gone]), None);
}

#[test]
fn the_exit_code_is_about_the_faults_that_are_needed() {
    let bad = Finding::new("network-latency", false, "will not work here");
    let found = all_but(&[bad]);
    let needed = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(exit_code(true, &found, &needed(&["cpu-stress", "kill-process"])), ExitCode::SUCCESS);
    for names in [&[][..], &["cpu-stress", "network-latency"]] {
        assert_eq!(exit_code(true, &found, &needed(names)), ExitCode::from(SOME_WILL_NOT), "{names:?}");
    }
    assert_eq!(exit_code(false, &found, &needed(&["cpu-stress"])), ExitCode::FAILURE);
    assert_eq!(exit_code(true, &all_but(&[]), &[]), ExitCode::SUCCESS);
}
