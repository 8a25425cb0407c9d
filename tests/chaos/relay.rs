//! The relay: passes on what both sides say, but for what the plan says.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use serde_json::json;
use ssm_wire::frame::{Frame as WireFrame, HEADER_BYTES};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::exchange::{Message, answer};
use crate::frames::{self, Frame};
use crate::json::garbled;
use crate::mutation::{Call, Frame as FrameMutation, GARBAGE, Plan, REFUSALS};

const PAUSE: Duration = Duration::from_millis(700);
/// Far below the limits of calls, so that what waits for it goes on.
const STALL: Duration = Duration::from_millis(1500);
const FLOOD_BYTES: usize = 12 * 1024 * 1024;
const HEADER_FLOOD_BYTES: usize = 256 * 1024;
/// So many frames are kept for a replay.
const MOST_KEPT: usize = 32;

/// The relay in front of one local AWS.
#[derive(Debug)]
pub(crate) struct Relay {
    pub url: String,
    pub plan: Rc<RefCell<Plan>>,
}

/// What connections share.
#[derive(Debug, Default)]
struct Shared {
    plan: Rc<RefCell<Plan>>,
    /// The last good answer of each operation.
    answers: RefCell<HashMap<String, Message>>,
    /// The last frames of the service.
    frames: RefCell<Vec<Vec<u8>>>,
}

impl Relay {
    /// Listens in front of `target`, on this thread.
    pub(crate) async fn start(target: SocketAddr) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Rc::new(Shared::default());
        let plan = Rc::clone(&shared.plan);
        tokio::task::spawn_local(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let shared = Rc::clone(&shared);
                // Either side may go at any time.
                tokio::task::spawn_local(async move { shared.serve(client, target).await });
            }
        });
        Relay { url, plan }
    }
}

impl Shared {
    /// One connection, call after call; None once it has ended.
    async fn serve(&self, mut client: TcpStream, target: SocketAddr) -> Option<()> {
        let mut service = TcpStream::connect(target).await.ok()?;
        client.set_nodelay(true).ok()?;
        service.set_nodelay(true).ok()?;
        let (mut asked, mut answered) = (Vec::new(), Vec::new());
        loop {
            let request = Message::read(&mut client, &mut asked).await?;
            let operation = request.operation();
            let mutation = self.plan.borrow_mut().call();
            if matches!(mutation, Some((Call::Refuse, _))) {
                return None;
            }
            // What a service refuses it does not do.
            if let Some((Call::Refusal(at), _)) = mutation {
                client.write_all(&refusal(at).bytes()).await.ok()?;
                continue;
            }
            service.write_all(&request.bytes()).await.ok()?;
            let good = Message::read(&mut service, &mut answered).await?;
            if let Some((call, rng)) = mutation {
                self.garble(call, rng, &operation, good, &mut client).await?;
                continue;
            }
            client.write_all(&good.bytes()).await.ok()?;
            if good.status() == 101 {
                return self.frames(client, service, asked, answered).await;
            }
            if good.status() < 300 {
                self.answers.borrow_mut().insert(operation, good);
            }
        }
    }

    /// Answers with something else than `good`; None where that is the end of the connection.
    async fn garble(
        &self,
        call: Call,
        mut rng: Rng,
        operation: &str,
        good: Message,
        client: &mut TcpStream,
    ) -> Option<()> {
        let bytes = good.bytes();
        let mut body = good.body.clone();
        let said = |message: Message| message.bytes();
        let (out, goes_on) = match call {
            Call::Refuse | Call::Lose => return None,
            Call::Cut => (bytes[..rng.usize(..bytes.len())].to_vec(), false),
            Call::Stall => {
                client.write_all(&bytes[..rng.usize(..bytes.len())]).await.ok()?;
                tokio::time::sleep(STALL).await;
                return None;
            }
            Call::Crumbs => {
                for crumb in bytes.chunks(1 + bytes.len() / 100) {
                    client.write_all(crumb).await.ok()?;
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                (Vec::new(), true)
            }
            Call::Status(status) => (said(answer(status, &[], b"<html>no</html>".to_vec())), true),
            Call::Refusal(at) => (said(refusal(at)), true),
            Call::Redirect(status) => {
                (said(answer(status, &[("location", "http://127.0.0.1:1/elsewhere")], Vec::new())), true)
            }
            Call::Garbage(at) => (said(good.with_body(GARBAGE[at].to_vec())), true),
            Call::Longer => {
                let head = format!("HTTP/1.1 200 Because\r\ncontent-length: {}\r\n\r\n", body.len() + 7);
                ([head.into_bytes(), body].concat(), false)
            }
            Call::Shorter => {
                let length = body.len().saturating_sub(1 + rng.usize(..20));
                let head = format!("HTTP/1.1 200 Because\r\ncontent-length: {length}\r\n\r\n");
                ([head.into_bytes(), body].concat(), true)
            }
            Call::TwoLengths => (said(answer(200, &[("content-length", "3")], body)), true),
            Call::Chunks => {
                let head =
                    "HTTP/1.1 200 Because\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffffff\r\nzz";
                (head.as_bytes().to_vec(), false)
            }
            Call::Twice => ([bytes.clone(), bytes].concat(), true),
            Call::Before => ([b"\x16\x03\x01 hello\r\n".to_vec(), bytes].concat(), true),
            Call::Continue => ([b"HTTP/1.1 100 Continue\r\n\r\n".repeat(3), bytes].concat(), true),
            Call::Header => (said(answer(200, &[("x", &"a".repeat(HEADER_FLOOD_BYTES))], body)), true),
            Call::Flood => {
                (said(good.with_body(vec![*rng.choice(b"[ {\"a".as_slice()).unwrap(); FLOOD_BYTES])), true)
            }
            Call::Member => (said(good.with_body(garbled(&mut rng, &body))), true),
            Call::Earlier => {
                let earlier = self.answers.borrow().get(operation).cloned();
                (said(earlier.unwrap_or_else(|| answer(200, &[], b"{}".to_vec()))), true)
            }
            Call::Other => {
                let other = self
                    .answers
                    .borrow()
                    .iter()
                    .find(|(name, _)| *name != operation)
                    .map(|(_, it)| it.clone());
                (said(other.unwrap_or_else(|| answer(200, &[], b"[]".to_vec()))), true)
            }
            // A job with another id would be another job, which may run as well.
            Call::Flip if operation == "GetMessages" || body.is_empty() => (bytes, true),
            Call::Flip => {
                let at = rng.usize(..body.len());
                body[at] ^= 1 << rng.u8(..8);
                (said(good.with_body(body)), true)
            }
        };
        client.write_all(&out).await.ok()?;
        client.flush().await.ok()?;
        goes_on.then_some(())
    }

    /// The control channel, until one side or the plan ends it.
    async fn frames(
        &self,
        client: TcpStream,
        service: TcpStream,
        asked: Vec<u8>,
        said: Vec<u8>,
    ) -> Option<()> {
        let (from_client, to_client) = tokio::io::split(client);
        let (from_service, to_service) = tokio::io::split(service);
        tokio::select! {
            ended = self.down(from_service, to_client, said) => ended,
            ended = self.up(from_client, to_service, asked) => ended,
        }
    }

    async fn up(
        &self,
        mut from: ReadHalf<TcpStream>,
        mut to: WriteHalf<TcpStream>,
        mut buffer: Vec<u8>,
    ) -> Option<()> {
        loop {
            let frame = Frame::read(&mut from, &mut buffer).await?;
            let mutation = self.plan.borrow_mut().frame(true);
            match mutation.map(|(mutation, _)| mutation) {
                Some(FrameMutation::UpDrop) => continue,
                Some(FrameMutation::UpTwice) => to.write_all(&frame.bytes).await.ok()?,
                Some(FrameMutation::UpCutOff) => {
                    to.write_all(&frame.bytes).await.ok()?;
                    return None;
                }
                _ => {}
            }
            to.write_all(&frame.bytes).await.ok()?;
        }
    }

    async fn down(
        &self,
        mut from: ReadHalf<TcpStream>,
        mut to: WriteHalf<TcpStream>,
        mut buffer: Vec<u8>,
    ) -> Option<()> {
        let mut held: Vec<u8> = Vec::new();
        loop {
            let read = Frame::read(&mut from, &mut buffer);
            let frame = if held.is_empty() {
                read.await?
            } else {
                // What is held back goes on without the next one, if that does not come.
                match tokio::time::timeout(PAUSE, read).await {
                    Ok(frame) => frame?,
                    Err(_) => {
                        to.write_all(&std::mem::take(&mut held)).await.ok()?;
                        continue;
                    }
                }
            };
            let mutation =
                if frame.opcode == frames::BINARY { self.plan.borrow_mut().frame(false) } else { None };
            match mutation {
                Some((FrameMutation::Swap, _)) => held.extend(&frame.bytes),
                Some((mutation, mut rng)) => {
                    if mutation == FrameMutation::Late {
                        tokio::time::sleep(PAUSE).await;
                    }
                    let out = self.garbled_frame(mutation, &mut rng, &frame);
                    to.write_all(&out).await.ok()?;
                    if mutation == FrameMutation::CutOff {
                        return None;
                    }
                }
                None => {
                    to.write_all(&frame.bytes).await.ok()?;
                    to.write_all(&std::mem::take(&mut held)).await.ok()?;
                    let mut kept = self.frames.borrow_mut();
                    kept.push(frame.bytes);
                    if kept.len() > MOST_KEPT {
                        kept.remove(0);
                    }
                }
            }
        }
    }

    /// The bytes that go out in place of a frame of the service.
    fn garbled_frame(&self, mutation: FrameMutation, rng: &mut Rng, frame: &Frame) -> Vec<u8> {
        let binary = |payload: &[u8]| frames::message(frames::BINARY, payload);
        let before = |first: Vec<u8>| [first, frame.bytes.clone()].concat();
        let mut payload = frame.payload.clone();
        match mutation {
            FrameMutation::Drop | FrameMutation::Swap => Vec::new(),
            FrameMutation::Twice => before(frame.bytes.clone()),
            FrameMutation::CutOff => frame.bytes[..rng.usize(..frame.bytes.len())].to_vec(),
            FrameMutation::Digest => {
                payload[80 + rng.usize(..32)] ^= 0xff;
                binary(&payload)
            }
            FrameMutation::PayloadLength => {
                payload[116 + rng.usize(..4)] ^= 1 << rng.u8(..8);
                binary(&payload)
            }
            FrameMutation::HeaderLength => {
                let length = [0u32, 1, 80, 115, 117, 120, u32::MAX][rng.usize(..7)];
                payload[..4].copy_from_slice(&length.to_be_bytes());
                binary(&payload)
            }
            FrameMutation::Kind => {
                let kinds = [&[b' '; 32], &[0; 32], &[0xff; 32], b"agent_job_reply                 "];
                payload[4..36].copy_from_slice(kinds[rng.usize(..kinds.len())]);
                binary(&payload)
            }
            FrameMutation::Cut => {
                let left = rng.usize(..(payload.len() - HEADER_BYTES).max(1));
                binary(&rewritten(&payload, |job| job[..left].to_vec()))
            }
            FrameMutation::Grown => binary(&rewritten(&payload, |job| [job, b"}\0]"].concat())),
            FrameMutation::Member => binary(&rewritten(&payload, |job| garbled(rng, job))),
            FrameMutation::Old | FrameMutation::Future => {
                let date = if mutation == FrameMutation::Old { 1u64 } else { u64::MAX };
                payload[40..48].copy_from_slice(&date.to_be_bytes());
                binary(&payload)
            }
            FrameMutation::AsText => frames::message(frames::TEXT, &payload),
            FrameMutation::Garbage => {
                let random: Vec<u8> = (0..rng.usize(1..600)).map(|_| rng.u8(..)).collect();
                before(binary(&random))
            }
            FrameMutation::Nothing => before(binary(&[])),
            FrameMutation::Pings => before(frames::message(frames::PING, b"hello").repeat(200)),
            FrameMutation::Close => before(frames::message(frames::CLOSE, &[0x03, 0xe8 + rng.u8(..16)])),
            FrameMutation::Opcode => before(frames::message(3 + rng.u8(..5), b"x")),
            FrameMutation::Fragmented => {
                let (first, second) = payload.split_at(rng.usize(..payload.len()));
                [frames::unmasked(frames::BINARY, first), frames::unmasked(0x80, second)].concat()
            }
            FrameMutation::Masked => {
                let mut masked = binary(&payload);
                masked[1] |= 0x80;
                masked
            }
            FrameMutation::Replay => [self.frames.borrow().concat(), frame.bytes.clone()].concat(),
            FrameMutation::Late
            | FrameMutation::UpDrop
            | FrameMutation::UpTwice
            | FrameMutation::UpCutOff => frame.bytes.clone(),
        }
    }
}

fn refusal(at: usize) -> Message {
    let (status, code) = REFUSALS[at];
    let body = json!({ "__type": code, "message": "because of the test" }).to_string();
    answer(status, &[], body.into_bytes())
}

/// A frame of the service with another payload, and the lengths and the digest of that; random bytes where there is
/// nothing left of it.
fn rewritten(bytes: &[u8], change: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let Ok(mut frame) = WireFrame::decode(bytes) else { return bytes.to_vec() };
    frame.payload = change(&frame.payload);
    frame.encode().unwrap_or_else(|_| bytes[..HEADER_BYTES].to_vec())
}
