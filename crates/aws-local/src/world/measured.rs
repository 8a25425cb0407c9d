//! What is seen of tasks and of a load balancer from outside, as the metrics that AWS makes of it, in their units and
//! with their dimensions (ECS developer guide, "Amazon ECS service utilization metrics" and "Container Insights";
//! guide of the Application Load Balancer, "CloudWatch metrics").

use super::World;
use crate::Context;
use crate::cloudwatch::{CloudWatchState, MetricId, Together};
use crate::ecs::reserved;

/// What a task uses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Percent of one core: 200 is two whole cores.
    pub cpu_percent: f64,
    /// What its processes hold, in bytes.
    pub memory_bytes: u64,
}

/// A load balancer with one target group, by the values of the dimensions of its metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadBalancer {
    /// `app/NAME/ID`.
    pub name: String,
    /// `targetgroup/NAME/ID`.
    pub target_group: String,
}

/// What a load balancer did since it was last asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Balanced {
    /// Requests for which there was a target.
    pub requests: u32,
    /// Answers of targets by the first digit of their status, 2 to 5.
    pub answers: [u32; 6],
    /// Answers of its own: 502, 503 and 504.
    pub own: [u32; 3],
    /// Connections to targets that failed.
    pub refused: u32,
    /// From the end of a request to the beginning of its answer: seconds, and how many took so long.
    pub times: Vec<(f64, u32)>,
    /// Targets that pass their health checks, and that do not.
    pub healthy: u32,
    /// Targets that fail their health checks.
    pub unhealthy: u32,
}

impl LoadBalancer {
    /// The one of a port of a service. Its ids stay the same from start to start, so that alarms can be kept.
    pub fn of(cluster: &str, service: &str, port: u16) -> LoadBalancer {
        let digest = crate::wire::sha256_hex(format!("{cluster}/{service}/{port}").as_bytes());
        let (one, other) = (digest.get(..16).unwrap_or_default(), digest.get(16..32).unwrap_or_default());
        LoadBalancer {
            name: format!("app/{service}/{one}"),
            target_group: format!("targetgroup/{service}-{port}/{other}"),
        }
    }
}

impl World {
    /// Adds what a task uses to the metrics of task, service and cluster. A task that is not known is overlooked.
    pub fn task_uses(&mut self, arn: &str, usage: Usage, context: &Context) {
        let Some(task) = self.ecs.tasks.get(arn) else { return };
        let reserved = reserved(&self.ecs, task);
        let cpu = usage.cpu_percent / 100.0 * 1024.0;
        let mib = usage.memory_bytes as f64 / (1024.0 * 1024.0);
        let (cpu_share, memory_share) = (100.0 * cpu / reserved.cpu_units, 100.0 * mib / reserved.memory_mib);
        let cluster = ("ClusterName", task.cluster.as_str());
        let service = task.service.as_deref().map(|service| ("ServiceName", service));
        let family = ("TaskDefinitionFamily", task.family.as_str());
        let of_service: Vec<(&str, &str)> = [cluster].into_iter().chain(service).collect();
        let mut places: Vec<Vec<(&str, &str)>> = vec![
            vec![cluster],
            vec![cluster, family],
            // Container Insights with enhanced observability.
            vec![cluster, family, ("TaskId", task.id.as_str())],
        ];
        if service.is_some() {
            places.push(of_service.clone());
        }
        let cloudwatch = &mut self.cloudwatch;
        let mut add = |namespace: &str, name: &str, dimensions: &[(&str, &str)], value: f64, unit: &str| {
            let metric = MetricId::new(namespace, name, dimensions);
            cloudwatch.add(metric, (value, 1.0), unit, Together::Measured, context);
        };
        for place in [&places[..1], &places[3..]].concat() {
            add("AWS/ECS", "CPUUtilization", &place, cpu_share, "Percent");
            add("AWS/ECS", "MemoryUtilization", &place, memory_share, "Percent");
        }
        for place in &places {
            for (name, value, unit) in [
                ("CpuUtilized", cpu, "None"),
                ("CpuReserved", reserved.cpu_units, "None"),
                ("MemoryUtilized", mib, "Megabytes"),
                ("MemoryReserved", reserved.memory_mib, "Megabytes"),
                ("TaskCpuUtilization", cpu_share, "Percent"),
                ("TaskMemoryUtilization", memory_share, "Percent"),
            ] {
                add("ECS/ContainerInsights", name, place, value, unit);
            }
        }
    }

    /// Adds what a load balancer did to its metrics. Those that count are there only where there is something to
    /// count, as on AWS.
    pub fn balanced(&mut self, balancer: &LoadBalancer, did: &Balanced, context: &Context) {
        let own = vec![("LoadBalancer", balancer.name.as_str())];
        let group = vec![own[0], ("TargetGroup", balancer.target_group.as_str())];
        let both = [own.clone(), group.clone()];
        let mut metrics = Metrics { cloudwatch: &mut self.cloudwatch, context };
        metrics.count("RequestCount", &both, did.requests);
        for digit in 2..=5 {
            let name = format!("HTTPCode_Target_{digit}XX_Count");
            metrics.count(&name, &both, did.answers.get(digit).copied().unwrap_or_default());
        }
        metrics.count("TargetConnectionErrorCount", &both, did.refused);
        let own = [own];
        metrics.count("HTTPCode_ELB_5XX_Count", &own, did.own.iter().sum());
        for (code, count) in [502, 503, 504].iter().zip(did.own) {
            metrics.count(&format!("HTTPCode_ELB_{code}_Count"), &own, count);
        }
        for (seconds, count) in &did.times {
            metrics.add("TargetResponseTime", &both, (*seconds, *count), "Seconds", Together::Counted);
        }
        let group = [group];
        for (name, count) in [("HealthyHostCount", did.healthy), ("UnHealthyHostCount", did.unhealthy)] {
            metrics.add(name, &group, (f64::from(count), 1), "Count", Together::Measured);
        }
    }
}

/// Metrics of a load balancer.
struct Metrics<'a> {
    cloudwatch: &'a mut CloudWatchState,
    context: &'a Context,
}

impl Metrics<'_> {
    /// The service counts with values of 1: Sum is the number, Average is 1.
    fn count(&mut self, name: &str, places: &[Vec<(&str, &str)>], count: u32) {
        if count > 0 {
            self.add(name, places, (1.0, count), "Count", Together::Counted);
        }
    }

    fn add(
        &mut self,
        name: &str,
        places: &[Vec<(&str, &str)>],
        value: (f64, u32),
        unit: &str,
        how: Together,
    ) {
        let (value, count) = (value.0, f64::from(value.1));
        for place in places {
            let metric = MetricId::new("AWS/ApplicationELB", name, place);
            self.cloudwatch.add(metric, (value, count), unit, how, self.context);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use serde_json::{Value, json};

    use super::*;

    fn context() -> Context {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_630);
        Context { now, region: "us-east-1".into(), account: "000000000000".into(), speed: 1.0 }
    }

    /// One statistic of the minute around now.
    fn statistic(world: &mut World, metric: (&str, &str), dimensions: Value, statistic: &str) -> Option<f64> {
        let body = json!({
            "MetricDataQueries": [{ "Id": "m", "MetricStat": {
                "Metric": { "Namespace": metric.0, "MetricName": metric.1, "Dimensions": dimensions },
                "Period": 60, "Stat": statistic,
            }}],
            "StartTime": 1_767_225_600, "EndTime": 1_767_225_660,
        });
        let answer =
            world.call_cloudwatch("GetMetricData", body.as_object().unwrap(), &context()).unwrap().unwrap();
        answer["MetricDataResults"][0]["Values"][0].as_f64()
    }

    #[test]
    fn a_load_balancer_counts_as_the_service_does() {
        let mut world = World::default();
        let balancer = LoadBalancer::of("c", "web", 80);
        assert_eq!(balancer, LoadBalancer::of("c", "web", 80));
        let second = Balanced {
            requests: 10,
            answers: [0, 0, 8, 0, 0, 1],
            own: [1, 2, 0],
            refused: 1,
            times: vec![(0.02, 8), (0.5, 1)],
            healthy: 2,
            unhealthy: 1,
        };
        world.balanced(&balancer, &second, &context());
        world.balanced(&balancer, &second, &context());
        let own = json!([{ "Name": "LoadBalancer", "Value": balancer.name }]);
        let group = json!([own[0], { "Name": "TargetGroup", "Value": balancer.target_group }]);
        for (name, dimensions, asked, expected) in [
            ("RequestCount", &own, "Sum", Some(20.0)),
            ("RequestCount", &group, "Average", Some(1.0)),
            ("HTTPCode_Target_2XX_Count", &group, "Sum", Some(16.0)),
            ("HTTPCode_Target_5XX_Count", &own, "Sum", Some(2.0)),
            ("HTTPCode_Target_4XX_Count", &own, "Sum", None),
            ("HTTPCode_ELB_5XX_Count", &own, "Sum", Some(6.0)),
            ("HTTPCode_ELB_502_Count", &own, "Sum", Some(2.0)),
            ("HTTPCode_ELB_504_Count", &own, "Sum", None),
            ("TargetConnectionErrorCount", &group, "Sum", Some(2.0)),
            ("TargetResponseTime", &own, "p50", Some(0.02)),
            ("TargetResponseTime", &group, "p99", Some(0.5)),
            ("HealthyHostCount", &group, "Minimum", Some(2.0)),
            ("UnHealthyHostCount", &group, "Maximum", Some(1.0)),
            ("HealthyHostCount", &own, "Maximum", None),
        ] {
            let found = statistic(&mut world, ("AWS/ApplicationELB", name), dimensions.clone(), asked);
            assert_eq!(found, expected, "{name} {asked} {dimensions}");
        }
    }
}
