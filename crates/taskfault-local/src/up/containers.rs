//! What is known of the containers of a task, and what is to be done with them next: which may be started, which are to
//! be asked whether they are well, which are to be stopped. Pure: time is a parameter.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::plan::{Container, Health};
use aws_local::ecs::{Condition, Dependency, Health as Status};

/// The containers of one task, by their places in the definition.
#[derive(Debug)]
pub(super) struct Containers {
    all: Vec<One>,
    places: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct One {
    name: String,
    essential: bool,
    depends_on: Vec<Dependency>,
    start_timeout: Option<Duration>,
    health: Option<Health>,
    state: State,
    status: Status,
    /// Failures in a row, once they count.
    failures: u32,
    /// When it is asked next; None while the answer is awaited.
    next_check: Option<Instant>,
    told_to_stop: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    /// It was told to start.
    Starting,
    Running(Instant),
    Ended(i32),
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Start this one; said once.
    Start(usize),
    /// Ask this one whether it is well; said once for each time that is due.
    Check(usize),
    /// A container can never be started, and why.
    Never(String),
    Wait,
}

/// What becomes of a dependency.
enum Met {
    Yes,
    NotYet,
    Never(String),
}

impl Containers {
    pub(super) fn of(plans: &[Container]) -> Containers {
        let one = |plan: &Container| One {
            name: plan.program.name.clone(),
            essential: plan.essential,
            depends_on: plan.depends_on.clone(),
            start_timeout: plan.start_timeout,
            health: plan.health.clone(),
            state: State::Waiting,
            status: Status::Unknown,
            failures: 0,
            next_check: None,
            told_to_stop: false,
        };
        let all: Vec<One> = plans.iter().map(one).collect();
        let places = all.iter().enumerate().map(|(place, one)| (one.name.clone(), place)).collect();
        Containers { all, places }
    }

    fn get_mut(&mut self, name: &str) -> Option<&mut One> {
        self.all.get_mut(*self.places.get(name)?)
    }

    /// The next thing to do; asked until it is [`Next::Wait`].
    pub(super) fn next(&mut self, now: Instant) -> Next {
        for place in 0..self.all.len() {
            if self.all[place].state == State::Waiting {
                match self.may_start(place, now) {
                    Met::Yes => {
                        self.all[place].state = State::Starting;
                        return Next::Start(place);
                    }
                    Met::Never(why) => return Next::Never(why),
                    Met::NotYet => {}
                }
            }
            let one = &mut self.all[place];
            if matches!(one.state, State::Running(_)) && one.next_check.is_some_and(|at| at <= now) {
                one.next_check = None;
                return Next::Check(place);
            }
        }
        Next::Wait
    }

    fn may_start(&self, place: usize, now: Instant) -> Met {
        for dependency in &self.all[place].depends_on {
            match self.met(dependency, now) {
                Met::Yes => {}
                Met::NotYet => return Met::NotYet,
                Met::Never(why) => {
                    return Met::Never(format!("container {} waits for {why}", self.all[place].name));
                }
            }
        }
        Met::Yes
    }

    fn met(&self, dependency: &Dependency, now: Instant) -> Met {
        let name = &dependency.container_name;
        let Some(other) = self.places.get(name).map(|place| &self.all[*place]) else { return Met::NotYet };
        let reached = match (dependency.condition, other.state) {
            (Condition::Start, State::Running(_) | State::Ended(_)) => true,
            (Condition::Complete, State::Ended(_)) | (Condition::Success, State::Ended(0)) => true,
            (Condition::Success, State::Ended(code)) => {
                return Met::Never(format!("the success of {name}, which ended with exit code {code}"));
            }
            (Condition::Healthy, State::Ended(code)) => {
                return Met::Never(format!("the health of {name}, which ended with exit code {code}"));
            }
            // Where the check cannot be run here, nobody knows better.
            (Condition::Healthy, State::Running(_)) => {
                other.status == Status::Healthy || other.health.is_none()
            }
            _ => false,
        };
        match reached {
            true => Met::Yes,
            false if self.deadline(name).is_some_and(|at| at <= now) => {
                Met::Never(format!("{name}, which took longer than its startTimeout"))
            }
            false => Met::NotYet,
        }
    }

    /// When there is something to do by the clock alone.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let waiting = self.all.iter().filter(|one| one.state == State::Waiting);
        let awaited = waiting.flat_map(|one| &one.depends_on);
        let open = awaited.filter(|dependency| matches!(self.met(dependency, now), Met::NotYet));
        let patience = open.filter_map(|dependency| self.deadline(&dependency.container_name));
        self.all.iter().filter_map(|one| one.next_check).chain(patience).min()
    }

    /// Until when others wait for a container.
    fn deadline(&self, name: &str) -> Option<Instant> {
        let one = self.all.get(*self.places.get(name)?)?;
        match one.state {
            State::Running(since) => Some(since + one.start_timeout?),
            _ => None,
        }
    }

    /// Every container has been started, whatever became of it.
    pub(super) fn all_started(&self) -> bool {
        self.all.iter().all(|one| matches!(one.state, State::Running(_) | State::Ended(_)))
    }

    /// A container runs. It is asked for the first time after one interval.
    pub(super) fn started(&mut self, name: &str, now: Instant) {
        let Some(one) = self.get_mut(name) else { return };
        one.state = State::Running(now);
        one.next_check = one.health.as_ref().map(|health| now + health.interval);
    }

    /// A container has ended.
    pub(super) fn ended(&mut self, name: &str, exit_code: i32) {
        if let Some(one) = self.get_mut(name) {
            one.state = State::Ended(exit_code);
            one.next_check = None;
        }
    }

    /// Whether the end of a container is that of the task.
    pub(super) fn is_essential(&self, name: &str) -> bool {
        self.places.get(name).is_some_and(|place| self.all[*place].essential)
    }

    /// A check is over; the container's health if it has changed. A failure counts after the start period, or once a
    /// check has succeeded.
    pub(super) fn checked(&mut self, name: &str, passed: bool, now: Instant) -> Option<Status> {
        let one = self.get_mut(name)?;
        let health = one.health.as_ref()?;
        let State::Running(since) = one.state else { return None };
        one.next_check = Some(now + health.interval);
        let before = one.status;
        if passed {
            (one.status, one.failures) = (Status::Healthy, 0);
        } else if one.status != Status::Unknown || now >= since + health.start_period {
            one.failures += 1;
            if one.failures >= health.retries {
                one.status = Status::Unhealthy;
            }
        }
        (one.status != before).then_some(one.status)
    }

    /// Whether a container has not ended.
    pub(super) fn runs(&self, place: usize) -> bool {
        matches!(self.all[place].state, State::Running(_))
    }

    /// Containers to be told to stop now: those on which none that runs depends. Each is said once.
    pub(super) fn take_stops(&mut self) -> Vec<usize> {
        let is_needed = |name: &str| {
            let depends = |one: &One| one.depends_on.iter().any(|it| it.container_name == name);
            self.all.iter().any(|one| matches!(one.state, State::Running(_)) && depends(one))
        };
        let found: Vec<usize> = (0..self.all.len())
            .filter(|place| self.runs(*place) && !self.all[*place].told_to_stop)
            .filter(|place| !is_needed(&self.all[*place].name))
            .collect();
        found.iter().for_each(|place| self.all[*place].told_to_stop = true);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::{Check, Program};
    use std::path::PathBuf;

    fn container(name: &str, depends_on: &[(&str, Condition)]) -> Container {
        let program = Program {
            name: name.to_owned(),
            path: PathBuf::new(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            log: None,
            essential: false,
        };
        let dependency = |(name, condition): &(&str, Condition)| Dependency {
            container_name: (*name).to_owned(),
            condition: *condition,
        };
        Container {
            program,
            essential: name == "app",
            grace: Duration::from_secs(2),
            depends_on: depends_on.iter().map(dependency).collect(),
            start_timeout: None,
            health: None,
        }
    }

    fn checked(mut container: Container, start_period: u64) -> Container {
        container.health = Some(Health {
            check: Check {
                program: container.program.name.clone(),
                path: PathBuf::new(),
                arguments: Vec::new(),
                environment: BTreeMap::new(),
                timeout_ms: 1000,
            },
            interval: Duration::from_secs(10),
            retries: 2,
            start_period: Duration::from_secs(start_period),
        });
        container
    }

    #[test]
    fn containers_start_when_what_they_wait_for_has_happened() {
        let now = Instant::now();
        let plans = [
            container("app", &[("migrate", Condition::Success), ("proxy", Condition::Start)]),
            container("migrate", &[]),
            container("proxy", &[("migrate", Condition::Complete)]),
        ];
        let mut all = Containers::of(&plans);
        assert_eq!((all.next(now), all.next(now)), (Next::Start(1), Next::Wait));
        all.started("migrate", now);
        assert_eq!(all.next(now), Next::Wait, "it has not ended");
        all.ended("migrate", 0);
        assert_eq!((all.next(now), all.next(now)), (Next::Start(2), Next::Wait));
        assert!(!all.all_started());
        all.started("proxy", now);
        assert_eq!((all.next(now), all.next(now)), (Next::Start(0), Next::Wait));
        all.started("app", now);
        assert!(all.all_started());
        // They end the other way round.
        assert_eq!(all.take_stops(), [0]);
        assert!(all.take_stops().is_empty());
        all.ended("app", 0);
        assert_eq!(all.take_stops(), [2]);
    }

    #[test]
    fn what_can_never_happen_is_said() {
        let now = Instant::now();
        let mut all = Containers::of(&[
            container("app", &[("migrate", Condition::Success)]),
            container("migrate", &[]),
        ]);
        all.next(now);
        all.started("migrate", now);
        all.ended("migrate", 3);
        let Next::Never(why) = all.next(now) else { panic!("it waits") };
        assert_eq!(why, "container app waits for the success of migrate, which ended with exit code 3");
        let mut slow = checked(container("db", &[]), 0);
        slow.start_timeout = Some(Duration::from_secs(5));
        let mut all = Containers::of(&[container("app", &[("db", Condition::Healthy)]), slow]);
        assert_eq!((all.next(now), all.next(now)), (Next::Start(1), Next::Wait));
        all.started("db", now);
        assert_eq!(all.due(now), Some(now + Duration::from_secs(5)));
        assert!(
            matches!(all.next(now + Duration::from_secs(5)), Next::Never(why) if why.contains("startTimeout"))
        );
    }

    #[test]
    fn health_follows_the_checks() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut all = Containers::of(&[checked(container("app", &[]), 15)]);
        assert_eq!(all.next(start), Next::Start(0));
        all.started("app", start);
        assert_eq!((all.next(at(9)), all.due(start)), (Next::Wait, Some(at(10))));
        assert_eq!((all.next(at(10)), all.next(at(10))), (Next::Check(0), Next::Wait), "one at a time");
        for (seconds, passed, status) in [
            (10, false, None), // in the start period
            (20, false, None), // the first that counts
            (30, true, Some(Status::Healthy)),
            (40, false, None),
            (50, true, None),
            (60, false, None),
            (70, false, Some(Status::Unhealthy)),
            (80, false, None),
            (90, true, Some(Status::Healthy)),
        ] {
            assert_eq!(all.checked("app", passed, at(seconds)), status, "{seconds}");
            assert_eq!(all.due(start), Some(at(seconds + 10)));
        }
        all.ended("app", 0);
        assert_eq!((all.checked("app", false, at(100)), all.due(start)), (None, None));
    }

    #[test]
    fn a_dependency_on_health_waits_for_it() {
        let now = Instant::now();
        let mut all = Containers::of(&[
            container("app", &[("db", Condition::Healthy)]),
            checked(container("db", &[]), 0),
        ]);
        all.next(now);
        all.started("db", now);
        assert_eq!(all.next(now), Next::Wait);
        all.checked("db", true, now);
        assert_eq!(all.next(now), Next::Start(0));
    }
}
