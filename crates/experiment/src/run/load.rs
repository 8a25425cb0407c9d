//! The load that `run --load` puts on a service, from this process.

use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::RunError;
use super::lines::Patience;
use super::load_url::LoadUrl;
use crate::report::milliseconds;
use crate::traffic::{Load, LoadOptions, Target};
use record;
use record::Second;

/// Seconds of load between two lines about it.
const SECONDS_PER_LINE: usize = 5;
/// How often names are looked up again, so that a task that comes in another's place gets requests.
const LOOKUP: Duration = Duration::from_secs(2);

/// The load to generate, and its targets.
#[derive(Debug)]
pub(super) struct Prepared {
    urls: Vec<LoadUrl>,
    targets: Vec<Target>,
    /// Addresses where the first probe found no listener: they get no requests later, either.
    unreachable: BTreeSet<SocketAddr>,
    rate: f64,
}

impl Prepared {
    /// Probes every address once, and again until all answer or `patience` is over.
    ///
    /// # Errors
    /// A URL without a listener, or a service that is not healthy.
    pub(super) async fn new(
        urls: &[LoadUrl],
        rate: f64,
        patience: &mut Patience,
    ) -> Result<Prepared, RunError> {
        let mut prepared =
            Prepared { urls: urls.to_vec(), targets: Vec::new(), unreachable: BTreeSet::new(), rate };
        for url in urls {
            let (targets, unreachable) = loop {
                match url.probe().await {
                    Ok(found) => break found,
                    Err(why) if !patience.waits_for(&why).await => return Err(RunError::Broken(why)),
                    Err(_) => {}
                }
            };
            prepared.targets.extend(targets);
            prepared.unreachable.extend(unreachable);
        }
        Ok(prepared)
    }

    /// `GET shop:8080/ (10.0.0.2:8080, 10.0.0.3:8080)`.
    pub(super) fn description(&self) -> String {
        let requests: Vec<String> = self.urls.iter().map(LoadUrl::request_line).collect();
        let addresses: Vec<&str> = self.targets.iter().map(|target| target.task.as_str()).collect();
        let named = addresses.iter().all(|address| self.urls.iter().any(|url| url.is_at(address)));
        match named {
            true => requests.join(", "),
            false => format!("{} ({})", requests.join(", "), addresses.join(", ")),
        }
    }

    /// Starts it.
    ///
    /// # Errors
    /// The system has no thread or no descriptors left.
    pub(super) fn start(self) -> Result<Traffic, RunError> {
        allow_descriptors();
        let (what, rate) = (self.description(), self.rate);
        let (registered, targets) = watch::channel(self.targets);
        let follower = tokio::spawn(follow(self.urls, self.unreachable, registered));
        let seconds = Arc::<Mutex<Vec<Second>>>::default();
        let kept = Arc::clone(&seconds);
        // No health checks: a client asks whoever stands in the service's name.
        let options = LoadOptions { rate, health: None, ..LoadOptions::default() };
        let load = Load::start(options, targets, move |second| kept.lock().push(second))
            .map_err(|error| RunError::Broken(format!("starting the load: {error}")))?;
        Ok(Traffic { load, seconds, reported: 0, what, rate, follower })
    }
}

/// Every request under way holds a descriptor, and those to a service that hangs are many: as many as the
/// system allows. Where it allows no more, failed requests count as the client's own.
fn allow_descriptors() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// A running load.
#[derive(Debug)]
pub(super) struct Traffic {
    load: Load,
    /// All that are over.
    seconds: Arc<Mutex<Vec<Second>>>,
    /// How many of them progress lines have covered.
    reported: usize,
    what: String,
    rate: f64,
    follower: JoinHandle<()>,
}

impl Traffic {
    /// A line about the last seconds, once there are enough of them.
    pub(super) fn progress_line(&mut self) -> Option<String> {
        let seconds = self.seconds.lock();
        let new = &seconds[self.reported..];
        if new.len() < SECONDS_PER_LINE {
            return None;
        }
        let line = line(new);
        self.reported = seconds.len();
        Some(line)
    }

    /// The last second in a few words.
    pub(super) fn last_second(&self) -> Option<String> {
        let seconds = self.seconds.lock();
        let last = seconds.last()?;
        let p95 = last.p95_ms.map(|p95| format!(", P95 {}", milliseconds(p95))).unwrap_or_default();
        Some(format!("load: {} of {} failed{p95}", last.failed(), last.sent))
    }

    /// Ends it; requests under way are answered first.
    pub(super) async fn stop(self) -> record::Load {
        self.follower.abort();
        self.load.stop().await;
        let seconds = std::mem::take(&mut *self.seconds.lock());
        record::Load { what: self.what, rate: self.rate, seconds }
    }
}

/// Keeps the targets true to what the names stand for.
async fn follow(
    urls: Vec<LoadUrl>,
    unreachable: BTreeSet<SocketAddr>,
    registered: watch::Sender<Vec<Target>>,
) {
    loop {
        sleep(LOOKUP).await;
        let mut now = Vec::new();
        for url in &urls {
            match url.targets().await {
                Ok(found) => now.extend(found.into_iter().filter(|it| !unreachable.contains(&it.address))),
                // A name server that fails is not the service's end.
                Err(_) => now.extend(registered.borrow().iter().filter(|it| url.is_of(it)).cloned()),
            }
        }
        registered.send_if_modified(|known| {
            let changed = *known != now;
            *known = now;
            changed
        });
    }
}

/// Requests, errors by kind, and the slowest second.
fn line(seconds: &[Second]) -> String {
    let (failed, sent) = Second::failed_of_sent(seconds);
    let worst = seconds.iter().filter_map(|second| second.p95_ms).fold(0.0, f64::max);
    let kinds: BTreeSet<&str> =
        seconds.iter().flat_map(|second| second.errors.keys()).map(String::as_str).collect();
    let kinds = match kinds.is_empty() {
        true => String::new(),
        false => format!(" ({})", Vec::from_iter(kinds).join(", ")),
    };
    format!(
        "load: {sent} requests in {} s, {failed} failed{kinds}, P95 {} in the slowest second",
        seconds.len(),
        milliseconds(worst)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(at: f64, failed: u32, p95_ms: f64) -> Second {
        let errors = match failed {
            0 => Default::default(),
            some => [("refused".to_owned(), some)].into(),
        };
        Second { at, sent: 30, ok: 30 - failed, errors, p95_ms: Some(p95_ms), ..Second::default() }
    }

    #[test]
    fn a_line_has_requests_errors_and_the_slowest_second() {
        let seconds = [second(0.0, 0, 20.0), second(1.0, 4, 1500.0), second(2.0, 0, 21.0)];
        assert_eq!(
            line(&seconds),
            "load: 90 requests in 3 s, 4 failed (refused), P95 1.5 s in the slowest second"
        );
        assert_eq!(
            line(&seconds[..1]),
            "load: 30 requests in 1 s, 0 failed, P95 20 ms in the slowest second"
        );
    }

    #[test]
    fn the_description_names_the_addresses_that_a_name_stands_for() {
        let target = |address: &str| Target::at(address.to_owned(), address.parse().unwrap());
        let name: LoadUrl = "http://shop:80/a".parse().unwrap();
        let address: LoadUrl = "http://127.0.0.1:81/".parse().unwrap();
        let prepared = |urls: Vec<LoadUrl>, targets: Vec<Target>| Prepared {
            urls,
            targets,
            unreachable: BTreeSet::new(),
            rate: 1.0,
        };
        let alone = prepared(vec![address], vec![target("127.0.0.1:81")]);
        assert_eq!(alone.description(), "GET 127.0.0.1:81/");
        let two = vec![target("10.0.0.2:80"), target("10.0.0.3:80")];
        assert_eq!(prepared(vec![name], two).description(), "GET shop:80/a (10.0.0.2:80, 10.0.0.3:80)");
    }
}
