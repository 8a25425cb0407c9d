//! What can be done to an exchange, and the one that is armed.

use fastrand::Rng;

/// Everything that is done to a call or its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// The connection ends before the service has the call.
    Refuse,
    /// The service has the call; nobody hears its answer.
    Lose,
    /// The answer ends at any byte.
    Cut,
    /// The same, after a pause.
    Stall,
    /// The answer comes in crumbs.
    Crumbs,
    Status(u16),
    /// How a JSON 1.1 service refuses, with the index into [`REFUSALS`].
    Refusal(usize),
    Redirect(u16),
    /// Status 200 and something else, with the index into [`GARBAGE`].
    Garbage(usize),
    /// Its head says more bytes than come, or fewer.
    Longer,
    Shorter,
    /// Two lengths that contradict each other.
    TwoLengths,
    /// Chunks that are none.
    Chunks,
    /// The answer twice.
    Twice,
    /// Bytes that are no HTTP, then the answer.
    Before,
    /// The answer behind three others that say that it will come.
    Continue,
    /// One header of a quarter of a megabyte.
    Header,
    /// A body of 12 MiB.
    Flood,
    /// One member of the JSON is not what it should be.
    Member,
    /// The answer to an earlier call of the same operation.
    Earlier,
    /// The answer to another operation.
    Other,
    /// One bit.
    Flip,
}

/// Everything that is done to a frame of the control channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame {
    Drop,
    Twice,
    /// Behind the one that follows it.
    Swap,
    Late,
    Digest,
    PayloadLength,
    HeaderLength,
    /// The payload is cut short; lengths and digest agree.
    Cut,
    /// Something follows the payload; lengths and digest agree.
    Grown,
    Kind,
    Member,
    /// In a text frame.
    AsText,
    /// Random bytes before it.
    Garbage,
    /// A message of no bytes before it.
    Nothing,
    Pings,
    Close,
    /// An opcode that is reserved.
    Opcode,
    Fragmented,
    /// Masked, which no service may do.
    Masked,
    /// Everything that came before comes again.
    Replay,
    Old,
    Future,
    /// The connection ends at any of its bytes.
    CutOff,
    /// What the sidecar says: not passed on, passed on twice, or the last that is passed on.
    UpDrop,
    UpTwice,
    UpCutOff,
}

/// What a life goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    Call(Call),
    Frame(Frame),
    /// `kill -9`, and a next life in the same folder.
    Kill,
}

pub(crate) const REFUSALS: &[(u16, &str)] = &[
    (400, "ThrottlingException"),
    (429, "TooManyRequestsException"),
    (500, "InternalServerError"),
    (400, "AccessDeniedException"),
    (403, "UnrecognizedClientException"),
    (400, "ExpiredTokenException"),
    (400, "SomethingNobodyKnows"),
];

pub(crate) const GARBAGE: &[&[u8]] = &[
    b"",
    b"{",
    b"null",
    b"[]",
    b"\"x\"",
    b"0",
    b"<html><body>Sign in to continue</body></html>",
    b"\xff\xfe\x00",
    b"{}",
    b"<Result><TokenValue/></Result>",
];

const CALLS: &[Call] = &[
    Call::Refuse,
    Call::Lose,
    Call::Cut,
    Call::Stall,
    Call::Crumbs,
    Call::Status(500),
    Call::Status(503),
    Call::Status(403),
    Call::Status(404),
    Call::Status(204),
    Call::Redirect(301),
    Call::Redirect(307),
    Call::Longer,
    Call::Shorter,
    Call::TwoLengths,
    Call::Chunks,
    Call::Twice,
    Call::Before,
    Call::Continue,
    Call::Header,
    Call::Flood,
    Call::Member,
    Call::Member,
    Call::Member,
    Call::Earlier,
    Call::Other,
    Call::Flip,
];

const FRAMES: &[Frame] = &[
    Frame::Drop,
    Frame::Twice,
    Frame::Swap,
    Frame::Late,
    Frame::Digest,
    Frame::PayloadLength,
    Frame::HeaderLength,
    Frame::Cut,
    Frame::Grown,
    Frame::Kind,
    Frame::Member,
    Frame::Member,
    Frame::Member,
    Frame::AsText,
    Frame::Garbage,
    Frame::Nothing,
    Frame::Pings,
    Frame::Close,
    Frame::Opcode,
    Frame::Fragmented,
    Frame::Masked,
    Frame::Replay,
    Frame::Old,
    Frame::Future,
    Frame::CutOff,
    Frame::UpDrop,
    Frame::UpTwice,
    Frame::UpCutOff,
];

impl Mutation {
    /// One for a call.
    pub(crate) fn of_calls(rng: &mut Rng) -> Mutation {
        // The two with many kinds of their own have as much weight as five others.
        Mutation::Call(match rng.usize(..CALLS.len() + 10) {
            at if at < CALLS.len() => CALLS[at],
            at if at % 2 == 0 => Call::Refusal(rng.usize(..REFUSALS.len())),
            _ => Call::Garbage(rng.usize(..GARBAGE.len())),
        })
    }

    /// One for a sidecar that serves, over the channel that it has.
    pub(crate) fn of_service(rng: &mut Rng, polling: bool) -> Mutation {
        match rng.u8(..12) {
            0 => Mutation::Kill,
            1..=3 => Mutation::of_calls(rng),
            _ if polling => Mutation::of_calls(rng),
            _ => Mutation::Frame(FRAMES[rng.usize(..FRAMES.len())]),
        }
    }

    /// Whether a start that it hits may end with a reason: the service has said something definite, and been
    /// understood.
    pub(crate) fn may_end_a_start(self) -> bool {
        match self {
            // Codes that time does not mend, and answers that are whole and wrong.
            Mutation::Call(Call::Refusal(at)) => REFUSALS[at].1 == "SomethingNobodyKnows",
            Mutation::Call(Call::Member | Call::Earlier | Call::Other | Call::Flip) => true,
            _ => false,
        }
    }
}

/// What is done, to how many, and to which.
#[derive(Debug, Clone)]
pub(crate) struct Armed {
    pub mutation: Mutation,
    /// So many events are let through first.
    pub skip: u32,
    /// So many are hit.
    pub left: u32,
    pub rng: Rng,
}

impl Armed {
    /// The mutation, and a source of chance for it, if it hits this event.
    fn hit(&mut self) -> Option<(Mutation, Rng)> {
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        Some((self.mutation, self.rng.fork()))
    }
}

/// What the relay asks at each event.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    armed: Option<Armed>,
    pub hits: u64,
}

impl Plan {
    pub(crate) fn arm(&mut self, armed: Armed) {
        self.armed = Some(armed);
    }

    pub(crate) fn disarm(&mut self) {
        self.armed = None;
    }

    /// Whether the armed one has hit all that it was to hit.
    pub(crate) fn is_spent(&self) -> bool {
        self.armed.as_ref().is_none_or(|armed| armed.left == 0)
    }

    /// What to do to a call.
    pub(crate) fn call(&mut self) -> Option<(Call, Rng)> {
        let armed = self.armed.as_mut().filter(|armed| matches!(armed.mutation, Mutation::Call(_)))?;
        let (Mutation::Call(call), rng) = armed.hit()? else { return None };
        self.hits += 1;
        Some((call, rng))
    }

    /// What to do to a frame; `up` comes from the sidecar.
    pub(crate) fn frame(&mut self, up: bool) -> Option<(Frame, Rng)> {
        let is_up = |frame| matches!(frame, Frame::UpDrop | Frame::UpTwice | Frame::UpCutOff);
        let meant =
            |armed: &&mut Armed| matches!(armed.mutation, Mutation::Frame(frame) if is_up(frame) == up);
        let (Mutation::Frame(frame), rng) = self.armed.as_mut().filter(meant)?.hit()? else { return None };
        self.hits += 1;
        Some((frame, rng))
    }
}
