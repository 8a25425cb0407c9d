//! What a task has reserved: what its utilization is a share of.

use std::thread::available_parallelism;

use super::{EcsState, Task};

/// What a task definition reserves for a task.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reservation {
    /// CPU units, 1,024 for a core. Those of the whole machine where nothing is reserved: then a task may use them.
    pub cpu_units: f64,
    /// MiB.
    pub memory_mib: f64,
    /// The hard limit in MiB, if there is one.
    pub memory_limit_mib: Option<u64>,
}

/// The reservation of a task: what its definition says of the whole task, or of its containers together. A soft limit
/// of memory comes before the hard one (developer guide, "Amazon ECS service utilization metrics").
pub fn reserved(state: &EcsState, task: &Task) -> Reservation {
    let definition = state.definition(&task.definition());
    let containers = definition.map(|it| it.containers()).unwrap_or_default();
    let of_task = definition.and_then(|it| it.vcpu()).map(|vcpu| vcpu * 1024.0);
    let of_containers: u32 = containers.iter().map(|container| container.cpu).sum();
    let machine = || available_parallelism().map_or(1.0, |cores| cores.get() as f64) * 1024.0;
    let cpu = of_task.unwrap_or_else(|| f64::from(of_containers));
    let memory_mib = definition.and_then(|it| it.memory_mib());
    let soft: u64 = containers.iter().filter_map(|it| it.memory_reservation.or(it.memory)).sum();
    let hard: Option<u64> = containers.iter().map(|it| it.memory).sum();
    Reservation {
        cpu_units: if cpu > 0.0 { cpu } else { machine() },
        memory_mib: memory_mib.unwrap_or(soft).max(1) as f64,
        memory_limit_mib: memory_mib.or(hard.filter(|_| !containers.is_empty())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;

    #[test]
    fn the_task_comes_before_its_containers() {
        let mut fixture = Fixture::new().with_instance();
        fixture.service("app", 1);
        let task = fixture.state.tasks.values().next().unwrap().clone();
        let definition = fixture.state.definitions.get_mut(&task.family).unwrap().last_mut().unwrap();
        let containers = |definition: &mut super::super::Definition, members: serde_json::Value| {
            let all = definition.body["containerDefinitions"].as_array_mut().unwrap();
            all.truncate(1);
            for name in ["cpu", "memory", "memoryReservation"] {
                all[0].as_object_mut().unwrap().remove(name);
            }
            all[0].as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        };
        definition.body.remove("cpu");
        definition.body.remove("memory");
        containers(definition, serde_json::json!({ "cpu": 256, "memory": 128, "memoryReservation": 64 }));
        let expected = Reservation { cpu_units: 256.0, memory_mib: 64.0, memory_limit_mib: Some(128) };
        assert_eq!(reserved(&fixture.state, &task), expected);
        let definition = fixture.state.definitions.get_mut(&task.family).unwrap().last_mut().unwrap();
        definition.body.insert("cpu".into(), "512".into());
        definition.body.insert("memory".into(), "1 GB".into());
        let expected = Reservation { cpu_units: 512.0, memory_mib: 1024.0, memory_limit_mib: Some(1024) };
        assert_eq!(reserved(&fixture.state, &task), expected);
    }
}
