//! The service scheduler: as many tasks as a service wants, a new one for each that ends. Pure.

use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::{Container, EcsState, LastStatus, Service, ServiceEvent, ServiceStatus, StopCode, Task, arn};
use crate::Context;
use crate::tags::Tags;

/// How long a stopped task can still be described, about (Amazon ECS API reference, DescribeTasks).
const STOPPED_KEPT: Duration = Duration::from_secs(3600);
/// A task that ends younger than this counts as a failure of its service.
const YOUNG: Duration = Duration::from_secs(60);
/// The first failures cost no wait: an experiment that kills a young task wants its replacement. After that
/// the pause doubles, up to a minute; ECS's own throttle is not documented, and goes to minutes.
const FREE_FAILURES: u32 = 3;
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Events that a service keeps, as ECS does.
const EVENTS_KEPT: usize = 100;

/// Whether something is to be scheduled, started or stopped now.
pub fn is_behind(state: &EcsState, now: SystemTime) -> bool {
    let to_do = |task: &Task| {
        task.last == LastStatus::Provisioning
            || (task.ending && !task.stop_ordered && task.last != LastStatus::Stopped)
    };
    state.tasks.values().any(to_do)
        || state.services.values().any(|service| {
            let live = state.live_tasks(&service.cluster, &service.name).count();
            let wanted = service.desired as usize;
            live > wanted || (live < wanted && may_start(service, now))
        })
}

fn may_start(service: &Service, now: SystemTime) -> bool {
    service.not_before.is_none_or(|not_before| now >= not_before)
}

/// Makes and ends tasks until every service has what it wants, and forgets what is long over.
pub(super) fn settle(state: &mut EcsState, context: &Context) {
    let now = context.now;
    state.tasks.retain(|_, task| {
        task.stopped.is_none_or(|at| now.duration_since(at).is_ok_and(|age| age < STOPPED_KEPT))
    });
    let keys: Vec<_> = state.services.keys().cloned().collect();
    for key in keys {
        let Some(mut service) = state.services.remove(&key) else { continue };
        let mut live: Vec<(SystemTime, String)> = state
            .live_tasks(&service.cluster, &service.name)
            .map(|task| (task.created, task.arn.clone()))
            .collect();
        live.sort();
        let wanted = service.desired as usize;
        if live.len() < wanted && may_start(&service, now) {
            fill(state, &mut service, wanted - live.len(), context);
        }
        // The youngest go first.
        let surplus: Vec<String> = live.into_iter().skip(wanted).map(|(_, arn)| arn).collect();
        end(state, &mut service, surplus, now);
        report_steady(state, &mut service, now);
        let tasks_left = state.tasks.values().any(|task| {
            task.last != LastStatus::Stopped
                && task.cluster == service.cluster
                && task.service.as_ref() == Some(&service.name)
        });
        if service.status == ServiceStatus::Draining && !tasks_left {
            service.status = ServiceStatus::Inactive;
        }
        state.services.insert(key, service);
    }
}

fn fill(state: &mut EcsState, service: &mut Service, count: usize, context: &Context) {
    let mut ids = Vec::new();
    for _ in 0..count {
        let replaces = (!service.vacancies.is_empty()).then(|| service.vacancies.remove(0));
        let tags = if service.propagate_tags { service.tags.clone() } else { Tags::new() };
        let wish = Wish {
            cluster: service.cluster.clone(),
            definition: service.definition.clone(),
            service: Some(service.name.clone()),
            group: format!("service:{}", service.name),
            started_by: Some(service.deployment.clone()),
            tags,
            replaces,
        };
        if let Some(task) = provision(state, wish, context) {
            ids.push(format!("(task {})", state.tasks[&task].id));
        }
    }
    if !ids.is_empty() {
        service.steady = false;
        let text = format!("(service {}) has started {} tasks: {}.", service.name, ids.len(), ids.join(" "));
        add_event(service, context.now, text);
    }
}

fn end(state: &mut EcsState, service: &mut Service, arns: Vec<String>, now: SystemTime) {
    if arns.is_empty() {
        return;
    }
    let reason = format!("Scaling activity initiated by (deployment {})", service.deployment);
    let mut ids = Vec::new();
    for arn in &arns {
        if let Some(task) = state.tasks.get_mut(arn) {
            ids.push(format!("(task {})", task.id));
            ask_to_stop(task, StopCode::ServiceSchedulerInitiated, &reason, now);
        }
    }
    service.steady = false;
    let text =
        format!("(service {}) has stopped {} running tasks: {}.", service.name, ids.len(), ids.join(" "));
    add_event(service, now, text);
}

fn report_steady(state: &EcsState, service: &mut Service, now: SystemTime) {
    let live: Vec<&Task> = state.live_tasks(&service.cluster, &service.name).collect();
    let running = live.iter().filter(|task| task.last == LastStatus::Running).count();
    let steady = running == live.len() && running == service.desired as usize;
    if steady && !service.steady && service.status == ServiceStatus::Active {
        service.steady = true;
        add_event(service, now, format!("(service {}) has reached a steady state.", service.name));
    }
}

fn add_event(service: &mut Service, at: SystemTime, message: String) {
    service.events.push(ServiceEvent { id: Uuid::new_v4().to_string(), at, message });
    let surplus = service.events.len().saturating_sub(EVENTS_KEPT);
    service.events.drain(..surplus);
}

/// A task that was asked for.
#[derive(Debug)]
pub(super) struct Wish {
    pub cluster: String,
    /// `family:revision`.
    pub definition: String,
    pub service: Option<String>,
    pub group: String,
    pub started_by: Option<String>,
    pub tags: Tags,
    pub replaces: Option<String>,
}

/// Makes a task that the container instance has to start; its ARN. None if there is no such definition.
pub(super) fn provision(state: &mut EcsState, wish: Wish, context: &Context) -> Option<String> {
    let definition = state.definition(&wish.definition)?;
    let container = |it: super::ContainerDefinition| Container {
        name: it.name,
        image: it.image,
        last: LastStatus::Pending,
        exit_code: None,
        reason: None,
    };
    let id = Uuid::new_v4().simple().to_string();
    let task = Task {
        arn: arn(context, &format!("task/{}/{id}", wish.cluster)),
        id,
        cluster: wish.cluster,
        service: wish.service,
        group: wish.group,
        family: definition.family.clone(),
        revision: definition.revision,
        last: LastStatus::Provisioning,
        ending: false,
        stop_ordered: false,
        containers: definition.containers().into_iter().map(container).collect(),
        address: None,
        created: context.now,
        started: None,
        stopping: None,
        stopped: None,
        stop_code: None,
        stopped_reason: None,
        started_by: wish.started_by,
        tags: wish.tags,
        replaces: wish.replaces,
    };
    let arn = task.arn.clone();
    state.tasks.insert(arn.clone(), task);
    Some(arn)
}

/// Wants a task stopped; the first reason counts.
fn ask_to_stop(task: &mut Task, code: StopCode, reason: &str, now: SystemTime) {
    if task.ending {
        return;
    }
    task.ending = true;
    task.stop_code = Some(code);
    task.stopped_reason = Some(reason.to_owned()).filter(|reason| !reason.is_empty());
    task.stopping = Some(now);
    if task.last == LastStatus::Provisioning {
        // No container instance has taken it: there is nothing to stop.
        task.last = LastStatus::Stopped;
        task.stopped = Some(now);
        task.containers.iter_mut().for_each(|container| container.last = LastStatus::Stopped);
    }
}

/// Ends every task of a service, so that new ones follow its definition.
pub(super) fn replace_all(state: &mut EcsState, key: &(String, String), context: &Context) {
    let Some(mut service) = state.services.remove(key) else { return };
    let arns = state.live_tasks(&service.cluster, &service.name).map(|task| task.arn.clone()).collect();
    end(state, &mut service, arns, context.now);
    state.services.insert(key.clone(), service);
}

/// A task is to end, or ends by itself; its service is to replace it. The first reason counts.
pub(super) fn end_task(state: &mut EcsState, arn: &str, code: StopCode, reason: &str, now: SystemTime) {
    let Some(task) = state.tasks.get_mut(arn).filter(|task| !task.ending) else { return };
    ask_to_stop(task, code, reason, now);
    vacate(state, arn, now);
}

fn vacate(state: &mut EcsState, arn: &str, now: SystemTime) {
    let Some(task) = state.tasks.get(arn) else { return };
    let Some(name) = &task.service else { return };
    let Some(service) = state.services.get_mut(&(task.cluster.clone(), name.clone())) else { return };
    service.steady = false;
    service.vacancies.push(task.id.clone());
    // A user, or an experiment, who stops a task says nothing about its health.
    if task.stop_code == Some(StopCode::UserInitiated) {
        return;
    }
    let young = task.started.is_none_or(|at| now.duration_since(at).is_ok_and(|age| age < YOUNG));
    service.failures = if young { service.failures + 1 } else { 0 };
    let over = service.failures.saturating_sub(FREE_FAILURES);
    service.not_before = (over > 0).then(|| {
        let pause = Duration::from_secs(1 << over.min(6)).min(LONGEST_PAUSE);
        now + pause
    });
    if over == 1 {
        let text = format!(
            "(service {}) is unable to consistently start tasks successfully; the next are started after a pause.",
            service.name
        );
        add_event(service, now, text);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;
    use serde_json::json;

    #[test]
    fn a_task_that_ends_is_replaced_by_a_new_one_that_says_so() {
        let mut fixture = Fixture::new().with_instance();
        fixture.service("app", 3);
        fixture.start_all();
        let victim = fixture.running()[0].id.clone();
        fixture.crash(&victim, 137);
        fixture.settle();
        let fresh: Vec<Task> =
            fixture.state.tasks.values().filter(|task| task.replaces.is_some()).cloned().collect();
        assert_eq!(fresh.len(), 1);
        assert_eq!(fresh[0].replaces.as_deref(), Some(victim.as_str()));
        assert_ne!(fresh[0].id, victim);
        assert_eq!(fresh[0].last, LastStatus::Provisioning);
    }

    #[test]
    fn a_service_whose_tasks_fail_at_once_is_given_pauses() {
        let mut fixture = Fixture::new().with_instance();
        fixture.service("app", 1);
        for _ in 0..FREE_FAILURES {
            fixture.start_all();
            let id = fixture.running()[0].id.clone();
            fixture.crash(&id, 1);
            fixture.settle();
        }
        fixture.start_all();
        let id = fixture.running()[0].id.clone();
        fixture.crash(&id, 1);
        fixture.settle();
        assert!(fixture.running().is_empty());
        assert!(!is_behind(&fixture.state, fixture.context.now), "it waits");
        fixture.pass(2);
        assert!(is_behind(&fixture.state, fixture.context.now));
        fixture.start_all();
        assert_eq!(fixture.running().len(), 1);
        // One that lives is no failure.
        fixture.pass(61);
        let id = fixture.running()[0].id.clone();
        fixture.crash(&id, 1);
        fixture.settle();
        assert!(is_behind(&fixture.state, fixture.context.now));
    }

    #[test]
    fn stopping_tasks_on_request_is_no_failure() {
        let mut fixture = Fixture::new().with_instance();
        fixture.service("app", 1);
        for _ in 0..10 {
            fixture.start_all();
            let task = fixture.running()[0].arn.clone();
            fixture.ok("StopTask", json!({ "task": task }));
            fixture.end_all();
        }
        fixture.start_all();
        assert_eq!(fixture.running().len(), 1, "no pause");
    }

    #[test]
    fn stopped_tasks_are_forgotten_after_an_hour() {
        let mut fixture = Fixture::new().with_instance();
        fixture.service("app", 1);
        fixture.start_all();
        fixture.ok("UpdateService", json!({ "service": "app", "desiredCount": 0 }));
        fixture.end_all();
        assert_eq!(fixture.state.tasks.len(), 1);
        fixture.pass(3600);
        fixture.settle();
        assert!(fixture.state.tasks.is_empty());
    }
}
