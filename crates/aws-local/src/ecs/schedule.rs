//! The service scheduler: as many tasks as a service wants, a new one for each that ends. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::zone::Zone;
use super::{
    Container, EcsState, Health, LastStatus, Launch, Placement, Propagate, Service, ServiceEvent,
    ServiceStatus, StopCode, Task, arn,
};
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
    state.tasks.values().any(to_do) || {
        let tasks = state.tasks_by_service();
        state.services.iter().any(|(key, service)| {
            let own = tasks.get(&(key.0.as_str(), key.1.as_str())).map_or(&[][..], Vec::as_slice);
            let plan = plan(state, service, own, now);
            (!plan.start.is_empty() && !zones(state, service).is_empty()) || !plan.stop.is_empty()
        })
    }
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
    let tasks = state.tasks_by_service();
    let plans: Vec<_> = state
        .services
        .iter()
        .map(|(key, service)| {
            let own = tasks.get(&(key.0.as_str(), key.1.as_str())).map_or(&[][..], Vec::as_slice);
            (key.clone(), plan(state, service, own, now))
        })
        .collect();
    for (key, plan) in plans {
        let Some(mut service) = state.services.remove(&key) else { continue };
        fill(state, &mut service, plan.start, context);
        end(state, &mut service, plan.stop, now);
        state.services.insert(key, service);
    }
    conclude(state, now);
}

/// What a service needs now.
#[derive(Debug, Default)]
struct Plan {
    /// A task for each, with the id of the one that it replaces.
    start: Vec<Option<String>>,
    /// ARNs, and why.
    stop: Vec<(String, Why)>,
}

/// Why a service stops one of its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// It has too many, or a newer deployment.
    Scaling,
    /// Its container instance is DRAINING.
    Draining,
    /// Its health check fails.
    Unhealthy,
}

/// Why a task is to be replaced although it runs; None if it is not.
fn fault(state: &EcsState, service: &Service, task: &Task) -> Option<Why> {
    if task.health() == Health::Unhealthy {
        Some(Why::Unhealthy)
    } else if task.started_by.as_deref() != Some(service.primary.id.as_str()) {
        Some(Why::Scaling)
    } else {
        state.is_draining(task).then_some(Why::Draining)
    }
}

/// Starts what is missing, as long as there are no more than `maximumPercent`, and stops what is to be replaced, as long
/// as `minimumHealthyPercent` are up. `tasks` are all of the service that have not stopped.
fn plan(state: &EcsState, service: &Service, tasks: &[&Task], now: SystemTime) -> Plan {
    let wanted = service.desired as usize;
    let mut good: Vec<&Task> = Vec::new();
    let mut bad: Vec<(&Task, Why)> = Vec::new();
    for task in tasks.iter().filter(|task| !task.ending) {
        match fault(state, service, task) {
            Some(why) => bad.push((task, why)),
            None => good.push(task),
        }
    }
    good.sort_by_key(|task| (task.created, &task.arn));
    bad.sort_by_key(|(task, why)| (std::cmp::Reverse(*why), task.created, &task.arn));
    let mut plan = Plan::default();
    let room = service.most().max(wanted).saturating_sub(good.len() + bad.len());
    let missing = wanted.saturating_sub(good.len());
    if may_start(service, now) {
        let mut replaced: BTreeSet<&str> = good.iter().filter_map(|task| task.replaces.as_deref()).collect();
        let vacant = service.vacancies.iter().map(String::as_str);
        let mut places =
            vacant.chain(bad.iter().map(|(task, _)| task.id.as_str())).filter(|id| replaced.insert(id));
        plan.start = (0..missing.min(room)).map(|_| places.next().map(str::to_owned)).collect();
    }
    // The youngest go first.
    plan.stop = good.iter().skip(wanted).map(|task| (task.arn.clone(), Why::Scaling)).collect();
    let is_running = |task: &Task| task.last >= LastStatus::Running;
    let up = good.iter().filter(|task| task.is_up()).count();
    let mut spare =
        (up + bad.iter().filter(|(task, _)| is_running(task)).count()).saturating_sub(service.least());
    for (task, why) in bad {
        // One that is on its way up is worth nothing.
        // Without room for another, an unhealthy one makes room.
        let makes_room = why == Why::Unhealthy && missing > 0 && room == 0;
        if !is_running(task) || spare > 0 || makes_room {
            spare = spare.saturating_sub(usize::from(is_running(task)));
            plan.stop.push((task.arn.clone(), why));
        }
    }
    plan
}

/// Zones where a task of a service may be placed now.
fn zones(state: &EcsState, service: &Service) -> Vec<Zone> {
    open_zones(state, &service.cluster, &service.launch, &service.placement)
}

/// Zones of a placement where a task may be started: on container instances, only those that are not DRAINING.
pub(super) fn open_zones(
    state: &EcsState,
    cluster: &str,
    launch: &Launch,
    placement: &Placement,
) -> Vec<Zone> {
    let mut zones: Vec<Zone> = placement.iter().map(|(zone, _)| *zone).collect();
    zones.sort_unstable();
    zones.dedup();
    if *launch == Launch::Ec2 && !state.draining.is_empty() {
        zones.retain(|zone| !state.draining.contains(&(cluster.to_owned(), *zone)));
    }
    zones
}

fn fill(state: &mut EcsState, service: &mut Service, places: Vec<Option<String>>, context: &Context) {
    if places.is_empty() {
        return;
    }
    let definition = state.definition(service.definition());
    let propagated = match service.propagate {
        Propagate::None => Tags::new(),
        Propagate::Service => service.tags.clone(),
        Propagate::Definition => definition.map(|it| it.tags.clone()).unwrap_or_default(),
    };
    let mut tags =
        if service.managed_tags { managed_tags(&service.cluster, Some(&service.name)) } else { Tags::new() };
    tags.extend(propagated);
    let group = format!("service:{}", service.name);
    let mut spread = Spread::of(state, &service.cluster, &group, &service.launch, &service.placement);
    let mut ids = Vec::new();
    for replaces in places {
        if let Some(place) = replaces.as_ref().and_then(|id| service.vacancies.iter().position(|it| it == id))
        {
            service.vacancies.remove(place);
        }
        let wish = Wish {
            cluster: service.cluster.clone(),
            definition: service.definition().to_owned(),
            service: Some(service.name.clone()),
            group: group.clone(),
            started_by: Some(service.primary.id.clone()),
            tags: tags.clone(),
            launch: service.launch.clone(),
            replaces,
        };
        if let Some(task) = provision(state, wish, &mut spread, context) {
            ids.push(format!("(task {})", state.tasks[&task].id));
        }
    }
    if ids.is_empty() {
        let text = format!(
            "(service {}) was unable to place a task because no container instance met all of its requirements.",
            service.name
        );
        if service.events.last().is_none_or(|event| event.message != text) {
            add_event(service, context.now, text);
        }
        return;
    }
    service.steady = false;
    let text = format!("(service {}) has started {} tasks: {}.", service.name, ids.len(), ids.join(" "));
    add_event(service, context.now, text);
}

/// The tags that ECS gives by itself (`enableECSManagedTags`).
/// Source: Amazon ECS developer guide, "Tagging Amazon ECS resources".
pub(super) fn managed_tags(cluster: &str, service: Option<&str>) -> Tags {
    let names = [("aws:ecs:clusterName", Some(cluster)), ("aws:ecs:serviceName", service)];
    names.into_iter().filter_map(|(key, name)| Some((key.to_owned(), name?.to_owned()))).collect()
}

fn end(state: &mut EcsState, service: &mut Service, tasks: Vec<(String, Why)>, now: SystemTime) {
    if tasks.is_empty() {
        return;
    }
    let mut ids = Vec::new();
    for (arn, why) in tasks {
        let Some(task) = state.tasks.get_mut(&arn) else { continue };
        ids.push(format!("(task {})", task.id));
        let reason = match why {
            Why::Scaling => format!("Scaling activity initiated by (deployment {})", service.primary.id),
            Why::Draining => "Task stopped because its container instance is in DRAINING state".to_owned(),
            Why::Unhealthy => "Task failed container health checks".to_owned(),
        };
        ask_to_stop(task, StopCode::ServiceSchedulerInitiated, &reason, now);
        if why == Why::Unhealthy {
            let text =
                format!("(service {}) (task {}) failed container health checks.", service.name, task.id);
            let is_young = is_young(task, now);
            add_event(service, now, text);
            count_failure(service, is_young, now);
        }
    }
    service.steady = false;
    let text =
        format!("(service {}) has stopped {} running tasks: {}.", service.name, ids.len(), ids.join(" "));
    add_event(service, now, text);
}

/// Says what has been reached: a steady state, the end of a deployment, the end of a service.
fn conclude(state: &mut EcsState, now: SystemTime) {
    let found: Vec<_> = {
        let mut tasks = state.tasks_by_service();
        let keys = state.services.keys();
        keys.map(|key| {
            (key.clone(), reached(tasks.remove(&(key.0.as_str(), key.1.as_str())), &state.services[key]))
        })
        .collect()
    };
    for (key, reached) in found {
        let Some(service) = state.services.get_mut(&key) else { continue };
        service.older.retain(|deployment| reached.started_by.contains(&deployment.id));
        if service.status == ServiceStatus::Draining && reached.started_by.is_empty() {
            service.status = ServiceStatus::Inactive;
        }
        if !reached.steady || service.steady || service.status != ServiceStatus::Active {
            continue;
        }
        service.steady = true;
        if !service.primary.completed {
            service.primary.completed = true;
            service.primary.updated = now;
            let text = format!(
                "(service {}) (deployment {}) deployment completed.",
                service.name, service.primary.id
            );
            add_event(service, now, text);
        }
        add_event(service, now, format!("(service {}) has reached a steady state.", service.name));
    }
}

/// What a service has.
struct Reached {
    /// Exactly as many tasks as it wants, all of them up and as they should be.
    steady: bool,
    /// Deployments whose tasks have not all stopped.
    started_by: BTreeSet<String>,
}

fn reached(tasks: Option<Vec<&Task>>, service: &Service) -> Reached {
    let tasks = tasks.unwrap_or_default();
    let live: Vec<_> = tasks.iter().filter(|task| !task.ending).collect();
    let of_primary = |task: &Task| task.started_by.as_deref() == Some(service.primary.id.as_str());
    Reached {
        steady: live.len() == service.desired as usize
            && live.iter().all(|task| task.is_up() && of_primary(task)),
        started_by: tasks.iter().filter_map(|task| task.started_by.clone()).collect(),
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
    pub launch: Launch,
    pub replaces: Option<String>,
}

/// Makes a task that has to be started; its ARN. None if there is no such definition, or no place for it.
pub(super) fn provision(
    state: &mut EcsState,
    wish: Wish,
    spread: &mut Spread,
    context: &Context,
) -> Option<String> {
    let definition = state.definition(&wish.definition)?;
    let (zone, subnet_id) = spread.take()?;
    let container = |it: super::ContainerDefinition| Container {
        name: it.name,
        image: it.image,
        last: LastStatus::Pending,
        exit_code: None,
        reason: None,
        health: Health::Unknown,
        essential: it.essential,
        checked: it.health_check.is_some(),
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
        launch: wish.launch,
        zone,
        subnet_id,
        ending: false,
        stop_ordered: false,
        containers: definition.containers().into_iter().map(container).collect(),
        address: None,
        created: context.now,
        started: None,
        stopping: None,
        executed: None,
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

/// How many tasks each open zone of a placement has: of the same group, and of the cluster.
#[derive(Debug)]
pub(super) struct Spread {
    counts: BTreeMap<Zone, (usize, usize)>,
    placement: Placement,
}

impl Spread {
    pub(super) fn of(
        state: &EcsState,
        cluster: &str,
        group: &str,
        launch: &Launch,
        placement: &Placement,
    ) -> Spread {
        let zones = open_zones(state, cluster, launch, placement);
        let mut counts: BTreeMap<_, _> = zones.into_iter().map(|zone| (zone, (0, 0))).collect();
        for task in state.tasks.values().filter(|task| !task.ending && task.cluster == cluster) {
            if let Some((own, all)) = counts.get_mut(&task.zone) {
                *own += usize::from(task.group == group);
                *all += 1;
            }
        }
        Spread { counts, placement: placement.clone() }
    }

    /// The zone with the fewest, and its subnet; None where no zone is open.
    fn take(&mut self) -> Option<(Zone, String)> {
        let (zone, counts) = self.counts.iter_mut().min_by_key(|(zone, counts)| (**counts, **zone))?;
        *counts = (counts.0 + 1, counts.1 + 1);
        self.placement.iter().find(|(it, _)| it == zone).cloned()
    }
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
        (task.executed, task.stopped) = (Some(now), Some(now));
        task.containers.iter_mut().for_each(|container| container.last = LastStatus::Stopped);
    }
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
    count_failure(service, is_young(task, now), now);
}

fn is_young(task: &Task, now: SystemTime) -> bool {
    task.started.is_none_or(|at| now.duration_since(at).is_ok_and(|age| age < YOUNG))
}

/// A service whose tasks fail one after the other while they are young gets pauses.
fn count_failure(service: &mut Service, is_young: bool, now: SystemTime) {
    service.failures = if is_young { service.failures + 1 } else { 0 };
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
