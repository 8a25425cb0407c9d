//! One connection, carried between its client and its server.
//!
//! Two directions run side by side on one thread: [`Requests`] reads the client, [`Answers`] reads the server. What
//! they know of each other is the [`Exchange`]. Everything is written as it came; a head is held until it is whole,
//! and not longer than [`HEAD_PATIENCE`].

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use crate::answer::{self, Answer};
use crate::body::{Body, Length};
use crate::buffered::Buffered;
use crate::client_hello::{self, Hello};
use crate::exchange::{Exchange, Mode, OnAnswer, Outstanding};
use crate::head::{self, After, Read, Request};
use crate::hit::{Counts, Hits};
use faults::http_fault::{Action, Protocol};

/// A head that is not whole after so long is none: it may be another protocol, whose client waits for an answer.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// A client that is told that the connection ends has so long to take note of it.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How a connection came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both sides have said that they are done, or the client has been told.
    Closed,
    /// Nothing more must be said: both sides are to be reset.
    Reset,
}

/// A direction does not go on, and neither does the other.
enum Broken {
    /// We have cut an answer, the client is to see its end.
    Cut,
    Reset,
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Broken {
        Broken::Reset
    }
}

/// Carries one connection until it ends. Whoever gives the sockets closes them, as the [`End`] says.
pub async fn carry<CR, CW, SR, SW>(client: (CR, CW), server: (SR, SW), hits: &Hits) -> End
where
    CR: AsyncRead + Unpin,
    CW: AsyncWrite + Unpin,
    SR: AsyncRead + Unpin,
    SW: AsyncWrite + Unpin,
{
    let (exchange, to_client) = (Exchange::new(), Mutex::new(client.1));
    let mut requests = Requests {
        client: Buffered::new(client.0),
        server: server.1,
        to_client: &to_client,
        exchange: &exchange,
        hits,
    };
    let mut answers =
        Answers { server: Buffered::new(server.0), client: &to_client, exchange: &exchange, hits };
    match tokio::try_join!(requests.run(), answers.run()) {
        Ok(_) | Err(Broken::Cut) => End::Closed,
        Err(Broken::Reset) => End::Reset,
    }
}

/// From here on the connection passes untouched, both ways.
fn give_up(exchange: &Exchange, hits: &Hits) {
    if exchange.mode() == Mode::Followed {
        Counts::add(&hits.counts.passed);
        exchange.set_mode(Mode::Tunnel);
    }
}

/// The direction from the client to the server.
struct Requests<'a, CR, CW, SW> {
    client: Buffered<CR>,
    server: SW,
    to_client: &'a Mutex<CW>,
    exchange: &'a Exchange,
    hits: &'a Hits,
}

/// What is to be done with a request, once its head is used.
struct Decided {
    length: usize,
    body: Length,
    may_upgrade: bool,
    outstanding: Outstanding,
    hit: Option<Hit>,
}

enum Hit {
    Answer(Answer),
    Delay,
    Abort,
    NoAnswer,
    /// Something becomes of the answer.
    OnAnswer,
}

impl<CR: AsyncRead + Unpin, CW: AsyncWrite + Unpin, SW: AsyncWrite + Unpin> Requests<'_, CR, CW, SW> {
    async fn run(&mut self) -> Result<(), Broken> {
        match self.hits.fault.protocol {
            Protocol::Tls => self.hello().await?,
            Protocol::Http => self.requests().await?,
        }
        if self.exchange.mode() == Mode::Ended {
            return Ok(());
        }
        self.pass_rest().await
    }

    /// Follows requests for as long as they can be followed.
    async fn requests(&mut self) -> Result<(), Broken> {
        while self.exchange.mode() == Mode::Followed {
            let Some(decided) = self.next().await? else { break };
            let Ok(mut body) = Body::new(decided.body) else {
                give_up(self.exchange, self.hits);
                break;
            };
            match &decided.hit {
                None => self.forward(&decided, &mut body).await?,
                Some(hit) => self.hit(hit, &decided, &mut body).await?,
            }
            if decided.may_upgrade {
                // What comes next may be no HTTP.
                self.exchange.idle().await;
            }
        }
        Ok(())
    }

    /// The next request, if one comes that can be understood.
    async fn next(&mut self) -> Result<Option<Decided>, Broken> {
        self.exchange.room().await;
        loop {
            match head::request(self.client.bytes()) {
                Read::Head(request, length) => return Ok(Some(self.decide(&request, length))),
                Read::Partial => {}
                Read::Doubt => {
                    give_up(self.exchange, self.hits);
                    return Ok(None);
                }
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// Waits for more of a head; false at the client's end, and where it is not to be waited for any more.
    async fn more(&mut self) -> Result<bool, Broken> {
        let has_begun = !self.client.bytes().is_empty();
        tokio::select! {
            more = self.client.fill() => Ok(more?),
            () = self.exchange.left(Mode::Followed) => Ok(false),
            () = sleep(HEAD_PATIENCE), if has_begun => {
                give_up(self.exchange, self.hits);
                Ok(false)
            }
        }
    }

    fn decide(&self, request: &Request<'_>, length: usize) -> Decided {
        let body = request.length();
        // What is in doubt is not understood, so it is not hit.
        let action = (body != Length::Doubtful).then(|| self.hits.request(request)).flatten();
        let on_answer = match action {
            Some(Action::Cut) => OnAnswer::Cut,
            Some(Action::Rate) => OnAnswer::Slow(self.hits.fault.rate),
            _ => OnAnswer::Pass,
        };
        let hit = action.map(|action| match action {
            Action::Status => Hit::Answer(answer::to(request, &self.hits.fault)),
            Action::Delay => Hit::Delay,
            Action::Abort => Hit::Abort,
            Action::NoAnswer => Hit::NoAnswer,
            Action::Cut | Action::Rate => Hit::OnAnswer,
        });
        let outstanding = Outstanding { kind: request.kind(), on_answer };
        Decided { length, body, may_upgrade: request.may_upgrade(), outstanding, hit }
    }

    async fn hit(&mut self, hit: &Hit, decided: &Decided, body: &mut Body) -> Result<(), Broken> {
        let is_ours = matches!(hit, Hit::Answer(_) | Hit::Abort | Hit::NoAnswer);
        if is_ours {
            // Answers come in the order of their requests.
            self.exchange.idle().await;
            if self.exchange.mode() != Mode::Followed {
                return Ok(());
            }
            // What the server says meanwhile, or its end, is no answer to this.
            self.exchange.set_silent(true);
        }
        self.delay().await;
        match hit {
            Hit::Delay | Hit::OnAnswer => self.forward(decided, body).await,
            Hit::Abort => Err(Broken::Reset),
            Hit::NoAnswer => self.no_answer().await,
            Hit::Answer(answer) => self.answer(answer, decided, body).await,
        }
    }

    async fn delay(&self) {
        if !self.hits.fault.delay.is_zero() {
            sleep(self.hits.fault.delay).await;
        }
    }

    async fn forward(&mut self, decided: &Decided, body: &mut Body) -> Result<(), Broken> {
        self.exchange.push(decided.outstanding);
        self.server.write_all(&self.client.bytes()[..decided.length]).await?;
        self.client.consume(decided.length);
        while !body.is_done() && self.client.wait().await? {
            match body.take(self.client.bytes()) {
                Ok(count) => {
                    self.server.write_all(&self.client.bytes()[..count]).await?;
                    self.client.consume(count);
                }
                Err(_) => {
                    give_up(self.exchange, self.hits);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn answer(&mut self, answer: &Answer, decided: &Decided, body: &mut Body) -> Result<(), Broken> {
        self.client.consume(decided.length);
        self.to_client.lock().await.write_all(&answer.bytes).await?;
        self.exchange.set_silent(false);
        if answer.closes || self.exchange.mode() != Mode::Followed {
            return self.end().await;
        }
        while !body.is_done() && self.client.wait().await? {
            match body.take(self.client.bytes()) {
                Ok(count) => self.client.consume(count),
                Err(_) => return self.end().await,
            }
        }
        Ok(())
    }

    /// Ends the connection behind an answer of ours. What the client still sends is read, or it would be reset before
    /// it has read the answer.
    async fn end(&mut self) -> Result<(), Broken> {
        self.exchange.set_mode(Mode::Ended);
        self.to_client.lock().await.shutdown().await?;
        let _ = timeout(LAST_WORDS, self.swallow()).await;
        Ok(())
    }

    /// Takes whatever comes, for as long as the client wants to wait.
    async fn no_answer(&mut self) -> Result<(), Broken> {
        self.exchange.set_silent(true);
        self.swallow().await?;
        Err(Broken::Reset)
    }

    /// Reads until the client's end.
    async fn swallow(&mut self) -> io::Result<()> {
        while self.client.wait().await? {
            let count = self.client.bytes().len();
            self.client.consume(count);
        }
        Ok(())
    }

    /// The first message of TLS.
    async fn hello(&mut self) -> Result<(), Broken> {
        let name = loop {
            match client_hello::read(self.client.bytes()) {
                Hello::Named(name) => break name,
                Hello::Partial => {}
                Hello::Other => {
                    give_up(self.exchange, self.hits);
                    return Ok(());
                }
            }
            if !self.more().await? {
                return Ok(());
            }
        };
        let action = self.hits.connection(&name);
        if action.is_some() {
            self.delay().await;
        }
        match action {
            Some(Action::Abort) => Err(Broken::Reset),
            Some(Action::NoAnswer) => self.no_answer().await,
            // No other is asked for with TLS.
            _ => {
                self.exchange.set_mode(Mode::Tunnel);
                Ok(())
            }
        }
    }

    /// Passes what comes until the client's end, and tells that to the server.
    async fn pass_rest(&mut self) -> Result<(), Broken> {
        while self.client.wait().await? {
            self.server.write_all(self.client.bytes()).await?;
            let count = self.client.bytes().len();
            self.client.consume(count);
        }
        self.server.shutdown().await?;
        Ok(())
    }
}

/// The direction from the server to the client.
struct Answers<'a, SR, CW> {
    server: Buffered<SR>,
    client: &'a Mutex<CW>,
    exchange: &'a Exchange,
    hits: &'a Hits,
}

impl<SR: AsyncRead + Unpin, CW: AsyncWrite + Unpin> Answers<'_, SR, CW> {
    async fn run(&mut self) -> Result<(), Broken> {
        if self.hits.fault.protocol == Protocol::Http {
            self.answers().await?;
        }
        self.pass_rest().await
    }

    /// Follows answers for as long as they can be followed.
    async fn answers(&mut self) -> Result<(), Broken> {
        while self.exchange.mode() == Mode::Followed {
            if self.server.bytes().is_empty() && !self.more().await? {
                return Ok(());
            }
            let Some(outstanding) = self.exchange.first() else {
                // Nobody has asked: a server that speaks first, or says why it closes.
                if !self.exchange.is_silent() {
                    give_up(self.exchange, self.hits);
                }
                self.pass(self.server.bytes().len()).await?;
                continue;
            };
            let head = match head::answer(self.server.bytes()) {
                Read::Head(answer, length) => Some((answer.after(outstanding.kind), length)),
                Read::Partial => None,
                Read::Doubt => {
                    give_up(self.exchange, self.hits);
                    return Ok(());
                }
            };
            match head {
                Some((after, length)) => self.answer(after, length, outstanding.on_answer).await?,
                None => {
                    if !self.more().await? {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits for more; false at the end, and where it is not to be waited for any more.
    async fn more(&mut self) -> Result<bool, Broken> {
        tokio::select! {
            more = self.server.fill() => Ok(more?),
            () = self.exchange.left(Mode::Followed) => Ok(false),
        }
    }

    async fn answer(&mut self, after: After, length: usize, on_answer: OnAnswer) -> Result<(), Broken> {
        self.pass(length).await?;
        match after {
            After::Head => Ok(()),
            After::Tunnel => {
                self.exchange.pop();
                self.exchange.set_mode(Mode::Tunnel);
                Ok(())
            }
            After::Body(length) => {
                let Ok(body) = Body::new(length) else {
                    give_up(self.exchange, self.hits);
                    return Ok(());
                };
                if on_answer != OnAnswer::Pass && body.is_done() {
                    Counts::add(&self.hits.counts.bodiless);
                }
                if on_answer == OnAnswer::Cut && !body.is_done() {
                    return self.cut(length).await;
                }
                self.body(body, on_answer).await
            }
        }
    }

    async fn body(&mut self, mut body: Body, on_answer: OnAnswer) -> Result<(), Broken> {
        while !body.is_done() && self.server.wait().await? {
            let mut most = self.server.bytes().len();
            if let OnAnswer::Slow(rate) = on_answer {
                // Ten pieces a second, or as many bytes.
                most = most.min(usize::try_from(rate / 10).unwrap_or(usize::MAX).max(1));
            }
            let Ok(count) = body.take(&self.server.bytes()[..most]) else {
                give_up(self.exchange, self.hits);
                return Ok(());
            };
            self.pass(count).await?;
            if let OnAnswer::Slow(rate) = on_answer {
                sleep(Duration::from_secs_f64(count as f64 / rate as f64)).await;
            }
        }
        if body.is_done() {
            self.exchange.pop();
        }
        Ok(())
    }

    /// Passes half of the body, then ends the connection: with a reset where its end would look like the body's.
    async fn cut(&mut self, length: Length) -> Result<(), Broken> {
        match length {
            Length::Exact(length) => {
                let mut left = length / 2;
                while left > 0 && self.server.wait().await? {
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(self.server.bytes().len());
                    self.pass(count).await?;
                    left -= count as u64;
                }
            }
            // What is here may be all of it.
            _ => {
                self.server.wait().await?;
                self.pass(self.server.bytes().len() / 2).await?;
            }
        }
        match length {
            Length::UntilClose => Err(Broken::Reset),
            _ => {
                self.client.lock().await.shutdown().await?;
                Err(Broken::Cut)
            }
        }
    }

    async fn pass(&mut self, count: usize) -> Result<(), Broken> {
        if !self.exchange.is_silent() {
            self.client.lock().await.write_all(&self.server.bytes()[..count]).await?;
        }
        self.server.consume(count);
        Ok(())
    }

    /// Passes what comes until the server's end, and tells that to the client.
    async fn pass_rest(&mut self) -> Result<(), Broken> {
        loop {
            let more = tokio::select! {
                more = self.server.wait() => more?,
                () = self.exchange.reached(Mode::Ended) => return Ok(()),
            };
            if !more {
                break;
            }
            self.pass(self.server.bytes().len()).await?;
        }
        if self.exchange.mode() == Mode::Followed {
            self.exchange.set_mode(Mode::Answered);
        }
        if !self.exchange.is_silent() {
            self.client.lock().await.shutdown().await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
