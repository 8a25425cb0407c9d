//! What the fuzzer calls: requests as clients and agents make them, one after the other at the same state, and parsers
//! that lie deeper. Compiled for the fuzzer alone (`--cfg fuzzing`).

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::task::{Context as Waiting, Poll, Waker};

use http::request::{Builder, Parts};

use crate::model::{CLOUDWATCH, ECS, LOGS, Model, SSM};
use crate::shared::{Options, Shared};
use crate::ssm::state::Document;
use crate::{cloudwatch, dispatch, documents, logs, metadata, signature, test_calls, world::World};

/// Between two requests of an input.
const BETWEEN: &[u8] = b"\n%\n";
/// So many requests are made of one input.
const MOST: usize = 12;

/// Parsers, by number.
pub const LOCAL: &[fn(&[u8])] = &[
    requests,
    requests,
    requests,
    logs::pattern::fuzz,
    signature::fuzz,
    documents::content::fuzz,
    state_file,
    cloudwatch::fuzz,
];

fn state_file(bytes: &[u8]) {
    if let Ok(world) = serde_json::from_slice::<World>(bytes) {
        serde_json::to_vec(&world).expect("what was read can be written");
    }
}

/// Each request is a byte for its protocol, one for its operation, and its body.
fn requests(bytes: &[u8]) {
    let address = SocketAddr::from(([127, 0, 0, 1], 4566));
    let shared = Shared::new(Options::default(), address).expect("there is no state file");
    static BUILT_IN: OnceLock<Vec<Document>> = OnceLock::new();
    let built_in = BUILT_IN.get_or_init(|| documents::built_in(shared.started));
    shared.read(|world| {
        for document in built_in {
            world.ssm.documents.insert(document.name.clone(), document.clone());
        }
    });
    let mut rest = bytes;
    for _ in 0..MOST {
        let end = rest.windows(BETWEEN.len()).position(|window| window == BETWEEN);
        let request = &rest[..end.unwrap_or(rest.len())];
        if let [protocol, operation, body @ ..] = request {
            answer(&shared, *protocol, *operation, body);
            let context = shared.context();
            shared.read(|world| world.let_time_pass(&context));
        }
        let Some(end) = end else { return };
        rest = &rest[end + BETWEEN.len()..];
    }
}

fn answer(shared: &Shared, protocol: u8, operation: u8, body: &[u8]) {
    match protocol % 9 {
        number @ 0..4 => {
            let model = [&SSM, &ECS, &LOGS, &CLOUDWATCH][usize::from(number)];
            json(shared, &format!("{}.{}", model.target(), name(model, operation)), body);
        }
        4 => json(shared, "AmazonSSM.RegisterManagedInstance", body),
        5 => {
            let parts =
                parts(http::Request::post("/").header("content-type", "application/x-www-form-urlencoded"));
            once(dispatch::answer(shared, &parts, body));
        }
        6 => {
            let parts = parts(http::Request::post("/"));
            dispatch::cbor(shared, &parts, name(&CLOUDWATCH, operation), body);
        }
        7 => {
            // Method and path with query in the first line.
            let text = String::from_utf8_lossy(body);
            let (line, body) = text.split_once('\n').unwrap_or((&text, ""));
            let (method, path) = line.split_once(' ').unwrap_or(("GET", line));
            let Ok(request) = http::Request::builder().method(method).uri(path).body(()) else { return };
            let parts = request.into_parts().0;
            let _ = dispatch::fis(shared, &parts, body.as_bytes());
            let _ = metadata::answer(shared, parts.uri.path());
            let _ = cloudwatch::cbor_operation(&parts);
        }
        _ => drop(test_calls::answer(shared, &parts(http::Request::post("/")), "switches", body)),
    }
}

fn json(shared: &Shared, target: &str, body: &[u8]) {
    once(dispatch::answer(shared, &parts(http::Request::post("/").header("x-amz-target", target)), body));
}

fn name(model: &'static Model, number: u8) -> &'static str {
    let count = model.operations().count();
    model.operations().nth(usize::from(number) % count).expect("it is less than there are")
}

fn parts(builder: Builder) -> Parts {
    builder.body(()).expect("nothing in it is of the input").into_parts().0
}

/// What does not wait for anything is done at once.
fn once<T>(answer: impl Future<Output = T>) {
    let answer = std::pin::pin!(answer);
    match answer.poll(&mut Waiting::from_waker(Waker::noop())) {
        Poll::Ready(_) | Poll::Pending => {}
    }
}
