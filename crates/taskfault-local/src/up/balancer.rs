//! The load balancer behind `--publish`: who is registered and passes the health checks, which requests are under
//! way, and what became of them, told to the record and to CloudWatch. How a request is passed on is not known here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Inner;
use aws_local::ecs::agent;
use aws_local::world::{Balanced, LoadBalancer};
use experiment::traffic::{Failure, HealthCheck, Members, Observed, Target, is_good};

/// Where requests go, and by which rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub cluster: String,
    pub service: String,
    pub port: u16,
    pub check: HealthCheck,
    /// How long requests under way may take once their task is to be stopped.
    pub deregistration_delay: Duration,
}

/// Between two looks at the tasks of the service, and between two checks of a task that has not passed one yet.
const LOOK: Duration = Duration::from_secs(1);

/// One published port.
#[derive(Debug)]
pub(super) struct Balancer {
    inner: Arc<Inner>,
    route: Route,
    name: LoadBalancer,
    members: Mutex<Members>,
    /// ARNs of tasks that get no requests any more.
    deregistered: Mutex<BTreeSet<String>>,
    /// Requests by the ARN of their task.
    under_way: Mutex<BTreeMap<String, usize>>,
    one_ended: Notify,
    did: Mutex<Did>,
}

/// What is not told to CloudWatch yet.
#[derive(Debug, Default)]
struct Did {
    counts: Balanced,
    /// From the end of a request to the beginning of its answer, in microseconds.
    times: BTreeMap<u64, u32>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With the task's own answer, so long after it had the request.
    Answered(StatusCode, Duration),
    /// With an answer of the load balancer.
    Failed(Failure, StatusCode),
    /// The client did not wait for it.
    GivenUp,
}

/// A request on its way to a task.
#[derive(Debug)]
pub(super) struct UnderWay<'a> {
    balancer: &'a Balancer,
    task: String,
    pub address: SocketAddr,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut under_way = self.balancer.under_way.lock();
        if let Some(count) = under_way.get_mut(&self.task) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.task);
            }
        }
        self.balancer.one_ended.notify_waiters();
    }
}

impl Balancer {
    /// One without targets; [`Balancer::watch`] finds them. Its cluster knows it from now on.
    pub(super) fn new(route: Route, inner: Arc<Inner>) -> Arc<Balancer> {
        let balancer = Arc::new(Balancer {
            name: LoadBalancer::of(&route.cluster, &route.service, route.port),
            members: Mutex::new(Members::new(Some(route.check.clone()))),
            route,
            inner: inner.clone(),
            deregistered: Mutex::default(),
            under_way: Mutex::default(),
            one_ended: Notify::new(),
            did: Mutex::default(),
        });
        inner.balancers.lock().push(Arc::downgrade(&balancer));
        balancer
    }

    /// The values of its dimensions in CloudWatch.
    pub(super) fn name(&self) -> &LoadBalancer {
        &self.name
    }

    /// Follows the service, checks its tasks and tells what happened, until it is dropped.
    pub(super) async fn watch(self: Arc<Balancer>) {
        let (mut looks, mut checks) = (interval(LOOK), interval(self.route.check.interval));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => {
                    self.follow_service();
                    self.check(true);
                    self.tell();
                }
                _ = checks.tick() => self.check(false),
            }
        }
    }

    /// A change of the service is noticed here, not at once: on AWS it takes a moment, too, until a target is out.
    fn follow_service(&self) {
        let tasks = self.inner.running();
        let mut deregistered = self.deregistered.lock();
        deregistered.retain(|arn| tasks.iter().any(|task| task.arn == *arn));
        let of_route = |task: &&super::RunningTask| {
            task.cluster == self.route.cluster
                && task.service.as_deref() == Some(self.route.service.as_str())
                && !deregistered.contains(&task.arn)
        };
        let target = |task: &super::RunningTask| {
            Target::at(task.arn.clone(), SocketAddr::from((task.address, self.route.port)))
        };
        self.members.lock().register(tasks.iter().filter(of_route).map(target).collect());
    }

    fn check(self: &Arc<Balancer>, new_only: bool) {
        let targets = self.members.lock().to_check(new_only);
        for target in targets {
            let balancer = self.clone();
            tokio::spawn(async move {
                let good = is_good(&target, &balancer.route.check).await;
                // A program that starts is asked often; only the regular checks count against it.
                let counts = good || !new_only;
                let failed = {
                    let mut members = balancer.members.lock();
                    if counts { members.checked(&target, good) } else { members.not_checked(&target) }
                };
                if failed {
                    balancer.replace(&target);
                }
            });
        }
    }

    /// The service replaces a task that fails its health checks.
    fn replace(&self, target: &Target) {
        let context = self.inner.context();
        let (region, account) = (&context.region, &context.account);
        let reason = format!(
            "Task failed ELB health checks in (target-group arn:aws:elasticloadbalancing:{region}:{account}:{})",
            self.name.target_group
        );
        self.inner.update(|state, context| agent::unhealthy(state, &target.task, &reason, context));
    }

    /// The task whose turn it is; None if none is registered.
    pub(super) fn choose(&self) -> Option<UnderWay<'_>> {
        let target = self.members.lock().choose()?;
        *self.under_way.lock().entry(target.task.clone()).or_default() += 1;
        Some(UnderWay { balancer: self, task: target.task, address: target.address })
    }

    /// Gives a task no more requests, and waits for those that it has, as long as the deregistration delay allows.
    pub(super) async fn drain(&self, task: &str) {
        self.deregistered.lock().insert(task.to_owned());
        self.members.lock().deregister(task);
        let idle = async {
            loop {
                let ended = self.one_ended.notified();
                if !self.under_way.lock().contains_key(task) {
                    return;
                }
                ended.await;
            }
        };
        // After that they are left to the task, which gets its SIGTERM.
        let _ = timeout(self.route.deregistration_delay, idle).await;
    }

    /// A request has ended, so long after it came.
    pub(super) fn ended(&self, outcome: Outcome, took: Duration) {
        let result = match outcome {
            Outcome::Answered(status, _) if status.is_server_error() => Err(Failure::Status),
            Outcome::Answered(..) => Ok(()),
            Outcome::Failed(failure, _) => Err(failure),
            Outcome::GivenUp => Err(Failure::AnswerTimeout),
        };
        self.count(outcome);
        let mut observed = self.inner.observed.lock();
        if observed.is_none() {
            let what = format!("requests from outside to service {}", self.route.service);
            self.inner.handle.observe(|recorder| recorder.load_begins(what, 0.0));
        }
        observed.get_or_insert_with(Observed::now).ended(result, took);
    }

    fn count(&self, outcome: Outcome) {
        let mut did = self.did.lock();
        let Did { counts, times } = &mut *did;
        counts.requests += u32::from(!matches!(outcome, Outcome::Failed(Failure::NoTarget, _)));
        match outcome {
            Outcome::Answered(status, time) => {
                let class = usize::from(status.as_u16() / 100);
                if let Some(count) = counts.answers.get_mut(class) {
                    *count += 1;
                }
                *times.entry(rounded(time)).or_default() += 1;
            }
            Outcome::Failed(failure, status) => {
                let place = usize::from(status.as_u16().saturating_sub(502));
                if let Some(count) = counts.own.get_mut(place) {
                    *count += 1;
                }
                let unconnected =
                    matches!(failure, Failure::Refused | Failure::Unreachable | Failure::ConnectTimeout);
                counts.refused += u32::from(unconnected);
            }
            Outcome::GivenUp => {}
        }
    }

    fn tell(&self) {
        let over = self.inner.observed.lock().as_mut().map(Observed::over).unwrap_or_default();
        for second in over {
            self.inner.handle.observe(|recorder| recorder.second(second));
        }
        let Did { mut counts, times } = std::mem::take(&mut *self.did.lock());
        counts.times = times.into_iter().map(|(micros, count)| (micros as f64 / 1e6, count)).collect();
        let members = self.members.lock();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        (counts.healthy, counts.unhealthy) = (number(members.healthy().len()), number(members.unhealthy()));
        drop(members);
        self.inner.handle.measure(|world, context| world.balanced(&self.name, &counts, context));
    }
}

/// Microseconds with three digits, so that there are few different ones: percentiles are within 1 %.
fn rounded(time: Duration) -> u64 {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let mut unit = 1;
    while micros / unit >= 1000 {
        unit *= 10;
    }
    micros / unit * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_three_digits() {
        let times = [0, 7, 999, 1009, 123_456, 59_999_999];
        assert_eq!(
            times.map(|micros| rounded(Duration::from_micros(micros))),
            [0, 7, 999, 1000, 123_000, 59_900_000]
        );
    }
}
