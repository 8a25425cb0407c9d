//! Load from outside: an open-loop generator behind a small load balancer.
//!
//! Requests are due by the clock, at a steady rate, whatever became of those before them, and a response time
//! counts from the moment the request was due. So a service that stalls for two seconds is seen to stall by
//! every request of those two seconds (no coordinated omission). A request that fails counts too, with the
//! time its client waited.
//!
//! The generator runs on a thread of its own, so that the local AWS in the same process does not hold it up.
//! Where the machine itself does, [`Second::lag_ms`] tells.

mod balancer;
mod members;
mod observed;
mod request;
mod second;

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use tokio::sync::{oneshot, watch};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};

pub use balancer::is_good;
pub use members::{HealthCheck, Members};
pub use observed::Observed;
pub use request::{Failure, Timeouts};
pub use request::{get, unconnected};

use balancer::Balancer;
use record::Second;
use second::Tally;

/// Requests per second, if nothing else is said.
pub const DEFAULT_RATE: f64 = 30.0;

/// How often to ask, and how long to wait.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadOptions {
    /// Requests per second; above 0.
    pub rate: f64,
    /// Of each request; a request that takes longer has failed.
    pub timeouts: Timeouts,
    /// None: every target gets requests, whatever it answers.
    pub health: Option<HealthCheck>,
}

impl Default for LoadOptions {
    fn default() -> LoadOptions {
        LoadOptions {
            rate: DEFAULT_RATE,
            timeouts: Timeouts::default(),
            health: Some(HealthCheck::default()),
        }
    }
}

/// One task that the service has registered with the load balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The task's ARN, or whatever names it.
    pub task: String,
    /// Where it listens, for requests and health checks.
    pub address: SocketAddr,
    /// Of its requests: the `Host` header.
    pub host: String,
    /// Of its requests, with the query: `/` for instance.
    pub path: String,
}

impl Target {
    /// The root of whoever listens at an address.
    pub fn at(task: String, address: SocketAddr) -> Target {
        Target { task, address, host: address.to_string(), path: "/".to_owned() }
    }
}

/// A generator at work. Dropping it ends it; [`Load::stop`] lets the requests under way end first.
#[derive(Debug)]
#[must_use = "dropping a load ends it, and the requests under way"]
pub struct Load {
    stop: Option<oneshot::Sender<Ending>>,
    thread: Option<JoinHandle<()>>,
    healthy: watch::Receiver<Vec<String>>,
}

/// What becomes of requests under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Finish,
    Drop,
}

impl Load {
    /// Starts the load. `targets` is what the service has registered at any moment; every second that is over,
    /// and whose requests have all ended, goes to `each_second`, in order and on the generator's thread.
    ///
    /// # Errors
    /// The system has no thread or no descriptors left, or the rate is no number above 0.
    pub fn start(
        options: LoadOptions,
        targets: watch::Receiver<Vec<Target>>,
        each_second: impl FnMut(Second) + Send + 'static,
    ) -> io::Result<Load> {
        if !(options.rate.is_finite() && options.rate > 0.0) {
            let message = format!("a load of {} requests per second: it must be above 0", options.rate);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (publish_healthy, healthy) = watch::channel(Vec::new());
        let thread = thread::Builder::new().name("load".to_owned()).spawn(move || {
            let generator = Generator::new(options, targets, publish_healthy, each_second);
            LocalSet::new().block_on(&runtime, generator.run(stopped));
        })?;
        Ok(Load { stop: Some(stop), thread: Some(thread), healthy })
    }

    /// The tasks that pass their health checks, by name, whenever that changes.
    pub fn healthy(&self) -> watch::Receiver<Vec<String>> {
        self.healthy.clone()
    }

    /// Sends nothing more and returns when every request has ended and every second was reported.
    pub async fn stop(mut self) {
        self.end(Ending::Finish);
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    fn end(&mut self, ending: Ending) {
        if let Some(stop) = self.stop.take() {
            // A generator that has panicked has dropped its receiver.
            let _ = stop.send(ending);
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end(Ending::Drop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Generator<F> {
    options: LoadOptions,
    balancer: Rc<Balancer>,
    tally: Rc<RefCell<Tally>>,
    each_second: F,
}

impl<F: FnMut(Second)> Generator<F> {
    fn new(
        options: LoadOptions,
        targets: watch::Receiver<Vec<Target>>,
        healthy: watch::Sender<Vec<String>>,
        each_second: F,
    ) -> Generator<F> {
        let balancer = Rc::new(Balancer::new(options.health.clone(), targets, healthy));
        let tally = Rc::new(RefCell::new(Tally::default()));
        Generator { options, balancer, tally, each_second }
    }

    async fn run(mut self, mut stopped: oneshot::Receiver<Ending>) {
        let checks = tokio::task::spawn_local(self.balancer.clone().check_forever());
        let (began, began_at) = (Instant::now(), SystemTime::now());
        let mut count = 0_u64;
        let ending = loop {
            let offset = self.due(count);
            tokio::select! {
                ending = &mut stopped => break ending.unwrap_or(Ending::Drop),
                () = sleep_until(began + offset) => self.send(began + offset, offset.as_secs()),
            }
            count += 1;
            let passed = Instant::now().duration_since(began).as_secs();
            self.emit_seconds(began_at, passed);
        };
        if ending == Ending::Finish {
            let limit = self.options.timeouts.connect + self.options.timeouts.answer;
            let last = Instant::now() + limit + Duration::from_secs(1);
            while self.tally.borrow().pending() > 0 && Instant::now() < last {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            // A last second that was cut short would look like a drop of the rate.
            self.emit_seconds(began_at, self.due(count).as_secs());
        }
        checks.abort();
    }

    /// When the request that follows `count` others is due, since the load began.
    fn due(&self, count: u64) -> Duration {
        Duration::from_secs_f64(count as f64 / self.options.rate)
    }

    /// Sends the request that is due, without waiting for anything.
    fn send(&self, due: Instant, second: u64) {
        let lag = Instant::now().saturating_duration_since(due);
        self.tally.borrow_mut().sent(second, lag);
        let (tally, target) = (self.tally.clone(), self.balancer.choose());
        let timeouts = self.options.timeouts;
        tokio::task::spawn_local(async move {
            let outcome = match target {
                Some(target) => request::get(&target, &target.path, timeouts).await,
                None => Err(Failure::NoTarget),
            };
            tally.borrow_mut().ended(second, outcome, due.elapsed());
        });
    }

    fn emit_seconds(&mut self, began: SystemTime, passed: u64) {
        let over = self.tally.borrow_mut().take_over(passed);
        for (index, figures) in over {
            (self.each_second)(figures.summary(began + Duration::from_secs(index)));
        }
    }
}

#[cfg(test)]
mod tests;
