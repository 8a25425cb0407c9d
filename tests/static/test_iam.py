"""The roles in deploy/iam: form, least privilege, and that every call we make is granted."""

import json
import re
from pathlib import Path

import botocore.loaders
import parliament
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
IAM = ROOT / "deploy" / "iam"
ROLES = ["task", "managed-instance", "experiment", "automation"]
# Beside the managed-instance role's own policy, for who sends output of commands to S3 or CloudWatch Logs.
OUTPUT = "output"
POLICIES = [*ROLES, OUTPUT]
# Beside the runbook that they are for.
DOCUMENTS = ROOT / "deploy" / "documents"
FOLDERS = {"automation": DOCUMENTS}

# What each role's holder calls. Sources: AWS's page on the aws:ecs:task actions (task and experiment role); the
# agent's calls for a managed instance that does Run Command and nothing else.
CALLS = {
    "task": {
        "iam:PassRole", "ssm:AddTagsToResource", "ssm:CreateActivation", "ssm:DeleteActivation",
        "ssm:DeregisterManagedInstance",
    },
    "managed-instance": {
        "ec2messages:AcknowledgeMessage", "ec2messages:DeleteMessage", "ec2messages:FailMessage",
        "ec2messages:GetEndpoint", "ec2messages:GetMessages", "ec2messages:SendReply",
        "ssm:DeleteActivation", "ssm:DeregisterManagedInstance", "ssm:UpdateInstanceInformation",
        "ssmmessages:CreateControlChannel", "ssmmessages:OpenControlChannel",
    },
    "experiment": {
        "ec2:DescribeInstances", "ec2:DescribeSubnets", "ecs:DescribeContainerInstances", "ecs:DescribeTasks",
        "ssm:CancelCommand", "ssm:ListCommands", "ssm:SendCommand",
    },
    "automation": {
        "ecs:ListTasks", "ssm:CancelCommand", "ssm:DescribeInstanceInformation", "ssm:ListCommands",
        "ssm:SendCommand", "tag:GetResources",
    },
    OUTPUT: {
        "logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "s3:PutObject", "s3:PutObjectAcl",
    },
}

# Who may take each role.
TRUSTED = {
    "task": "ecs-tasks.amazonaws.com",
    "managed-instance": "ssm.amazonaws.com",
    "experiment": "fis.amazonaws.com",
    "automation": "ssm.amazonaws.com",
}

# Actions without a resource of their own, or that AWS's own policy grants on everything.
ON_EVERYTHING = {
    "ec2:DescribeInstances", "ec2:DescribeSubnets", "ecs:ListTasks", "ssm:AddTagsToResource", "ssm:CancelCommand",
    "ssm:CreateActivation", "ssm:DeleteActivation", "ssm:DescribeInstanceInformation", "ssm:ListCommands", "ssm:UpdateInstanceInformation", "tag:GetResources",
} | {action for action in CALLS["managed-instance"] if action.startswith(("ec2messages:", "ssmmessages:"))}


def document(role, kind):
    name = "managed-instance-role.output.json" if role == OUTPUT else f"{role}-role.{kind}.json"
    return json.loads((FOLDERS.get(role, IAM) / name).read_text())


def listed(value):
    return value if isinstance(value, list) else [value]


def statements(role, effect):
    """Each statement of the role's policy that allows or denies, with its actions and resources as lists."""
    for statement in document(role, "policy")["Statement"]:
        if statement["Effect"] == effect:
            yield statement, listed(statement["Action"]), listed(statement["Resource"])


def grants(role):
    return statements(role, "Allow")


def test_there_is_a_policy_and_a_trust_for_each_role_and_nothing_else():
    expected = {f"{role}-role.{kind}.json" for role in ROLES if role not in FOLDERS for kind in ("policy", "trust")}
    assert {path.name for path in IAM.glob("*.json")} == expected | {"managed-instance-role.output.json"}


@pytest.mark.parametrize(("role", "kind"), [(role, "policy") for role in POLICIES] + [(role, "trust") for role in ROLES])
def test_documents_are_well_formed(role, kind):
    policy = document(role, kind)
    assert set(policy) == {"Version", "Statement"}
    assert policy["Version"] == "2012-10-17"
    names = [statement["Sid"] for statement in policy["Statement"]]
    assert len(names) == len(set(names))
    known = {"Sid", "Effect", "Action", "Resource", "Condition", "Principal"}
    for statement in policy["Statement"]:
        # IAM: letters and digits only.
        assert re.fullmatch(r"[A-Za-z0-9]+", statement["Sid"])
        assert statement["Effect"] in (("Allow", "Deny") if kind == "policy" else ("Allow",))
        assert set(statement) <= known
        for action in listed(statement["Action"]):
            assert re.fullmatch(r"[a-z0-9-]+:[A-Z][A-Za-z]+", action), f"{action}: no wildcards"
    # The limit of an inline policy of a role is 10,240 characters, white space apart; of a trust, 2,048.
    size = len(re.sub(r"\s", "", json.dumps(policy)))
    assert size <= (10240 if kind == "policy" else 2048)


@pytest.mark.parametrize("role", POLICIES)
def test_a_role_grants_the_calls_that_are_made_and_no_other(role):
    granted = {action for _, actions, _ in grants(role) for action in actions}
    assert granted == CALLS[role]


@pytest.mark.parametrize("role", POLICIES)
def test_only_actions_without_a_resource_are_granted_on_everything(role):
    for statement, actions, resources in grants(role):
        if "*" in resources:
            assert set(actions) <= ON_EVERYTHING, statement["Sid"]


@pytest.mark.parametrize("role", POLICIES)
def test_resources_are_arns_of_one_account_or_documents_of_aws(role):
    arn = r"arn:aws:[a-z0-9]+:(\*)?:(ACCOUNT_ID|\*)?:\S+"
    for statement, _, resources in grants(role):
        for resource in resources:
            assert resource == "*" or re.fullmatch(arn, resource), resource
            # No account has documents whose names begin with AWS but AWS itself. Names of buckets are the world's.
            if resource not in ("*", "arn:aws:s3:::OUTPUT_BUCKET/*") and ":document/AWSFIS-" not in resource:
                assert ":ACCOUNT_ID:" in resource, statement["Sid"]


@pytest.mark.parametrize("role", ROLES)
def test_only_its_service_on_behalf_of_this_account_takes_the_role(role):
    (statement,) = document(role, "trust")["Statement"]
    assert statement["Principal"] == {"Service": TRUSTED[role]}
    assert statement["Action"] == "sts:AssumeRole"
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": "ACCOUNT_ID"}
    assert ":ACCOUNT_ID:" in statement["Condition"]["ArnLike"]["aws:SourceArn"]


def test_an_experiment_may_start_and_stop_the_runbook_alone():
    policy = json.loads((DOCUMENTS / "experiment-role.policy.json").read_text())
    granted = {action: one for one in policy["Statement"] for action in listed(one["Action"])}
    assert {f"{action}" for action in granted} == {
        "iam:PassRole", "ssm:GetAutomationExecution", "ssm:StartAutomationExecution", "ssm:StopAutomationExecution"
    }  # fmt: skip
    assert granted["ssm:StartAutomationExecution"]["Resource"].endswith("/Taskfault-Run-On-Tasks:*")
    handed = granted["iam:PassRole"]
    assert handed["Resource"] == "arn:aws:iam::ACCOUNT_ID:role/taskfault-automation"
    assert handed["Condition"]["StringEquals"] == {"iam:PassedToService": "ssm.amazonaws.com"}


def test_the_managed_instance_role_is_handed_to_systems_manager_alone():
    (statement,) = [s for s, actions, _ in grants("task") if "iam:PassRole" in actions]
    assert listed(statement["Resource"]) == ["arn:aws:iam::ACCOUNT_ID:role/taskfault-managed-instance"]
    assert statement["Condition"]["StringEquals"] == {"iam:PassedToService": "ssm.amazonaws.com"}


@pytest.mark.parametrize(
    ("role", "action"),
    [("task", "ssm:DeregisterManagedInstance"), ("managed-instance", "ssm:DeregisterManagedInstance")],
)
def test_instances_are_only_reached_if_they_are_sidecars(role, action):
    found = [
        statement
        for statement, actions, resources in grants(role)
        if action in actions and any(":managed-instance/" in resource for resource in resources)
    ]
    assert found
    for statement in found:
        assert statement["Condition"]["StringEquals"] == {"ssm:resourceTag/FAULT_INJECTION_SIDECAR": "true"}


@pytest.mark.parametrize("role", ["experiment", "automation"])
def test_commands_reach_instances_that_are_sidecars_alone(role):
    """By a Deny: where commands are allowed, document and instance stand in one statement, and a document has no tag."""
    (denied,) = statements(role, "Deny")
    statement, actions, resources = denied
    assert (actions, resources) == (["ssm:SendCommand"], ["arn:aws:ssm:*:*:managed-instance/*"])
    # A tag that is not there is not "true" either.
    assert statement["Condition"] == {"StringNotEquals": {"ssm:resourceTag/FAULT_INJECTION_SIDECAR": "true"}}


def test_the_runbook_makes_the_calls_that_its_role_grants():
    runbook = yaml.safe_load((DOCUMENTS / "Taskfault-Run-On-Tasks.yaml").read_text())
    inputs = [step["inputs"] for step in runbook["mainSteps"] if "Api" in step["inputs"]]
    prefixes = {"resourcegroupstaggingapi": "tag"}
    made = {f"{prefixes.get(one['Service'], one['Service'])}:{one['Api']}" for one in inputs}
    assert made == CALLS["automation"]
    for one in inputs:
        # Names of members are the API's.
        model = botocore.loaders.Loader().load_service_model(one["Service"], "service-2")
        shape = model["operations"][one["Api"]]["input"]["shape"]
        ours = {"Service", "Api", "PropertySelector", "DesiredValues"}
        assert set(one) - ours <= set(model["shapes"][shape]["members"]), one


def test_a_task_tags_its_own_activation_alone():
    """An activation has no ARN, so tagging is allowed on everything, and denied on what has one."""
    (allowed,) = [one for one in grants("task") if "ssm:AddTagsToResource" in one[1]]
    # Without the Null, ForAllValues would let a request without any tag pass.
    assert allowed[0]["Condition"]["Null"] == {"aws:TagKeys": "false"}
    (denied,) = statements("task", "Deny")
    assert denied[1] == ["ssm:AddTagsToResource"] and "Condition" not in denied[0]
    assert {resource.split(":", 5)[5] for resource in denied[2]} == {f"{kind}/*" for kind in taggable()}


def taggable():
    """What the service authorization reference lists for AddTagsToResource."""
    (ssm,) = [service for service in parliament.iam_definition if service["prefix"] == "ssm"]
    (tagging,) = [action for action in ssm["privileges"] if action["privilege"] == "AddTagsToResource"]
    return {kind["resource_type"] for kind in tagging["resource_types"]} - {""}


@pytest.mark.parametrize("role", POLICIES)
def test_linters_find_nothing(role):
    text = json.dumps(document(role, "policy")).replace("ACCOUNT_ID", "111122223333").replace("OUTPUT_BUCKET", "my-bucket")
    # ECS's own examples list tasks on everything, with the cluster as a condition: tasks of Fargate have no instance.
    expected = ("RESOURCE_STAR", ["ecs:ListTasks"])
    found = parliament.analyze_policy_string(text).findings
    found = [finding for finding in found if (finding.issue, finding.detail) != expected]
    assert not found, [(finding.issue, finding.detail, finding.location) for finding in found]


def test_the_tags_are_those_that_the_sidecar_sets():
    (statement,) = [s for s, actions, _ in grants("task") if "ssm:CreateActivation" in actions]
    keys = statement["Condition"]["ForAllValues:StringEquals"]["aws:TagKeys"]
    assert sorted(keys) == ["ECS_TASK_ARN", "ECS_TASK_AVAILABILITY_ZONE", "FAULT_INJECTION_SIDECAR"]
    sources = "".join(path.read_text() for path in (ROOT / "src" / "identity").glob("**/*.rs"))
    for key in keys:
        assert f'"{key}"' in sources, f"no file of src/identity sets {key}"


def test_output_is_written_by_the_calls_that_its_policy_grants():
    source = (ROOT / "src" / "output.rs").read_text()
    assert {f"logs:{call}" for call in re.findall(r'\.call\("(\w+)"', source)} < CALLS[OUTPUT]
    # A canned ACL is a right of its own.
    assert "Request::put(" in source and '"x-amz-acl"' in source
    # The groups of documents, where SendCommand names none.
    assert '"/aws/ssm/{}"' in source
    groups = [one for _, actions, resources in grants(OUTPUT) for one in resources if actions[0].startswith("logs:")]
    assert groups and all(":log-group:/aws/ssm/*" in group for group in groups)


def operations(service):
    return set(botocore.loaders.Loader().load_service_model(service, "service-2")["operations"])


@pytest.mark.parametrize("role", POLICIES)
def test_actions_exist(role):
    """Names are those of the service's operations, where botocore knows the service."""
    # Services without a public model: the agent's own two. PassRole is a permission, not an operation.
    unknown = {"ec2messages", "ssmmessages"}
    for action in CALLS[role] - {"iam:PassRole"}:
        service, name = action.split(":")
        if service not in unknown and name != "UpdateInstanceInformation":
            assert name in operations({"tag": "resourcegroupstaggingapi"}.get(service, service)), action
