//! The load balancer between clients and tasks: round robin over the tasks that pass their health checks, or
//! over all of them where there are none.
//!
//! As Elastic Load Balancing does it: a new task gets requests after some good checks, a task is taken out
//! after some bad ones or when the service deregisters it, and if no task is healthy all of them get
//! requests. A change of the service's list is noticed at the next check, not at once.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::Target;
use super::request::{self, Timeouts};

/// How the load balancer finds out who can serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked of each task, with a slash at its beginning; an answer of success (2xx) is a good check.
    pub path: String,
    /// Between two checks of a task, and between two looks at the service's list.
    pub interval: Duration,
    /// A check that takes longer is a bad one.
    pub timeout: Duration,
    /// So many good checks in a row make a task healthy.
    pub healthy_after: u32,
    /// So many bad checks in a row make it unhealthy.
    pub unhealthy_after: u32,
}

impl Default for HealthCheck {
    fn default() -> HealthCheck {
        HealthCheck {
            path: "/health".to_owned(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            healthy_after: 2,
            unhealthy_after: 2,
        }
    }
}

/// Between two looks at the service's list where nothing is checked.
const POLL: Duration = Duration::from_secs(1);

/// A registered task and what its checks have said.
#[derive(Debug, Clone)]
struct Member {
    target: Target,
    healthy: bool,
    /// Checks in a row that speak against `healthy`.
    against: u32,
    checking: bool,
}

impl Member {
    fn new(target: Target, healthy: bool) -> Member {
        Member { target, healthy, against: 0, checking: false }
    }

    fn checked(&mut self, good: bool, check: &HealthCheck) {
        self.checking = false;
        if good == self.healthy {
            self.against = 0;
            return;
        }
        self.against += 1;
        let enough = if good { check.healthy_after } else { check.unhealthy_after };
        if self.against >= enough {
            self.healthy = good;
            self.against = 0;
        }
    }
}

/// The load balancer.
#[derive(Debug)]
pub(super) struct Balancer {
    check: Option<HealthCheck>,
    registered: RefCell<watch::Receiver<Vec<Target>>>,
    members: RefCell<Vec<Member>>,
    turn: Cell<usize>,
    healthy: watch::Sender<Vec<String>>,
}

impl Balancer {
    pub(super) fn new(
        check: Option<HealthCheck>,
        registered: watch::Receiver<Vec<Target>>,
        healthy: watch::Sender<Vec<String>>,
    ) -> Balancer {
        let (registered, members) = (RefCell::new(registered), RefCell::default());
        let balancer = Balancer { check, registered, members, turn: Cell::new(0), healthy };
        balancer.follow_service();
        balancer
    }

    /// The next task in turn; None if none is registered.
    pub(super) fn choose(&self) -> Option<Target> {
        let members = self.members.borrow();
        let any_healthy = members.iter().any(|member| member.healthy);
        let able: Vec<&Member> = members.iter().filter(|member| member.healthy || !any_healthy).collect();
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        able.get(turn.checked_rem(able.len())?).map(|member| member.target.clone())
    }

    /// Follows the list of registered tasks and checks each of them, periodically.
    pub(super) async fn check_forever(self: Rc<Balancer>) {
        let period = self.check.as_ref().map_or(POLL, |check| check.interval);
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.follow_service();
            let Some(check) = &self.check else { continue };
            for target in self.to_check() {
                tokio::task::spawn_local(self.clone().check(target, check.clone()));
            }
        }
    }

    fn follow_service(&self) {
        let registered = self.registered.borrow_mut().borrow_and_update().clone();
        {
            let mut members = self.members.borrow_mut();
            members.retain(|member| registered.contains(&member.target));
            for target in registered {
                if !members.iter().any(|member| member.target == target) {
                    members.push(Member::new(target, self.check.is_none()));
                }
            }
        }
        self.publish();
    }

    /// Every task whose last check has ended.
    fn to_check(&self) -> Vec<Target> {
        let mut members = self.members.borrow_mut();
        let free = members.iter_mut().filter(|member| !member.checking);
        free.map(|member| {
            member.checking = true;
            member.target.clone()
        })
        .collect()
    }

    async fn check(self: Rc<Balancer>, target: Target, check: HealthCheck) {
        let timeouts = Timeouts { connect: check.timeout, answer: check.timeout };
        let answer = request::get(&target, &check.path, timeouts);
        let good = matches!(tokio::time::timeout(check.timeout, answer).await, Ok(Ok(())));
        if let Some(member) = self.members.borrow_mut().iter_mut().find(|member| member.target == target) {
            member.checked(good, &check);
        }
        self.publish();
    }

    fn publish(&self) {
        let members = self.members.borrow();
        let healthy: Vec<String> =
            members.iter().filter(|member| member.healthy).map(|member| member.target.task.clone()).collect();
        self.healthy.send_if_modified(|published| {
            let changed = *published != healthy;
            if changed {
                *published = healthy;
            }
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> Target {
        Target::at(name.to_owned(), ([127, 0, 0, 1], 9).into())
    }

    fn balancer(names: &[&str]) -> (Balancer, watch::Sender<Vec<Target>>) {
        with(Some(HealthCheck::default()), names)
    }

    fn with(check: Option<HealthCheck>, names: &[&str]) -> (Balancer, watch::Sender<Vec<Target>>) {
        let (service, registered) = watch::channel(names.iter().map(|name| target(name)).collect());
        (Balancer::new(check, registered, watch::channel(Vec::new()).0), service)
    }

    fn checked(balancer: &Balancer, name: &str, good: bool) {
        let mut members = balancer.members.borrow_mut();
        let member = members.iter_mut().find(|member| member.target.task == name).unwrap();
        member.checked(good, balancer.check.as_ref().unwrap());
    }

    fn chosen(balancer: &Balancer, times: usize) -> Vec<String> {
        let mut names: Vec<_> = (0..times).map(|_| balancer.choose().unwrap().task).collect();
        names.sort();
        names
    }

    #[test]
    fn requests_go_round_the_healthy_ones() {
        let (balancer, _service) = balancer(&["a", "b", "c"]);
        assert_eq!(chosen(&balancer, 6), ["a", "a", "b", "b", "c", "c"], "none healthy: all of them");
        for name in ["a", "b", "a", "b"] {
            checked(&balancer, name, true);
        }
        assert_eq!(chosen(&balancer, 4), ["a", "a", "b", "b"]);
    }

    #[test]
    fn a_task_is_out_after_two_bad_checks_in_a_row() {
        let (balancer, _service) = balancer(&["a", "b"]);
        for (name, good) in [("a", true), ("a", true), ("b", true), ("b", true), ("a", false), ("a", true)] {
            checked(&balancer, name, good);
        }
        checked(&balancer, "a", false);
        assert_eq!(chosen(&balancer, 2), ["a", "b"], "one bad check is not enough");
        checked(&balancer, "a", false);
        assert_eq!(chosen(&balancer, 2), ["b", "b"]);
    }

    #[test]
    fn the_service_takes_tasks_out_and_brings_new_ones() {
        let (balancer, service) = balancer(&["a", "b"]);
        for name in ["a", "a", "b", "b"] {
            checked(&balancer, name, true);
        }
        service.send_replace(vec![target("b"), target("c")]);
        assert_eq!(chosen(&balancer, 2), ["a", "b"], "not noticed yet");
        balancer.follow_service();
        assert_eq!(chosen(&balancer, 2), ["b", "b"], "c has not passed a check");
        service.send_replace(Vec::new());
        balancer.follow_service();
        assert!(balancer.choose().is_none());
    }

    #[test]
    fn without_checks_whoever_is_registered_gets_requests_at_once() {
        let (balancer, service) = with(None, &["a"]);
        service.send_replace(vec![target("a"), target("b")]);
        balancer.follow_service();
        assert_eq!(chosen(&balancer, 4), ["a", "a", "b", "b"]);
    }
}
