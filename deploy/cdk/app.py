"""A sample service with the sidecar, on EC2 and on Fargate: `cdk synth --app "python deploy/cdk/app.py"`."""

import os

from aws_cdk import App, Stack, aws_ec2 as ec2, aws_ecs as ecs
from taskfault import Taskfault, TaskfaultRoles

IMAGE = os.environ.get("TASKFAULT_IMAGE", "111122223333.dkr.ecr.us-west-2.amazonaws.com/taskfault:0.1.0")


class SampleService(Stack):
    """One service in a VPC of its own."""

    def __init__(self, scope, construct_id, *, fargate, **more):
        super().__init__(scope, construct_id, **more)
        cluster = ecs.Cluster(self, "Cluster", vpc=ec2.Vpc(self, "Vpc", max_azs=2, nat_gateways=1))
        if fargate:
            definition = ecs.FargateTaskDefinition(self, "Task", cpu=512, memory_limit_mib=1024)
        else:
            cluster.add_capacity("Capacity", instance_type=ec2.InstanceType("m5.large"), desired_capacity=2)
            definition = ecs.Ec2TaskDefinition(self, "Task", network_mode=ecs.NetworkMode.AWS_VPC)
        definition.add_container(
            "app",
            image=ecs.ContainerImage.from_registry("public.ecr.aws/docker/library/httpd:2.4"),
            cpu=256,
            memory_reservation_mib=128,
            port_mappings=[ecs.PortMapping(container_port=80)],
        )
        Taskfault(self, "Taskfault", task_definition=definition, roles=TaskfaultRoles(self, "Roles"), image=IMAGE)
        kind = ecs.FargateService if fargate else ecs.Ec2Service
        self.service = kind(self, "Service", cluster=cluster, task_definition=definition, desired_count=3)


def main():
    app = App()
    SampleService(app, "taskfault-ec2", fargate=False)
    SampleService(app, "taskfault-fargate", fargate=True)
    app.synth()


if __name__ == "__main__":
    main()
