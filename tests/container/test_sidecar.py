"""The sidecar in its image, in a task made of containers: one network, one set of processes, half a CPU."""

import re

from botocore.exceptions import ClientError

from containers import docker, eventually

FINAL = {"Success", "Failed", "Cancelled", "TimedOut"}
# What the task may use, and what is asked of it: 80 % of half a core.
CPU_LIMIT, LOAD_PERCENT = 0.5, 80
ASKED_PERCENT_OF_A_CORE = LOAD_PERCENT * CPU_LIMIT


def send_cpu_stress(task, seconds):
    parameters = {
        "DurationSeconds": [str(seconds)], "CPU": ["0"], "LoadPercent": [str(LOAD_PERCENT)],
        "InstallDependencies": ["False"],
    }
    answer = task.ssm.send_command(
        DocumentName="AWSFIS-Run-CPU-Stress", Parameters=parameters,
        Targets=[{"Key": "tag:ECS_TASK_ARN", "Values": [task.arn]}],
    )
    return answer["Command"]["CommandId"]


def invocation(task, command):
    found = task.ssm.list_command_invocations(CommandId=command, Details=True)["CommandInvocations"]
    return found[0] if found else None


def is_in(task, command, states):
    def look():
        seen = invocation(task, command)
        return seen if seen and seen["Status"] in states else None

    return look


def test_it_registers_as_the_task(task):
    instance = task.online()
    tags = task.ssm.list_tags_for_resource(ResourceType="ManagedInstance", ResourceId=instance["InstanceId"])
    tags = {tag["Key"]: tag["Value"] for tag in tags["TagList"]}
    assert tags["ECS_TASK_ARN"] == task.arn
    cluster = task.arn.split("/")[1]
    (described,) = task.ecs.describe_tasks(cluster=cluster, tasks=[task.arn])["tasks"]
    assert tags["ECS_TASK_AVAILABILITY_ZONE"] == described["availabilityZone"]
    assert tags["FAULT_INJECTION_SIDECAR"] == "true"


def test_the_health_check_of_the_task_definition_works_in_the_image(task):
    task.online()
    check = ["exec", task.container.id, "/taskfault", "status", "--healthy"]
    eventually("the health check passes", lambda: docker(*check, check=False).returncode == 0, task.container)


def test_a_cpu_stress_takes_its_share_of_the_limit(task):
    task.online()
    command = send_cpu_stress(task, seconds=12)
    eventually("the stress runs", is_in(task, command, {"InProgress"}), task.container)
    # The first sample may reach back to before the start.
    measured = [task.container.cpu_percent() for _ in range(4)][1:]
    done = eventually("the stress ends", is_in(task, command, FINAL), task.container)
    output = "\n".join(plugin["Output"] for plugin in done["CommandPlugins"])
    print(f"\nmeasured from outside: {measured} % of a core, asked {ASKED_PERCENT_OF_A_CORE} %\n{output}")
    assert done["Status"] == "Success", output
    # Said by the program: the share that was achieved, and the limit it is a share of.
    assert re.search(r"cpu\.(max|cfs_quota_us)", output), "the output names the limit"
    assert re.search(r"achieved\D*\d+(\.\d+)?\s*%", output), "the output gives what was achieved"
    # Seen from outside: it does load the CPU, and the quota holds. Accuracy is the benchmark's business.
    assert max(measured) >= ASKED_PERCENT_OF_A_CORE / 2
    assert max(measured) <= CPU_LIMIT * 100 * 1.2


def test_docker_stop_in_the_middle_of_a_stress_leaves_nothing_behind(task):
    instance = task.online()
    command = send_cpu_stress(task, seconds=300)
    eventually("the stress runs", is_in(task, command, {"InProgress"}), task.container)
    docker("stop", "--time", "30", task.container.id)
    state = task.container.state()
    assert state["ExitCode"] == 0, task.container.log()
    assert task.instance() is None
    activations = task.ssm.describe_activations(
        Filters=[{"FilterKey": "IamRole", "FilterValues": ["taskfault-managed-instance"]}]
    )
    assert [a for a in activations["ActivationList"] if task.arn in str(a.get("Tags"))] == []
    # Gone for good: what is sent to it now is refused.
    try:
        task.ssm.send_command(
            DocumentName="AWSFIS-Run-CPU-Stress", InstanceIds=[instance["InstanceId"]],
            Parameters={"DurationSeconds": ["1"]},
        )
        raise AssertionError("a command to an instance that has left was accepted")
    except ClientError as error:
        assert error.response["Error"]["Code"] == "InvalidInstanceId"


def test_the_application_is_left_alone(task, application):
    task.online()
    docker("stop", "--time", "30", task.container.id)
    assert application.state()["Running"]
    assert docker("exec", application.id, "cat", "/proc/1/comm").stdout.strip() == "sleep"
