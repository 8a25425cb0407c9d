//! The control channel through the worst of faults: a real sidecar, a local AWS on the other side.

use serde_json::json;

use crate::ground::{FAR, Ground, PORT, until};
use crate::service::{SERVICE_PORT, Service, eventually};

/// Name and test.
pub(crate) const TESTS: &[(&str, fn())] = &[
    (
        "a_cancel_arrives_under_total_loss_and_a_black_hole",
        a_cancel_arrives_under_total_loss_and_a_black_hole,
    ),
    ("a_cancel_arrives_through_a_transparent_proxy", a_cancel_arrives_through_a_transparent_proxy),
    ("a_killed_sidecar_leaves_clean_traffic", a_killed_sidecar_leaves_clean_traffic),
];

/// Loss of everything and a black hole on the port of the service, each in both directions.
fn cut_everything(service: &Service) -> Vec<String> {
    let mut commands = Vec::new();
    for way in ["egress", "ingress"] {
        commands.push(service.send(
            "AWSFIS-Run-Network-Packet-Loss-Sources",
            &json!({"DurationSeconds": ["600"], "Sources": ["ALL"], "LossPercent": ["100"], "TrafficType": [way]}),
        ));
        let port = SERVICE_PORT.to_string();
        commands.push(service.send(
            "AWSFIS-Run-Network-Blackhole-Port",
            &json!({"DurationSeconds": ["600"], "Protocol": ["tcp"], "Port": [port], "TrafficType": [way]}),
        ));
    }
    eventually("all four faults live", || (service.live().len() == 4).then_some(()));
    commands
}

fn nothing_gets_through(ground: &Ground) {
    assert_eq!(ground.icmp(FAR[0]), None);
    assert_eq!(ground.exchange("tcp", FAR[0], PORT), None);
    // The address of the metadata is everybody's lifeline, on every port; the endpoint on its own.
    for address in [FAR[1], FAR[0]] {
        assert!(ground.exchange("tcp", address, SERVICE_PORT).is_some(), "{address}");
    }
}

fn a_cancel_arrives_under_total_loss_and_a_black_hole() {
    let ground = Ground::new();
    let before = ground.state();
    let service = Service::start(&ground);
    let commands = cut_everything(&service);
    nothing_gets_through(&ground);
    // By the channel that was open before the faults, two of them.
    for command in &commands[..2] {
        service.cancel(command);
        assert_eq!(service.ended(command), "Cancelled");
    }
    // And by a channel, or a poll, that has to be opened through them.
    let again = cut_everything_again(&service);
    nothing_gets_through(&ground);
    service.drop_sockets();
    for command in commands[2..].iter().chain(&again) {
        service.cancel(command);
        assert_eq!(service.ended(command), "Cancelled");
    }
    eventually("nothing is live", || service.live().is_empty().then_some(()));
    assert!(ground.exchange("tcp", FAR[0], PORT).is_some());
    ground.is_inert();
    service.sidecar.signal("TERM");
    eventually("the instance is gone", || {
        let listed = service.call("DescribeInstanceInformation", &json!({}));
        listed["InstanceInformationList"].as_array().is_some_and(Vec::is_empty).then_some(())
    });
    until("the root is as before", || ground.state() == before);
}

/// The two that were cancelled, once more: they are sent through the two that still live.
fn cut_everything_again(service: &Service) -> [String; 2] {
    let loss = service.send(
        "AWSFIS-Run-Network-Packet-Loss-Sources",
        &json!({"DurationSeconds": ["600"], "Sources": ["ALL"], "LossPercent": ["100"], "TrafficType": ["egress"]}),
    );
    let hole = service.send(
        "AWSFIS-Run-Network-Blackhole-Port",
        &json!({"DurationSeconds": ["600"], "Protocol": ["tcp"], "Port": ["443"], "TrafficType": ["egress"]}),
    );
    eventually("all four faults live again", || (service.live().len() == 4).then_some(()));
    [loss, hole]
}

/// All connections to the service's port are taken by a proxy of another user, which makes its own: as App Mesh and
/// Istio have it.
fn a_cancel_arrives_through_a_transparent_proxy() {
    const PROXY: u32 = 1337;
    let ground = Ground::new();
    let user = PROXY.to_string();
    let drop_to = ["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"];
    let mut proxy =
        ground.start(&[&drop_to[..], &["/mnt/suite", "probe", "proxy", "127.0.0.1:15001"]].concat());
    assert_eq!(proxy.line(), "ready");
    ground.near(&["nft", "add table ip mesh; add chain ip mesh o { type nat hook output priority -100; }"]);
    let redirect =
        format!("add rule ip mesh o meta skuid != {PROXY} tcp dport {SERVICE_PORT} redirect to :15001");
    ground.near(&["nft", &redirect]);
    let service = Service::start(&ground);
    let said = service.doctor();
    assert!(said.contains("-- proxy") && said.contains("at 127.0.0.1:15001"), "{said}");
    for way in ["ingress", "egress"] {
        let command = service.send(
            "AWSFIS-Run-Network-Packet-Loss-Sources",
            &json!({"DurationSeconds": ["600"], "Sources": ["ALL"], "LossPercent": ["100"], "TrafficType": [way]}),
        );
        eventually("the fault lives", || (service.live().len() == 1).then_some(()));
        assert_eq!(ground.exchange("tcp", FAR[0], PORT), None, "{way}");
        // A channel that is opened anew through the fault carries the cancel.
        service.drop_sockets();
        service.cancel(&command);
        assert_eq!(service.ended(&command), "Cancelled", "{way}");
        eventually("nothing is live", || service.live().is_empty().then_some(()));
    }
}

fn a_killed_sidecar_leaves_clean_traffic() {
    let ground = Ground::new();
    let service = Service::start(&ground);
    cut_everything(&service);
    nothing_gets_through(&ground);
    service.sidecar.signal("KILL");
    until("the table is gone", || !ground.state().contains("table"));
    for (address, port) in [(FAR[0], PORT), (FAR[0], SERVICE_PORT)] {
        assert!(ground.exchange("tcp", address, port).is_some(), "{address}:{port}");
    }
    let told = ground.near(&["/mnt/taskfault", "status", "--state-dir", &ground.state_dir]);
    assert!(told.starts_with("no sidecar is running here"), "{told}");
}
