//! Network faults through the ECS agent's endpoints: our client against the local AWS, with everything that can
//! go wrong at the agent.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use aws_local::{Options, Server};
use effects::ecs_agent::ledger::{Entry, Ledger};
use effects::ecs_agent::request::Request;
use effects::ecs_agent::target::Targets;
use effects::ecs_agent::{self, AgentError, AgentFault};
use effects::given_up;
use effects::task::ecs_agent::AgentAccess;
use faults::network_blackhole_port::NetworkBlackholePort;
use faults::network_latency::NetworkLatency;
use faults::network_packet_loss::NetworkPacketLoss;
use faults::network_source::Scope;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

const ARN: &str = "arn:aws:ecs:us-east-1:000000000000:task/c/t";

/// A local AWS on a thread of its own, so that a thread that waits for its answer gets one while time stands still.
struct Agent {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: Option<std::thread::JoinHandle<()>>,
}

impl Agent {
    fn start(fault_injection: bool) -> Agent {
        let (tell, told) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listen = SocketAddr::from(([127, 0, 0, 1], 0));
                let server =
                    Server::bind(Options { listen, fault_injection, ..Options::default() }).await.unwrap();
                tell.send(server.address()).unwrap();
                server.run(async { drop(stopped.await) }).await.unwrap();
            });
        });
        Agent { address: told.recv().unwrap(), stop: Some(stop), served: Some(served) }
    }

    fn uri(&self) -> String {
        format!("http://{}/api/c/s/t", self.address)
    }

    async fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap_or(json!(body)))
    }

    async fn switch(&self, switches: Value) {
        assert_eq!(self.call("POST", "/_taskfault/switches", &switches.to_string()).await.0, 200);
    }

    /// The names of the faults that run in the task.
    async fn running(&self) -> Vec<String> {
        let (_, all) = self.call("GET", "/_taskfault/faults", "").await;
        let faults = all["c/s/t"].as_array().cloned().unwrap_or_default();
        faults.iter().map(|fault| fault["fault"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.served.take().unwrap().join().unwrap();
    }
}

fn access() -> AgentAccess {
    AgentAccess { enabled: true, task_arn: ARN.to_owned(), ..AgentAccess::default() }
}

fn targets() -> Targets {
    Targets { sources: vec!["10.0.0.0/8".into()], exempt: vec!["169.254.170.2".into()] }
}

fn scope() -> Scope {
    Scope::new("10.0.0.0/8", "egress", "DEFAULT", 100).unwrap()
}

fn latency() -> Request {
    Request::latency(&NetworkLatency::new(200, 10, scope()).unwrap(), &targets())
}

fn loss() -> Request {
    Request::packet_loss(&NetworkPacketLoss::new(7, scope()).unwrap(), &targets())
}

fn hole(port: u64) -> Request {
    let hole = NetworkBlackholePort::new(port, "tcp", "egress").unwrap();
    Request::blackhole_port(&hole, &["169.254.170.2".to_owned()])
}

async fn start(agent: &Agent, request: Request, dir: &Path) -> Result<AgentFault, AgentError> {
    AgentFault::start(request, &access(), &agent.uri(), dir).await
}

fn noted(dir: &Path) -> usize {
    let text = std::fs::read_to_string(dir.join("ecs-faults.json")).unwrap_or("[]".into());
    serde_json::from_str::<Vec<Value>>(&text).unwrap().len()
}

/// Time that waits pass at once; requests are made on threads, and while one is under way time stands still.
fn run<F: Future<Output = ()>>(test: F) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

#[test]
fn all_three_run_and_are_stopped_and_noted_meanwhile() {
    run(async {
        let (agent, dir) = (Agent::start(true), tempfile::tempdir().unwrap());
        for request in [latency(), loss(), hole(443)] {
            let name = request.fault;
            let mut fault = start(&agent, request, dir.path()).await.unwrap();
            assert_eq!((agent.running().await, noted(dir.path())), (vec![name.to_owned()], 1));
            assert_eq!(fault.stop().await, Ok(()));
            assert_eq!((agent.running().await, noted(dir.path())), (vec![], 0));
        }
    });
}

#[test]
fn dropping_stops() {
    run(async {
        let (agent, dir) = (Agent::start(true), tempfile::tempdir().unwrap());
        let fault = start(&agent, latency(), dir.path()).await.unwrap();
        drop(fault);
        given_up::undone().await;
        assert_eq!((agent.running().await, noted(dir.path())), (vec![], 0));
    });
}

/// Goes on with a start until its note is on disk, or all of it is done.
async fn until_noted(starting: &mut Starting<'_>, dir: &Path) {
    while noted(dir) == 0 {
        let step = std::future::poll_fn(|cx| std::task::Poll::Ready(starting.as_mut().poll(cx))).await;
        if let std::task::Poll::Ready(started) = step {
            // It was quicker than this test can look; then it is dropped as it is.
            return drop(started.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

type Starting<'a> = std::pin::Pin<Box<dyn Future<Output = Result<AgentFault, AgentError>> + 'a>>;

/// The future is dropped before its request, or while that is on the way: then the request ends first.
#[test]
fn a_start_that_is_given_up_leaves_nothing() {
    run(async {
        let (agent, dir) = (Agent::start(true), tempfile::tempdir().unwrap());
        agent.switch(json!({"fault_rate_seconds": 0})).await;
        for port in 1..20 {
            let mut starting: Starting = Box::pin(start(&agent, hole(port), dir.path()));
            until_noted(&mut starting, dir.path()).await;
            drop(starting);
            given_up::undone().await;
            assert_eq!((agent.running().await, noted(dir.path())), (vec![], 0));
        }
    });
}

#[test]
fn one_latency_or_loss_at_a_time_and_the_others_is_not_stopped() {
    run(async {
        let (agent, dir) = (Agent::start(true), tempfile::tempdir().unwrap());
        let mut first = start(&agent, latency(), dir.path()).await.unwrap();
        agent.switch(json!({"fault_rate_seconds": 0})).await;
        let refused = start(&agent, loss(), dir.path()).await.unwrap_err().to_string();
        assert!(refused.contains("(409): There is already one network latency fault running"), "{refused}");
        let refused = start(&agent, latency(), dir.path()).await.unwrap_err();
        assert!(matches!(refused, AgentError::RunsAlready { .. }), "{refused}");
        assert_eq!((agent.running().await, noted(dir.path())), (vec!["network-latency".to_owned()], 1));
        assert_eq!(first.stop().await, Ok(()));
    });
}

/// Starting a black hole twice is fine for the agent, but then the first stop would end both.
#[test]
fn a_black_hole_of_somebody_else_is_left_alone() {
    run(async {
        let (agent, dir) = (Agent::start(true), tempfile::tempdir().unwrap());
        let path = "/api/c/s/t/fault/v1/network-blackhole-port/start";
        assert_eq!(agent.call("POST", path, &hole(443).body).await, (200, json!({"Status": "running"})));
        let refused = start(&agent, hole(443), dir.path()).await.unwrap_err();
        assert!(matches!(refused, AgentError::RunsAlready { .. }), "{refused}");
        assert!(refused.to_string().contains("curl -X POST -d '{\""), "{refused}");
        assert_eq!(agent.running().await.len(), 1);
        agent.switch(json!({"fault_rate_seconds": 0})).await;
        let mut other = start(&agent, hole(80), dir.path()).await.unwrap();
        assert_eq!(agent.running().await.len(), 2);
        assert_eq!(other.stop().await, Ok(()));
        assert_eq!(agent.running().await.len(), 1);
    });
}

#[test]
fn what_the_agent_refuses_is_told_in_its_words_and_leaves_nothing() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let disabled = Agent::start(false);
        let refused = start(&disabled, hole(443), dir.path()).await.unwrap_err().to_string();
        assert!(
            refused.contains("(400): enableFaultInjection is not enabled for task: arn:aws:ecs:"),
            "{refused}"
        );
        assert!(refused.contains(":task/c/t"), "{refused}");
        let agent = Agent::start(true);
        let uri = format!("http://{}/api/nobody", agent.address);
        let refused =
            AgentFault::start(latency(), &access(), &uri, dir.path()).await.unwrap_err().to_string();
        assert!(
            refused.contains("(404)") && refused.contains("ECS_AGENT_URI is not that of this task"),
            "{refused}"
        );
        let bad = Request { fault: "network-latency", body: r#"{"DelayMilliseconds":1}"#.into() };
        let refused = start(&agent, bad, dir.path()).await.unwrap_err().to_string();
        assert!(refused.contains("(400): required parameter JitterMilliseconds is missing"), "{refused}");
        given_up::undone().await;
        assert_eq!((agent.running().await, noted(dir.path())), (vec![], 0));
    });
}

#[test]
fn an_error_of_the_agent_in_the_middle_of_a_start_is_undone() {
    run(async {
        let (agent, dir) = (Agent::start(true), tempfile::tempdir().unwrap());
        agent.switch(json!({"fault_rate_seconds": 0, "fault_trouble_with": "start"})).await;
        for (words, switches) in [
            ("failed to start network-latency (500): internal error", json!({"fault_error_next": 1})),
            // The work is done, and the connection is closed without an answer.
            (
                "took longer than its 5 s to start network-latency and hung up; what it did may be half there",
                json!({"fault_timeout_next": 1}),
            ),
        ] {
            agent.switch(switches).await;
            let error = start(&agent, latency(), dir.path()).await.unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("it was stopped afterwards"), "{error}");
            given_up::undone().await;
            assert_eq!((agent.running().await, noted(dir.path())), (vec![], 0));
        }
    });
}

/// A root queueing discipline, or an empty chain, that the agent never takes away.
#[test]
fn what_an_earlier_start_left_in_the_way_is_said() {
    run(async {
        let (agent, dir) = (Agent::start(true), tempfile::tempdir().unwrap());
        agent.switch(json!({"fault_rate_seconds": 0, "fault_half_done_next": 1})).await;
        for _ in 0..2 {
            let error = start(&agent, latency(), dir.path()).await.unwrap_err().to_string();
            assert!(
                error.contains("failed to start network-latency (500): internal error; what an earlier"),
                "{error}"
            );
            assert!(error.contains("only a new task helps"), "{error}");
            given_up::undone().await;
            assert_eq!((agent.running().await, noted(dir.path())), (vec![], 0));
        }
        assert_eq!(start(&agent, loss(), dir.path()).await.unwrap().stop().await, Ok(()));
    });
}

#[test]
fn an_agent_that_takes_no_ipv6_is_known_by_its_refusal() {
    run(async {
        let (agent, dir) = (Agent::start(true), tempfile::tempdir().unwrap());
        agent.switch(json!({"fault_rate_seconds": 0, "fault_agent_version": "1.93.1"})).await;
        let targets = Targets {
            sources: vec!["10.0.0.0/8".into()],
            exempt: vec!["169.254.170.2".into(), "fd00:ec2::23".into()],
        };
        let request =
            |targets: &Targets| Request::latency(&NetworkLatency::new(200, 10, scope()).unwrap(), targets);
        let refused = start(&agent, request(&targets), dir.path()).await.unwrap_err();
        assert!(refused.refuses_v6(), "{refused}");
        let mut fault = start(&agent, request(&targets.without_v6().unwrap()), dir.path()).await.unwrap();
        assert_eq!(fault.stop().await, Ok(()));
        let other = start(&agent, Request { fault: "network-latency", body: "{}".into() }, dir.path()).await;
        assert!(!other.unwrap_err().refuses_v6());
    });
}

#[test]
fn whether_the_agent_is_there_can_be_asked() {
    run(async {
        let agent = Agent::start(true);
        let uri = agent.uri();
        for fault in ["network-latency", "network-blackhole-port"] {
            // The second time is too early for the agent, which is no reason to doubt.
            assert_eq!([(); 2].map(|()| ecs_agent::probe(&uri, fault)), [Ok(()), Ok(())]);
        }
        assert_eq!(agent.running().await, [""; 0]);
        drop(agent);
        let gone = ecs_agent::probe(&uri, "network-latency").unwrap_err().to_string();
        assert!(gone.contains("cannot be reached at http://127.0.0.1:"), "{gone}");
        let disabled =
            ecs_agent::probe(&Agent::start(false).uri(), "network-latency").unwrap_err().to_string();
        assert!(disabled.contains("enableFaultInjection is not enabled"), "{disabled}");
    });
}

#[test]
fn a_stop_is_tried_again_until_it_works() {
    run(async {
        let (agent, dir) = (Agent::start(true), tempfile::tempdir().unwrap());
        agent.switch(json!({"fault_rate_seconds": 0})).await;
        let mut fault = start(&agent, latency(), dir.path()).await.unwrap();
        agent.switch(json!({"fault_error_next": 3})).await;
        assert_eq!(fault.stop().await, Ok(()));
        assert_eq!((agent.running().await, noted(dir.path())), (vec![], 0));
        let mut fault = start(&agent, latency(), dir.path()).await.unwrap();
        agent.switch(json!({"fault_error_next": 4})).await;
        let failed = fault.stop().await.unwrap_err().to_string();
        assert!(failed.contains("failed to stop network-latency (500): internal error"), "{failed}");
        drop(fault);
        assert_eq!(noted(dir.path()), 1, "the next life has to know");
    });
}

/// Somebody else used the route a moment ago: our request comes too early, and is sent again.
#[test]
fn too_early_is_waited_for() {
    run(async {
        let (agent, dir) = (Agent::start(true), tempfile::tempdir().unwrap());
        let status = "/api/c/s/t/fault/v1/network-latency/status";
        agent.switch(json!({"fault_rate_seconds": 3600})).await;
        assert_eq!(agent.call("POST", status, "").await.0, 200);
        assert_eq!(
            agent.call("POST", status, "").await,
            (429, json!("You have reached maximum request limit"))
        );
        let refused = start(&agent, latency(), dir.path()).await.unwrap_err();
        assert!(matches!(refused, AgentError::TooOften { .. }), "{refused}");
        agent.switch(json!({"fault_rate_seconds": 0})).await;
        assert_eq!(start(&agent, latency(), dir.path()).await.unwrap().stop().await, Ok(()));
    });
}

#[test]
fn an_agent_that_is_not_there_is_said() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let uri = Agent::start(true).uri();
        let error = AgentFault::start(latency(), &access(), &uri, dir.path()).await.unwrap_err().to_string();
        assert!(error.contains("cannot be reached at http://127.0.0.1:"), "{error}");
        assert_eq!(noted(dir.path()), 0);
    });
}

#[test]
fn without_a_note_nothing_is_started() {
    run(async {
        let agent = Agent::start(true);
        let error = start(&agent, latency(), Path::new("/proc/nowhere")).await.unwrap_err().to_string();
        assert!(error.contains("nothing was started"), "{error}");
        assert_eq!(agent.running().await, [""; 0]);
    });
}

/// An entry of a process that is gone, as a kill -9 leaves it. Made by a process that has ended.
fn left_behind(dir: &Path, task_arn: &str, request: &Request) {
    let mut entry = serde_json::to_value(Entry::new(task_arn, request)).unwrap();
    let mut child = std::process::Command::new("true").spawn().unwrap();
    entry["pid"] = json!(child.id());
    child.wait().unwrap();
    Ledger::of(dir).note(&serde_json::from_value(entry).unwrap()).unwrap();
}

#[test]
fn the_next_life_stops_what_was_left_and_nothing_else() {
    run(async {
        let (agent, dir) = (Agent::start(true), tempfile::tempdir().unwrap());
        for request in [latency(), hole(443)] {
            let path = format!("/api/c/s/t/fault/v1/{}/start", request.fault);
            assert_eq!(agent.call("POST", &path, &request.body).await.0, 200);
            left_behind(dir.path(), ARN, &request);
            agent.switch(json!({"fault_rate_seconds": 0})).await;
        }
        // One that lives now, and one of another task: neither is anybody's to stop here.
        let mut alive = start(&agent, hole(80), dir.path()).await.unwrap();
        left_behind(dir.path(), "arn:aws:ecs:us-east-1:000000000000:task/c/other", &loss());
        let mut stopped = ecs_agent::tidy_up(&access(), &agent.uri(), dir.path()).await;
        stopped.sort();
        assert_eq!(stopped, ["network-blackhole-port", "network-latency"]);
        assert_eq!(
            (agent.running().await, noted(dir.path())),
            (vec!["network-blackhole-port".to_owned()], 1)
        );
        assert_eq!(alive.stop().await, Ok(()));
    });
}

#[test]
fn tidying_up_goes_on_until_it_is_done() {
    run(async {
        let (agent, dir) = (Agent::start(true), tempfile::tempdir().unwrap());
        agent.switch(json!({"fault_rate_seconds": 0, "fault_error_next": 5})).await;
        left_behind(dir.path(), ARN, &latency());
        assert_eq!(ecs_agent::tidy_up(&access(), &agent.uri(), dir.path()).await, ["network-latency"]);
        assert_eq!(noted(dir.path()), 0);
    });
}
