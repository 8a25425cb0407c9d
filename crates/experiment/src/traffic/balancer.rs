//! The load balancer between the generator and the tasks: round robin over the tasks that pass their health checks,
//! or over all of them where there are none. A change of the service's list is noticed at the next check, not at once.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::Target;
use super::members::{HealthCheck, Members};
use super::request::{self, Timeouts};

/// Between two looks at the service's list where nothing is checked.
const POLL: Duration = Duration::from_secs(1);

/// The load balancer.
#[derive(Debug)]
pub(super) struct Balancer {
    registered: RefCell<watch::Receiver<Vec<Target>>>,
    members: RefCell<Members>,
    healthy: watch::Sender<Vec<String>>,
}

impl Balancer {
    pub(super) fn new(
        check: Option<HealthCheck>,
        registered: watch::Receiver<Vec<Target>>,
        healthy: watch::Sender<Vec<String>>,
    ) -> Balancer {
        let members = RefCell::new(Members::new(check));
        let balancer = Balancer { registered: RefCell::new(registered), members, healthy };
        balancer.follow_service();
        balancer
    }

    /// The next task in turn; None if none is registered.
    pub(super) fn choose(&self) -> Option<Target> {
        self.members.borrow_mut().choose()
    }

    /// Follows the list of registered tasks and checks each of them, periodically.
    pub(super) async fn check_forever(self: Rc<Balancer>) {
        let check = self.members.borrow().check().cloned();
        let mut ticks = interval(check.as_ref().map_or(POLL, |check| check.interval));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.follow_service();
            let Some(check) = &check else { continue };
            let targets = self.members.borrow_mut().to_check(false);
            for target in targets {
                tokio::task::spawn_local(self.clone().check(target, check.clone()));
            }
        }
    }

    fn follow_service(&self) {
        let registered = self.registered.borrow_mut().borrow_and_update().clone();
        self.members.borrow_mut().register(registered);
        self.publish();
    }

    async fn check(self: Rc<Balancer>, target: Target, check: HealthCheck) {
        let good = is_good(&target, &check).await;
        self.members.borrow_mut().checked(&target, good);
        self.publish();
    }

    fn publish(&self) {
        let healthy = self.members.borrow().healthy();
        self.healthy.send_if_modified(|published| {
            let changed = *published != healthy;
            if changed {
                *published = healthy;
            }
            changed
        });
    }
}

/// Performs one health check.
pub async fn is_good(target: &Target, check: &HealthCheck) -> bool {
    let timeouts = Timeouts { connect: check.timeout, answer: check.timeout };
    let answer = request::get(target, &check.path, timeouts);
    matches!(tokio::time::timeout(check.timeout, answer).await, Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_the_service_is_noticed_at_the_next_look() {
        let target = |name: &str| Target::at(name.to_owned(), ([127, 0, 0, 1], 9).into());
        let (service, registered) = watch::channel(vec![target("a")]);
        let balancer = Balancer::new(None, registered, watch::channel(Vec::new()).0);
        service.send_replace(vec![target("b")]);
        assert_eq!(balancer.choose().unwrap().task, "a");
        balancer.follow_service();
        assert_eq!(balancer.choose().unwrap().task, "b");
    }
}
