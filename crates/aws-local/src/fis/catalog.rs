//! Which actions there are, what they take and what they do; and the resource types of their targets.
//!
//! Names, defaults and ranges as in the action reference of the service's guide; ranges that it leaves out are
//! those of the documents that the actions send.

/// One action of the service.
#[derive(Debug)]
pub struct Kind {
    /// `aws:ecs:stop-task`, …
    pub id: &'static str,
    /// A sentence for people.
    pub description: &'static str,
    /// The slot of its targets, if it has any.
    pub slot: Option<Slot>,
    /// All that a template may set.
    pub parameters: &'static [Parameter],
    /// What it does to its targets.
    pub does: Does,
}

/// Where an action takes its targets.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    /// `Tasks`.
    pub name: &'static str,
    /// One of [`RESOURCE_TYPES`].
    pub resource_type: &'static str,
}

/// One parameter of an action. All values are strings.
#[derive(Debug)]
pub struct Parameter {
    /// As templates write it.
    pub name: &'static str,
    /// A sentence for people.
    pub description: &'static str,
    /// Refused without it.
    pub required: bool,
    /// What is sent if the template says nothing.
    pub default: Option<&'static str>,
    /// What it may be set to.
    pub accepts: Accepts,
    /// The parameter of the document that it becomes.
    pub document: &'static str,
}

/// The values that a parameter takes.
#[derive(Debug, Clone, Copy)]
pub enum Accepts {
    /// ISO 8601, from so many seconds to twelve hours.
    Duration {
        /// The shortest, in seconds.
        least: u64,
    },
    /// A whole number.
    Range(u64, u64),
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// `true` or `false`, in any case of letters.
    Flag,
    /// 1–128 letters, digits, `.`, `-`, `=`, `_`.
    ProcessName,
    /// Names, addresses and address ranges, with commas and without blanks.
    Sources,
    /// The ARN of a document of Systems Manager.
    DocumentArn,
    /// `$DEFAULT`, `$LATEST` or a number.
    DocumentVersion,
    /// A JSON object of texts and lists of texts, as text.
    DocumentParameters,
    /// So many ARNs of alarms, with commas.
    Alarms {
        /// The most of them.
        most: usize,
    },
    /// States of alarms, with commas.
    AlarmStates,
}

/// What an action does.
#[derive(Debug, Clone, Copy)]
pub enum Does {
    /// Lets time pass.
    Wait,
    /// Stops tasks.
    StopTasks,
    /// Sets a share of the container instances of clusters to DRAINING for a time.
    Drain,
    /// Looks whether alarms are in the states that it names.
    AssertAlarms,
    /// Executes a runbook of the user's.
    Automation,
    /// Sends a document of the user's to its targets.
    Command,
    /// Sends a document to the managed instances of its targets.
    Document {
        /// Name of the document.
        name: &'static str,
        /// The one for `useEcsFaultInjectionEndpoints`, which lives on heartbeats.
        endpoints: Option<&'static str>,
        /// Whether the first one needs to be told that the action is on egress.
        egress: bool,
    },
}

/// The resource type of ECS tasks.
pub const TASK: &str = "aws:ecs:task";
/// The resource type of ECS clusters.
pub const CLUSTER: &str = "aws:ecs:cluster";
/// The resource type of EC2 instances. Here managed instances stand for them.
pub const INSTANCE: &str = "aws:ec2:instance";

/// A resource type, and what targets of it may be found by.
#[derive(Debug)]
pub struct ResourceType {
    /// `aws:ecs:task`, …
    pub id: &'static str,
    /// A sentence for people.
    pub description: &'static str,
    /// Name and description. None is required.
    pub parameters: &'static [(&'static str, &'static str)],
    /// The service in the ARNs of such resources, and what their last part begins with.
    pub arn: (&'static str, &'static str),
}

/// All resource types of the actions here.
pub const RESOURCE_TYPES: &[ResourceType] = &[
    ResourceType {
        id: INSTANCE,
        description: "An instance of Amazon EC2. Here a managed instance stands for it, by its id and its tags.",
        parameters: &[(
            "availabilityZoneIdentifier",
            "Name or id of the zone. Those that stand for them have none.",
        )],
        arn: ("ec2", "instance/"),
    },
    ResourceType {
        id: CLUSTER,
        description: "A cluster of Amazon ECS.",
        parameters: &[],
        arn: ("ecs", "cluster/"),
    },
    ResourceType {
        id: TASK,
        description: "A task of Amazon ECS.",
        parameters: &[
            ("cluster", "Name or ARN of the cluster that the tasks are in."),
            ("service", "Name or ARN of the service that the tasks belong to."),
        ],
        arn: ("ecs", "task/"),
    },
];

/// What the service's action reference has besides, by service: templates may name them, and nothing here is a target
/// of theirs.
const ELSEWHERE: &[(&str, &[&str])] = &[
    ("aws:arc:", &["start-zonal-autoshift"]),
    ("aws:directconnect:", &["virtual-interface-disconnect"]),
    ("aws:dynamodb:", &["global-table-pause-replication"]),
    ("aws:ebs:", &["pause-volume-io", "volume-io-latency"]),
    (
        "aws:ec2:",
        &[
            "api-insufficient-instance-capacity-error",
            "asg-insufficient-instance-capacity-error",
            "reboot-instances",
            "send-spot-instance-interruptions",
            "stop-instances",
            "terminate-instances",
        ],
    ),
    (
        "aws:eks:",
        &[
            "inject-kubernetes-custom-resource",
            "pod-cpu-stress",
            "pod-delete",
            "pod-io-stress",
            "pod-memory-stress",
            "pod-network-blackhole-port",
            "pod-network-latency",
            "pod-network-packet-loss",
            "terminate-nodegroup-instances",
        ],
    ),
    ("aws:elasticache:", &["replicationgroup-interrupt-az-power"]),
    ("aws:fis:", &["inject-api-internal-error", "inject-api-throttle-error", "inject-api-unavailable-error"]),
    ("aws:kinesis:", &["stream-expired-iterator-exception", "stream-provisioned-throughput-exception"]),
    ("aws:lambda:", &["invocation-add-delay", "invocation-error", "invocation-http-integration-response"]),
    ("aws:memorydb:", &["multi-region-cluster-pause-replication"]),
    (
        "aws:network:",
        &[
            "disrupt-connectivity",
            "disrupt-vpc-endpoint",
            "route-table-disrupt-cross-region-connectivity",
            "transit-gateway-disrupt-cross-region-connectivity",
        ],
    ),
    ("aws:rds:", &["failover-db-cluster", "reboot-db-instances"]),
    ("aws:s3:", &["bucket-pause-replication"]),
];

/// The services whose resources are targets on AWS and are not here.
const SERVICES_ELSEWHERE: &[&str] = &[
    "arc",
    "directconnect",
    "dynamodb",
    "ebs",
    "ec2",
    "ecs",
    "eks",
    "elasticache",
    "iam",
    "kinesis",
    "lambda",
    "memorydb",
    "rds",
    "s3",
];

/// Whether it is an action of AWS that is not played here.
pub(super) fn is_elsewhere(action: &str) -> bool {
    ELSEWHERE
        .iter()
        .any(|(service, names)| action.strip_prefix(service).is_some_and(|name| names.contains(&name)))
}

/// Whether it is a resource type of AWS of which nothing is here.
pub(super) fn is_type_elsewhere(resource_type: &str) -> bool {
    let mut parts = resource_type.splitn(3, ':');
    let (aws, service, name) = (parts.next(), parts.next(), parts.next());
    aws == Some("aws")
        && service.is_some_and(|service| SERVICES_ELSEWHERE.contains(&service))
        && name.is_some_and(|name| !name.is_empty())
        && resource_type_is_not_ours(resource_type)
}

fn resource_type_is_not_ours(resource_type: &str) -> bool {
    RESOURCE_TYPES.iter().all(|kind| kind.id != resource_type)
}

const CLUSTERS: Option<Slot> = Some(Slot { name: "Clusters", resource_type: CLUSTER });
const INSTANCES: Option<Slot> = Some(Slot { name: "Instances", resource_type: INSTANCE });
const TASKS: Option<Slot> = Some(Slot { name: "Tasks", resource_type: TASK });

const fn parameter(
    name: &'static str,
    document: &'static str,
    default: Option<&'static str>,
    accepts: Accepts,
    description: &'static str,
) -> Parameter {
    Parameter { name, description, required: default.is_none(), default, accepts, document }
}

/// The reference gives no range for the duration of ECS actions; the documents take 1 s to 12 h.
const DURATION: Parameter = parameter(
    "duration",
    "DurationSeconds",
    None,
    Accepts::Duration { least: 1 },
    "How long the fault lasts, in ISO 8601: PT5M is five minutes.",
);
const INSTALL: Parameter = parameter(
    "installDependencies",
    "InstallDependencies",
    Some("True"),
    Accepts::Flag,
    "Whether missing tools may be installed in the sidecar. taskfault needs none.",
);
const ENDPOINTS: Parameter = parameter(
    "useEcsFaultInjectionEndpoints",
    "",
    Some("false"),
    Accepts::Flag,
    "Whether the fault goes through the fault endpoints of the ECS agent.",
);
const SOURCES: Parameter = parameter(
    "sources",
    "Sources",
    Some("ALL"),
    Accepts::Sources,
    "Peers: IPv4 addresses, CIDR blocks, domain names, ALL, DYNAMODB, S3; commas between, no blanks.",
);
const FLOWS: Parameter = parameter(
    "flowsPercent",
    "FlowsPercent",
    Some("100"),
    Accepts::Range(1, 100),
    "Share of the flows that are hit, in percent.",
);

/// One that becomes none of a document's.
const fn of_action(
    name: &'static str,
    required: bool,
    accepts: Accepts,
    description: &'static str,
) -> Parameter {
    Parameter { name, description, required, default: None, accepts, document: "" }
}

const DOCUMENT: Parameter =
    of_action("documentArn", true, Accepts::DocumentArn, "The ARN of the document of Systems Manager.");
const VERSION: Parameter =
    of_action("documentVersion", false, Accepts::DocumentVersion, "The version; without it the default.");
const PARAMETERS: Parameter = of_action(
    "documentParameters",
    false,
    Accepts::DocumentParameters,
    "The parameters that the document takes: a JSON object of texts and lists of texts.",
);
const MINUTES: Accepts = Accepts::Duration { least: 60 };

/// All actions here.
pub const ACTIONS: &[Kind] = &[
    Kind {
        id: "aws:cloudwatch:assert-alarm-state",
        description: "Looks whether alarms are in one of some states, and fails if one is not.",
        slot: None,
        parameters: &[
            of_action(
                "alarmArns",
                true,
                Accepts::Alarms { most: 5 },
                "ARNs of alarms, with commas; five at most.",
            ),
            of_action(
                "alarmStates",
                true,
                Accepts::AlarmStates,
                "OK, ALARM, INSUFFICIENT_DATA, with commas.",
            ),
        ],
        does: Does::AssertAlarms,
    },
    Kind {
        id: "aws:ecs:drain-container-instances",
        description: "Sets a share of the container instances of clusters to DRAINING, and back at the end.",
        slot: CLUSTERS,
        parameters: &[
            of_action(
                "drainagePercentage",
                true,
                Accepts::Range(1, 100),
                "Share of the container instances that drain, in percent.",
            ),
            of_action(
                "duration",
                true,
                MINUTES,
                "How long they drain, in ISO 8601. One minute to twelve hours.",
            ),
        ],
        does: Does::Drain,
    },
    Kind {
        id: "aws:ecs:stop-task",
        description: "Stops tasks.",
        slot: TASKS,
        parameters: &[],
        does: Does::StopTasks,
    },
    Kind {
        id: "aws:ecs:task-cpu-stress",
        description: "Keeps the processors of tasks busy.",
        slot: TASKS,
        parameters: &[
            DURATION,
            parameter("percent", "LoadPercent", Some("100"), Accepts::Range(0, 100), "Load, in percent."),
            parameter(
                "workers",
                "CPU",
                Some("0"),
                Accepts::Range(0, 1_000_000),
                "Number of stressors; 0 is one per processor.",
            ),
            INSTALL,
        ],
        does: Does::Document { name: "AWSFIS-Run-CPU-Stress", endpoints: None, egress: false },
    },
    Kind {
        id: "aws:ecs:task-io-stress",
        description: "Keeps the file system of tasks busy.",
        slot: TASKS,
        parameters: &[
            DURATION,
            parameter(
                "percent",
                "Percent",
                Some("80"),
                Accepts::Range(1, 100),
                "Share of the free space that is used, in percent.",
            ),
            parameter("workers", "Workers", Some("1"), Accepts::Range(0, 1_000_000), "Number of stressors."),
            INSTALL,
        ],
        does: Does::Document { name: "AWSFIS-Run-IO-Stress", endpoints: None, egress: false },
    },
    Kind {
        id: "aws:ecs:task-kill-process",
        description: "Sends a signal to processes of tasks by their name.",
        slot: TASKS,
        parameters: &[
            parameter("processName", "ProcessName", None, Accepts::ProcessName, "Name of the processes."),
            parameter(
                "signal",
                "Signal",
                Some("SIGTERM"),
                Accepts::OneOf(&["SIGTERM", "SIGKILL"]),
                "The signal.",
            ),
            INSTALL,
        ],
        does: Does::Document { name: "AWSFIS-Run-Kill-Process", endpoints: None, egress: false },
    },
    Kind {
        id: "aws:ecs:task-network-blackhole-port",
        description: "Drops the traffic of tasks by port.",
        slot: TASKS,
        parameters: &[
            DURATION,
            parameter("port", "Port", None, Accepts::Range(1, 65_535), "The port."),
            parameter(
                "trafficType",
                "TrafficType",
                None,
                Accepts::OneOf(&["ingress", "egress"]),
                "The direction of the traffic.",
            ),
            parameter(
                "protocol",
                "Protocol",
                Some("tcp"),
                Accepts::OneOf(&["tcp", "udp"]),
                "The protocol of the traffic.",
            ),
            INSTALL,
            ENDPOINTS,
        ],
        does: Does::Document {
            name: "AWSFIS-Run-Network-Blackhole-Port",
            endpoints: Some("AWSFIS-Run-Network-Blackhole-Port-ECS"),
            egress: false,
        },
    },
    Kind {
        id: "aws:ecs:task-network-latency",
        description: "Delays what tasks send.",
        slot: TASKS,
        parameters: &[
            DURATION,
            parameter(
                "delayMilliseconds",
                "DelayMilliseconds",
                Some("200"),
                Accepts::Range(1, 120_000),
                "The delay.",
            ),
            parameter(
                "jitterMilliseconds",
                "JitterMilliseconds",
                Some("10"),
                Accepts::Range(0, 120_000),
                "How much the delay varies.",
            ),
            FLOWS,
            SOURCES,
            INSTALL,
            ENDPOINTS,
        ],
        does: Does::Document {
            name: "AWSFIS-Run-Network-Latency-Sources",
            endpoints: Some("AWSFIS-Run-Network-Latency-ECS"),
            egress: true,
        },
    },
    Kind {
        id: "aws:ecs:task-network-packet-loss",
        description: "Loses some of what tasks send.",
        slot: TASKS,
        parameters: &[
            DURATION,
            parameter(
                "lossPercent",
                "LossPercent",
                Some("7"),
                Accepts::Range(1, 100),
                "Share of the packets that are lost, in percent.",
            ),
            FLOWS,
            SOURCES,
            INSTALL,
            ENDPOINTS,
        ],
        does: Does::Document {
            name: "AWSFIS-Run-Network-Packet-Loss-Sources",
            endpoints: Some("AWSFIS-Run-Network-Packet-Loss-ECS"),
            egress: true,
        },
    },
    Kind {
        id: "aws:fis:wait",
        description: "Lets time pass.",
        slot: None,
        parameters: &[parameter(
            "duration",
            "",
            None,
            Accepts::Duration { least: 60 },
            "How long, in ISO 8601: PT1M is one minute. One minute to twelve hours.",
        )],
        does: Does::Wait,
    },
    Kind {
        id: "aws:ssm:send-command",
        description: "Sends a document of Systems Manager to instances.",
        slot: INSTANCES,
        parameters: &[
            DOCUMENT,
            VERSION,
            PARAMETERS,
            of_action(
                "duration",
                true,
                MINUTES,
                "How long it may run, in ISO 8601. One minute to twelve hours.",
            ),
        ],
        does: Does::Command,
    },
    Kind {
        id: "aws:ssm:start-automation-execution",
        description: "Executes a runbook of Systems Manager.",
        slot: None,
        parameters: &[
            DOCUMENT,
            VERSION,
            PARAMETERS,
            of_action(
                "maxDuration",
                true,
                MINUTES,
                "How long it may take, in ISO 8601. One minute to twelve hours.",
            ),
        ],
        does: Does::Automation,
    },
];

/// The action with this id.
pub fn action(id: &str) -> Option<&'static Kind> {
    ACTIONS.iter().find(|kind| kind.id == id)
}

/// What so many resources of a type are called.
pub(super) fn counted(resource_type: &str) -> &'static str {
    match resource_type {
        CLUSTER => "cluster(s)",
        INSTANCE => "instance(s)",
        _ => "task(s)",
    }
}

/// The resource type with this id.
pub fn resource_type(id: &str) -> Option<&'static ResourceType> {
    RESOURCE_TYPES.iter().find(|kind| kind.id == id)
}

impl Kind {
    /// The parameter with this name.
    pub fn parameter(&self, name: &str) -> Option<&'static Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }

    /// Whether it takes a duration.
    pub fn lasts(&self) -> bool {
        self.parameter("duration").is_some()
    }
}
