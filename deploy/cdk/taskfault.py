"""The sidecar taskfault for task definitions made with the AWS CDK, and the roles that go with it.

    from taskfault import Taskfault, TaskfaultRoles

    roles = TaskfaultRoles(self, "TaskfaultRoles")
    Taskfault(self, "Taskfault", task_definition=task_definition, roles=roles, image="REGISTRY/taskfault:0.1.0")

Policies come from deploy/iam and the container from task-definition.json, so keep this folder where it is.
"""

import json
from pathlib import Path

from aws_cdk import Aws, Duration, aws_ecs as ecs, aws_iam as iam
from constructs import Construct

ROOT = Path(__file__).resolve().parents[2]
IAM = ROOT / "deploy" / "iam"

# What of the container in task-definition.json this construct carries over. Anything else is an error, not a loss.
CARRIED = {
    "name", "image", "essential", "command", "cpu", "memoryReservation", "user", "stopTimeout", "linuxParameters",
    "environment", "healthCheck", "logConfiguration", "mountPoints", "readonlyRootFilesystem",
}  # fmt: skip


def policy(name):
    """A policy of deploy/iam for the account and the partition of the stack."""
    text = (IAM / f"{name}.json").read_text()
    return json.loads(text.replace("ACCOUNT_ID", Aws.ACCOUNT_ID).replace("arn:aws:", f"arn:{Aws.PARTITION}:"))


class TaskfaultRoles(Construct):
    """The role that the sidecar registers with, and the one of experiments."""

    def __init__(self, scope, construct_id):
        super().__init__(scope, construct_id)
        self.managed_instance = self.role("ManagedInstanceRole", "managed-instance")
        self.experiment = self.role("ExperimentRole", "experiment")

    def role(self, construct_id, name):
        return iam.CfnRole(
            self,
            construct_id,
            role_name=f"taskfault-{name}",
            assume_role_policy_document=policy(f"{name}-role.trust"),
            policies=[
                iam.CfnRole.PolicyProperty(policy_name="taskfault", policy_document=policy(f"{name}-role.policy"))
            ],
        )


class Taskfault(Construct):
    """Adds the sidecar to an `Ec2TaskDefinition` or a `FargateTaskDefinition`, and its rights to the task role.

    image is a `ContainerImage` or the name of one in a registry; logging a `LogDriver`; environment more variables.
    """

    def __init__(self, scope, construct_id, *, task_definition, roles, image, logging=None, environment=None):
        super().__init__(scope, construct_id)
        on_ec2 = not task_definition.is_fargate_compatible
        if task_definition.network_mode not in (ecs.NetworkMode.AWS_VPC, ecs.NetworkMode.HOST):
            raise ValueError("taskfault needs the network mode awsvpc: with others each container has its own network")
        definition = json.loads((ROOT / "task-definition.json").read_text())
        (example,) = [it for it in definition["containerDefinitions"] if it["name"] == "taskfault"]
        lost = set(example) - CARRIED
        if lost:
            raise ValueError(f"this construct does not carry over {', '.join(sorted(lost))} of task-definition.json")
        for statement in policy("task-role.policy")["Statement"]:
            task_definition.add_to_task_role_policy(iam.PolicyStatement.from_json(statement))
        variables = {it["name"]: it["value"] for it in example["environment"]}
        variables["MANAGED_INSTANCE_ROLE_NAME"] = roles.managed_instance.ref
        self.container = task_definition.add_container(
            "taskfault",
            image=ecs.ContainerImage.from_registry(image) if isinstance(image, str) else image,
            essential=example["essential"],
            command=example["command"],
            cpu=example["cpu"],
            memory_reservation_mib=example["memoryReservation"],
            user=example.get("user"),
            readonly_root_filesystem=example.get("readonlyRootFilesystem"),
            stop_timeout=Duration.seconds(example["stopTimeout"]),
            environment={**variables, **(environment or {})},
            health_check=self.health_check(example["healthCheck"]),
            linux_parameters=self.linux_parameters(example["linuxParameters"]) if on_ec2 else None,
            logging=logging or ecs.LogDriver.aws_logs(stream_prefix="taskfault", mode=ecs.AwsLogDriverMode.NON_BLOCKING),
        )
        for point in example.get("mountPoints", []):
            task_definition.add_volume(name=point["sourceVolume"])
            self.container.add_mount_points(
                ecs.MountPoint(
                    source_volume=point["sourceVolume"],
                    container_path=point["containerPath"],
                    read_only=point.get("readOnly", False),
                )
            )
        made = task_definition.node.default_child
        made.add_property_override("PidMode", definition["pidMode"])
        made.add_property_override("EnableFaultInjection", definition["enableFaultInjection"])

    def health_check(self, example):
        return ecs.HealthCheck(
            command=example["command"],
            interval=Duration.seconds(example["interval"]),
            timeout=Duration.seconds(example["timeout"]),
            retries=example["retries"],
            start_period=Duration.seconds(example["startPeriod"]),
        )

    def linux_parameters(self, example):
        made = ecs.LinuxParameters(self, "LinuxParameters")
        made.add_capabilities(*[ecs.Capability[name] for name in example["capabilities"].get("add", [])])
        made.drop_capabilities(*[ecs.Capability[name] for name in example["capabilities"].get("drop", [])])
        return made
