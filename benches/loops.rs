//! The inner loops: frame codec, parameter substitution, target compilation, load control.
//!
//! `cargo bench --bench loops [-- FILTER]`; `make bench WHAT=loops` runs them shortly and shows their figures
//! with the others.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use effects::load::pace::{Pace, Turn};
use effects::net::classify::{self, Action, Filter};
use effects::net::link::Link;
use effects::net::target;
use effects::task::denied::DeniedTargets;
use faults::network_source::{Direction, Net, Source, parse_sources};
use serde_json::{Value, json};
use ssm_wire::frame::Frame;
use taskfault::document::{self, Request};
use uuid::Uuid;

/// Sizes of a payload in bytes: an acknowledgement, a job, a reply with all the output that it may carry.
const PAYLOADS: [usize; 3] = [200, 4_000, 64_000];
/// Numbers of targets of one fault.
const TARGETS: [u32; 3] = [1, 1_000, 65_536];

fn frame(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    for size in PAYLOADS {
        let frame = Frame::new("agent_job_reply", Uuid::from_u128(7), 1_766_000_000_000, vec![b' '; size]);
        let bytes = frame.encode().expect("a good frame");
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_with_input(BenchmarkId::new("encode", size), &frame, |bencher, frame| {
            bencher.iter(|| black_box(frame).encode());
        });
        group.bench_with_input(BenchmarkId::new("decode", size), &bytes, |bencher, bytes| {
            bencher.iter(|| Frame::decode(black_box(bytes)));
        });
    }
    group.finish();
}

/// A job as FIS sends it, and one of a document of the user's own with many parameters in a long script.
fn jobs() -> [(&'static str, Request); 2] {
    let by_name = json!({ "DurationSeconds": ["60"], "DelayMilliseconds": ["200"], "Sources": ["10.0.0.0/8,db.internal"] });
    let names: Vec<String> = (0..20).map(|number| format!("Word{number}")).collect();
    let declared: serde_json::Map<String, Value> =
        names.iter().map(|name| (name.clone(), json!({ "type": "String" }))).collect();
    let given: serde_json::Map<String, Value> =
        names.iter().map(|name| (name.clone(), json!(["a word of the user's"]))).collect();
    let lines: Vec<String> =
        (0..200).map(|line| format!("echo {line} '{{{{ {} }}}}'", names[line % 20])).collect();
    let own = json!({
        "schemaVersion": "2.2", "parameters": declared,
        "mainSteps": [{ "action": "aws:runShellScript", "name": "own", "inputs": { "runCommand": lines } }],
    });
    let request = |name: &str, document: Value, parameters: Value| Request {
        command_id: "da11fb41-9572-47f6-9aae-6f3494230478".to_owned(),
        document_name: name.to_owned(),
        document,
        parameters: parameters.as_object().cloned().unwrap_or_default(),
    };
    [
        ("by name", request("AWSFIS-Run-Network-Latency-Sources", json!({}), by_name)),
        ("200 lines, 20 parameters", request("Own", own, Value::Object(given))),
    ]
}

fn parameters(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parameters");
    for (name, request) in jobs() {
        group.bench_function(name, |bencher| {
            bencher.iter(|| document::plan(black_box(&request)).expect("a good document"));
        });
    }
    group.finish();
}

fn sources(count: u32) -> Vec<Source> {
    // Every other address, in an order that is not theirs: no two can be merged.
    let first = u32::from(Ipv4Addr::new(10, 128, 0, 0));
    let address = |number: u32| Ipv4Addr::from(first + 2 * (number.wrapping_mul(40_503) % count.max(1)));
    (0..count).map(|number| Source::Net(Net::single(address(number).into()))).collect()
}

fn targets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("targets");
    for count in TARGETS {
        let sources = sources(count);
        group.throughput(Throughput::Elements(u64::from(count)));
        group.bench_with_input(BenchmarkId::new("to messages", count), &sources, |bencher, sources| {
            bencher.iter(|| {
                let found = target::resolve(black_box(sources), &[], &DeniedTargets::default())
                    .expect("addresses only");
                classify::create(&filter(target::TargetSet::of_all(&found)))
            });
        });
    }
    let words = (0..1_000).map(|n| format!("10.{}.{}.0/25", n / 250, n % 250)).collect::<Vec<_>>().join(",");
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("parse/1000", |bencher| bencher.iter(|| parse_sources(black_box(&words))));
    group.finish();
}

fn filter(targets: target::TargetSet) -> Filter {
    Filter {
        name: "bench".to_owned(),
        direction: Direction::Egress,
        priority: classify::FIRST_PRIORITY,
        links: Some(vec![Link {
            index: 2,
            name: "eth0".to_owned(),
            up: true,
            loopback: false,
            kind: None,
            address: Vec::new(),
        }]),
        targets,
        selected: classify::Selected::default(),
        added: BTreeSet::new(),
        port: None,
        flows_percent: 100,
        action: Action::Classify(4.into()),
        lasts: Duration::from_secs(3_600),
        exempt: Vec::new(),
        exempt_endpoints: Vec::new(),
        exempt_group: 29_798,
        own_flows: Vec::new(),
    }
}

/// One second of the control law: a hundred slices, each burnt as it says.
fn load(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load");
    group.bench_function("one second of slices", |bencher| {
        bencher.iter(|| {
            let mut pace = Pace::new(black_box(0.37));
            let (mut now, mut used, mut turns) = (Duration::ZERO, Duration::ZERO, 0_u32);
            while now < Duration::from_secs(1) {
                match pace.next(now, used) {
                    Turn::Burn { used_until, wall_until } => {
                        let burnt = used_until.saturating_sub(used).min(wall_until.saturating_sub(now));
                        (now, used) = (now + burnt, used + burnt);
                    }
                    Turn::Rest { wall_until } => now = wall_until,
                }
                turns += 1;
            }
            turns
        });
    });
    group.finish();
}

criterion_group!(benches, frame, parameters, targets, load);
criterion_main!(benches);
