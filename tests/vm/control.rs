//! The control channel: a sidecar on one side, the local AWS on the other, every network fault between them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::ground::{FAR, FAR_6, Ground, Running};

/// Name and test.
pub(crate) const TESTS: &[(&str, fn())] = &[
    ("a_cancel_arrives_under_every_fault_at_once", a_cancel_arrives_under_every_fault_at_once),
    ("what_an_agent_makes_of_a_share_is_seen", what_an_agent_makes_of_a_share_is_seen),
];

/// The sidecar makes an RSA key first, which takes its time in an emulated machine.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// One call to the local AWS, from its own side.
fn call(ground: &Ground, operation: &str, body: &Value) -> Value {
    let answer = ground.far(&["/mnt/suite", "probe", "call", "127.0.0.1:443", operation, &body.to_string()]);
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{operation}: {error}: {answer}"))
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < TIME_LIMIT, "never: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A sidecar whose control channel is one address of the far side, and its metadata another.
fn sidecar(ground: &Ground) -> (Running, Running, String) {
    // Their logs are no results.
    let quiet = ["sh", "-c", "exec \"$@\" 2>>/tmp/control.log", "-"];
    let listen = ["/mnt/taskfault-local", "--listen", "0.0.0.0:443"];
    let mut aws = ground.start_far(&[&quiet[..], &listen].concat());
    assert!(aws.line().starts_with("http://"));
    let endpoint = format!("AWS_ENDPOINT_URL=http://{}:443", FAR[0]);
    let metadata =
        format!("ECS_CONTAINER_METADATA_URI_V4=http://{}:443/v4/demo/web/0123456789abcdef", FAR[1]);
    let words = [
        "env",
        "MANAGED_INSTANCE_ROLE_NAME=local",
        "AWS_ACCESS_KEY_ID=local",
        "AWS_SECRET_ACCESS_KEY=local",
        &endpoint,
        &metadata,
        "/mnt/taskfault",
        "sidecar",
        "--state-dir",
        &ground.state_dir,
    ];
    let sidecar = ground.start(&[&quiet[..], &words].concat());
    let instance = eventually("the sidecar is online", || {
        let answer = call(ground, "DescribeInstanceInformation", &json!({}));
        let instance = &answer["InstanceInformationList"][0];
        (instance["PingStatus"] == "Online").then(|| instance["InstanceId"].as_str().map(str::to_owned))?
    });
    (aws, sidecar, instance)
}

/// The disciplines that agents of both kinds make, without an agent: the local AWS says yes and touches nothing.
fn what_an_agent_makes_of_a_share_is_seen() {
    let ground = Ground::new();
    let mut aws = ground.start_far(&["/mnt/taskfault-local", "--listen", "0.0.0.0:443"]);
    assert!(aws.line().starts_with("http://"));
    ground.far(&["/mnt/suite", "probe", "post", "/_taskfault/switches", "", r#"{"fault_rate_seconds": 0}"#]);
    let task = format!("http://{}:443", FAR[0]);
    let inject = || {
        let words = format!(
            "setpriv --bounding-set -net_admin --inh-caps -net_admin env AWS_ENDPOINT_URL={task} ECS_AGENT_URI={task}/api/demo/web/0123456789abcdef \
             ECS_CONTAINER_METADATA_URI_V4={task}/v4/demo/web/0123456789abcdef \
             /mnt/taskfault inject network-latency --duration 1s --flows-percent 30 --sources {}",
            FAR[1]
        );
        let output = ground.try_near(&words.split(' ').collect::<Vec<_>>());
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}");
        said
    };
    let make = |words: &str| {
        ground.near(&["sh", "-c", &format!("tc qdisc add dev eth0 {words}")]);
    };
    let said = inject();
    assert!(said.contains("which one this is cannot be seen from the task"), "{said}");
    // All traffic goes to the third band by itself, as with the agent.
    make("root handle 1: prio priomap 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2");
    make("parent 1:1 handle 10: netem delay 200ms");
    let said = inject();
    assert!(
        said.contains("older than 1.100.0 and ignores flowsPercent: the fault hits every flow, not 30 %"),
        "{said}"
    );
    assert!(said.contains("\"flows_percent\":100"), "{said}");
    ground.near(&["tc", "qdisc", "del", "dev", "eth0", "parent", "1:1"]);
    make("parent 1:1 handle 10: prio bands 10");
    make("parent 10:1 handle 100: prio bands 10");
    make("parent 100:1 handle 200: netem delay 200ms");
    let said = inject();
    assert!(!said.contains("flowsPercent") && !said.contains("\"flows_percent\":100"), "{said}");
}

fn a_cancel_arrives_under_every_fault_at_once() {
    let ground = Ground::new();
    let (_aws, sidecar, instance) = sidecar(&ground);
    let before = ground.state();
    let hole = |way: &str| json!({"Port": ["443"], "Protocol": ["tcp"], "TrafficType": [way]});
    let loss = |way: &str| json!({"LossPercent": ["100"], "Sources": ["ALL"], "TrafficType": [way]});
    let late = json!({"DelayMilliseconds": ["30000"], "JitterMilliseconds": ["0"], "Sources": ["ALL"],
        "TrafficType": ["ingress"]});
    let faults = [
        ("AWSFIS-Run-Network-Latency-Sources", late),
        ("AWSFIS-Run-Network-Packet-Loss-Sources", loss("ingress")),
        ("AWSFIS-Run-Network-Packet-Loss-Sources", loss("egress")),
        ("AWSFIS-Run-Network-Blackhole-Port", hole("ingress")),
        ("AWSFIS-Run-Network-Blackhole-Port", hole("egress")),
    ];
    let send = |(document, mut parameters): (&str, Value)| {
        parameters["DurationSeconds"] = json!(["600"]);
        let body = json!({"DocumentName": document, "InstanceIds": [instance], "Parameters": parameters});
        let answer = call(&ground, "SendCommand", &body);
        answer["Command"]["CommandId"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    };
    // Each after the first goes out under those before it.
    let commands: Vec<String> = (1..)
        .zip(faults)
        .map(|(count, fault)| {
            let command = send(fault);
            eventually("the fault lives", || {
                let rules = ground.near(&["nft", "list", "ruleset"]);
                // The latency is called where our own packets leave, too.
                (rules.matches(" hook ").count() == count + 1).then_some(())
            });
            command
        })
        .collect();
    for address in [FAR[0], FAR_6[0]] {
        assert!(ground.icmp(address).is_none(), "{address} is reached by others");
    }
    // Long enough for a channel that is cut to be noticed.
    std::thread::sleep(Duration::from_secs(5));
    for command in &commands {
        call(&ground, "CancelCommand", &json!({"CommandId": command}));
    }
    for command in &commands {
        let answer = eventually("the sidecar answers the cancel", || {
            let body = json!({"CommandId": command, "Details": true});
            let answer = call(&ground, "ListCommandInvocations", &body);
            let status = &answer["CommandInvocations"][0]["Status"];
            (status != "InProgress" && status != "Pending" && status != "Cancelling").then_some(answer)
        });
        assert_eq!(answer["CommandInvocations"][0]["Status"], "Cancelled", "{answer}");
    }
    ground.is_inert();
    sidecar.signal("TERM");
    let (code, said) = sidecar.end();
    assert_eq!((code, ground.state()), (Some(0), before), "{said}");
}
