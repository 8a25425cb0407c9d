//! The targets of a load balancer, what their health checks have said, and whose turn it is. Pure: who checks, and
//! who sends, is not known here.
//!
//! As Elastic Load Balancing does it: a new target gets requests after its first good check, one is taken out after
//! some bad ones and comes back after some good ones, and where none is healthy all of them get requests.

use std::time::Duration;

use super::Target;

/// How a load balancer finds out who can serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked of each target, with a slash at its beginning; an answer of success (2xx) is a good check.
    pub path: String,
    /// Between two checks of a target.
    pub interval: Duration,
    /// A check that takes longer is a bad one.
    pub timeout: Duration,
    /// So many good checks in a row bring a target back that was taken out.
    pub healthy_after: u32,
    /// So many bad checks in a row take a target out.
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

/// A registered target and what its checks have said.
#[derive(Debug, Clone)]
struct Member {
    target: Target,
    health: Health,
    /// Checks in a row that speak against `health`.
    against: u32,
    checking: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    /// No check was good yet.
    Initial,
    Healthy,
    Unhealthy,
}

/// The registered targets.
#[derive(Debug, Default)]
pub struct Members {
    /// None: whoever is registered is healthy.
    check: Option<HealthCheck>,
    all: Vec<Member>,
    turn: usize,
}

impl Members {
    /// None yet.
    pub fn new(check: Option<HealthCheck>) -> Members {
        Members { check, ..Members::default() }
    }

    /// What the checks are, if there are any.
    pub fn check(&self) -> Option<&HealthCheck> {
        self.check.as_ref()
    }

    /// Takes over who is registered now. Who stays keeps what is known of it.
    pub fn register(&mut self, registered: Vec<Target>) {
        self.all.retain(|member| registered.contains(&member.target));
        for target in registered {
            if !self.all.iter().any(|member| member.target == target) {
                let health = if self.check.is_none() { Health::Healthy } else { Health::Initial };
                self.all.push(Member { target, health, against: 0, checking: false });
            }
        }
    }

    /// Takes one out at once.
    pub fn deregister(&mut self, task: &str) {
        self.all.retain(|member| member.target.task != task);
    }

    /// The next target in turn; None if none is registered.
    pub fn choose(&mut self) -> Option<Target> {
        let any_healthy = self.all.iter().any(|member| member.health == Health::Healthy);
        let able = |member: &&Member| member.health == Health::Healthy || !any_healthy;
        let able: Vec<&Member> = self.all.iter().filter(able).collect();
        let chosen = able.get(self.turn.checked_rem(able.len())?).map(|member| member.target.clone());
        self.turn = self.turn.wrapping_add(1);
        chosen
    }

    /// Every target whose last check has ended; all of them count as being checked now. With `new_only` those that
    /// have not passed one yet.
    pub fn to_check(&mut self, new_only: bool) -> Vec<Target> {
        let wanted =
            |member: &&mut Member| !member.checking && (!new_only || member.health == Health::Initial);
        let begin = |member: &mut Member| {
            member.checking = true;
            member.target.clone()
        };
        self.all.iter_mut().filter(wanted).map(begin).collect()
    }

    /// What a check has said. True if it has made the target unhealthy.
    pub fn checked(&mut self, target: &Target, good: bool) -> bool {
        let Some(check) = &self.check else { return false };
        let Some(member) = self.all.iter_mut().find(|member| member.target == *target) else { return false };
        member.checking = false;
        let enough = match (member.health, good) {
            (Health::Healthy, true) | (Health::Unhealthy, false) => {
                member.against = 0;
                return false;
            }
            (Health::Initial, true) => 1,
            (Health::Unhealthy, true) => check.healthy_after,
            (Health::Initial | Health::Healthy, false) => check.unhealthy_after,
        };
        member.against += 1;
        if member.against < enough {
            return false;
        }
        member.health = if good { Health::Healthy } else { Health::Unhealthy };
        member.against = 0;
        !good
    }

    /// A check has ended and says nothing. Always false: nothing has changed.
    pub fn not_checked(&mut self, target: &Target) -> bool {
        if let Some(member) = self.all.iter_mut().find(|member| member.target == *target) {
            member.checking = false;
        }
        false
    }

    /// Names of those that pass their checks.
    pub fn healthy(&self) -> Vec<String> {
        let healthy = self.all.iter().filter(|member| member.health == Health::Healthy);
        healthy.map(|member| member.target.task.clone()).collect()
    }

    /// How many are registered and do not pass their checks; those that have not passed one yet are among them.
    pub fn unhealthy(&self) -> usize {
        self.all.iter().filter(|member| member.health != Health::Healthy).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> Target {
        Target::at(name.to_owned(), ([127, 0, 0, 1], 9).into())
    }

    fn members(names: &[&str]) -> Members {
        with(Some(HealthCheck::default()), names)
    }

    fn with(check: Option<HealthCheck>, names: &[&str]) -> Members {
        let mut members = Members::new(check);
        members.register(names.iter().map(|name| target(name)).collect());
        members
    }

    fn checked(members: &mut Members, checks: &[(&str, bool)]) -> Vec<bool> {
        checks.iter().map(|(name, good)| members.checked(&target(name), *good)).collect()
    }

    fn chosen(members: &mut Members, times: usize) -> Vec<String> {
        let mut names: Vec<_> = (0..times).map(|_| members.choose().unwrap().task).collect();
        names.sort();
        names
    }

    #[test]
    fn requests_go_round_the_healthy_ones() {
        let mut members = members(&["a", "b", "c"]);
        assert_eq!(chosen(&mut members, 6), ["a", "a", "b", "b", "c", "c"], "none healthy: all of them");
        checked(&mut members, &[("a", true), ("b", true)]);
        assert_eq!(chosen(&mut members, 4), ["a", "a", "b", "b"], "one good check is enough for a new one");
        assert_eq!((members.healthy().len(), members.unhealthy()), (2, 1));
    }

    #[test]
    fn one_is_out_after_two_bad_checks_in_a_row_and_back_after_two_good_ones() {
        let mut members = members(&["a", "b"]);
        let said = checked(
            &mut members,
            &[("a", true), ("b", true), ("a", false), ("a", true), ("a", false), ("a", false), ("a", false)],
        );
        assert_eq!(said, [false, false, false, false, false, true, false], "it is said once");
        assert_eq!(chosen(&mut members, 2), ["b", "b"]);
        checked(&mut members, &[("a", true)]);
        assert_eq!(chosen(&mut members, 2), ["b", "b"], "one good check is not enough");
        checked(&mut members, &[("a", true)]);
        assert_eq!(chosen(&mut members, 2), ["a", "b"]);
    }

    #[test]
    fn one_that_never_passes_a_check_becomes_unhealthy_too() {
        let mut members = members(&["a"]);
        assert_eq!(checked(&mut members, &[("a", false), ("a", false)]), [false, true]);
        assert_eq!(chosen(&mut members, 1), ["a"], "where none is healthy, all of them get requests");
    }

    #[test]
    fn who_is_registered_anew_has_to_pass_a_check() {
        let mut members = members(&["a", "b"]);
        checked(&mut members, &[("a", true), ("b", true)]);
        members.register(vec![target("b"), target("c")]);
        assert_eq!(chosen(&mut members, 2), ["b", "b"]);
        members.deregister("b");
        assert_eq!(chosen(&mut members, 1), ["c"]);
        members.register(Vec::new());
        assert!(members.choose().is_none());
    }

    #[test]
    fn no_target_is_checked_twice_at_once() {
        let mut members = members(&["a", "b"]);
        checked(&mut members, &[("a", true)]);
        assert_eq!(members.to_check(true), [target("b")]);
        assert_eq!(members.to_check(false), [target("a")]);
        assert!(members.to_check(false).is_empty());
        checked(&mut members, &[("b", false)]);
        assert_eq!(members.to_check(false), [target("b")]);
    }

    #[test]
    fn without_checks_whoever_is_registered_gets_requests_at_once() {
        let mut members = with(None, &["a"]);
        members.register(vec![target("a"), target("b")]);
        assert_eq!(chosen(&mut members, 4), ["a", "a", "b", "b"]);
    }
}
